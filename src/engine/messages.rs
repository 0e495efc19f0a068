//! Every message between the actors: one noun each, one message per batch and never one per record.

use std::sync::Arc;

use actix::{Addr, Message};

use super::partition_consumer::PartitionConsumer;
use super::progress::TargetIndex;
use super::target_producer::TargetProducer;
use crate::domain::batch::{RecordBatch, SharedBatch};
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{ReadEvent, StreamId, TargetTopic, WriteEvent};

/// A reader's word to the partition's consumer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadNews {
    /// Which life of the read it belongs to.
    pub stream: StreamId,
    /// What happened.
    pub event: ReadEvent,
}

/// A writer's word to its target producer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WriteNews(pub WriteEvent);

/// To a partition consumer: read from here, or not at all.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Seek(pub Option<i64>);

/// A batch that was read, from a partition consumer to the router or to the catch-up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BatchRead(pub RecordBatch);

/// A partition can't be read; the consumer tries again by itself unless the fault's class says that it is no use.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadFault {
    /// The one target that the read is for; `None` for the shared read.
    pub target: Option<TargetIndex>,
    /// The source partition.
    pub partition: TopicPartition,
    /// Why.
    pub fault: Fault,
}

/// Which read a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The read that targets share.
    Live,
    /// The target's own read.
    CatchUp,
}

/// A batch for one target.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Produce {
    /// The records.
    pub batch: SharedBatch,
    /// Which read they come from.
    pub origin: Origin,
}

/// To the router: the consumer of a source partition.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ConsumerReady {
    /// The source partition.
    pub partition: TopicPartition,
    /// Its consumer.
    pub consumer: Addr<PartitionConsumer>,
}

/// To the router: a target's producer, in place of any former one, which follows nothing yet. `None`: it is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TargetReady {
    /// Which target.
    pub target: TargetIndex,
    /// Its producer.
    pub producer: Option<Addr<TargetProducer>>,
}

/// To a target producer: a source partition that it writes from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt {
    /// The source partition.
    pub partition: TopicPartition,
    /// Where its records go.
    pub topic: Arc<TargetTopic>,
    /// The target's watermark: the first source offset that it needs.
    pub from: i64,
}

/// To the router: this target wants to follow the shared read of a partition from here on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// Which target.
    pub target: TargetIndex,
    /// Which source partition.
    pub partition: TopicPartition,
    /// The next source offset that it needs.
    pub next: i64,
    /// Which of the target's turns at this partition it is: every time it leaves, a new one begins. What belongs to
    /// an older turn is of no interest.
    pub turn: u64,
}

/// To the router: this target does not follow the shared read of a partition any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// Which target.
    pub target: TargetIndex,
    /// Which source partition.
    pub partition: TopicPartition,
    /// The turn that ends.
    pub turn: u64,
}

/// The router's answer to [`Attach`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Attachment {
    /// The shared read's batches follow from source offset `at` on.
    Granted {
        /// Which source partition.
        partition: TopicPartition,
        /// The first source offset of the shared read's next batch.
        at: i64,
        /// The turn of the question.
        turn: u64,
    },
    /// The target is too far behind: it has to catch up by itself.
    TooFarBehind {
        /// Which source partition.
        partition: TopicPartition,
        /// The turn of the question.
        turn: u64,
    },
}

/// To the catch-up: read this partition for the target.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CatchUpFrom {
    /// Which source partition.
    pub partition: TopicPartition,
    /// The next source offset that the target needs.
    pub next: i64,
    /// The target's turn at this partition.
    pub turn: u64,
}

/// To the catch-up: the target does not need it any more for this partition.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CaughtUp(pub TopicPartition);

/// To a target producer: it holds the others up, and leaves the shared read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave;

/// Stop reading, finish what is in flight, close.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// From a target producer: nothing of it is in flight any more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drained {
    /// Which target.
    pub target: TargetIndex,
    /// Which life of it.
    pub generation: u64,
}

/// A target's word on how it is doing, for people.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TargetFault {
    /// Which target.
    pub target: TargetIndex,
    /// What is wrong.
    pub fault: Fault,
}

/// A child of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// The router.
    Router,
    /// The consumer of a source partition.
    Consumer(TopicPartition),
    /// The producer of a target, or its catch-up: they live and die together.
    Target(TargetIndex),
}

/// A child is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChildGone {
    /// Which.
    pub child: Child,
    /// Which life of it; an older one's end is of no interest.
    pub generation: u64,
    /// Why.
    pub fault: Fault,
}
