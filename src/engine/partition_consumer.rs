//! One source partition of one route: waits for permits, asks for batches, keeps their order.
//!
//! At most one batch is asked for at a time, so order needs no further care. An idle partition holds no permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::death_watch::DeathWatch;
use super::flow::Lane;
use super::messages::{BatchRead, ReadFault, ReadNews, Seek};
use super::progress::TargetIndex;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{ReadEvent, Reader, StreamId};

/// What a partition consumer is made of.
pub struct Params {
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
    pub owner: Recipient<ReadFault>,
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
    started: Instant,
    backoff: Backoff,
}

impl PartitionConsumer {
    /// A consumer that reads nothing until it is told where to [`Seek`].
    pub fn new(params: Params) -> Self {
        let backoff = Backoff::default();
        Self { params, stream: None, wanted: false, next: 0, started: Instant::now(), backoff }
    }

    fn start(&mut self, ctx: &Context<Self>) {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        let stream = StreamId(STREAMS.fetch_add(1, Ordering::Relaxed));
        self.stop();
        self.stream = Some(stream);
        self.started = Instant::now();
        let me = ctx.address();
        // on the reader's thread; bounded, as each batch has a permit and everything else is said once per batch
        let sink = Arc::new(move |stream, event| me.do_send(ReadNews { stream, event }));
        self.params.reader.start(stream, self.params.partition.clone(), self.next, sink);
    }

    fn stop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.params.reader.stop(stream);
        }
    }

    /// Waits for a permit, then asks for a batch; unless the stream is another one by then.
    fn ask(&self, bytes: u64, stream: StreamId, ctx: &mut Context<Self>) {
        let permit = self.params.lane.acquire(bytes).into_actor(self);
        ctx.spawn(permit.map(move |permit, this, _| {
            if let Ok(permit) = permit
                && this.stream == Some(stream)
            {
                this.params.reader.read(stream, Box::new(permit));
            }
        }));
    }

    fn failed(&mut self, fault: Fault, ctx: &mut Context<Self>) {
        self.stream = None;
        let delay = self.backoff.next_delay(self.started.elapsed());
        let again = fault.class != FaultClass::Config;
        tracing::warn!(
            partition = %self.params.partition,
            class = fault.class.name(),
            attempt = self.backoff.attempt(),
            retry_in = ?again.then_some(delay),
            "{fault}"
        );
        let (target, partition) = (self.params.reads_for, self.params.partition.clone());
        self.params.owner.do_send(ReadFault { target, partition, fault });
        if again {
            ctx.run_later(delay, |this, ctx| {
                if this.wanted && this.stream.is_none() {
                    this.start(ctx);
                }
            });
        }
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

impl Handler<Seek> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, Seek(from): Seek, ctx: &mut Self::Context) {
        self.stop();
        self.wanted = from.is_some();
        if let Some(from) = from {
            self.next = from;
            self.start(ctx);
        }
    }
}

impl Handler<ReadNews> for PartitionConsumer {
    type Result = ();

    fn handle(&mut self, news: ReadNews, ctx: &mut Self::Context) {
        // news of an earlier life is dropped, its batches and permits with it
        if self.stream != Some(news.stream) {
            return;
        }
        match news.event {
            ReadEvent::Readable => self.ask(self.params.batch_bytes, news.stream, ctx),
            ReadEvent::Batch { batch, more } => {
                self.next = batch.range.end;
                self.params.out.do_send(BatchRead(batch));
                if more {
                    self.ask(self.params.batch_bytes, news.stream, ctx);
                }
            }
            ReadEvent::Idle => {}
            ReadEvent::NeedsBytes(bytes) => self.ask(bytes, news.stream, ctx),
            ReadEvent::Failed(fault) => self.failed(fault, ctx),
        }
    }
}
