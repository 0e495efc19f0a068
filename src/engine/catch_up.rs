//! The own reads of one target: for its partitions that have left the shared read, or never followed it.
//!
//! It reads with permits that are bounded per target and come after everybody's live reads, and asks to join the
//! shared read as soon as it is close.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};

use super::death_watch::DeathWatch;
use super::flow::Lane;
use super::messages::{Attach, BatchRead, CatchUpFrom, CaughtUp, Drain, Origin, Produce, ReadFault, Seek};
use super::partition_consumer::{Params as ConsumerParams, PartitionConsumer};
use super::progress::{Progress, TargetIndex};
use super::router::Router;
use super::target_producer::TargetProducer;
use crate::domain::detach::JOIN_WITHIN;
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::Reader;

/// Makes the target's own reader, when it is needed for the first time.
pub type OpenReader = Box<dyn Fn() -> Result<Arc<dyn Reader>, Fault>>;

/// What a catch-up is made of.
pub struct Params {
    /// Which target.
    pub target: TargetIndex,
    /// Makes its reader.
    pub open_reader: OpenReader,
    /// Where permits come from.
    pub lane: Lane,
    /// Size of the permit for one batch.
    pub batch_bytes: u64,
    /// Who gets the batches.
    pub producer: Addr<TargetProducer>,
    /// Who lets the target join the shared read.
    pub router: Addr<Router>,
    /// Who is told of faults.
    pub owner: Recipient<ReadFault>,
    /// Where the shared read's position is.
    pub progress: Arc<Progress>,
    /// Makes a guard that speaks when one of this target's actors panics.
    pub watch: Box<dyn Fn() -> DeathWatch>,
}

/// The actor.
pub struct CatchUp {
    params: Params,
    reader: Option<Arc<dyn Reader>>,
    reads: HashMap<TopicPartition, OwnRead>,
    _watch: DeathWatch,
}

struct OwnRead {
    consumer: Addr<PartitionConsumer>,
    /// Whether the router was asked and has not answered yet.
    asked: bool,
    /// The target's turn at this partition.
    turn: u64,
}

impl CatchUp {
    /// A catch-up that reads nothing yet.
    pub fn new(params: Params) -> Self {
        let watch = (params.watch)();
        Self { params, reader: None, reads: HashMap::new(), _watch: watch }
    }

    fn reader(&mut self) -> Result<Arc<dyn Reader>, Fault> {
        if self.reader.is_none() {
            self.reader = Some((self.params.open_reader)()?);
        }
        self.reader.clone().ok_or_else(|| unreachable!("it was made just now"))
    }

    fn start(&mut self, from: CatchUpFrom, ctx: &Context<Self>) {
        let reader = match self.reader() {
            Ok(reader) => reader,
            Err(fault) => {
                return self.params.owner.do_send(ReadFault {
                    target: Some(self.params.target),
                    partition: from.partition,
                    fault,
                });
            }
        };
        let consumer = PartitionConsumer::new(ConsumerParams {
            partition: from.partition.clone(),
            reader,
            lane: self.params.lane.clone(),
            batch_bytes: self.params.batch_bytes,
            out: ctx.address().recipient(),
            reads_for: Some(self.params.target),
            owner: self.params.owner.clone(),
            watch: (self.params.watch)(),
        })
        .start();
        if let Some(former) = self.reads.remove(&from.partition) {
            former.consumer.do_send(Seek(None));
        }
        consumer.do_send(Seek(Some(from.next)));
        self.reads.insert(from.partition, OwnRead { consumer, asked: false, turn: from.turn });
    }
}

impl Actor for CatchUp {
    type Context = Context<Self>;
}

impl Handler<CatchUpFrom> for CatchUp {
    type Result = ();

    fn handle(&mut self, from: CatchUpFrom, ctx: &mut Self::Context) {
        match self.reads.get_mut(&from.partition) {
            // the answer to a question: still too far behind
            Some(read) if read.turn == from.turn => read.asked = false,
            _ => self.start(from, ctx),
        }
    }
}

impl Handler<CaughtUp> for CatchUp {
    type Result = ();

    fn handle(&mut self, CaughtUp(partition): CaughtUp, _: &mut Self::Context) {
        if let Some(read) = self.reads.remove(&partition) {
            read.consumer.do_send(Seek(None));
        }
        if self.reads.is_empty() {
            self.reader = None;
        }
    }
}

impl Handler<BatchRead> for CatchUp {
    type Result = ();

    fn handle(&mut self, BatchRead(batch): BatchRead, _: &mut Self::Context) {
        let Some(read) = self.reads.get_mut(&batch.partition) else { return };
        let (partition, next) = (batch.partition.clone(), batch.range.end);
        self.params.progress.read.add(batch.payload.record_count() as u64, batch.payload.data_bytes());
        self.params.producer.do_send(Produce { batch: Arc::new(batch), origin: Origin::CatchUp });
        let close = self.params.progress.live(&partition).is_none_or(|live| live - next <= JOIN_WITHIN);
        if close && !read.asked {
            read.asked = true;
            self.params.router.do_send(Attach { target: self.params.target, partition, next, turn: read.turn });
        }
    }
}

impl Handler<Drain> for CatchUp {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        for (_, read) in self.reads.drain() {
            read.consumer.do_send(Seek(None));
        }
        self.reader = None;
    }
}
