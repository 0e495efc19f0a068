//! Clusters inside this process, for the demo: librdkafka's own mock, a client to fill it, and one to look into it.
//!
//! The mock has no admin API and trims a partition's log at 5 MiB without a word: good for a show, not for truth.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::domain::fault::{Fault, FaultClass};

const BROKER: i32 = 1;

/// A cluster of one broker inside this process.
pub struct MockRegion {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// A record as the demo writes and reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoRecord {
    /// The partition.
    pub partition: i32,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The value of its one header.
    pub header: Vec<u8>,
}

const HEADER: &str = "trace";

impl MockRegion {
    /// Starts a cluster.
    pub fn start() -> Result<Self, Fault> {
        Ok(Self { cluster: MockCluster::new(1).map_err(|error| fault("a mock cluster can't be started", &error))? })
    }

    /// Its `host:port`.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Fault> {
        self.cluster.create_topic(name, partitions, 1).map_err(|error| fault("a topic can't be created", &error))
    }

    /// Takes the broker down: connections are cut and refused.
    pub fn down(&self) -> Result<(), Fault> {
        self.cluster.broker_down(BROKER).map_err(|error| fault("the broker can't be taken down", &error))
    }

    /// Brings the broker back.
    pub fn up(&self) -> Result<(), Fault> {
        self.cluster.broker_up(BROKER).map_err(|error| fault("the broker can't be brought back", &error))
    }
}

/// A client that keeps its troubles to itself: in the demo they are part of the show.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

impl ProducerContext for Silent {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// Fills a topic of a mock cluster.
pub struct DemoSource {
    producer: BaseProducer<Silent>,
}

impl DemoSource {
    /// A client for the cluster at this address.
    pub fn connect(bootstrap: &str) -> Result<Self, Fault> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("compression.codec", "lz4").set("linger.ms", "20");
        let producer =
            config.create_with_context(Silent).map_err(|error| fault("the demo's producer can't be made", &error))?;
        Ok(Self { producer })
    }

    /// Writes a record to a topic.
    pub fn write(&self, topic: &str, record: &DemoRecord) -> Result<(), Fault> {
        let headers = OwnedHeaders::new().insert(Header { key: HEADER, value: Some(&record.header) });
        let base = BaseRecord::to(topic)
            .partition(record.partition)
            .timestamp(record.timestamp)
            .key(&record.key)
            .payload(&record.value)
            .headers(headers);
        self.producer.send(base).map_err(|(error, _)| fault("the demo's record was refused", &error))?;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until everything is written.
    pub fn flush(&self) -> Result<(), Fault> {
        self.producer
            .flush(Duration::from_secs(10))
            .map_err(|error| fault("the demo's records are not written", &error))
    }
}

/// Reads a topic of a mock cluster up to its end, each partition in order.
pub fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Result<Vec<DemoRecord>, Fault> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let doing = "the copy can't be read back";
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "demo").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Silent> = config.create_with_context(Silent).map_err(|error| fault(doing, &error))?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).map_err(|error| fault(doing, &error))?;
    }
    consumer.assign(&assignment).map_err(|error| fault(doing, &error))?;
    let (mut records, mut ended) = (Vec::new(), HashSet::new());
    while ended.len() < usize::try_from(partitions).unwrap_or(0) {
        match consumer.poll(PATIENCE) {
            None => return Err(Fault::new(FaultClass::System, format!("{doing}: no answer"))),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(_)) => {}
            Some(Ok(message)) => records.push(DemoRecord {
                partition: message.partition(),
                timestamp: message.timestamp().to_millis().unwrap_or(-1),
                key: message.key().unwrap_or_default().to_vec(),
                value: message.payload().unwrap_or_default().to_vec(),
                header: message
                    .headers()
                    .and_then(|headers| headers.try_get(0))
                    .and_then(|header| header.value)
                    .unwrap_or_default()
                    .to_vec(),
            }),
        }
    }
    Ok(records)
}

fn fault(doing: &str, error: &KafkaError) -> Fault {
    Fault::new(FaultClass::System, format!("{doing}: {error}"))
}
