//! The router of a route: passes each batch of the shared read to every target that follows it, and decides who does.
//!
//! A partition that is read for the first time waits a little for all targets to ask for it, so that they start
//! together and the source is read once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};

use super::death_watch::DeathWatch;
use super::failpoint::failpoint;
use super::messages::{
    Attach, Attachment, BatchRead, ConsumerReady, Detach, Everybody, Forget, Origin, Ping, Produce, Seek, TargetReady,
};
use super::partition_consumer::PartitionConsumer;
use super::progress::{Progress, TargetIndex};
use super::target_producer::TargetProducer;
use crate::domain::detach::{JOIN_WITHIN, shared_start};
use crate::domain::topic_partition::TopicPartition;

/// How long a new partition waits for targets that have not asked for it yet.
const GATHER: Duration = Duration::from_secs(3);

/// The actor.
pub struct Router {
    targets: HashMap<TargetIndex, Addr<TargetProducer>>,
    /// How many targets there are, ready or not.
    everybody: usize,
    partitions: HashMap<TopicPartition, Shared>,
    progress: Arc<Progress>,
    _watch: DeathWatch,
}

/// The shared read of one partition.
#[derive(Default)]
struct Shared {
    consumer: Option<Addr<PartitionConsumer>>,
    /// Which life of the consumer reads for it.
    generation: u64,
    /// The next offset to be passed on; `None` while nobody follows.
    next: Option<i64>,
    /// Who follows, and in which of its turns.
    followers: Vec<(TargetIndex, u64)>,
    /// Who asked before the first start, and from where.
    asked: Vec<Attach>,
    started: bool,
    /// The latest turn that was heard of, per target: what belongs to an older one came late.
    turns: HashMap<TargetIndex, u64>,
}

impl Router {
    /// A router for a route with this many targets.
    pub fn new(everybody: usize, progress: Arc<Progress>, watch: DeathWatch) -> Self {
        Self { targets: HashMap::new(), everybody, partitions: HashMap::new(), progress, _watch: watch }
    }

    /// Starts the shared read of a partition for everybody who asked.
    fn start(&mut self, partition: &TopicPartition) {
        let Some(shared) = self.partitions.get_mut(partition) else { return };
        if shared.started || shared.consumer.is_none() {
            return;
        }
        let mut asked = std::mem::take(&mut shared.asked);
        // the most advanced first: whoever comes first is let in, wherever it is
        asked.sort_by_key(|ask| std::cmp::Reverse(ask.next));
        let offsets: Vec<i64> = asked.iter().map(|ask| ask.next).collect();
        let Some(start) = shared_start(&offsets) else { return };
        shared.started = true;
        shared.seek(start);
        self.progress.set_live(partition, start);
        for ask in asked {
            self.decide(ask);
        }
    }

    /// Lets a target follow the shared read, or tells it to catch up first.
    fn decide(&mut self, ask: Attach) {
        let Attach { target, partition, next, turn } = ask;
        let Some(shared) = self.partitions.get_mut(&partition) else { return };
        let Some(producer) = self.targets.get(&target) else { return };
        let behind = |at: i64| at - next > JOIN_WITHIN;
        let at = match shared.next {
            Some(at) if !shared.followers.is_empty() && behind(at) => {
                return producer.do_send(Attachment::TooFarBehind { partition, turn });
            }
            Some(at) if next - at <= JOIN_WITHIN && (at <= next || !shared.followers.is_empty()) => at,
            // nobody follows, or all who do are far behind: the read goes on where this one needs it
            _ => {
                for (follower, turn) in shared.followers.drain(..) {
                    if let Some(producer) = self.targets.get(&follower) {
                        producer.do_send(Attachment::TooFarBehind { partition: partition.clone(), turn });
                    }
                }
                shared.seek(next);
                self.progress.set_live(&partition, next);
                next
            }
        };
        shared.followers.push((target, turn));
        producer.do_send(Attachment::Granted { partition, at, turn });
    }
}

impl Shared {
    fn seek(&mut self, next: i64) {
        self.next = Some(next);
        if let Some(consumer) = &self.consumer {
            consumer.do_send(Seek(Some(next)));
        }
    }

    /// Notes a turn of a target; says whether it is the latest.
    fn is_latest(&mut self, target: TargetIndex, turn: u64) -> bool {
        let latest = self.turns.entry(target).or_insert(turn);
        *latest = turn.max(*latest);
        *latest == turn
    }

    /// Takes a target off the followers, as it is about to be decided over again; the read goes on.
    fn forget(&mut self, target: TargetIndex) {
        self.followers.retain(|(follower, _)| *follower != target);
    }

    /// Lets go of a target, whatever turn it is in.
    fn release(&mut self, target: TargetIndex) {
        self.asked.retain(|ask| ask.target != target);
        let before = self.followers.len();
        self.followers.retain(|(follower, _)| *follower != target);
        if self.followers.is_empty() && before > 0 {
            self.next = None;
            if let Some(consumer) = &self.consumer {
                consumer.do_send(Seek(None));
            }
        }
    }
}

impl Actor for Router {
    type Context = Context<Self>;
}

impl Handler<Ping> for Router {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
    }
}

impl Handler<ConsumerReady> for Router {
    type Result = ();

    /// A consumer of a new generation goes on where the last one got to.
    fn handle(&mut self, ready: ConsumerReady, ctx: &mut Self::Context) {
        let shared = self.partitions.entry(ready.partition.clone()).or_default();
        (shared.consumer, shared.generation) = (Some(ready.consumer), ready.generation);
        if let Some(next) = shared.next {
            shared.seek(next);
        } else if !shared.asked.is_empty() {
            ctx.run_later(GATHER, move |this, _| this.start(&ready.partition));
        }
    }
}

impl Handler<TargetReady> for Router {
    type Result = ();

    fn handle(&mut self, ready: TargetReady, _: &mut Self::Context) {
        for shared in self.partitions.values_mut() {
            shared.release(ready.target);
        }
        match ready.producer {
            Some(producer) => self.targets.insert(ready.target, producer),
            None => self.targets.remove(&ready.target),
        };
    }
}

impl Handler<Everybody> for Router {
    type Result = ();

    fn handle(&mut self, Everybody(targets): Everybody, _: &mut Self::Context) {
        self.everybody = targets;
    }
}

impl Handler<Attach> for Router {
    type Result = ();

    fn handle(&mut self, ask: Attach, ctx: &mut Self::Context) {
        failpoint!("router", ctx);
        let everybody = self.everybody;
        let shared = self.partitions.entry(ask.partition.clone()).or_default();
        if !shared.is_latest(ask.target, ask.turn) {
            return;
        }
        if shared.started {
            shared.forget(ask.target);
            return self.decide(ask);
        }
        let partition = ask.partition.clone();
        shared.asked.retain(|asked| asked.target != ask.target);
        shared.asked.push(ask);
        if shared.asked.len() >= everybody {
            self.start(&partition);
        } else if shared.asked.len() == 1 {
            ctx.run_later(GATHER, move |this, _| this.start(&partition));
        }
    }
}

impl Handler<Detach> for Router {
    type Result = ();

    fn handle(&mut self, detach: Detach, _: &mut Self::Context) {
        if let Some(shared) = self.partitions.get_mut(&detach.partition) {
            // the turn is over: a question of it that is still under way came late
            if shared.is_latest(detach.target, detach.turn) {
                shared.turns.insert(detach.target, detach.turn + 1);
                shared.release(detach.target);
            }
        }
    }
}

impl Handler<Forget> for Router {
    type Result = ();

    fn handle(&mut self, Forget(partition): Forget, _: &mut Self::Context) {
        self.partitions.remove(&partition);
    }
}

impl Handler<BatchRead> for Router {
    type Result = ();

    fn handle(&mut self, BatchRead { batch, generation }: BatchRead, ctx: &mut Self::Context) {
        failpoint!("router", ctx);
        let Some(shared) = self.partitions.get_mut(&batch.partition) else { return };
        let Some(next) = shared.next.filter(|_| shared.generation == generation) else { return };
        if batch.range.end <= next {
            return; // of a read before the last seek
        }
        if batch.range.start > next {
            tracing::error!(partition = %batch.partition, next, range = %batch.range, "a hole in the read: reading again");
            return shared.seek(next);
        }
        shared.next = Some(batch.range.end);
        self.progress.set_live(&batch.partition, batch.range.end);
        let (records, bytes) = (batch.payload.record_count() as u64, batch.payload.data_bytes());
        self.progress.count_read(&batch.partition.topic, records, bytes);
        let batch = Arc::new(batch);
        for (target, _) in &shared.followers {
            if let Some(producer) = self.targets.get(target) {
                producer.do_send(Produce { batch: batch.clone(), origin: Origin::Live });
            }
        }
    }
}
