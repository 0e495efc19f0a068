//! The reader: one thread and one client for any number of partitions of a cluster.
//!
//! Nothing is taken out of librdkafka without a permit for it; a partition whose permit is missing waits in its own
//! queue there, which is bounded, and holds up no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use super::client::{Context, reader_config};
use super::fault_map::class_of;
use super::ffi::{Consumer, Message, Stream};
use super::sinks::Sinks;
use super::thread;
use super::wake::Inbox;
use super::wire::Wire;
use super::{ReadEvent, ReadSink, Reader, StreamId};
use crate::domain::batch::{OffsetRange, Payload, Permit, RecordBatch};
use crate::domain::fault::Fault;
use crate::domain::records::{RECORD_OVERHEAD, Records};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::{BatchLimits, ClusterSpec};

/// Messages taken from librdkafka at a time: enough to make its lock cheap, few enough to keep little of them here.
const TAKE: usize = 256;
/// How often the client's own events are served, and streams are looked after, when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// What says that the source does not have what comes next, or not any more: the topic may be gone, or be another one by now.
const LOST: [RDKafkaErrorCode; 7] = [
    RDKafkaErrorCode::OffsetOutOfRange,
    RDKafkaErrorCode::AutoOffsetReset,
    RDKafkaErrorCode::LogTruncation,
    RDKafkaErrorCode::UnknownTopic,
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::UnknownTopicId,
    RDKafkaErrorCode::UnknownPartition,
];

/// A [`Reader`] on librdkafka.
#[derive(Debug)]
pub struct KafkaReader {
    inbox: Arc<Inbox<Item>>,
    sinks: Arc<Sinks>,
    wire: Arc<Wire>,
}

enum Item {
    Start(StreamId, TopicPartition, i64, ReadSink),
    Read(StreamId, Box<dyn Permit>),
    Stop(StreamId),
    Ready(StreamId),
    Events,
    Close,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reader item")
    }
}

impl KafkaReader {
    /// Starts a reader of `cluster`; `prefetch` is what the client may hold ready per partition, in bytes.
    pub fn open(cluster: &ClusterSpec, limits: BatchLimits, prefetch: u64) -> Result<Self, Fault> {
        let inbox: Arc<Inbox<Item>> = Arc::default();
        let context = Context::new(cluster, None);
        let wire = context.wire().clone();
        let events = inbox.clone();
        let config = reader_config(cluster, prefetch / 1024);
        let doing = "the reader can't be made";
        let consumer = Consumer::new(&config, context, Box::new(move || events.push(Item::Events)))
            .map_err(|error| Context::new(cluster, None).fault(doing, &error))?;
        let sinks: Arc<Sinks> = Arc::default();
        let worker = Worker {
            alias: cluster.alias.clone(),
            limits,
            inbox: inbox.clone(),
            streams: HashMap::new(),
            deadlines: VecDeque::new(),
            sinks: sinks.clone(),
            consumer: Arc::new(consumer),
        };
        let told = sinks.clone();
        // nobody waits for its end: closing a client can take a while
        thread::spawn("read", &cluster.alias, move || worker.run(), move |fault| told.crashed(&fault))?;
        Ok(Self { inbox, sinks, wire })
    }
}

impl Reader for KafkaReader {
    fn start(&self, stream: StreamId, partition: TopicPartition, from: i64, sink: ReadSink) {
        match self.sinks.add(stream, &sink) {
            Ok(()) => self.inbox.push(Item::Start(stream, partition, from, sink)),
            Err(fault) => sink(stream, ReadEvent::Failed(fault)),
        }
    }

    fn read(&self, stream: StreamId, permit: Box<dyn Permit>) {
        self.inbox.push(Item::Read(stream, permit));
    }

    fn stop(&self, stream: StreamId) {
        self.sinks.remove(stream);
        self.inbox.push(Item::Stop(stream));
    }

    fn wire_bytes(&self) -> u64 {
        self.wire.fetched()
    }

    fn throttled_ms(&self) -> u64 {
        self.wire.throttled_ms()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.inbox.push(Item::Close);
    }
}

struct Worker {
    alias: String,
    limits: BatchLimits,
    inbox: Arc<Inbox<Item>>,
    // before the consumer: streams end first
    streams: HashMap<StreamId, Reading>,
    /// When open batches are cut. The wait is the same for all, so the order is that of their opening.
    deadlines: VecDeque<(Instant, StreamId)>,
    sinks: Arc<Sinks>,
    consumer: Arc<Consumer>,
}

/// A partition being read.
struct Reading {
    partition: TopicPartition,
    stream: Stream,
    sink: ReadSink,
    /// Where the next batch starts.
    position: i64,
    open: Option<Open>,
    /// Whether the consumer knows that there is something to read, and will ask for it.
    announced: bool,
    /// Size of the last batch, as a guess at the next.
    last: usize,
    /// The leader epoch of the last record.
    epoch: i32,
}

/// A batch being filled.
struct Open {
    permit: Box<dyn Permit>,
    records: Records,
    end: i64,
    epochs: Vec<(i32, i64)>,
    waiting: bool,
}

/// What came of filling a batch.
enum Filled {
    /// It is as large as it may be.
    Full,
    /// There was nothing more to read.
    Drained,
    /// Its first record needs a permit of this many bytes.
    TooSmall(u64),
    /// The partition can't be read any more.
    Broken(Fault),
    /// The source does not have what comes next.
    Lost(Fault),
}

impl Worker {
    fn run(mut self) {
        let mut items = Vec::new();
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            let wait = self.deadlines.front().map_or(IDLE, |(at, _)| at.saturating_duration_since(now).min(IDLE));
            self.inbox.take(&mut items, wait);
            #[cfg(feature = "failpoints")]
            fail::fail_point!("reader");
            if now.duration_since(looked) >= IDLE {
                looked = now;
                self.look_after_all();
            }
            for item in items.drain(..) {
                if matches!(item, Item::Close) {
                    return;
                }
                self.handle(item);
            }
            self.cut_expired(Instant::now());
        }
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Start(id, partition, from, sink) => self.start(id, partition, from, sink),
            Item::Read(id, permit) => self.read(id, permit),
            Item::Ready(id) => self.ready(id),
            Item::Stop(id) => drop(self.streams.remove(&id)),
            Item::Events => self.serve(),
            Item::Close => {}
        }
    }

    /// Nobody here is told each throttle time: they are counted when they are served.
    fn serve(&self) {
        self.consumer.serve();
        self.consumer.context().take_throttles();
    }

    fn start(&mut self, id: StreamId, partition: TopicPartition, from: i64, sink: ReadSink) {
        let inbox = self.inbox.clone();
        let wake = Box::new(move || inbox.push(Item::Ready(id)));
        match Stream::start(&self.consumer, &partition.topic, partition.partition, from, wake) {
            Ok(stream) => {
                let reading = Reading {
                    partition,
                    stream,
                    sink,
                    position: from,
                    open: None,
                    announced: false,
                    last: 0,
                    epoch: -1,
                };
                self.streams.insert(id, reading);
                // what arrived before the wake-up was set
                self.ready(id);
            }
            Err(error) => {
                self.sinks.remove(id);
                sink(id, ReadEvent::Failed(self.start_fault(&partition, &error)));
            }
        }
    }

    fn start_fault(&self, partition: &TopicPartition, error: &KafkaError) -> Fault {
        let reason = format!("cluster {}: {partition} can't be read: {error}", self.alias);
        Fault::new(super::fault_map::class_of_error(error), reason)
    }

    fn ready(&mut self, id: StreamId) {
        let Some(reading) = self.streams.get_mut(&id) else { return };
        if reading.open.is_some() {
            self.fill(id);
        } else if !reading.announced && reading.stream.peek(TAKE).is_some() {
            reading.announced = true;
            (reading.sink)(id, ReadEvent::Readable);
        }
    }

    fn read(&mut self, id: StreamId, permit: Box<dyn Permit>) {
        let Some(reading) = self.streams.get_mut(&id) else { return };
        if reading.open.is_some() {
            return; // asked twice: what is open answers both
        }
        let room = usize::try_from(permit.bytes()).unwrap_or(usize::MAX).min(reading.last);
        reading.announced = false;
        let records = Records::with_capacity(room);
        reading.open = Some(Open { permit, records, end: reading.position, epochs: Vec::new(), waiting: false });
        self.fill(id);
    }

    fn fill(&mut self, id: StreamId) {
        let Some(reading) = self.streams.get_mut(&id) else { return };
        match reading.fill(&self.limits, &self.alias) {
            Filled::Full => reading.cut(id, true),
            Filled::Drained => {
                let Some(open) = &mut reading.open else { return };
                if open.records.is_empty() {
                    reading.cut(id, false);
                } else if !open.waiting {
                    open.waiting = true;
                    self.deadlines.push_back((Instant::now() + self.limits.max_wait, id));
                }
            }
            Filled::TooSmall(bytes) => {
                (reading.open, reading.announced) = (None, true);
                (reading.sink)(id, ReadEvent::NeedsBytes(bytes));
            }
            Filled::Broken(fault) => self.end(id, ReadEvent::Failed(fault)),
            Filled::Lost(fault) => self.end(id, ReadEvent::Lost(fault)),
        }
    }

    /// Sends what was read on its way, and ends the stream with a last word.
    fn end(&mut self, id: StreamId, word: ReadEvent) {
        self.sinks.remove(id);
        if let Some(mut reading) = self.streams.remove(&id) {
            reading.cut(id, false);
            (reading.sink)(id, word);
        }
    }

    fn cut_expired(&mut self, now: Instant) {
        while let Some((_, id)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            if let Some(reading) = self.streams.get_mut(&id)
                && reading.open.as_ref().is_some_and(|open| open.waiting)
            {
                reading.cut(id, false);
            }
        }
    }

    /// A wake-up that got lost must not stall a partition for longer than this takes to come round.
    fn look_after_all(&mut self) {
        self.serve();
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        for id in ids {
            self.ready(id);
        }
    }
}

impl Reading {
    fn fill(&mut self, limits: &BatchLimits, alias: &str) -> Filled {
        let Some(open) = &mut self.open else { return Filled::Drained };
        loop {
            let Some(message) = self.stream.peek(TAKE) else { return Filled::Drained };
            match message.error() {
                None => {}
                Some((RDKafkaErrorCode::PartitionEOF, _)) => {
                    open.end = open.end.max(message.offset());
                    self.stream.pop();
                    continue;
                }
                Some((code, text)) => {
                    let reason =
                        format!("cluster {alias}: {} can't be read from offset {}: {text}", self.partition, open.end);
                    let fault = Fault::new(class_of(code), reason);
                    return if LOST.contains(&code) { Filled::Lost(fault) } else { Filled::Broken(fault) };
                }
            }
            let cost = cost(message);
            if open.records.footprint() + cost > open.permit.bytes() {
                return if open.records.is_empty() && cost > open.permit.bytes() {
                    Filled::TooSmall(cost)
                } else {
                    Filled::Full
                };
            }
            open.records.push(message.offset(), message.timestamp(), message.key(), message.value(), message.headers());
            open.end = message.offset() + 1;
            let epoch = message.leader_epoch();
            if epoch != self.epoch {
                self.epoch = epoch;
                open.epochs.push((epoch, message.offset()));
            }
            self.stream.pop();
            if open.records.len() >= limits.max_messages as usize {
                return Filled::Full;
            }
        }
    }

    /// Sends the open batch on its way, or gives its permit back where it covers nothing.
    fn cut(&mut self, id: StreamId, more: bool) {
        let Some(open) = self.open.take() else { return };
        self.announced = more;
        if open.end == self.position {
            return (self.sink)(id, ReadEvent::Idle);
        }
        let mut records = open.records;
        records.shrink();
        self.last = records.data_len();
        let range = OffsetRange { start: self.position, end: open.end };
        self.position = open.end;
        let batch = RecordBatch::new(self.partition.clone(), range, Payload::Records(records), open.permit);
        let batch = batch.with_epochs(open.epochs);
        (self.sink)(id, ReadEvent::Batch { batch, more });
    }
}

/// Bytes that a record will occupy in a batch.
fn cost(message: &Message) -> u64 {
    let field = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers: usize = message.headers().map(|(name, value)| 8 + name.len() + field(value)).sum();
    (field(message.key()) + field(message.value()) + headers) as u64 + RECORD_OVERHEAD
}
