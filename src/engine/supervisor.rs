//! The supervisor: starts the routes, starts them again when they die, drains them when the process is to end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::death_watch::{Death, DeathWatch};
use super::flow::{Flow, Gate};
use super::messages::Drain;
use super::progress::Progress;
use super::route::{Params, Route, RouteEnded};
use crate::plan::{Plan, RoutePlan};

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
    supervisor: Addr<Supervisor>,
    ended: oneshot::Receiver<Ended>,
    /// The progress of each route by name.
    pub routes: BTreeMap<String, Arc<Progress>>,
}

impl Engine {
    /// Starts every enabled route of the plan. Must be called within an actix system.
    pub fn start(plan: &Plan, options: Options) -> Self {
        let (tell, ended) = oneshot::channel();
        let supervisor = Supervisor::new(plan, options, tell);
        let routes = supervisor.routes.iter().map(|(name, slot)| (name.clone(), slot.progress.clone())).collect();
        Self { supervisor: supervisor.start(), ended, routes }
    }

    /// Makes every route stop reading, finish what is in flight, commit and close.
    pub fn drain(&self) {
        self.supervisor.do_send(Drain);
    }

    /// Waits for the end of every route.
    pub async fn ended(&mut self) -> Ended {
        let lost = |_| Ended { undone: vec!["the supervisor is gone".to_owned()], ..Ended::default() };
        (&mut self.ended).await.unwrap_or_else(lost)
    }
}

/// The actor.
struct Supervisor {
    options: Options,
    drain: Duration,
    flow: Arc<Flow>,
    process: Arc<Gate>,
    routes: BTreeMap<String, RouteSlot>,
    draining: bool,
    undone: Vec<String>,
    tell: Option<oneshot::Sender<Ended>>,
}

struct RouteSlot {
    plan: Arc<RoutePlan>,
    progress: Arc<Progress>,
    gate: Arc<Gate>,
    route: Option<Addr<Route>>,
    generation: u64,
    since: Instant,
    backoff: Backoff,
    ended: bool,
}

impl Supervisor {
    fn new(plan: &Plan, options: Options, tell: oneshot::Sender<Ended>) -> Self {
        let slots = plan.routes.iter().filter(|route| route.enabled).map(|route| {
            let slot = RouteSlot {
                plan: Arc::new(route.clone()),
                progress: Progress::new(route.targets.len()),
                gate: Gate::new(route.in_flight),
                route: None,
                generation: 0,
                since: Instant::now(),
                backoff: Backoff::default(),
                ended: false,
            };
            (route.name.clone(), slot)
        });
        Self {
            options,
            drain: plan.limits.drain,
            flow: Arc::default(),
            process: Gate::new(plan.limits.in_flight),
            routes: slots.collect(),
            draining: false,
            undone: Vec::new(),
            tell: Some(tell),
        }
    }

    fn start_route(&mut self, name: &str, ctx: &Context<Self>) {
        let Some(slot) = self.routes.get_mut(name).filter(|slot| !slot.ended) else { return };
        slot.generation += 1;
        slot.since = Instant::now();
        let (me, gone) = (ctx.address(), RouteGone { route: name.to_owned(), generation: slot.generation });
        let route = Route::new(Params {
            plan: slot.plan.clone(),
            flow: self.flow.clone(),
            process: self.process.clone(),
            gate: slot.gate.clone(),
            progress: slot.progress.clone(),
            until_caught_up: self.options.until_caught_up,
            drain: self.drain,
            owner: ctx.address().recipient(),
            watch: DeathWatch::new(move |death| {
                if death == Death::Panicked {
                    me.do_send(gone);
                }
            }),
        });
        slot.route = Some(route.start());
    }

    fn start_again(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        slot.route = None;
        if self.draining {
            slot.ended = true;
            return self.finish(ctx);
        }
        let delay = slot.backoff.next_delay(slot.since.elapsed());
        tracing::warn!(route = name, retry_in = ?delay, "the route starts again from its watermarks");
        let name = name.to_owned();
        ctx.run_later(delay, move |this, ctx| this.start_route(&name, ctx));
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
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.draining = true;
        for slot in self.routes.values_mut() {
            match &slot.route {
                Some(route) => route.do_send(Drain),
                None => slot.ended = true,
            }
        }
        self.finish(ctx);
    }
}

impl Handler<RouteEnded> for Supervisor {
    type Result = ();

    fn handle(&mut self, ended: RouteEnded, ctx: &mut Self::Context) {
        if ended.again {
            return self.start_again(&ended.route, ctx);
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
        let current = self.routes.get(&gone.route).is_some_and(|slot| slot.generation == gone.generation);
        if current {
            tracing::error!(route = %gone.route, "the route panicked");
            self.start_again(&gone.route, ctx);
        }
    }
}
