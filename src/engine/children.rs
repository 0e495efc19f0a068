//! A route's children: how they are started, watched, and made anew when they panic or hang.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;

use super::death_watch::{Death, DeathWatch};
use super::life::Life;
use super::messages::{Child, ChildGone, ConsumerReady, End};
use super::partition_consumer::{Params as ConsumerParams, PartitionConsumer};
use super::preparation::partitions_of;
use super::refusals::millis;
use super::retries::What;
use super::route::{Index, Route, Then};
use super::router::Router;
use super::source::open_reader;
use super::view::{EventKind, Level};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::Reader;
use crate::kafka::admin::OffsetAt;

/// A child that failed so often in a row takes more with it: its reader or its clients may be to blame.
const ESCALATE: u32 = 10;

/// A partition that stands still is looked at so often before its reader is replaced, at the most.
const MOST_LOOKS: u32 = 64;

/// Where a partition waits for its source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stand {
    at: i64,
    /// In how many looks it was there before.
    looks: u32,
    /// Where the source ended at the last one, as far as it was asked.
    end: Option<i64>,
}

impl Route {
    /// A guard that tells this route when a child ends.
    pub(super) fn watch(route: &Addr<Self>, child: Child, actor: &'static str, generation: u64) -> DeathWatch {
        let route = route.clone();
        DeathWatch::new(move |death| tell(&route, child, actor, generation, death))
    }

    /// The same for a child that may also stop in peace.
    pub(super) fn watch_for_panic(
        route: &Addr<Self>,
        child: Child,
        actor: &'static str,
        generation: u64,
    ) -> DeathWatch {
        let route = route.clone();
        DeathWatch::new(move |death| {
            if death == Death::Panicked {
                tell(&route, child, actor, generation, death);
            }
        })
    }

    /// From the sink to the source: the router stands before its consumers.
    pub(super) fn spawn_consumers(&mut self, ctx: &Context<Self>) -> Result<(), Fault> {
        let known = |tp: &TopicPartition| self.consumers.contains_key(tp) || self.resting.contains(tp);
        let missing: Vec<TopicPartition> =
            self.ownership.of(&self.topics).into_iter().filter(|partition| !known(partition)).collect();
        for partition in missing {
            self.spawn_consumer(partition, ctx)?;
        }
        if self.router.is_none() {
            self.router(ctx);
        }
        Ok(())
    }

    fn spawn_consumer(&mut self, partition: TopicPartition, ctx: &Context<Self>) -> Result<(), Fault> {
        let reader = self.reader()?;
        let router = self.router(ctx);
        let child = Child::Consumer(partition.clone());
        let generation = self.params.lasting.retries.begin_life(&child);
        let consumer = Life::begin(PartitionConsumer::new(ConsumerParams {
            route: self.name().into(),
            partition: partition.clone(),
            read_limit: self.read_limit.clone(),
            reader,
            lane: self.live.clone(),
            batch_bytes: self.params.plan.batch.max_bytes,
            reads_for: None,
            out: router.clone().recipient(),
            owner: ctx.address().recipient(),
            generation,
            retries: self.params.lasting.retries.clone(),
            watch: Self::watch(&ctx.address(), child, "consumer", generation),
        }));
        router.do_send(ConsumerReady { partition: partition.clone(), consumer: consumer.addr().clone(), generation });
        self.generations.insert(partition.clone(), generation);
        self.consumers.insert(partition, consumer);
        Ok(())
    }

    pub(super) fn router(&mut self, ctx: &Context<Self>) -> Addr<Router> {
        if let Some(router) = &self.router {
            return router.addr().clone();
        }
        let generation = self.params.lasting.retries.begin_life(&Child::Router);
        let watch = Self::watch(&ctx.address(), Child::Router, "router", generation);
        let everybody = self.params.plan.seated().count();
        let router = Life::begin(Router::new(everybody, self.params.lasting.progress.clone(), watch));
        self.router.insert(router).addr().clone()
    }

    fn reader(&mut self) -> Result<Arc<dyn Reader>, Fault> {
        if let Some(reader) = &self.reader {
            return Ok(reader.clone());
        }
        let (plan, progress) = (&self.params.plan, &self.params.lasting.progress);
        let reader = open_reader(plan, plan.in_flight / 4, partitions_of(&self.topics).len(), progress)?;
        self.read_limit = Some(self.params.lasting.read_limit.of(&reader));
        Ok(self.reader.insert(reader).clone())
    }

    /// How many partitions share a reader.
    pub(super) fn partition_count(&self) -> usize {
        self.consumers.len()
    }

    /// Asks all children for a sign of life, again and again. Not by an interval: after a pause of the whole process it
    /// would ask many times at once, and take the lack of answers for a hang.
    pub(super) fn make_rounds(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let rounds = self.params.rounds;
        let mut hung: Vec<ChildGone> = Vec::new();
        let mut note = |child: Child, actor, generation| {
            hung.push(ChildGone { child, actor, generation, end: End::Hung, fault: None });
        };
        for (partition, consumer) in &self.consumers {
            if consumer.hangs(rounds) {
                let generation = self.generations.get(partition).copied().unwrap_or_default();
                note(Child::Consumer(partition.clone()), "consumer", generation);
            }
        }
        for (index, slot) in self.targets.iter().enumerate() {
            if let Some((actor, generation)) = slot.hung(rounds) {
                note(Child::Target(index), actor, generation);
            }
        }
        if self.router.as_ref().is_some_and(|router| router.hangs(rounds)) {
            note(Child::Router, "router", 0);
        }
        for gone in hung {
            ctx.notify(gone);
        }
        ctx.run_later(rounds.every, Self::make_rounds);
    }

    /// A partition that waits for nothing else than the source, and has not come to an end that the source had a whole look
    /// ago: the reader has lost it.
    pub(super) fn look_for_stalls(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        ctx.run_later(self.params.rounds.stall(), Self::look_for_stalls);
        let before = std::mem::take(&mut self.stands);
        for (partition, consumer) in &self.consumers {
            let Some(at) = consumer.position() else { continue };
            let stood = before.get(partition).filter(|stand| stand.at == at);
            let stand =
                stood.map_or(Stand { at, ..Stand::default() }, |stand| Stand { looks: stand.looks + 1, ..*stand });
            self.stands.insert(partition.clone(), stand);
        }
        let lost = |stand: &&Stand| stand.looks >= self.stall_looks && stand.end.is_some_and(|end| stand.at < end);
        if let Some((partition, stand)) = self.stands.iter().find(|(_, stand)| lost(stand)) {
            let reason = format!("{partition} stands still at offset {}, and the source has more", stand.at);
            // a line that is just slow must not be cut again and again
            self.stall_looks = (self.stall_looks * 2).min(MOST_LOOKS);
            self.stands.clear();
            return self.reader_gone(None, End::Hung, Fault::new(FaultClass::Crash, reason), ctx);
        }
        let still: Vec<TopicPartition> =
            self.stands.iter().filter(|(_, stand)| stand.looks > 0).map(|(partition, _)| partition.clone()).collect();
        let Some(source) = self.source.clone().filter(|_| !still.is_empty()) else { return };
        let work = spawn_blocking(move || source.offsets(&still, OffsetAt::Latest));
        ctx.spawn(work.into_actor(self).map(|ends, this, _| {
            // a source that does not answer is told elsewhere
            for (partition, end) in ends.ok().and_then(Result::ok).unwrap_or_default() {
                if let Some(stand) = this.stands.get_mut(&partition) {
                    stand.end = Some(end);
                }
            }
        }));
    }

    /// Says that a child is made anew, after which delay, and how often it was in a row.
    pub(super) fn made_anew(&self, gone: &ChildGone) -> (u32, Duration) {
        let what = What::Life(gone.child.clone());
        let class = gone.fault.as_ref().map_or(FaultClass::Crash, |fault| fault.class);
        let (attempt, delay) = self.params.lasting.retries.failed_again(&what, class);
        let reason = gone.fault.as_ref().map(|fault| fault.reason.as_str());
        tracing::error!(route = %self.name(), actor = gone.actor, child = ?gone.child, why = gone.end.name(),
            generation = gone.generation + 1, attempt, retry_ms = millis(delay), reason, "made anew");
        let target =
            if let Child::Target(target) = gone.child { Some(self.params.plan.targets[target].name()) } else { None };
        let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let text =
            format!("its {} {}, and is made anew after failure {attempt} in a row{why}", gone.actor, gone.end.name());
        self.params.lasting.status.tell_of(EventKind::Restart, Level::Error, target, text);
        self.params.lasting.status.restarted(gone.actor, gone.end);
        (attempt, delay)
    }

    /// A consumer is gone: a new one goes on where the router is.
    pub(super) fn consumer_gone(&mut self, partition: TopicPartition, gone: &ChildGone, ctx: &mut Context<Self>) {
        if self.generations.get(&partition) != Some(&gone.generation) || self.resting.contains(&partition) {
            return;
        }
        self.consumers.remove(&partition);
        self.resting.insert(partition.clone());
        let (attempt, delay) = self.made_anew(gone);
        let child = gone.child.clone();
        ctx.run_later(delay, move |this, ctx| {
            this.resting.remove(&partition);
            if is_escalated(attempt) {
                return this.escalate(&child, ctx);
            }
            if this.stopping.is_none()
                && let Err(fault) = this.spawn_consumers(ctx)
            {
                tracing::error!(route = %this.name(), "{fault}");
            }
        });
    }

    /// A reader's own thread has panicked, or hangs, and none of its partitions can be read any more. All of its consumers go, and a
    /// new reader is opened for the new ones.
    pub(super) fn reader_gone(&mut self, target: Option<Index>, end: End, fault: Fault, ctx: &mut Context<Self>) {
        let gone = |child, actor, generation| ChildGone { child, actor, generation, end, fault: None };
        if let Some(target) = target {
            let generation = self.targets[target].generation;
            let fault = Some(fault);
            return ctx.notify(ChildGone { fault, ..gone(Child::Target(target), "catch-up", generation) });
        }
        // every partition tells of it: the first word counts
        self.read_limit = None;
        if self.reader.take().is_some() {
            tracing::error!(route = %self.name(), "{fault}");
            self.params.lasting.status.restarted("reader", end);
            let consumers: Vec<TopicPartition> = self.consumers.keys().cloned().collect();
            for partition in consumers {
                let generation = self.generations.get(&partition).copied().unwrap_or_default();
                let gone = gone(Child::Consumer(partition.clone()), "consumer", generation);
                self.consumer_gone(partition, &gone, ctx);
            }
        }
    }

    /// The router is gone, and knows alone who follows what: the route starts again.
    pub(super) fn router_gone(&mut self, gone: &ChildGone, ctx: &mut Context<Self>) {
        if self.router.take().is_some() {
            self.made_anew(gone);
            self.stop(Vec::new(), Then::Again, ctx);
        }
    }

    /// A child keeps failing: the whole route starts again, with clients of its own.
    fn escalate(&mut self, child: &Child, ctx: &mut Context<Self>) {
        tracing::error!(route = %self.name(), ?child, "it keeps failing: the route starts again");
        self.stop(Vec::new(), Then::Again, ctx);
    }
}

/// Whether a child has failed so often in a row that more goes with it.
pub(super) fn is_escalated(attempt: u32) -> bool {
    attempt.is_multiple_of(ESCALATE)
}

fn tell(route: &Addr<Route>, child: Child, actor: &'static str, generation: u64, death: Death) {
    let end = if death == Death::Panicked { End::Panicked } else { End::Stopped };
    route.do_send(ChildGone { child, actor, generation, end, fault: None });
}
