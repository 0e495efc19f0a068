//! The supervisor: starts the routes, starts them again when they die, drains them when the process is to end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::board::Board;
use super::children::is_escalated;
use super::death_watch::{Death, DeathWatch};
use super::events::Events;
use super::flow::{Flow, Gate};
use super::handle::{Handle, Keep, Load, Refusal};
use super::lasting::{Lasting, SharedLimits};
use super::life::{Life, Rounds};
use super::messages::{Child, Drain, End, Order, Pause, Ping};
use super::progress::Progress;
use super::refusals::millis;
use super::retries::{What, spread};
use super::route::{Params, Route, RouteEnded, Then};
use super::view::{EventKind, Level};
use crate::domain::fault::FaultClass;
use crate::domain::retry::{HEALTHY, Spread};
use crate::plan::switches::Switches;
use crate::plan::{Plan, RoutePlan};

/// How long a route rests that has lost its place in its group.
const REJOIN: Duration = Duration::from_millis(500);

/// How the engine is to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End when every route has reached the end offsets that were seen at its start.
    pub until_caught_up: bool,
}

/// For an engine that takes orders: what was ordered before, and where orders are written down.
pub struct Standing {
    /// What people have switched.
    pub switches: Switches,
    /// Writes it down.
    pub keep: Keep,
    /// Reads the config again.
    pub load: Load,
}

/// How the engine ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// What was left undone, each with its route and reason; empty if nothing was.
    pub undone: Vec<String>,
    /// The most bytes that were in flight.
    pub in_flight_peak: u64,
    /// The bound on them.
    pub in_flight_budget: u64,
}

/// A running engine.
pub struct Engine {
    supervisor: Life<Supervisor>,
    rounds: Rounds,
    timer: Interval,
    ended: oneshot::Receiver<Ended>,
    /// The progress of each route by name.
    pub routes: BTreeMap<String, Arc<Progress>>,
    /// For those who look at it, and tell it what to do; where it takes orders.
    pub handle: Option<Handle>,
}

impl Engine {
    /// Starts every enabled route of the plan; with `standing` it also takes orders, and goes on while no route runs. Must be called
    /// within an actix system.
    pub fn start(plan: &Plan, options: Options, standing: Option<Standing>) -> Self {
        super::failpoint::arm();
        let (tell, ended) = oneshot::channel();
        let stays = standing.is_some() && !options.until_caught_up;
        let switches = standing.as_ref().map(|standing| standing.switches.clone()).unwrap_or_default();
        let supervisor = Supervisor::new(plan, &switches, options, (stays, tell));
        let lasting = || supervisor.routes.iter().map(|(name, slot)| (name.clone(), &slot.lasting));
        let routes = lasting().map(|(name, lasting)| (name, lasting.progress.clone())).collect();
        let board = supervisor.board.clone();
        let rounds = supervisor.rounds;
        let mut timer = interval(rounds.every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let supervisor = Life::begin(supervisor);
        let handle = standing.map(|standing| Handle::new(board, supervisor.addr().clone(), plan.clone(), standing));
        Self { supervisor, rounds, timer, ended, routes, handle }
    }

    /// Makes every route stop reading, finish what is in flight, commit and close.
    pub fn drain(&self) {
        self.supervisor.addr().do_send(Drain);
    }

    /// Waits for the end of every route. There is nobody above the supervisor to make it anew: where it panics or hangs,
    /// that is the end, and says so.
    pub async fn ended(&mut self) -> Ended {
        let lost = |why: &str| Ended { undone: vec![format!("the supervisor {why}")], ..Ended::default() };
        loop {
            tokio::select! {
                ended = &mut self.ended => return ended.unwrap_or_else(|_| lost("is gone")),
                _ = self.timer.tick() => if self.supervisor.hangs(self.rounds) {
                    return lost("hangs");
                },
            }
        }
    }
}

/// The actor.
pub(super) struct Supervisor {
    options: Options,
    /// Whether it goes on while no route runs.
    stays: bool,
    pub(super) board: Arc<Board>,
    pub(super) drain: Duration,
    rounds: Rounds,
    pub(super) flow: Arc<Flow>,
    pub(super) process: Arc<Gate>,
    pub(super) limits: SharedLimits,
    pub(super) spread: Arc<Mutex<Spread>>,
    pub(super) routes: BTreeMap<String, RouteSlot>,
    draining: bool,
    undone: Vec<String>,
    tell: Option<oneshot::Sender<Ended>>,
}

/// A route's place in the supervisor.
pub(super) struct RouteSlot {
    pub(super) plan: Arc<RoutePlan>,
    /// What the config says, whatever was switched by hand.
    pub(super) configured: Arc<RoutePlan>,
    pub(super) lasting: Lasting,
    pub(super) route: Option<Life<Route>>,
    pub(super) generation: u64,
    /// Whether it is switched on.
    pub(super) enabled: bool,
    /// Whether nothing of it is left: it is off, or has ended.
    pub(super) ended: bool,
    /// What it is to do, and what the config says of that, once nothing of what it does now is left.
    pub(super) next: Option<(RoutePlan, RoutePlan)>,
    /// Whether the config has it no more: it goes once nothing of it is left.
    pub(super) removed: bool,
}

impl RouteSlot {
    /// Whether its next life is to do what this one did.
    fn goes_on(&self) -> bool {
        self.enabled && self.next.is_none()
    }

    /// What is known of one that is off: that, and how it was switched off.
    pub(super) fn say_off(&self) {
        let how = if self.configured.enabled {
            "switched off by hand"
        } else {
            "switched off: `enabled` is not true in the config; switch it on there, or with `anabranch route start`"
        };
        self.lasting.status.switch_off(how);
    }
}

impl Supervisor {
    fn new(plan: &Plan, switches: &Switches, options: Options, (stays, tell): (bool, oneshot::Sender<Ended>)) -> Self {
        let mut wanted = plan.clone();
        for ignored in switches.apply(&mut wanted) {
            tracing::warn!("{ignored}");
        }
        let mut supervisor = Self {
            options,
            stays,
            board: Board::new(Events::new()),
            drain: plan.limits.drain,
            rounds: Rounds::within(plan.limits.stall),
            flow: Arc::default(),
            process: Gate::new(plan.limits.in_flight),
            limits: SharedLimits::new(plan),
            spread: spread(),
            routes: BTreeMap::new(),
            draining: false,
            undone: Vec::new(),
            tell: Some(tell),
        };
        for (wanted, configured) in wanted.routes.into_iter().zip(&plan.routes) {
            supervisor.seat(wanted, configured.clone());
        }
        supervisor
    }

    pub(super) fn start_route(&mut self, name: &str, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let startable = |slot: &&mut RouteSlot| !slot.ended && slot.goes_on() && slot.route.is_none();
        let Some(slot) = self.routes.get_mut(name).filter(startable) else { return };
        slot.generation += 1;
        slot.lasting.retries.begin_life(&Child::Route);
        let (route, generation) = (name.to_owned(), slot.generation);
        ctx.run_later(HEALTHY, move |this, _| {
            if let Some(slot) = this.routes.get(&route).filter(|slot| slot.generation == generation) {
                slot.lasting.status.change(|facts| facts.failing = None);
            }
        });
        let (me, gone) = (ctx.address(), RouteGone { route: name.to_owned(), generation: slot.generation });
        let route = Route::new(Params {
            plan: slot.plan.clone(),
            flow: self.flow.clone(),
            process: self.process.clone(),
            lasting: slot.lasting.begin_life(),
            generation: slot.generation,
            rounds: self.rounds,
            until_caught_up: self.options.until_caught_up,
            drain: self.drain,
            owner: ctx.address().recipient(),
            watch: DeathWatch::new(move |death| {
                if death == Death::Panicked {
                    me.do_send(gone);
                }
            }),
        });
        slot.route = Some(Life::begin(route));
    }

    /// Whether it is the present life of a route that speaks.
    fn is_present(&self, name: &str, generation: u64) -> bool {
        self.routes.get(name).is_some_and(|slot| slot.route.is_some() && slot.generation == generation)
    }

    fn goes_on(&self, name: &str) -> bool {
        self.routes.get(name).is_some_and(RouteSlot::goes_on)
    }

    /// Ends what is left of a route's life, and begins the next after a delay.
    fn start_again(&mut self, name: &str, end: Option<End>, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        if self.draining {
            let how = end.map_or("ended", End::name);
            self.undone.push(format!("route {name}: it {how} while it drained: what was in flight is copied again"));
            return self.leave(name, ctx);
        }
        if !slot.goes_on() {
            return self.leave(name, ctx);
        }
        let (retries, what) = (&slot.lasting.retries, What::Life(Child::Route));
        let (attempt, delay) = retries.failed_again(&what, FaultClass::Crash);
        let why = end.map_or("restarted", End::name);
        tracing::error!(
            route = name,
            actor = "route",
            why,
            generation = slot.generation + 1,
            attempt,
            retry_ms = millis(delay),
            "made anew"
        );
        let text = format!("the route {why}, and is made anew after failure {attempt} in a row");
        slot.lasting.status.tell_of(EventKind::Restart, Level::Error, None, text);
        slot.lasting.status.restarted("route", end.unwrap_or(End::Stopped));
        let failing = is_escalated(attempt).then(|| format!("it keeps failing: {attempt} times in a row"));
        slot.lasting.status.begin_again(failing);
        let name = name.to_owned();
        ctx.run_later(delay, move |this, ctx| this.start_route(&name, ctx));
    }

    /// A route that has lost its place in its group joins anew: the group keeps those waiting whom it can't hear, however often.
    fn rejoin(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        slot.lasting.status.begin_again(None);
        let delay = slot.lasting.retries.spread(REJOIN);
        tracing::info!(route = name, generation = slot.generation + 1, retry_ms = millis(delay), "joins anew");
        let text = "it has lost its place among the processes that share it, and joins anew";
        slot.lasting.status.tell_of(EventKind::Share, Level::Warning, None, text);
        let name = name.to_owned();
        ctx.run_later(delay, move |this, ctx| this.start_route(&name, ctx));
    }

    /// A route that will not begin anew leaves its group, so that nobody waits for the end of its session.
    pub(super) fn leave(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        let (lasting, name) = (slot.lasting.clone(), name.to_owned());
        let leaving = spawn_blocking(move || lasting.leave());
        ctx.spawn(leaving.into_actor(self).map(move |_, this, ctx| this.has_ended(&name, ctx)));
    }

    /// Nothing of a route is left. Where it was switched off, that is so now; unless it was switched on again meanwhile.
    fn has_ended(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        if slot.removed {
            return self.remove(name, ctx);
        }
        self.take_next(name);
        let Some(slot) = self.routes.get_mut(name) else { return };
        if self.draining || self.options.until_caught_up {
            slot.ended = true;
        } else if slot.enabled {
            slot.lasting.status.begin_again(None);
            return self.start_route(name, ctx);
        } else {
            slot.ended = true;
            slot.say_off();
        }
        self.finish(ctx);
    }

    pub(super) fn switch(&mut self, name: &str, enabled: bool, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.enabled = enabled;
        match (enabled, &slot.route) {
            (true, _) if slot.ended => {
                slot.ended = false;
                slot.lasting.status.begin_again(None);
                self.start_route(name, ctx);
            }
            // what has begun to drain is started again when it has
            (true, _) => {}
            (false, Some(route)) => route.addr().do_send(Drain),
            (false, None) if slot.ended => slot.say_off(),
            (false, None) => self.leave(name, ctx),
        }
        self.post(name);
    }

    /// Asks all routes for a sign of life, again and again.
    fn make_rounds(&mut self, ctx: &mut Context<Self>) {
        let hangs = |slot: &RouteSlot| slot.route.as_ref().is_some_and(|route| route.hangs(self.rounds));
        let hung: Vec<String> =
            self.routes.iter().filter(|(_, slot)| hangs(slot)).map(|(name, _)| name.clone()).collect();
        for name in hung {
            self.start_again(&name, Some(End::Hung), ctx);
        }
        ctx.run_later(self.rounds.every, Self::make_rounds);
    }

    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        if !self.routes.values().all(|slot| slot.ended) || (self.stays && !self.draining) {
            return;
        }
        let ended = Ended {
            undone: std::mem::take(&mut self.undone),
            in_flight_peak: self.process.peak(),
            in_flight_budget: self.process.capacity(),
        };
        if let Some(tell) = self.tell.take() {
            drop(tell.send(ended));
        }
        ctx.stop();
    }
}

/// A route's actor is gone without a word.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct RouteGone {
    route: String,
    generation: u64,
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let names: Vec<String> = self.routes.keys().cloned().collect();
        for name in names {
            self.start_route(&name, ctx);
        }
        self.finish(ctx);
        self.make_rounds(ctx);
    }
}

impl Handler<Ping> for Supervisor {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        let mut resting = Vec::new();
        for (name, slot) in &self.routes {
            match &slot.route {
                Some(route) => route.addr().do_send(Drain),
                None if slot.ended => {}
                None => resting.push(name.clone()),
            }
        }
        for name in resting {
            self.leave(&name, ctx);
        }
        self.finish(ctx);
    }
}

impl Handler<Order> for Supervisor {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) -> Self::Result {
        if self.draining {
            return Err(Refusal::Draining);
        }
        match order {
            Order::Follow(plan, switches) => self.follow(&plan, &switches, ctx),
            Order::Switch { route, enabled } => self.switch(&route, enabled, ctx),
            Order::Pause { route, target, paused } => {
                let Some(slot) = self.routes.get(&route) else { return Ok(()) };
                // where the route has no actor now, its next one reads it from here
                slot.lasting.status.change_target(target, |facts| facts.paused = paused);
                if let Some(route) = &slot.route {
                    route.addr().do_send(Pause { target, paused });
                }
            }
            Order::Throttle { route, target, rate } => {
                if let Some(limit) = self.routes.get(&route).and_then(|slot| slot.lasting.own_limit(target)) {
                    limit.set_rate(rate);
                }
            }
        }
        Ok(())
    }
}

impl Handler<RouteEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: RouteEnded, ctx: &mut Self::Context) {
        if !self.is_present(&ended.route, ended.generation) {
            return;
        }
        match ended.then {
            Then::Nothing => {}
            Then::Again | Then::Rejoin if !self.draining && !self.goes_on(&ended.route) => {
                return self.leave(&ended.route, ctx);
            }
            Then::Again if !self.draining => return self.start_again(&ended.route, None, ctx),
            Then::Rejoin if !self.draining => return self.rejoin(&ended.route, ctx),
            Then::Again | Then::Rejoin => {
                let reason =
                    format!("route {}: it could not finish what was in flight: that is copied again", ended.route);
                self.undone.push(reason);
                return self.leave(&ended.route, ctx);
            }
        }
        let undone = ended.undone.into_iter().map(|reason| format!("route {}: {reason}", ended.route));
        if self.draining || self.options.until_caught_up {
            self.undone.extend(undone);
        } else {
            undone.for_each(|reason| tracing::warn!("{reason}"));
        }
        self.has_ended(&ended.route, ctx);
    }
}

impl Handler<RouteGone> for Supervisor {
    type Result = ();

    fn handle(&mut self, gone: RouteGone, ctx: &mut Self::Context) {
        if self.is_present(&gone.route, gone.generation) {
            self.start_again(&gone.route, Some(End::Panicked), ctx);
        }
    }
}
