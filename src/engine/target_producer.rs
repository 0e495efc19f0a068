//! One target of one route: hands batches to the writer in order, and turns its reports into watermarks.
//!
//! What is handed to the writer is bounded by a window and a pace; the rest waits here, where it can be let go: when the
//! target holds the others up it leaves the shared read, and what it had not begun is read again later, by its own read.
//!
//! Its parts: `hand_over` is the way to the writer and back, `refusals` what the target did not take, `trouble` what keeps
//! it from taking anything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient};

use super::catch_up::CatchUp;
use super::clock::{dice, now};
use super::counts::{TargetLoad, TargetStats};
use super::dead_letter_producer::DeadLetterProducer;
use super::death_watch::DeathWatch;
use super::failpoint::failpoint;
use super::feed::{Feed, Mode, Offered};
use super::flow::{Gate, Lane, move_permit};
use super::hand_over::{Handed, Line, Window};
use super::letters::Story;
use super::messages::{
    Adopt, Attach, Attachment, CatchUpFrom, CaughtUp, Child, ChildGone, DeadLettered, Detach, Drain, Drained, End,
    Finish, Leave, Ping, Produce, Released, Renew, WriteNews,
};
use super::pacer::Pacer;
use super::progress::{Progress, TargetIndex};
use super::retries::Retries;
use super::router::Router;
use super::status::RouteStatus;
use super::trace;
use super::trouble::Silence;
use crate::domain::detach::REST;
use crate::domain::retry::{Attempts, Next};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::lease::SharedLease;
use crate::kafka::{WriteEvent, Writer};
use crate::plan::TargetPlan;

/// How often it looks whether what it waits for has come.
const LOOK: Duration = Duration::from_secs(1);

/// What a target producer is made of.
pub struct Params {
    /// Which target.
    pub target: TargetIndex,
    /// What was asked for.
    pub plan: TargetPlan,
    /// Where its records come from.
    pub story: Story,
    /// Which life of it.
    pub generation: u64,
    /// What may be handed to the writer and not acknowledged: as much as its own reads may have in flight.
    pub share: Arc<Gate>,
    /// Where its own permits come from.
    pub own: Lane,
    /// How fast it may be written.
    pub pacer: Pacer,
    /// Who lets it follow the shared read.
    pub router: Addr<Router>,
    /// Where watermarks go.
    pub progress: Arc<Progress>,
    /// The attempts so far.
    pub retries: Arc<Retries>,
    /// How long this process may act for its partitions; `None` where nobody shares them.
    pub lease: Option<SharedLease>,
    /// Where its state is kept.
    pub status: Arc<RouteStatus>,
    /// Who is told that it is drained, at its end, or in need of a new writer.
    pub owner: Owner,
    /// Speaks when the actor ends.
    pub watch: DeathWatch,
}

/// The route, as its target producers see it.
#[derive(Clone)]
pub struct Owner {
    /// Is told that nothing is in flight any more.
    pub drained: Recipient<Drained>,
    /// Is told that a partition was let go of.
    pub released: Recipient<Released>,
    /// Is asked for a new writer.
    pub renew: Recipient<Renew>,
    /// Is told of the end.
    pub gone: Recipient<ChildGone>,
}

/// The actor.
pub struct TargetProducer {
    pub(super) params: Params,
    pub(super) load: Arc<TargetLoad>,
    pub(super) writer: Option<Arc<dyn Writer>>,
    pub(super) letters: Option<Addr<DeadLetterProducer>>,
    catch_up: Option<Addr<CatchUp>>,
    pub(super) feeds: HashMap<TopicPartition, Feed>,
    pub(super) line: Line,
    /// Feeds that have left the shared read and wait to ask for it again.
    pub(super) leaving: HashSet<TopicPartition>,
    /// What was handed over, by ticket; what was refused of it included.
    pub(super) handed: HashMap<u64, Handed>,
    /// Envelopes that are with the writer, by ticket.
    pub(super) envelopes: HashMap<u64, TopicPartition>,
    /// What is with the writer.
    pub(super) with_writer: Window,
    pub(super) tickets: u64,
    /// How often the target said something of what was handed over, for better or worse.
    pub(super) answered: u64,
    /// Of how many of these something was refused.
    pub(super) heard: u64,
    pub(super) silence: Silence,
    /// How often it had to leave the shared read in a row, and until when it keeps to its own.
    follows: Attempts,
    pub(super) rests_until: Duration,
    pub(super) draining: bool,
    /// How many partitions it was given so far.
    adopted: u64,
}

impl TargetProducer {
    /// A producer without partitions. It needs [`Equipment`] before it can write.
    pub fn new(params: Params) -> Self {
        Self {
            load: params.progress.targets[params.target].begin(),
            with_writer: Window::new(params.share.capacity()),
            params,
            writer: None,
            letters: None,
            catch_up: None,
            feeds: HashMap::new(),
            line: Line::default(),
            leaving: HashSet::new(),
            handed: HashMap::new(),
            envelopes: HashMap::new(),
            tickets: 0,
            answered: 0,
            heard: 0,
            silence: Silence::default(),
            follows: Attempts::default(),
            rests_until: Duration::ZERO,
            draining: false,
            adopted: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.params.plan.name()
    }

    /// Whether this process may act for its partitions. Where it may not, its route is about to end.
    pub(super) fn may_act(&self) -> bool {
        self.params.lease.as_ref().is_none_or(SharedLease::is_held)
    }

    pub(super) fn stats(&self) -> &TargetStats {
        &self.params.progress.targets[self.params.target]
    }

    /// Leaves the shared read of a partition, and asks again once what is under way is through.
    pub(super) fn leave(&mut self, partition: &TopicPartition) {
        if self.feeds.contains_key(partition) {
            self.leaving.insert(partition.clone());
            self.stats().tally.detached.fetch_add(1, Relaxed);
            self.part_from_reads(partition, Finish::WithWriter);
        }
    }

    /// Ends the reads of a partition, the shared one and its own: lets go of what has not begun, unless that is to be finished.
    pub(super) fn part_from_reads(&mut self, partition: &TopicPartition, finish: Finish) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let dropped = match finish {
            Finish::WithWriter => feed.let_go(),
            Finish::Read => feed.let_go_ahead(),
        };
        self.load.backlog.fetch_sub(dropped, Relaxed);
        let turn = feed.turn;
        feed.turn += 1;
        let reads = matches!(feed.mode, Mode::Joining(_) | Mode::CatchingUp);
        feed.mode = Mode::Leaving;
        self.params.router.do_send(Detach { target: self.params.target, partition: partition.clone(), turn });
        if reads && let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CaughtUp(partition.clone()));
        }
        self.count_modes();
    }

    /// Lets feeds that have left ask for the shared read, once nothing of theirs is under way.
    pub(super) fn ask_again(&mut self) {
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

    /// The same for one partition, of which something has come to an end.
    pub(super) fn ask_if_through(&mut self, partition: &TopicPartition) {
        let through = self.feeds.get(partition).is_some_and(|feed| feed.under_way == 0);
        if through && !self.draining && self.leaving.remove(partition) {
            self.ask(partition);
        }
    }

    /// Asks for the shared read; a target that has just held the others up goes on by itself for a while.
    fn ask(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let (target, next, turn) = (self.params.target, feed.next(), feed.turn);
        if self.rests_until > now() {
            feed.mode = Mode::CatchingUp;
            return self.catch_up_from(partition.clone(), next, turn);
        }
        feed.mode = Mode::Asking;
        self.params.router.do_send(Attach { target, partition: partition.clone(), next, turn });
    }

    fn catch_up_from(&self, partition: TopicPartition, next: i64, turn: u64) {
        if let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CatchUpFrom { partition, next, turn, not_before: self.rests_until });
        }
    }

    fn joined(&mut self, partition: &TopicPartition) {
        self.follows.works(now());
        if let Some(catch_up) = &self.catch_up {
            catch_up.do_send(CaughtUp(partition.clone()));
        }
        tracing::debug!(target = %self.name(), %partition, "follows the shared read");
    }

    pub(super) fn count_modes(&self) {
        // what is to be let go of does not catch up
        let stays = || self.feeds.values().filter(|feed| feed.releasing.is_none());
        let attached = stays().filter(|feed| feed.mode.follows()).count();
        let away = stays().filter(|feed| matches!(feed.mode, Mode::Leaving | Mode::CatchingUp)).count();
        self.load.attached.store(attached as u64, Relaxed);
        self.load.detached.store((stays().count() - attached) as u64, Relaxed);
        self.params.status.change_target(self.params.target, |facts| facts.detached = away);
    }

    /// What was refused is below no watermark: the next start reads it again, and the drain does not wait for it.
    pub(super) fn finish_drain(&self) {
        // a writer that is being replaced gives nothing back any more
        if self.draining && (self.with_writer.tickets == 0 || self.silence.is_given_up()) {
            let (target, generation) = (self.params.target, self.params.generation);
            self.params.owner.drained.do_send(Drained { target, generation });
        }
    }
}

impl Actor for TargetProducer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK, |this, ctx| {
            this.look();
            // a timer that got lost must not stall anything
            this.pump(ctx);
        });
    }
}

/// What can only be made once the actor has an address. A second one brings a new writer: the old one is closed by then.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Equipment {
    /// Writes to the target.
    pub writer: Arc<dyn Writer>,
    /// Reads what was missed.
    pub catch_up: Addr<CatchUp>,
    /// Writes what the target does not take.
    pub letters: Addr<DeadLetterProducer>,
}

impl Handler<Equipment> for TargetProducer {
    type Result = ();

    fn handle(&mut self, equipment: Equipment, ctx: &mut Self::Context) {
        let former = self.writer.replace(equipment.writer);
        self.catch_up = Some(equipment.catch_up);
        self.letters = Some(equipment.letters);
        if former.is_some() {
            self.take_back(ctx);
        }
    }
}

impl Handler<Ping> for TargetProducer {
    type Result = ();

    fn handle(&mut self, Ping(pulse): Ping, _: &mut Self::Context) {
        pulse.beat();
    }
}

impl Handler<Adopt> for TargetProducer {
    type Result = ();

    fn handle(&mut self, adopt: Adopt, _: &mut Self::Context) {
        if let Some(feed) = self.feeds.get_mut(&adopt.partition) {
            feed.topic = adopt.topic; // it has grown
            return;
        }
        self.params.progress.begin(self.params.target, &adopt.partition, adopt.from, adopt.note);
        // turns of an earlier life are all older, and so are those of a partition that was let go of and is back
        self.adopted += 1;
        let turn = (self.params.generation << 44) + (self.adopted << 20);
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
                        let (joined, dropped) = feed.try_join();
                        self.load.backlog.fetch_sub(dropped, Relaxed);
                        if joined {
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

    fn handle(&mut self, produce: Produce, ctx: &mut Self::Context) {
        failpoint!("target", ctx);
        if self.draining {
            return;
        }
        let partition = produce.batch.partition.clone();
        let Some(feed) = self.feeds.get_mut(&partition) else { return };
        let bytes = produce.batch.in_flight_bytes();
        let (range, next) = (produce.batch.range, feed.next());
        let batch = produce.batch.clone();
        match feed.offer(produce.batch, produce.origin) {
            Offered::Ignored => {}
            Offered::Hole => {
                tracing::error!(target = %self.name(), %partition, %range, next, "a hole in the feed: reading again");
                self.leave(&partition);
                self.ask_again();
            }
            Offered::Taken => {
                trace::offered(&batch, next, self.params.target, &self.params.story, &feed.topic);
                let (joined, dropped) = feed.try_join();
                self.load.backlog.fetch_add(bytes, Relaxed);
                self.load.backlog.fetch_sub(dropped, Relaxed);
                if joined {
                    self.joined(&partition);
                    self.count_modes();
                }
                self.list(&partition);
                self.pump(ctx);
            }
        }
    }
}

impl Handler<WriteNews> for TargetProducer {
    type Result = ();

    fn handle(&mut self, WriteNews(event): WriteNews, ctx: &mut Self::Context) {
        match event {
            WriteEvent::Written { ticket, refused } => self.written(ticket, &refused, ctx),
            WriteEvent::Trouble(fault) => self.troubled(fault),
            WriteEvent::Throttled(throttle) => {
                self.params.pacer.throttled(now(), throttle);
                self.pump(ctx);
            }
            WriteEvent::Fatal(fault) => {
                let (child, generation) = (Child::Target(self.params.target), self.params.generation);
                let gone = ChildGone { child, actor: "target", generation, end: End::Stopped, fault: Some(fault) };
                self.params.owner.gone.do_send(gone);
                ctx.stop();
            }
        }
    }
}

impl Handler<DeadLettered> for TargetProducer {
    type Result = ();

    fn handle(&mut self, answer: DeadLettered, ctx: &mut Self::Context) {
        self.dead_lettered(answer, ctx);
    }
}

impl Handler<Leave> for TargetProducer {
    type Result = ();

    fn handle(&mut self, _: Leave, _: &mut Self::Context) {
        let holds = |feed: &Feed| feed.mode.follows() && (feed.under_way > 0 || feed.queued_bytes() > 0);
        let leaving: Vec<TopicPartition> =
            self.feeds.iter().filter(|(_, feed)| holds(feed)).map(|(partition, _)| partition.clone()).collect();
        if leaving.is_empty() {
            return;
        }
        if let Next::Again { delay, .. } = self.follows.failed(&REST, now(), dice()) {
            self.rests_until = now() + delay;
        }
        tracing::warn!(route = %self.params.story.route, target = %self.name(), partitions = leaving.len(),
            "detached: it holds the others up and goes on by its own read");
        for partition in leaving {
            self.leave(&partition);
        }
        // what it alone has not acknowledged is charged to its own share
        self.handed.values().for_each(|handed| move_permit(&handed.batch, &self.params.own));
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
