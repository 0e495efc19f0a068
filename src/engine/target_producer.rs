//! One target of one route: hands batches to the writer in order, and turns its reports into watermarks.
//!
//! What is handed to the writer is bounded by a window; the rest waits here, where it can be let go: when the target
//! holds the others up it leaves the shared read, and what it had not begun is read again later, by its own read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::time::Instant;

use super::catch_up::CatchUp;
use super::death_watch::DeathWatch;
use super::feed::{Feed, Mode, Offered};
use super::messages::{
    Adopt, Attach, Attachment, CatchUpFrom, CaughtUp, Child, ChildGone, Detach, Drain, Drained, Leave, Produce,
    TargetFault, WriteNews,
};
use super::progress::{Progress, TargetIndex, TargetLoad};
use super::router::Router;
use crate::domain::batch::{OffsetRange, SharedBatch};
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{Part, Refusal, Write, WriteEvent, Writer};

/// Records handed to the writer and not acknowledged: each costs the client some 250 bytes besides its own.
const WINDOW_RECORDS: usize = 100_000;

/// What a target producer is made of.
pub struct Params {
    /// Which target.
    pub target: TargetIndex,
    /// Its name, for logs.
    pub name: String,
    /// Which life of it.
    pub generation: u64,
    /// Bytes that may be handed to the writer and not acknowledged.
    pub window: u64,
    /// Who lets it follow the shared read.
    pub router: Addr<Router>,
    /// Where watermarks go.
    pub progress: Arc<Progress>,
    /// Who is told that it is drained, in trouble, or at its end.
    pub owner: Owner,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// The route, as its target producers see it.
#[derive(Clone)]
pub struct Owner {
    /// Is told that nothing is in flight any more.
    pub drained: Recipient<Drained>,
    /// Is told of trouble.
    pub fault: Recipient<TargetFault>,
    /// Is told of the end.
    pub gone: Recipient<ChildGone>,
}

/// The actor.
pub struct TargetProducer {
    params: Params,
    load: Arc<TargetLoad>,
    writer: Option<Arc<dyn Writer>>,
    catch_up: Option<Addr<CatchUp>>,
    feeds: HashMap<TopicPartition, Feed>,
    /// Feeds with something to hand over, each once.
    line: VecDeque<TopicPartition>,
    /// Feeds that have left the shared read and wait to ask for it again.
    leaving: HashSet<TopicPartition>,
    /// What was handed over, by ticket; what was refused of it included.
    handed: HashMap<u64, Handed>,
    /// What is with the writer.
    with_writer: Window,
    tickets: u64,
    draining: bool,
}

/// A batch, or the part of it that was handed over.
struct Handed {
    partition: TopicPartition,
    batch: SharedBatch,
    range: OffsetRange,
    /// What it counts for in the window and in the backlog.
    bytes: u64,
    records: usize,
    /// Whether it was refused, and is out of the window since.
    refused: bool,
}

/// What is with the writer and not acknowledged.
#[derive(Debug, Default)]
struct Window {
    tickets: usize,
    bytes: u64,
    records: usize,
}

impl TargetProducer {
    /// A producer without partitions. It needs [`Equipment`] before it can write.
    pub fn new(params: Params) -> Self {
        Self {
            load: params.progress.targets[params.target].begin(),
            params,
            writer: None,
            catch_up: None,
            feeds: HashMap::new(),
            line: VecDeque::new(),
            leaving: HashSet::new(),
            handed: HashMap::new(),
            with_writer: Window::default(),
            tickets: 0,
            draining: false,
        }
    }

    /// Hands over what the window has room for, a batch of each feed in turn.
    fn pump(&mut self) {
        // several partitions share the window, so that one that is stuck leaves room for the others
        let share = if self.feeds.len() > 1 { self.params.window / 2 } else { self.params.window };
        while let Some(partition) = self.line.pop_front() {
            let window = &self.with_writer;
            if window.bytes > 0 && (window.bytes >= self.params.window || window.records >= WINDOW_RECORDS) {
                return self.line.push_front(partition);
            }
            let Some(feed) = self.feeds.get_mut(&partition) else { continue };
            feed.listed = false;
            if feed.handed < share {
                self.hand_over(&partition);
                self.list(&partition);
            } // else it is listed again with its next acknowledgement
        }
    }

    fn list(&mut self, partition: &TopicPartition) {
        if let Some(feed) = self.feeds.get_mut(partition)
            && !feed.listed
            && feed.can_take(Instant::now())
        {
            feed.listed = true;
            self.line.push_back(partition.clone());
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let Some((batch, range, bytes)) = feed.take(Instant::now()) else { return };
        let records = batch.payload.records_in(range);
        let partition = partition.clone();
        self.tickets += 1;
        self.handed.insert(self.tickets, Handed { partition, batch, range, bytes, records, refused: false });
        self.with_writer.bytes += bytes;
        self.with_writer.records += records;
        self.write(self.tickets, Part::In(range));
    }

    fn write(&mut self, ticket: u64, part: Part) {
        let Some(handed) = self.handed.get(&ticket) else { return };
        let (Some(writer), Some(feed)) = (&self.writer, self.feeds.get_mut(&handed.partition)) else { return };
        feed.with_writer += 1;
        self.with_writer.tickets += 1;
        writer.write(Write { ticket, batch: handed.batch.clone(), part, topic: feed.topic.clone() });
    }

    /// The writer has done with a ticket, for better or worse.
    fn written(&mut self, ticket: u64, refusals: &[Refusal], ctx: &mut Context<Self>) {
        let Some(handed) = self.handed.get_mut(&ticket) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        let partition = handed.partition.clone();
        feed.with_writer -= 1;
        self.with_writer.tickets -= 1;
        if !handed.refused {
            self.with_writer.bytes -= handed.bytes;
            self.with_writer.records -= handed.records;
        }
        if refusals.is_empty() {
            if !handed.refused || feed.refused.accepted(ticket) {
                self.acknowledged(ticket);
            }
        } else {
            handed.refused = true;
            self.refused(ticket, refusals, ctx);
        }
        self.try_again(&partition);
        self.list(&partition);
        self.pump();
        self.ask_again();
        self.finish_drain();
    }

    /// Everything of a ticket is acknowledged.
    fn acknowledged(&mut self, ticket: u64) {
        let Some(handed) = self.handed.remove(&ticket) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        self.load.backlog.fetch_sub(handed.bytes, Relaxed);
        self.load.acknowledged.fetch_add(1, Relaxed);
        let data = if handed.bytes > 0 { handed.batch.payload.data_bytes() } else { 0 };
        self.params.progress.targets[self.params.target].written.add(handed.records as u64, data);
        if feed.acknowledge(handed.range.end, handed.bytes, handed.records, Instant::now()) {
            self.params.progress.raise(self.params.target, &handed.partition, feed.watermark.offset());
        }
    }

    /// Some records of a ticket were refused: the feed is held, and leaves the shared read so that it holds nobody else.
    fn refused(&mut self, ticket: u64, refusals: &[Refusal], ctx: &mut Context<Self>) {
        let (Some(handed), Some(first)) = (self.handed.get(&ticket), refusals.first()) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        let partition = handed.partition.clone();
        let positions: Vec<u32> = refusals.iter().map(|refusal| refusal.position).collect();
        let count = positions.len();
        let delay = feed.refused.refused(ticket, positions, Instant::now());
        let reason = format!("{partition} of {}: {} ({count} records)", handed.range, first.fault);
        if !delay.is_zero() {
            tracing::warn!(target = %self.params.name, class = first.fault.class.name(), attempt = feed.refused.attempt(),
                retry_in = ?delay, "refused: {reason}");
            let fault = Fault::new(first.fault.class, reason);
            self.params.owner.fault.do_send(TargetFault { target: self.params.target, fault });
        }
        feed.retry_at = Some(Instant::now() + delay);
        let mode = feed.mode;
        if mode != Mode::Leaving {
            self.leave(&partition);
        }
        ctx.run_later(delay, move |this, _| this.try_again(&partition));
    }

    /// Makes the next attempt at a feed's refused records, when it is due and nothing else of the feed is under way.
    fn try_again(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let due = feed.retry_at.is_none_or(|at| at <= Instant::now());
        if self.draining || feed.with_writer > 0 || !due {
            return;
        }
        if let Some((ticket, positions)) = feed.refused.next_attempt() {
            self.write(ticket, Part::Only(positions));
        }
    }

    /// Leaves the shared read of a partition: lets go of what has not begun, and asks again once the rest is through.
    fn leave(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        self.load.backlog.fetch_sub(feed.queued_bytes(), Relaxed);
        feed.let_go();
        let turn = feed.turn;
        feed.turn += 1;
        let reads = matches!(feed.mode, Mode::Joining(_) | Mode::CatchingUp);
        feed.mode = Mode::Leaving;
        self.leaving.insert(partition.clone());
        self.params.router.do_send(Detach { target: self.params.target, partition: partition.clone(), turn });
        if reads && let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CaughtUp(partition.clone()));
        }
        self.count_modes();
    }

    /// Lets feeds that have left ask for the shared read, once nothing of theirs is under way; but not while the target
    /// answers nothing: then it would hold the others up again at once.
    fn ask_again(&mut self) {
        if self.leaving.is_empty() || self.draining {
            return;
        }
        let through: Vec<TopicPartition> = self
            .leaving
            .iter()
            .filter(|partition| self.feeds.get(*partition).is_some_and(|feed| feed.under_way == 0))
            .cloned()
            .collect();
        for partition in through {
            self.leaving.remove(&partition);
            self.ask(&partition);
        }
    }

    fn ask(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        feed.mode = Mode::Asking;
        let (target, next, turn) = (self.params.target, feed.next(), feed.turn);
        self.params.router.do_send(Attach { target, partition: partition.clone(), next, turn });
    }

    fn catch_up_from(&self, partition: TopicPartition, next: i64, turn: u64) {
        if let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CatchUpFrom { partition, next, turn });
        }
    }

    fn joined(&self, partition: &TopicPartition) {
        if let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CaughtUp(partition.clone()));
        }
        tracing::debug!(target = %self.params.name, %partition, "follows the shared read");
    }

    fn count_modes(&self) {
        let attached = self.feeds.values().filter(|feed| feed.mode.follows()).count();
        self.load.attached.store(attached as u64, Relaxed);
        self.load.detached.store((self.feeds.len() - attached) as u64, Relaxed);
    }

    /// What was refused is below no watermark: the next start reads it again, and the drain does not wait for it.
    fn finish_drain(&self) {
        if self.draining && self.with_writer.tickets == 0 {
            let (target, generation) = (self.params.target, self.params.generation);
            self.params.owner.drained.do_send(Drained { target, generation });
        }
    }
}

impl Actor for TargetProducer {
    type Context = Context<Self>;
}

/// What can only be made once the actor has an address.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Equipment {
    /// Writes to the target.
    pub writer: Arc<dyn Writer>,
    /// Reads what was missed.
    pub catch_up: Addr<CatchUp>,
}

impl Handler<Equipment> for TargetProducer {
    type Result = ();

    fn handle(&mut self, equipment: Equipment, _: &mut Self::Context) {
        self.writer = Some(equipment.writer);
        self.catch_up = Some(equipment.catch_up);
    }
}

impl Handler<Adopt> for TargetProducer {
    type Result = ();

    fn handle(&mut self, adopt: Adopt, _: &mut Self::Context) {
        if let Some(feed) = self.feeds.get_mut(&adopt.partition) {
            feed.topic = adopt.topic; // it has grown
            return;
        }
        self.params.progress.raise(self.params.target, &adopt.partition, adopt.from);
        // turns of an earlier life are all older
        let turn = self.params.generation << 32;
        self.feeds.insert(adopt.partition.clone(), Feed::new(adopt.topic, adopt.from, turn));
        self.ask(&adopt.partition);
        self.count_modes();
    }
}

impl Handler<Attachment> for TargetProducer {
    type Result = ();

    fn handle(&mut self, answer: Attachment, _: &mut Self::Context) {
        match answer {
            Attachment::Granted { partition, at, turn } => {
                let Some(feed) = self.feeds.get_mut(&partition).filter(|feed| feed.turn == turn) else { return };
                match feed.mode {
                    Mode::Asking if feed.next() >= at => feed.mode = Mode::Attached,
                    Mode::Asking => {
                        feed.mode = Mode::Joining(at);
                        let next = feed.next();
                        self.catch_up_from(partition, next, turn);
                    }
                    Mode::CatchingUp => {
                        feed.mode = Mode::Joining(at);
                        if feed.try_join() {
                            self.joined(&partition);
                        }
                    }
                    Mode::Leaving | Mode::Attached | Mode::Joining(_) => {}
                }
            }
            Attachment::TooFarBehind { partition, turn } => {
                let Some(feed) = self.feeds.get_mut(&partition).filter(|feed| feed.turn == turn) else { return };
                // a follower can be told so too: another target is far ahead, and the shared read goes on from there
                if feed.mode != Mode::Leaving {
                    feed.mode = Mode::CatchingUp;
                    self.load.backlog.fetch_sub(feed.let_go_ahead(), Relaxed);
                    let next = feed.next();
                    self.catch_up_from(partition, next, turn);
                }
            }
        }
        self.count_modes();
    }
}

impl Handler<Produce> for TargetProducer {
    type Result = ();

    fn handle(&mut self, produce: Produce, _: &mut Self::Context) {
        if self.draining {
            return;
        }
        let partition = produce.batch.partition.clone();
        let Some(feed) = self.feeds.get_mut(&partition) else { return };
        let bytes = produce.batch.in_flight_bytes();
        let range = produce.batch.range;
        match feed.offer(produce.batch, produce.origin) {
            Offered::Ignored => {}
            Offered::Hole => {
                tracing::error!(target = %self.params.name, %partition, %range, next = feed.next(), "a hole in the feed: reading again");
                self.leave(&partition);
                self.ask_again();
            }
            Offered::Taken => {
                let before = feed.queued_bytes();
                let joined = feed.try_join();
                let dropped = before - feed.queued_bytes();
                self.load.backlog.fetch_add(bytes, Relaxed);
                self.load.backlog.fetch_sub(dropped, Relaxed);
                if joined {
                    self.joined(&partition);
                    self.count_modes();
                }
                self.list(&partition);
                self.pump();
            }
        }
    }
}

impl Handler<WriteNews> for TargetProducer {
    type Result = ();

    fn handle(&mut self, WriteNews(event): WriteNews, ctx: &mut Self::Context) {
        match event {
            WriteEvent::Written { ticket, refused } => self.written(ticket, &refused, ctx),
            WriteEvent::Throttled(_) => {}
            WriteEvent::Trouble(fault) => {
                self.params.owner.fault.do_send(TargetFault { target: self.params.target, fault });
            }
            WriteEvent::Fatal(fault) => {
                let child = Child::Target(self.params.target);
                self.params.owner.gone.do_send(ChildGone { child, generation: self.params.generation, fault });
                ctx.stop();
            }
        }
    }
}

impl Handler<Leave> for TargetProducer {
    type Result = ();

    fn handle(&mut self, _: Leave, _: &mut Self::Context) {
        let holds = |feed: &Feed| feed.mode.follows() && (feed.under_way > 0 || feed.has_queued());
        let leaving: Vec<TopicPartition> =
            self.feeds.iter().filter(|(_, feed)| holds(feed)).map(|(partition, _)| partition.clone()).collect();
        if leaving.is_empty() {
            return;
        }
        tracing::warn!(target = %self.params.name, partitions = leaving.len(),
            "detached: it holds the others up and goes on by its own read");
        for partition in leaving {
            self.leave(&partition);
        }
        if self.with_writer.tickets == 0 {
            self.ask_again();
        }
    }
}

impl Handler<Drain> for TargetProducer {
    type Result = ();

    /// Finishes what the writer has; what waits here is read again by the next start.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        self.line.clear();
        for feed in self.feeds.values_mut() {
            self.load.backlog.fetch_sub(feed.queued_bytes(), Relaxed);
            feed.let_go();
        }
        self.finish_drain();
    }
}
