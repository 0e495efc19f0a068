//! Every message between the actors: one noun each, one message per batch and never one per record.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Message};

use super::handle::Refusal;
use super::life::Pulse;
use super::partition_consumer::PartitionConsumer;
use super::progress::TargetIndex;
use super::target_producer::TargetProducer;
use crate::domain::batch::{RecordBatch, SharedBatch};
use crate::domain::fault::Fault;
use crate::domain::note::Note;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::membership::MemberEvent;
use crate::kafka::{ReadEvent, StreamId, TargetTopic, WriteEvent};
use crate::plan::switches::Switches;
use crate::plan::{Plan, RoutePlan};

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

/// The group's word to the route that is a member of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct MemberNews(pub MemberEvent);

/// To a partition consumer: read from here, or not at all.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Seek(pub Option<i64>);

/// To the route: write a target no more, or again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Pause {
    /// Which target.
    pub target: TargetIndex,
    /// Whether it is to rest.
    pub paused: bool,
}

/// To a route: this is what it does from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Change(pub Arc<RoutePlan>);

/// To the supervisor: what somebody wants done.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Refusal>")]
pub enum Order {
    /// Switch a route on or off.
    Switch {
        /// Its name.
        route: String,
        /// Whether it is to run.
        enabled: bool,
    },
    /// Pause a target, or resume it.
    Pause {
        /// The route's name.
        route: String,
        /// Which of its targets.
        target: TargetIndex,
        /// Whether it is to rest.
        paused: bool,
    },
    /// Write a target faster, or slower.
    Throttle {
        /// The route's name.
        route: String,
        /// Which of its targets.
        target: TargetIndex,
        /// Bytes per second; `None` is without limit but those around it.
        rate: Option<u64>,
    },
    /// Do what another plan says from now on, with this switched by hand.
    Follow(Box<Plan>, Switches),
}

/// To any actor: a sign of life, please.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ping(pub Arc<Pulse>);

/// A batch that was read, from a partition consumer to the router or to the catch-up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BatchRead {
    /// The records.
    pub batch: RecordBatch,
    /// Which life of the consumer read them; those of an older one are of no interest.
    pub generation: u64,
}

/// Whether a partition can be read. The consumer tries again by itself, but where it is lost.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadState {
    /// The one target that the read is for; `None` for the shared read.
    pub target: Option<TargetIndex>,
    /// The source partition.
    pub partition: TopicPartition,
    /// Why it can't be read, if it can't.
    pub fault: Option<Fault>,
    /// Whether the source does not have what comes next: the consumer has stopped, and does not try again.
    pub lost: bool,
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
    /// Which life of it.
    pub generation: u64,
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

/// To the router: the route has so many targets now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Everybody(pub usize);

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
    /// What is kept with the watermark.
    pub note: Note,
}

/// To a target producer: let go of this source partition, which is to be another process's, or looked at anew.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Release {
    /// Which.
    pub partition: TopicPartition,
    /// What of it is finished first.
    pub finish: Finish,
}

/// What of a partition is finished before it is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// What the writer has.
    WithWriter,
    /// All that was read: the source may not have it any more.
    Read,
}

/// From a target producer: nothing of a source partition is in flight any more, and its watermark is final.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Released {
    /// Which target.
    pub target: TargetIndex,
    /// Which source partition.
    pub partition: TopicPartition,
    /// Which life of the target.
    pub generation: u64,
}

/// To the router: nobody follows this source partition any more, and its consumer is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forget(pub TopicPartition);

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
    /// When it may ask for the shared read again, however close it is.
    pub not_before: Duration,
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

/// Records that a target did not take, to be written as dead letters.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DeadLetter {
    /// Named again in the answer.
    pub letter: u64,
    /// The records as they were, with headers that tell of their failure.
    pub batch: RecordBatch,
    /// The target topic that they were meant for.
    pub meant_for: Arc<TargetTopic>,
}

/// What became of a [`DeadLetter`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DeadLettered {
    /// Which one.
    pub letter: u64,
    /// The source partition.
    pub partition: TopicPartition,
    /// The topic that they were written to, or why they were refused there, too.
    pub outcome: Result<Arc<str>, Fault>,
}

/// To the route: a target's writer has had its time; give what is with it back, and take a new one.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Renew {
    /// Which target.
    pub target: TargetIndex,
    /// Which life of it.
    pub generation: u64,
}

/// Somebody's child: what is started, watched and made anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// A route.
    Route,
    /// The router.
    Router,
    /// The consumer of a source partition.
    Consumer(TopicPartition),
    /// A target's producer, its catch-up and its dead letters: they live and die together.
    Target(TargetIndex),
}

/// How an actor came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It stopped by itself, and should not have.
    Stopped,
    /// It panicked.
    Panicked,
    /// It handles nothing any more.
    Hung,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stopped, Self::Panicked, Self::Hung];

    /// The name used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::Hung => "hung",
        }
    }
}

/// A child is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChildGone {
    /// Which.
    pub child: Child,
    /// The actor of it that went first: `consumer`, `catch-up`, …
    pub actor: &'static str,
    /// Which life of it; an older one's end is of no interest.
    pub generation: u64,
    /// How.
    pub end: End,
    /// Why, where it stopped with a reason.
    pub fault: Option<Fault>,
}
