//! One source partition of one route: waits for permits, asks for batches, keeps their order.
//!
//! At most one batch is asked for at a time, so order needs no further care; one that comes unasked comes on the same way. An idle
//! partition holds no permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};

use super::death_watch::DeathWatch;
use super::failpoint::failpoint;
use super::flow::Lane;
use super::messages::{BatchRead, Ping, ReadNews, ReadState, Seek};
use super::progress::TargetIndex;
use super::read_limit::ReadLimit;
use super::refusals::millis;
use super::retries::{Retries, What};
use super::trace;
use crate::domain::batch::RecordBatch;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{ReadEvent, Reader, StreamId};

/// What a partition consumer is made of.
pub struct Params {
    /// The route's name.
    pub route: Arc<str>,
    /// The source partition.
    pub partition: TopicPartition,
    /// Who reads.
    pub reader: Arc<dyn Reader>,
    /// Where permits come from.
    pub lane: Lane,
    /// Size of the permit for one batch.
    pub batch_bytes: u64,
    /// Who gets the batches.
    pub out: Recipient<BatchRead>,
    /// The one target that this read is for; `None` for the shared read.
    pub reads_for: Option<TargetIndex>,
    /// Who is told of faults.
    pub owner: Recipient<ReadState>,
    /// Which life of the consumer it is.
    pub generation: u64,
    /// The attempts so far.
    pub retries: Arc<Retries>,
    /// How fast the source may be read.
    pub read_limit: Option<ReadLimit>,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// The actor.
pub struct PartitionConsumer {
    params: Params,
    stream: Option<StreamId>,
    /// Whether it is to read at all.
    wanted: bool,
    next: i64,
    /// The leader epoch of the last record since it was told where to read; -1 before the first.
    epoch: i32,
    /// Whether it has read nothing since it was made, or since it failed last.
    unproven: bool,
    /// What was taken of the read limit for a batch that has not come yet.
    taken: u64,
    /// Whether it waits for a permit, or for its turn: on purpose, and not for the source.
    waits: bool,
}

impl PartitionConsumer {
    /// A consumer that reads nothing until it is told where to [`Seek`].
    pub fn new(params: Params) -> Self {
        Self { params, stream: None, wanted: false, next: 0, epoch: -1, unproven: true, taken: 0, waits: false }
    }

    fn start(&mut self, ctx: &Context<Self>) {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        let stream = StreamId(STREAMS.fetch_add(1, Ordering::Relaxed));
        self.stop();
        self.stream = Some(stream);
        let me = ctx.address();
        // on the reader's thread; bounded, as each batch has a permit and everything else is said once per batch
        let sink = Arc::new(move |stream, event| me.do_send(ReadNews { stream, event }));
        self.params.reader.start(stream, self.params.partition.clone(), self.next, sink);
        let permits = ReadLimit::lends(self.params.read_limit.as_ref(), &self.params.lane, self.params.batch_bytes);
        self.params.reader.lend(stream, permits);
    }

    fn stop(&mut self) {
        self.waits = false;
        self.settle(0);
        if let Some(stream) = self.stream.take() {
            self.params.reader.stop(stream);
        }
    }

    /// Waits for its turn and a permit, then asks for a batch; unless the stream is another one by then. `needed`: what
    /// the next record takes, where that is more than a batch.
    fn ask(&mut self, needed: u64, stream: StreamId, ctx: &mut Context<Self>) {
        self.waits = true;
        let Some(limit) = &self.params.read_limit else {
            return self.acquire(needed.max(self.params.batch_bytes), stream, ctx);
        };
        let bytes = needed.max(limit.part().min(self.params.batch_bytes));
        let (wait, taken) = limit.reserve(bytes);
        self.taken += taken;
        if wait.is_zero() {
            return self.acquire(bytes, stream, ctx);
        }
        ctx.run_later(wait, move |this, ctx| {
            if this.stream == Some(stream) {
                this.acquire(bytes, stream, ctx);
            }
        });
    }

    fn acquire(&self, bytes: u64, stream: StreamId, ctx: &mut Context<Self>) {
        let permit = self.params.lane.acquire(bytes).into_actor(self);
        ctx.spawn(permit.map(move |permit, this, _| {
            if let Ok(permit) = permit
                && this.stream == Some(stream)
            {
                this.waits = false;
                this.params.reader.read(stream, Box::new(permit));
            }
        }));
    }

    fn what(&self) -> What {
        What::Read(self.params.reads_for, self.params.partition.clone())
    }

    fn say(&self, fault: Option<Fault>, lost: bool) {
        let (target, partition) = (self.params.reads_for, self.params.partition.clone());
        self.params.owner.do_send(ReadState { target, partition, fault, lost });
    }

    fn failed(&mut self, fault: Fault, ctx: &mut Context<Self>) {
        (self.stream, self.unproven) = (None, true);
        let (attempt, delay) = self.params.retries.failed_again(&self.what(), fault.class);
        tracing::warn!(route = %self.params.route, partition = %self.params.partition, class = fault.class.name(), attempt, retry_ms = millis(delay),
            "{fault}");
        self.say(Some(fault), false);
        ctx.run_later(delay, |this, ctx| {
            if this.wanted && this.stream.is_none() {
                this.start(ctx);
            }
        });
    }

    /// What comes next is gone from the source: nothing is skipped behind anybody's back.
    fn lost(&mut self, fault: Fault) {
        self.stop();
        self.unproven = true;
        self.say(Some(fault), true);
    }

    /// Leader epochs only rise along a log: where they fall, it is another one than the one that was read so far.
    fn check_epochs(&mut self, batch: &RecordBatch) -> Result<(), Fault> {
        for (epoch, first) in batch.epochs.iter().filter(|(epoch, _)| *epoch >= 0) {
            if *epoch < self.epoch {
                let (partition, before) = (&self.params.partition, self.epoch);
                let reason = format!(
                    "{partition} has leader epoch {epoch} at offset {first}, and had {before} before it: it is not the log that was read so far"
                );
                return Err(Fault::new(FaultClass::Config, reason));
            }
            self.epoch = *epoch;
        }
        Ok(())
    }

    fn settle(&mut self, payload: u64) {
        if let Some(limit) = &self.params.read_limit {
            limit.settle(std::mem::take(&mut self.taken), payload);
        }
    }

    fn has_read(&mut self, batch: RecordBatch) {
        self.next = batch.range.end;
        if std::mem::take(&mut self.unproven) {
            self.params.retries.works(&self.what());
            self.say(None, false);
        }
        self.settle(batch.payload.data_bytes());
        let batch = trace::begin(batch, &self.params.route, self.params.reads_for);
        self.params.out.do_send(BatchRead { batch, generation: self.params.generation });
    }
}

impl Actor for PartitionConsumer {
    type Context = Context<Self>;
}

impl Drop for PartitionConsumer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Handler<Ping> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
        pulse.reads_at(self.stream.filter(|_| !self.waits).map(|_| self.next));
    }
}

impl Handler<Seek> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, Seek(from): Seek, ctx: &mut Self::Context) {
        self.stop();
        self.wanted = from.is_some();
        if let Some(from) = from {
            (self.next, self.epoch) = (from, -1);
            self.start(ctx);
        }
    }
}

impl Handler<ReadNews> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, news: ReadNews, ctx: &mut Self::Context) {
        failpoint!("consumer", ctx);
        // news of an earlier life is dropped, its batches and permits with it
        if self.stream != Some(news.stream) {
            return;
        }
        match news.event {
            ReadEvent::Readable => self.ask(0, news.stream, ctx),
            ReadEvent::Batch { batch, more } => {
                if let Err(fault) = self.check_epochs(&batch) {
                    return self.lost(fault);
                }
                self.has_read(batch);
                if more {
                    self.ask(0, news.stream, ctx);
                }
            }
            ReadEvent::Idle => self.settle(0),
            ReadEvent::NeedsBytes(bytes) => {
                self.settle(0);
                self.ask(bytes, news.stream, ctx);
            }
            ReadEvent::Failed(fault) => self.failed(fault, ctx),
            ReadEvent::Lost(fault) => self.lost(fault),
        }
    }
}
