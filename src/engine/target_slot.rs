//! A target's place in its route: prepared, running, or waiting to be tried again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::catch_up::{CatchUp, Params as CatchUpParams};
use super::flow::{Gate, Lane, Urgency};
use super::messages::{Adopt, Child, Drain, TargetReady, WriteNews};
use super::preparation::{Clients, Prepared, Request, Topics, group_name, partitions_of, prepare};
use super::route::{Index, Route};
use super::router::Router;
use super::source::open_reader;
use super::target_producer::{Equipment, Owner, Params as ProducerParams, TargetProducer};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::Writer;
use crate::kafka::admin::Admin;
use crate::kafka::group::Group;
use crate::kafka::writer::KafkaWriter;
use crate::plan::{RoutePlan, TargetPlan};

/// How often the same trouble is logged.
const REPEAT: Duration = Duration::from_secs(30);

/// A target's actors, its clients, and what keeps it from being written.
#[allow(clippy::struct_excessive_bools)] // each says one thing, and they are independent
#[derive(Default)]
pub(super) struct TargetSlot {
    clients: Option<Clients>,
    life: Option<Life>,
    generation: u64,
    /// Whether its preparation is under way, or waits for its next attempt.
    busy: bool,
    prepared_once: bool,
    /// Topics that are written: name → partitions.
    written: Topics,
    refused: BTreeMap<String, Fault>,
    /// Partitions that can't be read for this target until somebody changes something.
    gaps: BTreeMap<TopicPartition, Fault>,
    fault: Option<Fault>,
    logged: Option<Instant>,
    backoff: Backoff,
    committing: bool,
    drained: bool,
}

/// A running target.
struct Life {
    producer: Addr<TargetProducer>,
    catch_up: Addr<CatchUp>,
    writer: Arc<dyn Writer>,
    since: Instant,
}

impl TargetSlot {
    pub(super) fn producer(&self) -> Option<&Addr<TargetProducer>> {
        self.life.as_ref().map(|life| &life.producer)
    }

    pub(super) fn is_running(&self) -> bool {
        self.life.is_some()
    }

    /// Why this target will not be written until somebody changes something.
    pub(super) fn hopeless(&self) -> Option<&Fault> {
        self.fault.as_ref().filter(|fault| fault.class == FaultClass::Config && self.life.is_none())
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &Fault> {
        self.refused.values().chain(self.gaps.values())
    }

    pub(super) fn refuses(&self, partition: &TopicPartition) -> bool {
        self.refused.contains_key(&*partition.topic) || self.gaps.contains_key(partition)
    }

    pub(super) fn gap(&mut self, partition: TopicPartition, fault: Fault) {
        self.gaps.insert(partition, fault);
    }

    pub(super) fn drain(&mut self) {
        match &self.life {
            Some(life) => {
                life.catch_up.do_send(Drain);
                life.producer.do_send(Drain);
            }
            None => self.drained = true,
        }
    }

    /// A word of an earlier life changes nothing.
    pub(super) fn drained(&mut self, generation: u64) {
        self.drained |= generation == self.generation;
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Its writer and its clients: closing them blocks.
    pub(super) fn take_for_close(&mut self) -> (Option<Arc<dyn Writer>>, Option<Clients>) {
        let writer = self.life.as_ref().map(|life| life.writer.clone());
        (writer, self.clients.take())
    }

    /// Notes trouble that the writer goes on with by itself; the same one is logged now and then only.
    pub(super) fn trouble(&mut self, route: &str, target: &str, fault: Fault) {
        let same = self.fault.as_ref().is_some_and(|known| known.class == fault.class);
        if !same || self.logged.is_none_or(|at| at.elapsed() >= REPEAT) {
            tracing::warn!(route, target, class = fault.class.name(), "{fault}");
            self.logged = Some(Instant::now());
        }
        self.fault = Some(fault);
    }

    /// The topics that are not written yet, or have grown.
    fn to_prepare(&self, topics: &Topics) -> Topics {
        topics
            .iter()
            .filter(|(name, partitions)| self.written.get(*name).is_none_or(|written| written < *partitions))
            .map(|(name, partitions)| (name.clone(), *partitions))
            .collect()
    }
}

impl Route {
    /// Makes a target ready for what it does not write yet, on a thread that may block.
    pub(super) fn prepare_target(&mut self, index: Index, ctx: &mut Context<Self>) {
        let Some(source) = self.source.clone() else { return };
        let plan = self.params.plan.clone();
        let slot = &mut self.targets[index];
        let topics = slot.to_prepare(&self.topics);
        if slot.busy || self.stopping.is_some() || (topics.is_empty() && slot.life.is_some()) {
            return;
        }
        slot.busy = true;
        let target = plan.targets[index].clone();
        let known = known(&self.params.progress, index, &topics);
        let request = Request { route: plan, target, topics, known, first: !slot.prepared_once };
        let (clients, began) = (slot.clients.clone(), Instant::now());
        let work = spawn_blocking(move || {
            let clients = match clients {
                Some(clients) => clients,
                None => connect(&request.route, &request.target, source)?,
            };
            let prepared = prepare(&clients, &request);
            Ok((clients, request.topics, prepared))
        });
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let result = result.unwrap_or_else(|error| Err(Fault::new(FaultClass::Crash, error.to_string())));
            let outcome = result.and_then(|(clients, topics, prepared)| {
                this.targets[index].clients = Some(clients);
                prepared.map(|prepared| (topics, prepared))
            });
            let outcome = outcome.and_then(|(topics, prepared)| this.adopt(index, &topics, prepared, ctx));
            match outcome {
                Ok(()) => this.targets[index].busy = false,
                Err(fault) => this.try_target_later(index, began.elapsed(), fault, ctx),
            }
        }));
    }

    fn try_target_later(&mut self, index: Index, ran: Duration, fault: Fault, ctx: &mut Context<Self>) {
        let (route, name) = (self.params.plan.name.clone(), self.params.plan.targets[index].name().to_owned());
        let slot = &mut self.targets[index];
        slot.busy = true;
        let delay = slot.backoff.next_delay(ran);
        let (class, attempt) = (fault.class.name(), slot.backoff.attempt());
        tracing::warn!(%route, target = %name, class, attempt, retry_in = ?delay, "the target is not ready: {fault}");
        slot.fault = Some(fault);
        ctx.run_later(delay, move |this, ctx| {
            this.targets[index].busy = false;
            this.prepare_target(index, ctx);
        });
    }

    /// Gives a target its partitions; starts its actors if it has none.
    fn adopt(&mut self, index: Index, topics: &Topics, prepared: Prepared, ctx: &Context<Self>) -> Result<(), Fault> {
        if self.stopping.is_some() {
            return Ok(());
        }
        if self.targets[index].life.is_none() {
            self.start_target(index, ctx)?;
        }
        let name = self.params.plan.targets[index].name();
        let slot = &mut self.targets[index];
        (slot.prepared_once, slot.fault) = (true, None);
        let before = std::mem::take(&mut slot.refused);
        slot.refused.extend(
            before.iter().filter(|(topic, _)| !topics.contains_key(*topic)).map(|(t, f)| (t.clone(), f.clone())),
        );
        for (topic, fault) in prepared.refused {
            if before.get(&topic) != Some(&fault) {
                tracing::error!(route = %self.params.plan.name, target = name, topic, "not copied: {fault}");
            }
            slot.refused.insert(topic, fault);
        }
        for (partition, fault) in prepared.gaps {
            tracing::error!(route = %self.params.plan.name, target = name, %partition, "this partition stops: {fault}");
            slot.gap(partition, fault);
        }
        for (partition, topic, from) in prepared.partitions {
            let count = topics.get(&*partition.topic).copied().unwrap_or_default();
            slot.written.insert(partition.topic.to_string(), count);
            if let Some(life) = &slot.life {
                life.producer.do_send(Adopt { partition, topic, from });
            }
        }
        Ok(())
    }

    /// From the sink to the source: the writer, the producer, its catch-up; then the router may use it.
    fn start_target(&mut self, index: Index, ctx: &Context<Self>) -> Result<(), Fault> {
        let Some(router) = self.router.clone() else { return Ok(()) };
        self.targets[index].generation += 1;
        let generation = self.targets[index].generation;
        let plan = self.params.plan.clone();
        let window = own_share(&plan);
        let producer = self.spawn_producer(index, generation, window, &router, ctx);
        let news = producer.clone();
        // on the writer's thread; bounded by what was handed to it
        let sink = Arc::new(move |event| news.do_send(WriteNews(event)));
        let writer: Arc<dyn Writer> = Arc::new(KafkaWriter::open(&plan.targets[index].cluster, sink)?);
        let catch_up = self.spawn_catch_up(index, generation, window, producer.clone(), &router, ctx);
        producer.do_send(Equipment { writer: writer.clone(), catch_up: catch_up.clone() });
        router.do_send(TargetReady { target: index, producer: Some(producer.clone()) });
        self.targets[index].life = Some(Life { producer, catch_up, writer, since: Instant::now() });
        Ok(())
    }

    fn spawn_producer(
        &self,
        index: Index,
        generation: u64,
        window: u64,
        router: &Addr<Router>,
        ctx: &Context<Self>,
    ) -> Addr<TargetProducer> {
        let me = ctx.address();
        TargetProducer::new(ProducerParams {
            target: index,
            name: self.params.plan.targets[index].name().to_owned(),
            generation,
            window,
            router: router.clone(),
            progress: self.params.progress.clone(),
            owner: Owner { drained: me.clone().recipient(), fault: me.clone().recipient(), gone: me.recipient() },
            watch: Self::watch(ctx, Child::Target(index), generation),
        })
        .start()
    }

    fn spawn_catch_up(
        &self,
        index: Index,
        generation: u64,
        window: u64,
        producer: Addr<TargetProducer>,
        router: &Addr<Router>,
        ctx: &Context<Self>,
    ) -> Addr<CatchUp> {
        let gates = [self.params.process.clone(), self.params.gate.clone(), Gate::new(window)];
        let (plan, partitions) = (self.params.plan.clone(), self.partition_count());
        let (me, route) = (ctx.address(), ctx.address());
        CatchUp::new(CatchUpParams {
            target: index,
            open_reader: Box::new(move || open_reader(&plan, window / 4, partitions)),
            lane: Lane::new(&self.params.flow, gates, Urgency::CatchUp),
            batch_bytes: self.params.plan.batch.max_bytes.min(window),
            producer,
            router: router.clone(),
            owner: me.recipient(),
            progress: self.params.progress.clone(),
            watch: Box::new(move || Self::watch_for_panic(&route, Child::Target(index), generation)),
        })
        .start()
    }

    /// A target's actor is gone: both go, the writer is closed, and a new generation starts from the watermarks.
    pub(super) fn target_gone(&mut self, index: Index, generation: u64, fault: Fault, ctx: &mut Context<Self>) {
        if self.targets[index].generation != generation {
            return;
        }
        let Some(life) = self.targets[index].life.take() else { return };
        if let Some(router) = &self.router {
            router.do_send(TargetReady { target: index, producer: None });
        }
        let slot = &mut self.targets[index];
        slot.written.clear();
        slot.busy = true;
        life.catch_up.do_send(Drain);
        life.producer.do_send(Drain);
        let (writer, ran) = (life.writer, life.since.elapsed());
        // two writers of one target would break the order: the old one has to be closed first
        let closing = spawn_blocking(move || writer.close());
        ctx.spawn(closing.into_actor(self).map(move |_, this, ctx| this.try_target_later(index, ran, fault, ctx)));
    }

    pub(super) fn commit_target(&mut self, index: Index, all: bool, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        let Some(group) = slot.clients.as_ref().and_then(|clients| clients.group.clone()) else { return };
        let offsets = self.params.progress.to_commit(index, all);
        if slot.committing || offsets.is_empty() {
            return;
        }
        slot.committing = true;
        let progress = self.params.progress.clone();
        let work = spawn_blocking(move || group.commit(&offsets).map(|()| progress.committed(index, &offsets)));
        ctx.spawn(work.into_actor(self).map(move |result, this, _| {
            this.targets[index].committing = false;
            if let Ok(Err(fault)) = result {
                tracing::warn!(route = %this.name(), "watermarks are not committed: {fault}");
            }
        }));
    }
}

/// What one target may have in flight for itself: handed to its writer, or read by its own read.
///
/// With several targets the shared read gets half of the route's budget, and the other half is theirs in equal parts.
/// So a read that catches up always finds permits, whatever the shared read and the other targets do.
pub(super) fn own_share(plan: &RoutePlan) -> u64 {
    plan.in_flight / (2 * plan.targets.len() as u64)
}

/// Watermarks that this process knows already.
fn known(progress: &super::progress::Progress, index: Index, topics: &Topics) -> HashMap<TopicPartition, i64> {
    let of = |tp: TopicPartition| progress.watermark(index, &tp).map(|mark| (tp, mark));
    partitions_of(topics).into_iter().filter_map(of).collect()
}

fn connect(route: &RoutePlan, target: &TargetPlan, source: Arc<Admin>) -> Result<Clients, Fault> {
    let group = if route.keeps_progress {
        Some(Arc::new(Group::open(&route.source, &group_name(&route.name, target.name()))?))
    } else {
        None
    };
    Ok(Clients { source, target: Arc::new(Admin::open(&target.cluster)?), group })
}
