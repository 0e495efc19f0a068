//! The reader: one thread, with a connection to each broker that leads something, for any number of partitions of a cluster.
//!
//! What is fetched and has no permit yet is bounded per partition; one whose permit is missing holds up no other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::access::Access;
use super::counts::Counts;
use super::directory::{BrokerId, Directory, Inquirer};
use super::fetcher;
use super::reading::Reading;
use super::runtime;
use crate::domain::batch::Permit;
use crate::domain::fallback::Fallbacks;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::format::Malformed;
use crate::kafka::sinks::Sinks;
use crate::kafka::{Permits, ReadEvent, ReadSink, Reader, StreamId, codes};
use crate::plan::{BatchLimits, ClusterSpec};

/// How soon it may ask again who leads what, and how long it waits at the most after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How soon it asks again for what had no leader.
const LEADERLESS: Duration = Duration::from_millis(250);
/// What is asked for of a partition at a time, at the least and at the most.
const SHARE: (u64, u64) = (64 << 10, 1 << 20);
/// How often it asks without being asked: a broker that is silent does not say that another one leads now.
const REFRESH: Duration = Duration::from_secs(5);
/// A partition that was there, and one that was not: for how long they may be said not to be there.
const MISSING: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// What a reader hands on.
#[derive(Clone, Debug)]
pub enum Handing {
    /// The source's batches, as they are wherever that can be; those that can't are counted.
    Batches(Arc<Fallbacks>),
    /// Records.
    Records,
}

/// A [`Reader`] that fetches by itself: a topic that was made anew is another one for it, whatever its name.
#[derive(Debug)]
pub struct WireReader {
    inbox: UnboundedSender<Item>,
    sinks: Arc<Sinks>,
    counts: Arc<Counts>,
}

enum Item {
    Start(StreamId, TopicPartition, i64, ReadSink),
    Read(StreamId, Box<dyn Permit>),
    Lend(StreamId, Permits),
    Stop(StreamId),
    Close,
}

impl WireReader {
    /// Starts a reader of `cluster`; `prefetch` is what it may hold ready per partition, in bytes.
    pub fn open(cluster: &ClusterSpec, limits: BatchLimits, prefetch: u64, handing: Handing) -> Result<Self, Fault> {
        let access = Arc::new(Access::of(cluster)?);
        let (inbox, items) = unbounded_channel();
        let (opens, fallbacks) = match handing {
            Handing::Batches(fallbacks) => (false, fallbacks),
            Handing::Records => (true, Arc::default()),
        };
        let (sinks, counts) = (Arc::<Sinks>::default(), Arc::new(Counts::new(fallbacks)));
        let (told, known) = (sinks.clone(), (sinks.clone(), counts.clone()));
        let run = move || runtime::run(read(Shared::new(access, limits, (prefetch, opens), known), items));
        crate::kafka::thread::spawn("read", &cluster.alias, run, move |fault| told.crashed(&fault))?;
        Ok(Self { inbox, sinks, counts })
    }

    /// Where its thread is gone, that is told already.
    fn send(&self, item: Item) {
        self.inbox.send(item).unwrap_or_default();
    }
}

impl Reader for WireReader {
    fn start(&self, stream: StreamId, partition: TopicPartition, from: i64, sink: ReadSink) {
        match self.sinks.add(stream, &sink) {
            Ok(()) => self.send(Item::Start(stream, partition, from, sink)),
            Err(fault) => sink(stream, ReadEvent::Failed(fault)),
        }
    }

    fn read(&self, stream: StreamId, permit: Box<dyn Permit>) {
        self.send(Item::Read(stream, permit));
    }

    fn lend(&self, stream: StreamId, permits: Permits) {
        self.send(Item::Lend(stream, permits));
    }

    fn stop(&self, stream: StreamId) {
        self.sinks.remove(stream);
        self.send(Item::Stop(stream));
    }

    fn wire_bytes(&self) -> u64 {
        self.counts.bytes()
    }

    fn throttled_ms(&self) -> u64 {
        self.counts.throttled_ms()
    }
}

impl Drop for WireReader {
    fn drop(&mut self) {
        self.send(Item::Close);
    }
}

/// What the tasks of a reader share. They take turns, so that nobody waits for it.
pub(super) struct Shared {
    pub(super) access: Arc<Access>,
    pub(super) limits: BatchLimits,
    /// What may be ready of a partition.
    pub(super) prefetch: u64,
    /// Whether batches are opened.
    pub(super) opens: bool,
    pub(super) counts: Arc<Counts>,
    sinks: Arc<Sinks>,
    pub(super) directory: Directory,
    pub(super) streams: HashMap<StreamId, Reading>,
    fetchers: HashMap<BrokerId, Rc<Notify>>,
    ask: Rc<Notify>,
}

/// Shared by the tasks of one thread.
pub(super) type Shelf = Rc<RefCell<Shared>>;

impl Shared {
    fn new(
        access: Arc<Access>,
        limits: BatchLimits,
        (prefetch, opens): (u64, bool),
        (sinks, counts): (Arc<Sinks>, Arc<Counts>),
    ) -> Self {
        Self {
            access,
            limits,
            prefetch,
            opens,
            counts,
            sinks,
            directory: Directory::default(),
            streams: HashMap::new(),
            fetchers: HashMap::new(),
            ask: Rc::default(),
        }
    }

    /// Somebody wants to know who leads what.
    pub(super) fn ask(&self) {
        self.ask.notify_one();
    }

    /// Wakes who fetches a partition.
    pub(super) fn wake(&self, partition: &TopicPartition) {
        match self.directory.leader(partition).and_then(|leader| self.fetchers.get(&leader.broker)) {
            Some(fetcher) => fetcher.notify_one(),
            None => self.ask(),
        }
    }

    /// Ends a stream with a last word, once what is ready of it is read.
    pub(super) fn end(&mut self, id: StreamId, word: ReadEvent) {
        if let Some(reading) = self.streams.get_mut(&id)
            && let Some(word) = reading.ends_with(word)
        {
            self.finish(id, word);
        }
    }

    /// Ends a stream of which something that was fetched can't be read: that is fetched anew by whoever starts it again.
    pub(super) fn spoil(&mut self, id: StreamId, malformed: Malformed) {
        if let Some(reading) = self.streams.get(&id) {
            let fault = self.fault(reading, FaultClass::System, malformed);
            self.end(id, ReadEvent::Failed(fault));
        }
    }

    /// Tells who reads a stream that there is something, or gives it at once.
    pub(super) fn announce(&mut self, id: StreamId) {
        let most = self.limits.max_messages;
        let malformed = self.streams.get_mut(&id).and_then(|reading| reading.announce(id, most));
        self.settle(id, malformed);
    }

    /// After something was read: ends what can't be read on, and what was read to its end.
    fn settle(&mut self, id: StreamId, malformed: Option<Malformed>) {
        if let Some(malformed) = malformed {
            self.spoil(id, malformed);
        } else if let Some(word) = self.streams.get_mut(&id).and_then(Reading::last_word) {
            self.finish(id, word);
        }
    }

    fn finish(&mut self, id: StreamId, word: ReadEvent) {
        self.sinks.remove(id);
        if let Some(reading) = self.forget(id) {
            reading.tell(id, word);
        }
    }

    /// A stream is there no more.
    fn forget(&mut self, id: StreamId) -> Option<Reading> {
        let gone = self.streams.remove(&id)?;
        if !self.streams.values().any(|reading| reading.partition == gone.partition) {
            self.directory.forget(&gone.partition);
        }
        Some(gone)
    }

    /// A fault of a partition, which can't be read from here on.
    pub(super) fn fault(&self, reading: &Reading, class: FaultClass, why: impl std::fmt::Display) -> Fault {
        let (alias, partition, next) = (&self.access.alias, &reading.partition, reading.next);
        Fault::new(class, format!("cluster {alias}: {partition} can't be read from offset {next}: {why}"))
    }
}

async fn read(shared: Shared, mut items: UnboundedReceiver<Item>) {
    let shelf = Rc::new(RefCell::new(shared));
    runtime::spawn(keep(shelf.clone()));
    while let Some(item) = items.recv().await {
        let mut shared = shelf.borrow_mut();
        match item {
            Item::Start(id, partition, from, sink) => {
                let share = shared.prefetch.min(shared.limits.max_bytes).clamp(SHARE.0, SHARE.1);
                shared.streams.insert(id, Reading::new(partition.clone(), from, share, sink));
                shared.wake(&partition);
            }
            Item::Read(id, permit) => {
                let most = shared.limits.max_messages;
                let Some(reading) = shared.streams.get_mut(&id) else { continue };
                let malformed = reading.read(id, permit, most);
                let partition = reading.partition.clone();
                shared.settle(id, malformed);
                shared.wake(&partition);
            }
            Item::Lend(id, permits) => {
                if let Some(reading) = shared.streams.get_mut(&id) {
                    reading.permits = Some(permits);
                }
            }
            Item::Stop(id) => drop(shared.forget(id)),
            Item::Close => return,
        }
    }
}

/// Asks who leads what whenever somebody wants to know, for ever.
async fn keep(shelf: Shelf) {
    let (access, wanted) = {
        let shared = shelf.borrow();
        (shared.access.clone(), shared.ask.clone())
    };
    let mut inquirer = Inquirer::new(access.clone());
    let mut pause = PAUSE.0;
    loop {
        // late is as good as asked
        if tokio::time::timeout(REFRESH, wanted.notified()).await.is_ok() {
            inquirer.doubt();
        }
        let (at, asked) = {
            let shared = shelf.borrow();
            let mut asked: Vec<_> = shared.streams.values().map(|reading| reading.partition.clone()).collect();
            asked.sort();
            asked.dedup();
            (shared.directory.addresses(&access), asked)
        };
        if asked.is_empty() {
            continue;
        }
        match inquirer.ask(at, asked).await {
            Ok(learned) => {
                pause = PAUSE.0;
                shelf.borrow_mut().directory.learn(&learned);
                if !provide(&shelf) {
                    let wanted = wanted.clone();
                    runtime::spawn(async move {
                        runtime::rest(LEADERLESS).await;
                        wanted.notify_one();
                    });
                }
            }
            Err(fault) => {
                tracing::debug!(cluster = %access.alias, class = fault.class.name(), "{fault}");
                inquirer.doubt();
                pause = (pause * 2).min(PAUSE.1);
                wanted.notify_one();
            }
        }
        runtime::rest(pause).await;
    }
}

/// Sees to it that each leader is fetched from; says whether all streams have one.
fn provide(shelf: &Shelf) -> bool {
    let mut shared = shelf.borrow_mut();
    let ids: Vec<StreamId> = shared.streams.keys().copied().collect();
    let mut all = true;
    for id in ids {
        let Some(reading) = shared.streams.get(&id) else { continue };
        match shared.directory.leader(&reading.partition) {
            Some(leader) => {
                if !is_the_same(&mut shared, id) {
                    continue;
                }
                let wake = shared.fetchers.entry(leader.broker).or_insert_with(|| {
                    let wake = Rc::new(Notify::new());
                    runtime::spawn(fetcher::fetch(shelf.clone(), leader.broker, wake.clone()));
                    wake
                });
                wake.notify_one();
            }
            None => all &= leaderless(&mut shared, id),
        }
    }
    all
}

/// Whether a stream's topic is the one that it was; where it is another one of the same name, the stream has ended.
fn is_the_same(shared: &mut Shared, id: StreamId) -> bool {
    let Some(reading) = shared.streams.get_mut(&id) else { return false };
    let topic = shared.directory.topic_id(&reading.partition.topic);
    let known = *reading.known.get_or_insert(topic);
    if known == topic || known == 0 {
        return true;
    }
    let Some(reading) = shared.streams.get(&id) else { return false };
    let fault = shared.fault(reading, FaultClass::Config, "its topic is another one of the same name by now");
    shared.end(id, ReadEvent::Lost(fault));
    false
}

/// Nobody leads a stream's partition; says whether the stream has ended for that.
fn leaderless(shared: &mut Shared, id: StreamId) -> bool {
    let Some(reading) = shared.streams.get(&id) else { return true };
    if let Some(code) = shared.directory.denied(&reading.partition) {
        let fault = shared.fault(reading, codes::class(code), codes::text(code));
        shared.end(id, ReadEvent::Failed(fault));
        return true;
    }
    let patience = if reading.known.is_some() { MISSING.0 } else { MISSING.1 };
    let missing = shared.directory.missing_since(&reading.partition);
    if missing.is_some_and(|since| Instant::now() - since >= patience) {
        let fault = shared.fault(reading, FaultClass::Config, "it is not there");
        shared.end(id, ReadEvent::Lost(fault));
        return true;
    }
    false
}
