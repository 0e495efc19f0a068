//! The own reads of one target: for its partitions that have left the shared read, or never followed it.
//!
//! It reads with permits that are bounded per target and come after everybody's live reads, and asks to join the
//! shared read as soon as it is close.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};

use super::clock::now;
use super::death_watch::DeathWatch;
use super::failpoint::failpoint;
use super::flow::Lane;
use super::life::{Life, Rounds};
use super::messages::{
    Attach, BatchRead, CatchUpFrom, CaughtUp, Child, ChildGone, Drain, End, Origin, Ping, Produce, ReadState, Seek,
};
use super::partition_consumer::{Params as ConsumerParams, PartitionConsumer};
use super::progress::{Progress, TargetIndex};
use super::read_limit::ReadLimit;
use super::retries::{Retries, What};
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
    /// The route's name.
    pub route: Arc<str>,
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
    /// How fast the source may be read.
    pub read_limit: Option<ReadLimit>,
    /// Who is told of faults.
    pub owner: Recipient<ReadState>,
    /// Who is told when a consumer hangs.
    pub gone: Recipient<ChildGone>,
    /// Which life of the target it belongs to.
    pub generation: u64,
    /// How its consumers are asked whether they still answer.
    pub rounds: Rounds,
    /// The attempts so far.
    pub retries: Arc<Retries>,
    /// Where the shared read's position is.
    pub progress: Arc<Progress>,
    /// Makes a guard that speaks when one of this target's actors panics, by the actor's name.
    pub watch: Box<dyn Fn(&'static str) -> DeathWatch>,
}

/// The actor.
pub struct CatchUp {
    params: Params,
    reader: Option<Arc<dyn Reader>>,
    /// The limit for what this reader reads.
    read_limit: Option<ReadLimit>,
    reads: HashMap<TopicPartition, OwnRead>,
    /// Reads that could not be started yet, and the turn that they are for.
    pending: HashMap<TopicPartition, u64>,
    _watch: DeathWatch,
}

struct OwnRead {
    consumer: Life<PartitionConsumer>,
    /// Whether the router was asked and has not answered yet.
    asked: bool,
    /// The target's turn at this partition.
    turn: u64,
    /// When the router may be asked.
    not_before: Duration,
    /// What it needs next.
    next: i64,
}

impl CatchUp {
    /// A catch-up that reads nothing yet.
    pub fn new(params: Params) -> Self {
        let watch = (params.watch)("catch-up");
        Self { params, reader: None, read_limit: None, reads: HashMap::new(), pending: HashMap::new(), _watch: watch }
    }

    fn reader(&mut self) -> Result<Arc<dyn Reader>, Fault> {
        if let Some(reader) = &self.reader {
            return Ok(reader.clone());
        }
        let reader = (self.params.open_reader)()?;
        self.read_limit = self.params.read_limit.as_ref().map(|limit| limit.of(&reader));
        Ok(self.reader.insert(reader).clone())
    }

    fn start(&mut self, from: CatchUpFrom, ctx: &mut Context<Self>) {
        let reader = match self.reader() {
            Ok(reader) => reader,
            Err(fault) => return self.try_later(from, fault, ctx),
        };
        self.params.retries.works(&What::Read(Some(self.params.target), from.partition.clone()));
        self.pending.remove(&from.partition);
        let consumer = Life::begin(PartitionConsumer::new(ConsumerParams {
            route: self.params.route.clone(),
            partition: from.partition.clone(),
            reader,
            lane: self.params.lane.clone(),
            batch_bytes: self.params.batch_bytes,
            out: ctx.address().recipient(),
            reads_for: Some(self.params.target),
            owner: self.params.owner.clone(),
            generation: from.turn,
            retries: self.params.retries.clone(),
            read_limit: self.read_limit.clone(),
            watch: (self.params.watch)("consumer"),
        }));
        // a former one ends when it is replaced
        consumer.addr().do_send(Seek(Some(from.next)));
        let CatchUpFrom { partition, next, turn, not_before } = from;
        let rest = not_before.saturating_sub(now());
        if !rest.is_zero() {
            // nothing may be read by then that would bring it to ask
            let partition = partition.clone();
            ctx.run_later(rest, move |this, _| this.ask_if_close(&partition));
        }
        self.reads.insert(partition, OwnRead { consumer, asked: false, turn, not_before, next });
    }

    /// The reader can't be opened: again later, unless the partition is not wanted any more by then.
    fn try_later(&mut self, from: CatchUpFrom, fault: Fault, ctx: &mut Context<Self>) {
        let (target, partition) = (Some(self.params.target), from.partition.clone());
        let (_, delay) = self.params.retries.failed_again(&What::Read(target, partition.clone()), fault.class);
        self.pending.insert(partition.clone(), from.turn);
        self.params.owner.do_send(ReadState { target, partition, fault: Some(fault), lost: false });
        ctx.run_later(delay, move |this, ctx| {
            if this.pending.get(&from.partition) == Some(&from.turn) {
                this.start(from, ctx);
            }
        });
    }

    /// Asks the router for the shared read, if that is close, and the target may.
    fn ask_if_close(&mut self, partition: &TopicPartition) {
        let Some(read) = self.reads.get_mut(partition) else { return };
        let close = self.params.progress.live(partition).is_none_or(|live| live - read.next <= JOIN_WITHIN);
        if close && !read.asked && now() >= read.not_before {
            read.asked = true;
            let (target, partition) = (self.params.target, partition.clone());
            self.params.router.do_send(Attach { target, partition, next: read.next, turn: read.turn });
        }
    }
}

impl Actor for CatchUp {
    type Context = Context<Self>;
}

impl Handler<Ping> for CatchUp {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
        if self.reads.values().any(|read| read.consumer.hangs(self.params.rounds)) {
            let (child, generation) = (Child::Target(self.params.target), self.params.generation);
            self.params.gone.do_send(ChildGone { child, actor: "consumer", generation, end: End::Hung, fault: None });
        }
    }
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
        self.pending.remove(&partition);
        if self.reads.remove(&partition).is_some() {
            // what was wrong with this read is of no interest any more
            let target = Some(self.params.target);
            self.params.owner.do_send(ReadState { target, partition, fault: None, lost: false });
        }
        if self.reads.is_empty() {
            (self.reader, self.read_limit) = (None, None);
        }
    }
}

impl Handler<BatchRead> for CatchUp {
    type Result = ();

    fn handle(&mut self, BatchRead { batch, generation }: BatchRead, ctx: &mut Self::Context) {
        failpoint!("catch-up", ctx);
        let read = self.reads.get_mut(&batch.partition).filter(|read| read.turn == generation);
        let Some(read) = read else { return };
        read.next = batch.range.end;
        let partition = batch.partition.clone();
        let (records, bytes) = (batch.payload.record_count() as u64, batch.payload.data_bytes());
        self.params.progress.count_read(&partition.topic, records, bytes);
        self.params.producer.do_send(Produce { batch: Arc::new(batch), origin: Origin::CatchUp });
        self.ask_if_close(&partition);
    }
}

impl Handler<Drain> for CatchUp {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.reads.clear();
        self.pending.clear();
        (self.reader, self.read_limit) = (None, None);
    }
}
