//! The supervisor: starts the routes, starts them again when they die, drains them when the process is to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::children::is_escalated;
use super::death_watch::{Death, DeathWatch};
use super::flow::{Flow, Gate};
use super::lasting::{Lasting, SharedLimits};
use super::life::{Life, Rounds};
use super::messages::{Child, Drain, End, Ping};
use super::progress::Progress;
use super::refusals::millis;
use super::retries::{What, spread};
use super::route::{Params, Route, RouteEnded, Then};
use super::status::Status;
use crate::domain::fault::FaultClass;
use crate::domain::retry::HEALTHY;
use crate::plan::{Plan, RoutePlan};

/// How long a route rests that has lost its place in its group.
const REJOIN: Duration = Duration::from_millis(500);

/// How the engine is to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// End when every route has reached the end offsets that were seen at its start.
    pub until_caught_up: bool,
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
    /// The state of each route by name.
    pub status: Status,
}

impl Engine {
    /// Starts every enabled route of the plan. Must be called within an actix system.
    pub fn start(plan: &Plan, options: Options) -> Self {
        super::failpoint::arm();
        let (tell, ended) = oneshot::channel();
        let supervisor = Supervisor::new(plan, options, tell);
        let lasting = || supervisor.routes.iter().map(|(name, slot)| (name.clone(), &slot.lasting));
        let routes = lasting().map(|(name, lasting)| (name, lasting.progress.clone())).collect();
        let status = lasting().map(|(name, lasting)| (name, lasting.status.clone())).collect();
        let rounds = supervisor.rounds;
        let mut timer = interval(rounds.every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { supervisor: Life::begin(supervisor), rounds, timer, ended, routes, status }
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
struct Supervisor {
    options: Options,
    drain: Duration,
    rounds: Rounds,
    flow: Arc<Flow>,
    process: Arc<Gate>,
    routes: BTreeMap<String, RouteSlot>,
    draining: bool,
    undone: Vec<String>,
    tell: Option<oneshot::Sender<Ended>>,
}

struct RouteSlot {
    plan: Arc<RoutePlan>,
    lasting: Lasting,
    route: Option<Life<Route>>,
    generation: u64,
    ended: bool,
}

impl Supervisor {
    fn new(plan: &Plan, options: Options, tell: oneshot::Sender<Ended>) -> Self {
        let (limits, spread) = (SharedLimits::new(plan), spread());
        let slots = plan.routes.iter().filter(|route| route.enabled).map(|route| {
            let plan = Arc::new(route.clone());
            let lasting = Lasting::new(&plan, &limits, spread.clone());
            (route.name.clone(), RouteSlot { plan, lasting, route: None, generation: 0, ended: false })
        });
        Self {
            options,
            drain: plan.limits.drain,
            rounds: Rounds::within(plan.limits.stall),
            flow: Arc::default(),
            process: Gate::new(plan.limits.in_flight),
            routes: slots.collect(),
            draining: false,
            undone: Vec::new(),
            tell: Some(tell),
        }
    }

    fn start_route(&mut self, name: &str, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let Some(slot) = self.routes.get_mut(name).filter(|slot| !slot.ended) else { return };
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

    /// Ends what is left of a route's life, and begins the next after a delay.
    fn start_again(&mut self, name: &str, end: Option<End>, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        if self.draining {
            let how = end.map_or("ended", End::name);
            self.undone.push(format!("route {name}: it {how} while it drained: what was in flight is copied again"));
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
        let name = name.to_owned();
        ctx.run_later(delay, move |this, ctx| this.start_route(&name, ctx));
    }

    /// A route that will not begin anew leaves its group, so that nobody waits for the end of its session.
    fn leave(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        let (lasting, name) = (slot.lasting.clone(), name.to_owned());
        let leaving = spawn_blocking(move || lasting.leave());
        ctx.spawn(leaving.into_actor(self).map(move |_, this, ctx| {
            if let Some(slot) = this.routes.get_mut(&name) {
                slot.ended = true;
            }
            this.finish(ctx);
        }));
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

    fn finish(&mut self, ctx: &mut Context<Self>) {
        if !self.routes.values().all(|slot| slot.ended) {
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

impl Handler<RouteEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: RouteEnded, ctx: &mut Self::Context) {
        if !self.is_present(&ended.route, ended.generation) {
            return;
        }
        match ended.then {
            Then::Nothing => {}
            Then::Again if !self.draining => return self.start_again(&ended.route, None, ctx),
            Then::Rejoin if !self.draining => return self.rejoin(&ended.route, ctx),
            Then::Again | Then::Rejoin => {
                let reason =
                    format!("route {}: it could not finish what was in flight: that is copied again", ended.route);
                self.undone.push(reason);
                return self.leave(&ended.route, ctx);
            }
        }
        if let Some(slot) = self.routes.get_mut(&ended.route) {
            (slot.ended, slot.route) = (true, None);
        }
        self.undone.extend(ended.undone.into_iter().map(|reason| format!("route {}: {reason}", ended.route)));
        self.finish(ctx);
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
