//! The writer: one thread, with two connections to each broker that leads something, and one idempotent producer for a target.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::access::Access;
use super::counts::Counts;
use super::cut::pieces;
use super::directory::{BrokerId, Directory};
use super::keeper;
use super::line;
use super::links::{Link, Links};
use super::outbound::{Fate, Outbound};
use super::piece::Piece;
use super::runtime;
use crate::domain::fallback::Fallbacks;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::format::Identity;
use crate::kafka::{Refusal, Write, WriteEvent, WriteSink, Writer, codes};
use crate::plan::ClusterSpec;

/// What waits first before it is sent again, and at the most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// What is refused for the moment so often in a row is trouble that is told.
const TROUBLE: u32 = 5;
/// A topic that is said not to be there for this long is not only young.
pub(super) const MISSING: Duration = Duration::from_secs(30);

/// A [`Writer`] that passes batches on.
#[derive(Debug)]
pub struct WireWriter {
    inbox: UnboundedSender<Item>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Item {
    Write(Write),
    Close,
}

impl WireWriter {
    /// Starts a writer to `cluster`.
    pub fn open(cluster: &ClusterSpec, sink: WriteSink, fallbacks: Arc<Fallbacks>) -> Result<Self, Fault> {
        let access = Arc::new(Access::of(cluster)?);
        let (inbox, items) = unbounded_channel();
        let counts = Arc::new(Counts::new(fallbacks));
        let (crashed, counted) = (sink.clone(), counts.clone());
        let run = move || runtime::run(write(access, sink, counted, items));
        let crashed = move |fault| crashed(WriteEvent::Fatal(fault));
        let thread = crate::kafka::thread::spawn("write", &cluster.alias, run, crashed)?;
        Ok(Self { inbox, thread: Mutex::new(Some(thread)), counts })
    }
}

impl Writer for WireWriter {
    fn write(&self, write: Write) {
        // where its thread is gone, that is told already
        self.inbox.send(Item::Write(write)).unwrap_or_default();
    }

    fn wire_bytes(&self) -> u64 {
        self.counts.bytes()
    }

    fn timed_out(&self) -> u64 {
        self.counts.timeouts()
    }

    fn close(&self) {
        self.inbox.send(Item::Close).unwrap_or_default();
        // under the lock: whoever comes second waits, too
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            thread.join().unwrap_or_default(); // what it died of is told already
        }
    }
}

impl Drop for WireWriter {
    fn drop(&mut self) {
        self.inbox.send(Item::Close).unwrap_or_default();
    }
}

async fn write(access: Arc<Access>, sink: WriteSink, counts: Arc<Counts>, mut items: UnboundedReceiver<Item>) {
    let shared = Rc::new(RefCell::new(Shared::new(access, sink, counts)));
    runtime::spawn(keeper::keep(shared.clone()));
    // whatever else there is ends with the runtime
    while let Some(Item::Write(write)) = items.recv().await {
        let partitions = shared.borrow_mut().take(&write);
        for partition in &partitions {
            list(&shared, partition);
        }
    }
}

/// What the tasks of a writer share. They take turns, so that nobody waits for it.
pub(super) struct Shared {
    pub(super) access: Arc<Access>,
    sink: WriteSink,
    pub(super) counts: Arc<Counts>,
    pub(super) directory: Directory,
    /// What brokers know this writer by, once they were asked.
    pub(super) identity: Option<Identity>,
    pub(super) partitions: HashMap<TopicPartition, Outbound>,
    tickets: HashMap<u64, Ticket>,
    /// How many writes were told to be refused, at least in part.
    refusals: u64,
    /// The connections to each broker that something was written to.
    links: HashMap<BrokerId, Rc<Links>>,
    /// Wakes who knows the leaders.
    pub(super) ask: Rc<tokio::sync::Notify>,
}

/// Shared by the tasks of one thread.
pub(super) type Writing = Rc<RefCell<Shared>>;

/// A write, and how many of its batches are not done with.
#[derive(Debug, Default)]
struct Ticket {
    open: usize,
    refused: Vec<Refusal>,
    /// Where something of it was refused.
    refused_in: Vec<TopicPartition>,
}

impl Ticket {
    /// Notes records that were not written. Where something else of the write was refused for what is in it, that is why these were
    /// not written either: who narrows it down has to look among all of them.
    fn refuse(&mut self, positions: impl Iterator<Item = u32>, fault: &Fault) {
        let blamed = self.refused.iter().find(|refusal| refusal.fault.class == FaultClass::Record);
        let fault = blamed.map_or(fault, |refusal| &refusal.fault).clone();
        self.refused.extend(positions.map(|position| Refusal { position, fault: fault.clone() }));
    }
}

impl Shared {
    fn new(access: Arc<Access>, sink: WriteSink, counts: Arc<Counts>) -> Self {
        Self {
            access,
            sink,
            counts,
            directory: Directory::default(),
            identity: None,
            partitions: HashMap::new(),
            tickets: HashMap::new(),
            refusals: 0,
            links: HashMap::new(),
            ask: Rc::default(),
        }
    }

    /// Takes a write; says for which partitions.
    fn take(&mut self, write: &Write) -> Vec<TopicPartition> {
        let (pieces, impossible) = pieces(write, &self.counts);
        let mut ticket = Ticket { open: pieces.len(), ..Ticket::default() };
        for (positions, why) in impossible {
            let fault = Fault::new(FaultClass::Record, format!("{}: {why}", write.batch.partition));
            ticket.refuse(positions.into_iter().flatten(), &fault);
        }
        self.tickets.insert(write.ticket, ticket);
        let mut partitions: Vec<TopicPartition> = Vec::new();
        for (partition, piece) in pieces {
            let partition = TopicPartition::new(write.topic.name.clone(), partition);
            self.partitions
                .entry(partition.clone())
                .or_default()
                .push(piece.knowing(write.heard, write.topic.limits.max_bytes));
            if partitions.last() != Some(&partition) {
                partitions.push(partition);
            }
        }
        self.finish_if_done(write.ticket);
        for partition in &partitions {
            self.hand_back(partition);
        }
        partitions
    }

    fn finish_if_done(&mut self, ticket: u64) {
        if self.tickets.get(&ticket).is_some_and(|ticket| ticket.open == 0)
            && let Some(Ticket { mut refused, refused_in, .. }) = self.tickets.remove(&ticket)
        {
            refused.sort_unstable_by_key(|refusal| refusal.position);
            self.refusals += u64::from(!refused.is_empty());
            for partition in refused_in {
                if let Some(outbound) = self.partitions.get_mut(&partition) {
                    outbound.told_of(ticket, self.refusals);
                }
            }
            (self.sink)(WriteEvent::Written { ticket, refused });
        }
    }

    /// A batch needs nothing more: it was taken, or `refused` for that reason.
    fn done(&mut self, partition: &TopicPartition, piece: &Piece, refused: Option<&Fault>) {
        for (number, positions) in &piece.parts {
            if let Some(ticket) = self.tickets.get_mut(number) {
                ticket.open -= 1;
                if let Some(fault) = refused {
                    ticket.refuse(positions.iter().cloned().flatten(), fault);
                    ticket.refused_in.push(partition.clone());
                }
            }
            self.finish_if_done(*number);
        }
    }

    /// Who waits for a broker to answer for this partition, where another one leads it now, does not wait for long any more.
    pub(super) fn hang_up_unless_leader(&self, partition: &TopicPartition) {
        let waits_for = self.partitions.get(partition).and_then(Outbound::waits_for);
        if let Some(link) = waits_for
            && self.directory.leader(partition).is_some_and(|leader| leader.broker != link.broker)
            && let Some(links) = self.links.get(&link.broker)
        {
            links.line(link).hang_up();
        }
    }

    /// Something keeps it from writing; it goes on trying.
    pub(super) fn trouble(&self, fault: Fault) {
        tracing::debug!(cluster = %self.access.alias, class = fault.class.name(), "{fault}");
        (self.sink)(WriteEvent::Trouble(fault));
    }

    pub(super) fn throttled(&self, throttle: Duration) {
        self.counts.throttled(throttle);
        (self.sink)(WriteEvent::Throttled(throttle));
    }

    /// It can't go on.
    pub(super) fn fatal(&self, fault: Fault) {
        (self.sink)(WriteEvent::Fatal(fault));
    }

    /// What cannot be written, and why, while there is nobody to write it to.
    pub(super) fn refuse_all(&mut self, partition: &TopicPartition, fault: &Fault, gone: bool) {
        let given_up = self.partitions.get_mut(partition).map(|outbound| outbound.give_up(gone)).unwrap_or_default();
        for piece in given_up {
            self.done(partition, &piece, Some(fault));
        }
    }

    /// A broker has answered for a batch; says for how long the partition rests before it sends again.
    pub(super) fn answered(&mut self, partition: &TopicPartition, sent: u64, code: i16) -> Option<Duration> {
        let rest = self.answered_one(partition, sent, code);
        self.hand_back(partition);
        rest
    }

    /// Gives back what would overtake something that was refused.
    fn hand_back(&mut self, partition: &TopicPartition) {
        let back = self.partitions.get_mut(partition).map(Outbound::hand_back).unwrap_or_default();
        let why = || format!("cluster {}: {partition}: what comes before was refused", self.access.alias);
        let fault = (!back.is_empty()).then(|| Fault::new(FaultClass::System, why()));
        for piece in back {
            self.done(partition, &piece, fault.as_ref());
        }
    }

    fn answered_one(&mut self, partition: &TopicPartition, sent: u64, code: i16) -> Option<Duration> {
        let fate = fate(code);
        let outbound = self.partitions.get_mut(partition)?;
        let piece = outbound.answered(sent, fate);
        let fault = || Fault::new(codes::class(code), format!("cluster {}: {}", self.access.alias, codes::text(code)));
        match piece {
            Some(piece) => {
                let fault = (fate != Fate::Taken).then(fault);
                self.done(partition, &piece, fault.as_ref());
                None
            }
            None => {
                outbound.failures += 1;
                tracing::debug!(cluster = %self.access.alias, %partition, code, "to be sent again: {}", codes::text(code));
                let rest = BACKOFF.0.saturating_mul(1 << outbound.failures.min(6)).min(BACKOFF.1);
                let rests = (!std::mem::replace(&mut outbound.rests, true)).then_some(rest);
                if outbound.failures.is_multiple_of(TROUBLE) {
                    let why = format!("cluster {}: {partition}: {}", self.access.alias, codes::text(code));
                    self.trouble(Fault::new(FaultClass::System, why));
                }
                rests
            }
        }
    }
}

/// What an answer means for a batch, by the codes of `KafkaProducer`.
fn fate(code: i16) -> Fate {
    const UNKNOWN_SERVER_ERROR: i16 = -1;
    const REQUEST_TIMED_OUT: i16 = 7;
    const NETWORK_EXCEPTION: i16 = 13;
    const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
    const KAFKA_STORAGE_ERROR: i16 = 56;
    const UNKNOWN_PRODUCER_ID: i16 = 59;
    match code {
        0 | DUPLICATE_SEQUENCE_NUMBER => Fate::Taken,
        OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID => Fate::OutOfOrder,
        UNKNOWN_SERVER_ERROR
        | REQUEST_TIMED_OUT
        | NETWORK_EXCEPTION
        | NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | KAFKA_STORAGE_ERROR => Fate::Unknown,
        _ => match codes::class(code) {
            FaultClass::System | FaultClass::Overrun => Fate::Again,
            FaultClass::Record => Fate::Refused,
            FaultClass::Config | FaultClass::Crash => Fate::Denied,
        },
    }
}

/// Brokers that say this know the producer's number as somebody else's, or in a later life: it is of no use any more.
pub(super) fn ends_producer(code: i16) -> bool {
    const INVALID_PRODUCER_EPOCH: i16 = 47;
    const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    const PRODUCER_FENCED: i16 = 90;
    matches!(code, INVALID_PRODUCER_EPOCH | INVALID_PRODUCER_ID_MAPPING | PRODUCER_FENCED)
}

/// Puts a partition into the line of its leader, if it has something to send.
pub(super) fn list(writing: &Writing, partition: &TopicPartition) {
    let mut shared = writing.borrow_mut();
    let shared = &mut *shared;
    let Some(outbound) = shared.partitions.get_mut(partition) else { return };
    let leader = shared.directory.leader(partition);
    let (Some(leader), Some(identity)) = (leader, shared.identity) else {
        if !outbound.is_idle() {
            shared.ask.notify_one();
        }
        return;
    };
    if outbound.needs_later_than(identity) {
        shared.identity = later(identity);
        if shared.identity.is_none() {
            return shared.ask.notify_one();
        }
    }
    let links = shared.links.entry(leader.broker).or_insert_with(|| connect(writing, leader.broker));
    let is_there = |link: &Link| link.broker == leader.broker;
    if outbound.listed.as_ref().is_some_and(is_there) {
        return;
    }
    let kept = outbound.link.filter(is_there);
    let link = kept.unwrap_or_else(|| links.upcoming());
    if outbound.can_send(link) {
        if kept.is_none() {
            links.taken();
        }
        outbound.listed = Some(link);
        links.line(link).push(partition.clone());
    }
}

/// Has somebody serve each connection to a broker.
fn connect(writing: &Writing, broker: BrokerId) -> Rc<Links> {
    let links = Rc::new(Links::to(broker));
    for link in links.all() {
        runtime::spawn(line::serve(writing.clone(), link, links.clone()));
    }
    links
}

/// The next epoch of a producer, where there is one.
fn later(identity: Identity) -> Option<Identity> {
    identity.epoch.checked_add(1).map(|epoch| Identity { epoch, ..identity })
}

/// Lists a partition after a rest.
pub(super) fn list_after(writing: &Writing, partition: TopicPartition, rest: Duration) {
    let writing = writing.clone();
    let due = Instant::now() + rest;
    runtime::spawn(async move {
        runtime::until(due).await;
        if let Some(outbound) = writing.borrow_mut().partitions.get_mut(&partition) {
            outbound.rests = false;
        }
        list(&writing, &partition);
    });
}
