//! A route: owns its children, notices new topics, commits watermarks, and sends home who holds the others up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::death_watch::{Death, DeathWatch};
use super::flow::{Flow, Gate, Lane, Urgency};
use super::messages::{Child, ChildGone, ConsumerReady, Drain, Drained, Leave, ReadFault, Seek, TargetFault};
use super::partition_consumer::{Params as ConsumerParams, PartitionConsumer};
use super::preparation::{Topics, partitions_of};
use super::progress::{Progress, TargetIndex};
use super::router::Router;
use super::source::{Found, look, open_reader};
use super::target_slot::TargetSlot;
use crate::domain::detach::{Judge, Load};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::Reader;
use crate::kafka::admin::Admin;
use crate::plan::RoutePlan;

/// New topics and partitions have to be noticed within 10 s.
const DISCOVERY: Duration = Duration::from_secs(5);
/// How much is copied again after a crash, at most.
const COMMIT: Duration = Duration::from_secs(1);
/// Offsets of a group without members expire after a week without a commit: even idle partitions are committed.
const COMMIT_ALL: u64 = 600;
/// How long the last commit and the closing of the clients may take.
const CLOSING: Duration = Duration::from_secs(10);
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
    /// The route's bound on them.
    pub gate: Arc<Gate>,
    /// Its watermarks, older than this actor.
    pub progress: Arc<Progress>,
    /// Whether it ends when it has reached the end offsets that were seen at its start.
    pub until_caught_up: bool,
    /// How long a drain may take.
    pub drain: Duration,
    /// Who is told of its end.
    pub owner: Recipient<RouteEnded>,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// A route has drained and stopped.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct RouteEnded {
    /// Its name.
    pub route: String,
    /// What was left undone, and why; empty if nothing was.
    pub undone: Vec<String>,
    /// A router's death takes the route with it: it is to be started again.
    pub again: bool,
}

/// The actor. Its targets are in `target_slot`.
pub struct Route {
    pub(super) params: Params,
    pub(super) source: Option<Arc<Admin>>,
    pub(super) router: Option<Addr<Router>>,
    pub(super) topics: Topics,
    pub(super) targets: Vec<TargetSlot>,
    pub(super) stopping: Option<Stopping>,
    reader: Option<Arc<dyn Reader>>,
    consumers: HashMap<TopicPartition, Addr<PartitionConsumer>>,
    generation: u64,
    /// Partitions that can't be read until somebody changes something.
    broken: BTreeMap<TopicPartition, Fault>,
    source_backoff: Backoff,
    source_fault: Option<Fault>,
    discovered: bool,
    judge: Judge,
    live: Lane,
    commits: u64,
}

/// Why a route stops.
#[derive(Clone, Debug)]
pub struct Stopping {
    undone: Vec<String>,
    again: bool,
    closing: bool,
}

impl Route {
    /// A route that begins when it is started.
    pub fn new(params: Params) -> Self {
        let targets = params.plan.targets.iter().map(|_| TargetSlot::default()).collect();
        // alone there is nobody to catch up beside the shared read
        let shared = if params.plan.targets.len() > 1 { params.plan.in_flight / 2 } else { params.plan.in_flight };
        let gates = [params.process.clone(), params.gate.clone(), Gate::new(shared)];
        let live = Lane::new(&params.flow, gates, Urgency::Live);
        let judge = Judge::new(params.plan.targets.len(), shared);
        Self {
            source: None,
            router: None,
            topics: Topics::new(),
            targets,
            stopping: None,
            reader: None,
            consumers: HashMap::new(),
            generation: 0,
            broken: BTreeMap::new(),
            source_backoff: Backoff::default(),
            source_fault: None,
            discovered: false,
            judge,
            live,
            commits: 0,
            params,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.params.plan.name
    }

    /// A guard that tells this route when a child ends.
    pub(super) fn watch(ctx: &Context<Self>, child: Child, generation: u64) -> DeathWatch {
        let route = ctx.address();
        DeathWatch::new(move |death| tell(&route, child, generation, death))
    }

    /// The same for a child that may also stop in peace.
    pub(super) fn watch_for_panic(route: &Addr<Self>, child: Child, generation: u64) -> DeathWatch {
        let route = route.clone();
        DeathWatch::new(move |death| {
            if death == Death::Panicked {
                tell(&route, child, generation, death);
            }
        })
    }

    /// Asks the source for its topics, on a thread that may block.
    fn discover(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let (plan, source, known) = (self.params.plan.clone(), self.source.clone(), self.topics.clone());
        let asked = Instant::now();
        let work = spawn_blocking(move || look(&plan, source, &known));
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let delay = match result.unwrap_or_else(|error| Err(Fault::new(FaultClass::Crash, error.to_string()))) {
                Ok(found) => {
                    this.source_fault = None;
                    this.found(found, ctx);
                    DISCOVERY
                }
                Err(fault) => this.source_failed(fault, asked),
            };
            ctx.run_later(delay, Self::discover);
        }));
    }

    fn source_failed(&mut self, fault: Fault, asked: Instant) -> Duration {
        let delay = self.source_backoff.next_delay(asked.elapsed());
        tracing::warn!(route = %self.name(), class = fault.class.name(), retry_in = ?delay, "the source does not answer: {fault}");
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
        self.topics = found.topics;
        self.params.progress.set_goals(found.ends);
        if let Err(fault) = self.spawn_consumers(ctx) {
            tracing::error!(route = %self.name(), "{fault}");
            self.source_fault = Some(fault);
            return;
        }
        self.discovered = true;
        for target in 0..self.targets.len() {
            self.prepare_target(target, ctx);
        }
    }

    /// From the sink to the source: the router stands before its consumers.
    fn spawn_consumers(&mut self, ctx: &Context<Self>) -> Result<(), Fault> {
        let router = self.router(ctx);
        let missing: Vec<TopicPartition> =
            partitions_of(&self.topics).into_iter().filter(|tp| !self.consumers.contains_key(tp)).collect();
        for partition in missing {
            let reader = self.reader()?;
            let consumer = self.spawn_consumer(partition.clone(), reader, &router, ctx);
            self.consumers.insert(partition.clone(), consumer.clone());
            router.do_send(ConsumerReady { partition, consumer });
        }
        Ok(())
    }

    fn spawn_consumer(
        &self,
        partition: TopicPartition,
        reader: Arc<dyn Reader>,
        router: &Addr<Router>,
        ctx: &Context<Self>,
    ) -> Addr<PartitionConsumer> {
        PartitionConsumer::new(ConsumerParams {
            partition: partition.clone(),
            reader,
            lane: self.live.clone(),
            batch_bytes: self.params.plan.batch.max_bytes,
            reads_for: None,
            out: router.clone().recipient(),
            owner: ctx.address().recipient(),
            watch: Self::watch(ctx, Child::Consumer(partition), self.generation),
        })
        .start()
    }

    fn router(&mut self, ctx: &Context<Self>) -> Addr<Router> {
        let (targets, progress) = (self.targets.len(), self.params.progress.clone());
        let watch = || Self::watch(ctx, Child::Router, 0);
        self.router.get_or_insert_with(|| Router::new(targets, progress, watch()).start()).clone()
    }

    fn reader(&mut self) -> Result<Arc<dyn Reader>, Fault> {
        if let Some(reader) = &self.reader {
            return Ok(reader.clone());
        }
        let reader = open_reader(&self.params.plan, self.params.plan.in_flight / 4, partitions_of(&self.topics).len())?;
        Ok(self.reader.insert(reader).clone())
    }

    /// How many partitions share a reader.
    pub(super) fn partition_count(&self) -> usize {
        self.consumers.len()
    }

    fn sample(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let loads: Vec<Load> = self.params.progress.targets.iter().map(super::progress::TargetStats::load).collect();
        for target in self.judge.sample(SAMPLE, self.live.waits(), &loads) {
            if let Some(producer) = self.targets[target].producer() {
                producer.do_send(Leave);
            }
        }
        if self.params.until_caught_up && (self.discovered || self.source_fault.is_some()) {
            self.stop_if_caught_up(ctx);
        }
    }

    /// Ends the route once every target has everything that it can have.
    fn stop_if_caught_up(&mut self, ctx: &mut Context<Self>) {
        let mut undone: Vec<String> = self.broken.values().map(|fault| fault.reason.clone()).collect();
        if let Some(fault) = self.source_fault.as_ref().filter(|fault| fault.class == FaultClass::Config) {
            undone.push(fault.reason.clone());
            if !self.discovered {
                return self.stop(undone, false, ctx);
            }
        } else if !self.discovered {
            return;
        } else if self.topics.is_empty() {
            undone.push(format!("no topic of cluster {} matches", self.params.plan.source.alias));
        }
        for (index, slot) in self.targets.iter().enumerate() {
            if let Some(fault) = slot.hopeless() {
                undone.push(fault.reason.clone());
                continue;
            }
            if !slot.is_running() {
                return;
            }
            undone.extend(slot.refused().map(|fault| fault.reason.clone()));
            let counts = |tp: &TopicPartition| !self.broken.contains_key(tp) && !slot.refuses(tp);
            if self.source_fault.is_none() && !self.params.progress.reached(index, counts) {
                return;
            }
        }
        undone.dedup();
        self.stop(undone, false, ctx);
    }

    /// Stops reading, lets the targets finish, commits, closes.
    fn stop(&mut self, undone: Vec<String>, again: bool, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping { undone, again, closing: false });
        for consumer in self.consumers.values() {
            consumer.do_send(Seek(None));
        }
        for target in 0..self.targets.len() {
            self.targets[target].drain();
        }
        ctx.run_later(self.params.drain, |this, ctx| this.close(true, ctx));
        self.close_if_drained(ctx);
    }

    fn close_if_drained(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() && self.targets.iter().all(TargetSlot::is_drained) {
            self.close(false, ctx);
        }
    }

    /// The last commit; then the writers are closed and the route is over.
    fn close(&mut self, late: bool, ctx: &mut Context<Self>) {
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| !stopping.closing) else { return };
        stopping.closing = true;
        if late {
            let seconds = self.params.drain.as_secs();
            stopping.undone.push(format!("the drain took longer than {seconds} s: what was in flight is copied again"));
        }
        let mut stopping = stopping.clone();
        let (route, progress) = (self.name().to_owned(), self.params.progress.clone());
        let targets: Vec<_> = self.targets.iter_mut().map(TargetSlot::take_for_close).collect();
        let source = self.source.take();
        let closing = stopping.clone();
        // every client is closed there, too: that blocks
        let work = spawn_blocking(move || {
            for (target, (writer, clients)) in targets.into_iter().enumerate() {
                if let Some(writer) = writer {
                    writer.close();
                }
                let offsets = progress.to_commit(target, false);
                if let (Some(group), false) = (clients.and_then(|clients| clients.group), offsets.is_empty())
                    && let Err(fault) = group.commit(&offsets)
                {
                    stopping.undone.push(format!("watermarks could not be committed: {fault}"));
                }
            }
            drop(source);
            stopping
        });
        // librdkafka waits for a commit's answer as long as it takes
        let work = tokio::time::timeout(CLOSING, work);
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let Stopping { undone, again, .. } = match result {
                Ok(Ok(stopping)) => stopping,
                Ok(Err(_)) | Err(_) => {
                    let mut late = closing.clone();
                    late.undone.push("the last watermarks could not be committed in time".to_owned());
                    late
                }
            };
            this.params.owner.do_send(RouteEnded { route: route.clone(), undone, again });
            ctx.stop();
        }));
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        self.commits += 1;
        let all = self.commits.is_multiple_of(COMMIT_ALL);
        for target in 0..self.targets.len() {
            self.commit_target(target, all, ctx);
        }
    }
}

fn tell(route: &Addr<Route>, child: Child, generation: u64, death: Death) {
    let how = if death == Death::Panicked { "panicked" } else { "stopped" };
    let fault = Fault::new(FaultClass::Crash, format!("{child:?} {how}"));
    route.do_send(ChildGone { child, generation, fault });
}

impl Drop for Route {
    /// The children know each other and would go on without their route; after a panic, beside a new one.
    fn drop(&mut self) {
        for consumer in self.consumers.values() {
            consumer.do_send(Seek(None));
        }
        self.targets.iter_mut().for_each(TargetSlot::drain);
    }
}

impl Actor for Route {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.discover(ctx);
        ctx.run_interval(COMMIT, Self::commit);
        ctx.run_interval(SAMPLE, Self::sample);
    }
}

impl Handler<Drain> for Route {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.stop(Vec::new(), false, ctx);
    }
}

impl Handler<Drained> for Route {
    type Result = ();

    fn handle(&mut self, Drained { target, generation }: Drained, ctx: &mut Self::Context) {
        self.targets[target].drained(generation);
        self.close_if_drained(ctx);
    }
}

impl Handler<ReadFault> for Route {
    type Result = ();

    fn handle(&mut self, fault: ReadFault, _: &mut Self::Context) {
        if fault.fault.class == FaultClass::Config {
            tracing::error!(route = %self.name(), partition = %fault.partition, "this partition stops: {}", fault.fault);
            match fault.target {
                Some(target) => self.targets[target].gap(fault.partition, fault.fault),
                None => drop(self.broken.insert(fault.partition, fault.fault)),
            }
        }
    }
}

impl Handler<TargetFault> for Route {
    type Result = ();

    fn handle(&mut self, fault: TargetFault, _: &mut Self::Context) {
        let route = self.params.plan.name.clone();
        let name = self.params.plan.targets[fault.target].name().to_owned();
        self.targets[fault.target].trouble(&route, &name, fault.fault);
    }
}

impl Handler<ChildGone> for Route {
    type Result = ();

    fn handle(&mut self, gone: ChildGone, ctx: &mut Self::Context) {
        if self.stopping.is_some() {
            return;
        }
        match gone.child {
            Child::Target(target) => self.target_gone(target, gone.generation, gone.fault, ctx),
            Child::Consumer(partition) => {
                tracing::error!(route = %self.name(), %partition, "{}: a new one is made", gone.fault);
                self.consumers.remove(&partition);
                self.generation += 1;
                if let Err(fault) = self.spawn_consumers(ctx) {
                    tracing::error!(route = %self.name(), "{fault}");
                }
            }
            Child::Router => {
                tracing::error!(route = %self.name(), "{}: the route starts again", gone.fault);
                self.stop(vec![gone.fault.reason], true, ctx);
            }
        }
    }
}

/// A target by its index, for messages to the slots.
pub(super) type Index = TargetIndex;
