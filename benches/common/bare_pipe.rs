//! The bare pipe: what anybody would write with rust-rdkafka to copy a topic once, with sensible settings, and nothing else.
//!
//! It writes as safely as the engine does (idempotent, all replicas), keeps partition, key, headers and timestamp, and
//! ends when all is acknowledged. It has no groups, no fan-out, no bound on memory but librdkafka's own, and no restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

/// What it copies.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The source broker.
    #[arg(long)]
    pub(crate) from: String,
    /// The source topic.
    #[arg(long)]
    pub(crate) topic: String,
    /// The target broker.
    #[arg(long)]
    pub(crate) to: String,
    /// The target topic.
    #[arg(long)]
    pub(crate) to_topic: String,
    /// How the target's batches are compressed.
    #[arg(long)]
    pub(crate) codec: String,
    /// How long a batch waits for more records.
    #[arg(long, default_value_t = LINGER)]
    pub(crate) linger_ms: u32,
    /// Goes on with what is written to the topic, until it is killed.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// What suits a copy of all that is there.
pub(crate) const LINGER: u32 = 10;

impl Arguments {
    /// The words by which a process of this program becomes the pipe.
    pub(crate) fn words(&self) -> Vec<String> {
        let linger = self.linger_ms.to_string();
        let named = [
            ("--from", &self.from),
            ("--topic", &self.topic),
            ("--to", &self.to),
            ("--to-topic", &self.to_topic),
            ("--codec", &self.codec),
            ("--linger-ms", &linger),
        ];
        let follow = self.follow.then_some("--follow");
        let words = named.iter().flat_map(|(name, value)| [*name, value.as_str()]);
        ["pipe"].into_iter().chain(words).chain(follow).map(str::to_owned).collect()
    }
}

/// Counts the acknowledgements.
#[derive(Clone, Default)]
struct Acknowledged(Arc<AtomicI64>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("a record was not written: {error}");
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Sink = ThreadedProducer<Acknowledged>;

/// Copies all that the topic holds now, and what comes later where it follows.
pub(crate) fn run(arguments: &Arguments) {
    let consumer = consumer(&arguments.from);
    let ends = assign(&consumer, &arguments.topic);
    let acknowledged = Acknowledged::default();
    let producer = producer(arguments, acknowledged.clone());
    let mut left = ends.iter().filter(|end| **end > 0).count();
    let mut sent = 0;
    while arguments.follow || left > 0 {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        send(&producer, &arguments.to_topic, &message);
        sent += 1;
        let partition = usize::try_from(message.partition()).unwrap();
        left -= usize::from(message.offset() + 1 == ends[partition]);
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(acknowledged.0.load(Ordering::Relaxed), sent, "not all was acknowledged");
}

fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.set("group.id", "bare-pipe");
    config.set("enable.auto.commit", "false");
    config.set("fetch.queue.backoff.ms", "5"); // the default of a second stalls it
    config.create().unwrap()
}

fn producer(arguments: &Arguments, acknowledged: Acknowledged) -> Sink {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &arguments.to);
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("linger.ms", arguments.linger_ms.to_string());
    config.set("compression.codec", &arguments.codec);
    config.set("queue.buffering.max.messages", "200000");
    config.create_with_context(acknowledged).unwrap()
}

/// Assigns every partition from its beginning, and says where they end.
fn assign(consumer: &BaseConsumer, topic: &str) -> Vec<i64> {
    let timeout = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), timeout).unwrap();
    let partitions = i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
    let mut list = TopicPartitionList::new();
    let end = |partition| {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        consumer.fetch_watermarks(topic, partition, timeout).unwrap().1
    };
    let ends = (0..partitions).map(end).collect();
    consumer.assign(&list).unwrap();
    ends
}

fn send(producer: &Sink, topic: &str, message: &BorrowedMessage<'_>) {
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition());
    record.key = message.key();
    record.payload = message.payload();
    record.timestamp = message.timestamp().to_millis();
    record.headers = message.headers().map(rdkafka::message::BorrowedHeaders::detach);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "a record was not taken");
        std::thread::sleep(Duration::from_millis(1)); // the producer's own thread polls
        record = back;
    }
}
