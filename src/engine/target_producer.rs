//! One target of one route: hands batches to the writer in order, and turns its reports into watermarks.
//!
//! What is handed to the writer is bounded by a window; the rest waits here, where it can be let go: when the target
//! holds the others up it leaves the shared read, and what it had not begun is read again later, by its own read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient};
use tokio::time::Instant;

use super::catch_up::CatchUp;
use super::death_watch::DeathWatch;
use super::feed::{Feed, Mode, Offered};
use super::messages::{
    Adopt, Attach, Attachment, CatchUpFrom, CaughtUp, Child, ChildGone, Detach, Drain, Drained, Leave, Produce,
    TargetFault, WriteNews,
};
use super::progress::{Progress, TargetIndex, TargetStats};
use super::router::Router;
use crate::domain::batch::SharedBatch;
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

/// Makes a writer that reports to the actor at this address.
pub type OpenWriter<'a> = &'a dyn Fn(Addr<TargetProducer>) -> Result<Arc<dyn Writer>, Fault>;

/// The actor.
pub struct TargetProducer {
    params: Params,
    writer: Option<Arc<dyn Writer>>,
    catch_up: Option<Addr<CatchUp>>,
    feeds: HashMap<TopicPartition, Feed>,
    /// Feeds with something to hand over, each once.
    line: VecDeque<TopicPartition>,
    /// What was handed over, by ticket.
    handed: HashMap<u64, Handed>,
    handed_bytes: u64,
    handed_records: usize,
    tickets: u64,
    draining: bool,
}

/// A batch, or what was refused of it, on its way.
struct Handed {
    partition: TopicPartition,
    batch: SharedBatch,
    end: i64,
    records: usize,
    /// When its refused records are to be tried again; `None` while it is with the writer.
    waits_since: Option<Instant>,
}

impl TargetProducer {
    /// A producer without partitions. It needs [`Equipment`] before it can write.
    pub fn new(params: Params) -> Self {
        Self {
            params,
            writer: None,
            catch_up: None,
            feeds: HashMap::new(),
            line: VecDeque::new(),
            handed: HashMap::new(),
            handed_bytes: 0,
            handed_records: 0,
            tickets: 0,
            draining: false,
        }
    }

    fn stats(&self) -> &TargetStats {
        &self.params.progress.targets[self.params.target]
    }

    /// Hands over what the window has room for, a batch of each feed in turn.
    fn pump(&mut self) {
        // several partitions share the window, so that one that is stuck leaves room for the others
        let share = if self.feeds.len() > 1 { self.params.window / 2 } else { self.params.window };
        while let Some(partition) = self.line.pop_front() {
            let full = self.handed_bytes >= self.params.window || self.handed_records >= WINDOW_RECORDS;
            if full && self.handed_bytes > 0 {
                self.line.push_front(partition);
                return;
            }
            let Some(feed) = self.feeds.get_mut(&partition) else { continue };
            feed.listed = false;
            if feed.handed >= share {
                continue; // listed again with its next acknowledgement
            }
            self.hand_over(&partition);
            self.list(&partition);
        }
    }

    fn list(&mut self, partition: &TopicPartition) {
        if let Some(feed) = self.feeds.get_mut(partition)
            && feed.has_queued()
            && !feed.listed
            && feed.held == 0
        {
            feed.listed = true;
            self.line.push_back(partition.clone());
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let Some((batch, range)) = feed.take() else { return };
        let bytes = batch.in_flight_bytes();
        feed.handed += bytes;
        self.handed_bytes += bytes;
        let records = batch.payload.records_from(range.start);
        self.handed_records += records;
        let (partition, topic) = (partition.clone(), feed.topic.clone());
        let ticket = self.issue(Handed { partition, batch: batch.clone(), end: range.end, records, waits_since: None });
        if let Some(writer) = &self.writer {
            writer.write(Write { ticket, batch, part: Part::From(range.start), topic });
        }
    }

    fn issue(&mut self, handed: Handed) -> u64 {
        self.tickets += 1;
        self.handed.insert(self.tickets, handed);
        self.tickets
    }

    /// Everything of a ticket is acknowledged.
    fn acknowledged(&mut self, handed: &Handed, was_held: bool) {
        let bytes = handed.batch.in_flight_bytes();
        self.handed_bytes -= bytes;
        self.handed_records -= handed.records;
        let stats = self.stats();
        stats.backlog.fetch_sub(bytes, Relaxed);
        stats.acknowledged.fetch_add(1, Relaxed);
        stats.written.add(handed.records as u64, handed.batch.payload.data_bytes());
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        feed.handed -= bytes;
        if was_held {
            feed.held -= 1;
        }
        if feed.watermark.acknowledge(handed.end) {
            self.params.progress.raise(self.params.target, &handed.partition, feed.watermark.offset());
        }
        if feed.mode == Mode::Leaving {
            self.ask(&handed.partition);
        }
        self.list(&handed.partition);
    }

    /// Some records of a ticket were refused: only those are tried again, after a while.
    fn refused(&mut self, ticket: u64, refusals: &[Refusal], ctx: &mut Context<Self>) {
        let Some(handed) = self.handed.get_mut(&ticket) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        let Some(first) = refusals.first() else { return };
        let ran = handed.waits_since.map_or(Duration::ZERO, |since| since.elapsed());
        feed.held += u32::from(handed.waits_since.is_none());
        handed.waits_since = Some(Instant::now());
        let delay = feed.backoff.next_delay(ran);
        let fault = Fault::new(
            first.fault.class,
            format!("{} of {}: {} ({} records)", handed.partition, handed.batch.range, first.fault, refusals.len()),
        );
        tracing::warn!(target = %self.params.name, class = fault.class.name(), attempt = feed.backoff.attempt(),
            retry_in = ?delay, "refused: {fault}");
        self.params.owner.fault.do_send(TargetFault { target: self.params.target, fault });
        if self.draining {
            return self.give_up(ticket);
        }
        let positions: Vec<u32> = refusals.iter().map(|refusal| refusal.position).collect();
        ctx.run_later(delay, move |this, _| this.try_again(ticket, positions));
    }

    fn try_again(&mut self, ticket: u64, positions: Vec<u32>) {
        let Some(handed) = self.handed.get(&ticket) else { return };
        let Some(feed) = self.feeds.get(&handed.partition) else { return };
        let (batch, topic) = (handed.batch.clone(), feed.topic.clone());
        if let Some(writer) = &self.writer {
            writer.write(Write { ticket, batch, part: Part::Only(positions), topic });
        }
    }

    /// Forgets a ticket whose records were refused: they are below no watermark, and the next start reads them again.
    fn give_up(&mut self, ticket: u64) {
        if let Some(handed) = self.handed.remove(&ticket) {
            self.stats().backlog.fetch_sub(handed.batch.in_flight_bytes(), Relaxed);
        }
        self.finish_drain();
    }

    /// Leaves the shared read of a partition: lets go of what has not begun, and asks again once the rest is through.
    fn leave(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let let_go = feed.queued_bytes();
        feed.let_go();
        let turn = feed.turn;
        feed.turn += 1;
        let caught_up = matches!(feed.mode, Mode::Joining(_) | Mode::CatchingUp);
        feed.mode = Mode::Leaving;
        self.stats().backlog.fetch_sub(let_go, Relaxed);
        self.params.router.do_send(Detach { target: self.params.target, partition: partition.clone(), turn });
        if caught_up && let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CaughtUp(partition.clone()));
        }
        self.ask(partition);
        self.count_modes();
    }

    /// Asks to follow the shared read, once nothing is under way.
    fn ask(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        if feed.handed > 0 || self.draining {
            return;
        }
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
        let attached =
            self.feeds.values().filter(|feed| matches!(feed.mode, Mode::Attached | Mode::Joining(_))).count();
        let stats = self.stats();
        stats.attached.store(attached as u64, Relaxed);
        stats.detached.store((self.feeds.len() - attached) as u64, Relaxed);
    }

    fn finish_drain(&self) {
        if self.draining && self.handed.is_empty() {
            self.params.owner.drained.do_send(Drained(self.params.target));
        }
    }
}

impl Actor for TargetProducer {
    type Context = Context<Self>;
}

impl Drop for TargetProducer {
    /// What it held is let go: the next generation starts from the watermarks.
    fn drop(&mut self) {
        let stats = self.stats();
        stats.backlog.store(0, Relaxed);
        stats.attached.store(0, Relaxed);
    }
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
        self.feeds.insert(adopt.partition.clone(), Feed::new(adopt.topic, adopt.from));
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
                if matches!(feed.mode, Mode::Asking | Mode::CatchingUp) {
                    feed.mode = Mode::CatchingUp;
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
            }
            Offered::Taken => {
                let before = feed.queued_bytes();
                let joined = feed.try_join();
                let dropped = before - feed.queued_bytes();
                let stats = self.stats();
                stats.backlog.fetch_add(bytes, Relaxed);
                stats.backlog.fetch_sub(dropped, Relaxed);
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
            WriteEvent::Written { ticket, refused } if refused.is_empty() => {
                if let Some(handed) = self.handed.remove(&ticket) {
                    let was_held = handed.waits_since.is_some();
                    self.acknowledged(&handed, was_held);
                    self.pump();
                    self.finish_drain();
                }
            }
            WriteEvent::Written { ticket, refused } => self.refused(ticket, &refused, ctx),
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
        let follows = |feed: &Feed| matches!(feed.mode, Mode::Attached | Mode::Joining(_));
        let holds = |feed: &Feed| feed.queued_bytes() + feed.handed > 0;
        let leaving: Vec<TopicPartition> = self
            .feeds
            .iter()
            .filter(|(_, feed)| follows(feed) && holds(feed))
            .map(|(partition, _)| partition.clone())
            .collect();
        tracing::warn!(target = %self.params.name, partitions = leaving.len(), "detached: it holds the others up and goes on by its own read");
        for partition in leaving {
            self.leave(&partition);
        }
    }
}

impl Handler<Drain> for TargetProducer {
    type Result = ();

    /// Finishes what the writer has; what waits here is read again by the next start.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        let mut let_go = 0;
        for feed in self.feeds.values_mut() {
            let_go += feed.queued_bytes();
            feed.let_go();
        }
        self.stats().backlog.fetch_sub(let_go, Relaxed);
        let waiting: Vec<u64> =
            self.handed.iter().filter(|(_, handed)| handed.waits_since.is_some()).map(|(ticket, _)| *ticket).collect();
        for ticket in waiting {
            self.give_up(ticket);
        }
        self.finish_drain();
    }
}
