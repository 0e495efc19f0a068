//! The only place that knows rdkafka. What is public here carries none of its types.
//!
//! Blocking calls of librdkafka run on threads of their own ([`reader`], [`writer`]) or are meant for a blocking
//! pool ([`admin`], [`group`]); they are never called on an actor's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::batch::{OffsetRange, Permit, RecordBatch, SharedBatch};
use crate::domain::fault::Fault;
use crate::domain::limits::TopicLimits;
use crate::domain::routing::Partitioning;
use crate::domain::topic_partition::TopicPartition;

pub mod admin;
mod client;
pub mod codes;
mod fault_map;
mod ffi;
pub mod group;
pub mod lease;
pub mod membership;
pub mod mock;
mod patience;
pub mod probe;
pub mod reader;
pub(crate) mod sinks;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
mod wake;
mod wire;
pub mod writer;

pub use client::library_version;

/// Names one life of a read: a partition that is read again from elsewhere gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// What a reader reports about a stream. It may come on any thread, so a sink only passes it on.
#[derive(Debug)]
pub enum ReadEvent {
    /// There is something to read; said once, until it is read.
    Readable,
    /// What was read. `more`: there is more to read now, and it will not be announced.
    Batch {
        /// The records, and the offsets that they cover.
        batch: RecordBatch,
        /// Whether more can be read at once.
        more: bool,
    },
    /// Nothing was there after all: the permit is given back, wait for `Readable`.
    Idle,
    /// The next record does not fit into the permit: ask again with at least this many bytes.
    NeedsBytes(u64),
    /// The stream ended with a fault and is stopped. A crash is the reader's own, and ends all of its streams.
    Failed(Fault),
    /// The source does not have what comes next, any more or yet, or no such partition: the stream is stopped.
    Lost(Fault),
}

/// Where a stream's events go.
pub type ReadSink = Arc<dyn Fn(StreamId, ReadEvent) + Send + Sync>;

/// Where permits for batches come from that nobody has asked for; `None` where there is none right now.
pub type Permits = Arc<dyn Fn() -> Option<Box<dyn Permit>> + Send + Sync>;

/// Reads partitions of a cluster, each at its own pace: nothing is taken in without a permit for it.
pub trait Reader: Send + Sync {
    /// Starts to read `partition` at offset `from`.
    fn start(&self, stream: StreamId, partition: TopicPartition, from: i64, sink: ReadSink);
    /// Lets a stream take permits by itself: a batch comes instead of [`ReadEvent::Readable`] then, which saves the way there and
    /// back between two threads. A reader need not make use of it.
    fn lend(&self, _: StreamId, _: Permits) {}
    /// Asks for one batch, at most as large as the permit.
    fn read(&self, stream: StreamId, permit: Box<dyn Permit>);
    /// Ends a stream. Events that are under way may still arrive.
    fn stop(&self, stream: StreamId);
    /// Bytes of the source's answers with records so far, as they came over the wire.
    fn wire_bytes(&self) -> u64;
    /// The throttle times that the source spoke of so far, all together, in milliseconds.
    fn throttled_ms(&self) -> u64;
}

/// The ids of the topics that are there, by name, as base64 text: they tell one from another of the same name. `None` where the
/// cluster tells no ids.
pub type TopicIds = BTreeMap<String, Option<String>>;

/// A target topic, as the writer needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTopic {
    /// Its name on the target.
    pub name: Arc<str>,
    /// How many partitions it has there; at least 1.
    pub partitions: i32,
    /// How a record's partition is found.
    pub partitioning: Partitioning,
    /// What it may refuse a record for.
    pub limits: TopicLimits,
}

/// A batch, or a part of it, to be written to one target topic.
#[derive(Debug)]
pub struct Write {
    /// Named again in the result.
    pub ticket: u64,
    /// The records.
    pub batch: SharedBatch,
    /// Which of them.
    pub part: Part,
    /// Where they go.
    pub topic: Arc<TargetTopic>,
    /// Of how many writes it was known, when this one was made, that something of them was refused. A writer that keeps order strictly
    /// gives back what was written without knowing of a refusal in its partition: it would overtake what was refused.
    pub heard: u64,
}

/// Which records of a batch are to be written.
#[derive(Debug)]
pub enum Part {
    /// All in this range of source offsets.
    In(OffsetRange),
    /// Those at these positions in the batch, in rising order.
    Only(Vec<u32>),
}

/// What a writer reports. It may come on any thread.
#[derive(Debug)]
pub enum WriteEvent {
    /// The target has acknowledged, or refused, every record of the ticket.
    Written {
        /// The ticket of the [`Write`].
        ticket: u64,
        /// The records that were refused: their position in the batch; in rising order.
        refused: Vec<Refusal>,
    },
    /// A broker says that it throttles, for how long, and wants the client to be quiet meanwhile. Zero: it stopped.
    Throttled(Duration),
    /// The client reports trouble, and goes on trying by itself.
    Trouble(Fault),
    /// The client can't go on: a new writer is needed. Records under way are neither written nor refused.
    Fatal(Fault),
}

/// A record that the target did not take.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its position in the batch.
    pub position: u32,
    /// Why.
    pub fault: Fault,
}

/// Where a writer's events go.
pub type WriteSink = Arc<dyn Fn(WriteEvent) + Send + Sync>;

/// Writes batches to a cluster, in the order in which they are given per partition.
pub trait Writer: Send + Sync {
    /// Takes a write; its result comes as [`WriteEvent::Written`].
    fn write(&self, write: Write);
    /// Bytes of the requests with records that were sent so far, as they went over the wire; those sent again as well.
    fn wire_bytes(&self) -> u64;
    /// How many of those requests got no answer in time so far; the client sends them again by itself.
    fn timed_out(&self) -> u64;
    /// Gives up everything under way and closes. Returns when nothing can be written any more; blocks.
    fn close(&self);
}
