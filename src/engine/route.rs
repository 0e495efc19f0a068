//! A route: owns its children, notices new topics, commits watermarks, and sends home who holds the others up.
//!
//! Its parts: `children` starts and watches its actors, `target_slot` is a target's place in it, `ending` is its end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::task::spawn_blocking;

use super::children::Stand;
use super::clock::now;
use super::death_watch::DeathWatch;
use super::ending::Stopping;
use super::failpoint::failpoint;
use super::flow::{Flow, Gate, Lane, Urgency};
use super::lasting::Lasting;
use super::life::{Life, Rounds};
use super::messages::{Child, ChildGone, Drain, Drained, End, Leave, Ping, ReadState, Renew};
use super::ownership::Ownership;
use super::partition_consumer::PartitionConsumer;
use super::preparation::Topics;
use super::progress::TargetIndex;
use super::read_limit::ReadLimit;
use super::recall::Recall;
use super::refusals::millis;
use super::retries::What;
use super::router::Router;
use super::source::{Found, look};
use super::target_slot::TargetSlot;
use crate::domain::detach::{Judge, Load};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::state::{TargetFacts, Trouble};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::Reader;
use crate::kafka::admin::Admin;
use crate::plan::{RoutePlan, TargetPlan};

/// New topics and partitions have to be noticed within 10 s.
const DISCOVERY: Duration = Duration::from_secs(5);
/// How much is copied again after a crash, at most.
const COMMIT: Duration = Duration::from_secs(1);
/// Offsets of a group without members expire after a week without a commit: even idle partitions are committed.
const COMMIT_ALL: u64 = 600;
/// What is committed is looked at in so many rounds.
const COMMIT_CHECK: u64 = 15;
/// How often the targets' loads are compared.
const SAMPLE: Duration = Duration::from_millis(100);

/// What a route is made of.
pub struct Params {
    /// What it was asked to do.
    pub plan: Arc<RoutePlan>,
    /// The process's permits.
    pub flow: Arc<Flow>,
    /// The process's bound on them.
    pub process: Arc<Gate>,
    /// What its former lives left to it.
    pub lasting: Lasting,
    /// Whether it ends when it has reached the end offsets that were seen at its start.
    pub until_caught_up: bool,
    /// Which life of the route it is.
    pub generation: u64,
    /// How long a drain may take.
    pub drain: Duration,
    /// How its children are asked whether they still answer.
    pub rounds: Rounds,
    /// Who is told of its end.
    pub owner: Recipient<RouteEnded>,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// What follows the end of a route's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it is done with, or told to end.
    Nothing,
    /// It is to be started again: something of it keeps failing, or has taken the rest with it.
    Again,
    /// It has lost its place in its group, which is no failure of its own, and is to join anew.
    Rejoin,
}

/// A route has drained and stopped.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct RouteEnded {
    /// Its name.
    pub route: String,
    /// What was left undone, and why; empty if nothing was.
    pub undone: Vec<String>,
    /// What is to follow.
    pub then: Then,
    /// Which life of it has ended.
    pub generation: u64,
}

/// The actor.
pub struct Route {
    pub(super) params: Params,
    pub(super) source: Option<Arc<Admin>>,
    pub(super) router: Option<Life<Router>>,
    pub(super) topics: Topics,
    /// Which partitions of them are copied here.
    pub(super) ownership: Ownership,
    /// Whether the group it is in sends its word here.
    pub(super) attends: bool,
    /// Partitions that are to be given back, with the targets that still have something of them under way.
    pub(super) recalls: HashMap<TopicPartition, Recall>,
    /// How many there were so far.
    pub(super) recalled: u64,
    /// Partitions that were copied, and are not there any more.
    pub(super) deleted: HashSet<TopicPartition>,
    /// Partitions that were copied, and are not selected any more.
    pub(super) deselected: HashSet<TopicPartition>,
    pub(super) targets: Vec<TargetSlot>,
    pub(super) stopping: Option<Stopping>,
    pub(super) reader: Option<Arc<dyn Reader>>,
    /// The limit for what the reader reads.
    pub(super) read_limit: Option<ReadLimit>,
    pub(super) consumers: HashMap<TopicPartition, Life<PartitionConsumer>>,
    /// Partitions whose consumer is gone and waits to be made anew.
    pub(super) resting: HashSet<TopicPartition>,
    pub(super) generations: HashMap<TopicPartition, u64>,
    /// Where partitions waited for the source when that was looked at last.
    pub(super) stands: HashMap<TopicPartition, Stand>,
    /// So many looks at the same place are a stall.
    pub(super) stall_looks: u32,
    /// Partitions that can't be read until somebody changes something.
    pub(super) broken: BTreeMap<TopicPartition, Fault>,
    pub(super) source_fault: Option<Fault>,
    pub(super) discovered: bool,
    pub(super) judge: Judge,
    pub(super) live: Lane,
    /// What the shared read may have in flight.
    pub(super) shared: Arc<Gate>,
    commits: u64,
}

impl Route {
    /// A route that begins when it is started.
    pub fn new(params: Params) -> Self {
        let slot = |(index, target): (usize, &TargetPlan)| {
            if target.retired {
                params.lasting.progress.forget_target(index);
            }
            TargetSlot::new(params.lasting.status.is_paused(index), target.retired)
        };
        let targets = params.plan.targets.iter().enumerate().map(slot).collect();
        let (budget, _) = params.plan.shares();
        let shared = Gate::new(budget);
        let gates = [params.process.clone(), params.lasting.gate.clone(), shared.clone()];
        let live = Lane::new(&params.flow, gates, Urgency::Live);
        let judge = Judge::new(budget);
        Self {
            source: None,
            router: None,
            topics: Topics::new(),
            ownership: Ownership::new(params.plan.keeping),
            attends: false,
            recalls: HashMap::new(),
            recalled: 0,
            deleted: HashSet::new(),
            deselected: HashSet::new(),
            targets,
            stopping: None,
            reader: None,
            read_limit: None,
            consumers: HashMap::new(),
            resting: HashSet::new(),
            generations: HashMap::new(),
            stands: HashMap::new(),
            stall_looks: 1,
            broken: BTreeMap::new(),
            source_fault: None,
            discovered: false,
            judge,
            live,
            shared,
            commits: 0,
            params,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.params.plan.name
    }

    /// Asks the source for its topics, again and again.
    fn discover(&mut self, ctx: &mut Context<Self>) {
        self.ask_for_topics(ctx, |delay, ctx| {
            ctx.run_later(delay, Self::discover);
        });
    }

    /// Asks once more, between two times; the first one is never put before what has to come before it.
    pub(super) fn look_at_topics(&mut self, ctx: &mut Context<Self>) {
        if self.source.is_some() {
            self.ask_for_topics(ctx, |_, _| {});
        }
    }

    /// Asks the source for its topics, on a thread that may block; `then` is told how long to wait until it is asked again.
    fn ask_for_topics(&mut self, ctx: &mut Context<Self>, then: impl FnOnce(Duration, &mut Context<Self>) + 'static) {
        if self.stopping.is_some() {
            return;
        }
        let (plan, source, known) = (self.params.plan.clone(), self.source.clone(), self.topics.clone());
        let owned = self.ownership.of(&known);
        let needs_all = self.params.until_caught_up && !self.params.lasting.progress.has_goals();
        let asked = plan.clone();
        let work = spawn_blocking(move || look(&plan, source, &known, &owned, needs_all));
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            if asked.topics != this.params.plan.topics {
                return then(Duration::ZERO, ctx); // others are selected by now
            }
            let delay = match result.unwrap_or_else(|error| Err(Fault::new(FaultClass::Crash, error.to_string()))) {
                Ok(found) => {
                    this.source_fault = None;
                    this.params.lasting.retries.works(&What::Source);
                    this.params.lasting.status.change(|facts| facts.trouble = None);
                    this.found(found, ctx);
                    DISCOVERY
                }
                Err(fault) => this.source_failed(fault),
            };
            then(delay, ctx);
        }));
    }

    fn source_failed(&mut self, fault: Fault) -> Duration {
        let (attempt, delay) = self.params.lasting.retries.failed_again(&What::Source, fault.class);
        tracing::warn!(route = %self.name(), class = fault.class.name(), attempt, retry_ms = millis(delay),
            "the source does not answer: {fault}");
        let reason = fault.reason.clone();
        let trouble = Trouble { class: fault.class, attempt, next_attempt_at: Some(now() + delay), reason };
        self.params.lasting.status.change(|facts| facts.trouble = Some(trouble));
        self.source_fault = Some(fault);
        delay
    }

    fn found(&mut self, found: Found, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        for fault in found.unreadable {
            tracing::warn!(route = %self.name(), "{fault}");
        }
        if !self.discovered && found.topics.is_empty() {
            tracing::warn!(route = %self.name(), "no topic of cluster {} matches: see `anabranch plan`", self.params.plan.source.alias);
        }
        self.source = Some(found.source);
        self.params.lasting.progress.saw_ends(&found.ends, &found.ids);
        if self.topics.is_empty() {
            self.params.lasting.progress.set_goals(found.ends);
        }
        self.topics = found.topics;
        self.compare_ids(&found.ids, ctx);
        self.forget_missing(ctx);
        if let Err(fault) = self.share(ctx).and_then(|()| self.spawn_consumers(ctx)) {
            tracing::error!(route = %self.name(), "{fault}");
            self.source_fault = Some(fault);
            return;
        }
        self.discovered = true;
        self.params.lasting.status.change(|facts| facts.discovered = true);
        for target in 0..self.targets.len() {
            self.prepare_target(target, ctx);
        }
    }

    fn sample(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let stats = &self.params.lasting.progress.targets;
        let loads: Vec<Load> = stats.iter().map(|(_, stats)| stats.load()).collect();
        for target in self.judge.sample(SAMPLE, self.live.waits(), &loads) {
            if let Some(producer) = self.targets[target].producer() {
                producer.do_send(Leave);
            }
        }
        if self.params.until_caught_up && (self.discovered || self.source_fault.is_some()) {
            self.stop_if_caught_up(ctx);
        }
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        self.commits += 1;
        let all = self.commits.is_multiple_of(COMMIT_ALL);
        let check = self.params.plan.keeping.is_shared() && self.commits.is_multiple_of(COMMIT_CHECK);
        for target in 0..self.targets.len() {
            self.commit_target(target, all, check, ctx);
        }
        self.forget_deselected();
        if self.params.until_caught_up {
            self.look_elsewhere();
        }
    }
}

impl Actor for Route {
    type Context = Context<Self>;

    /// What a former life left open is closed first: two writers of one target would write beside each other.
    fn started(&mut self, ctx: &mut Self::Context) {
        let lasting = self.params.lasting.clone();
        let closing = spawn_blocking(move || lasting.close_writers());
        ctx.spawn(closing.into_actor(self).map(|_, this, ctx| {
            this.discover(ctx);
            ctx.run_interval(COMMIT, Self::commit);
            ctx.run_interval(SAMPLE, Self::sample);
            this.make_rounds(ctx);
            this.look_for_stalls(ctx);
            this.look_at_heads(ctx);
        }));
    }
}

impl Handler<Ping> for Route {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, ctx: &mut Self::Context) {
        failpoint!("route", ctx);
        pulse.beat();
    }
}

impl Handler<Drain> for Route {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.stop(Vec::new(), Then::Nothing, ctx);
    }
}

impl Handler<Drained> for Route {
    type Result = ();

    fn handle(&mut self, Drained { target, generation }: Drained, ctx: &mut Self::Context) {
        self.targets[target].drained(generation);
        self.finished(target, generation, ctx);
        self.close_if_drained(ctx);
    }
}

impl Handler<ReadState> for Route {
    type Result = ();

    fn handle(&mut self, read: ReadState, ctx: &mut Self::Context) {
        let ReadState { target, partition, fault, lost } = read;
        if let Some(fault) = fault.as_ref().filter(|fault| fault.class == FaultClass::Crash) {
            return self.reader_gone(target, End::Stopped, fault.clone(), ctx);
        }
        if let Some(fault) = fault.as_ref().filter(|_| lost) {
            return self.lost_read(&partition, target, fault, ctx);
        }
        let stops = fault.as_ref().is_some_and(|fault| fault.class == FaultClass::Config);
        match (fault, target) {
            (Some(fault), Some(target)) if stops => self.gap(target, partition, fault),
            (Some(fault), Some(target)) => {
                let change = |facts: &mut TargetFacts| drop(facts.unreadable.insert(partition, fault.reason));
                self.params.lasting.status.change_target(target, change);
            }
            (Some(fault), None) => {
                if stops && self.broken.get(&partition) != Some(&fault) {
                    tracing::error!(route = %self.name(), %partition, "this partition stops: {fault}");
                    self.broken.insert(partition.clone(), fault.clone());
                }
                self.params.lasting.status.change(|facts| drop(facts.unreadable.insert(partition, fault.reason)));
            }
            (None, Some(target)) => {
                self.params.lasting.status.change_target(target, |facts| drop(facts.unreadable.remove(&partition)));
                self.no_gap(target, &partition);
            }
            (None, None) => {
                if self.broken.remove(&partition).is_some() {
                    tracing::info!(route = %self.name(), %partition, "this partition can be read again");
                }
                self.params.lasting.status.change(|facts| drop(facts.unreadable.remove(&partition)));
            }
        }
    }
}

impl Handler<Renew> for Route {
    type Result = ();

    fn handle(&mut self, renew: Renew, ctx: &mut Self::Context) {
        self.renew_writer(renew.target, renew.generation, ctx);
    }
}

impl Handler<ChildGone> for Route {
    type Result = ();

    fn handle(&mut self, gone: ChildGone, ctx: &mut Self::Context) {
        if self.stopping.is_some() {
            // nothing of it is in flight any more
            if let Child::Target(target) = gone.child {
                self.targets[target].drained(gone.generation);
                self.close_if_drained(ctx);
            }
            return;
        }
        match gone.child.clone() {
            Child::Target(target) => self.target_gone(target, gone, ctx),
            Child::Consumer(partition) => self.consumer_gone(partition, &gone, ctx),
            Child::Router => self.router_gone(&gone, ctx),
            Child::Route => {}
        }
    }
}

/// A target by its index, for messages to the slots.
pub(super) type Index = TargetIndex;
