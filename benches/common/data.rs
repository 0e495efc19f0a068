//! The data sets, and the source topics that hold them.

use std::fmt::Write;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::support::cluster::Cluster;
use super::support::topic::Topic;

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 8;

/// What the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DataSet {
    /// 512 random bytes without a key, not compressed.
    Random,
    /// JSON of 400 to 500 bytes with a key and a header, compressed by lz4.
    Json,
    /// The same, compressed by zstd.
    JsonZstd,
    /// As `json`, but in batches of one to three records, as of a producer that waits for nothing.
    Small,
}

impl DataSet {
    /// Its name, which is its topic's too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Json => "json",
            Self::JsonZstd => "json-zstd",
            Self::Small => "small",
        }
    }

    /// How its batches are compressed, at the source and at the target.
    pub(crate) const fn codec(self) -> &'static str {
        match self {
            Self::Random => "none",
            Self::Json | Self::Small => "lz4",
            Self::JsonZstd => "zstd",
        }
    }

    /// How many records it has where so many were asked for: small batches take long to write, and JSON that is compressed would be
    /// copied so soon that much of it was the start of who copies.
    pub(crate) fn records(self, asked: u32) -> u32 {
        match self {
            Self::Random => asked,
            Self::Json | Self::JsonZstd => 2 * asked,
            Self::Small => asked.div_ceil(5),
        }
    }

    /// Whether its records have keys.
    pub(crate) fn has_keys(self) -> bool {
        self != Self::Random
    }

    /// Makes the source topic, and fills it.
    pub(crate) fn fill(self, source: &Cluster, records: u32) -> Topic {
        let topic = source.topic(self.name()).create(PARTITIONS);
        let producers = self.producers(source);
        let mut random = Random(42);
        let (mut key, mut value) = (String::new(), Vec::new());
        for id in 0..records {
            self.value(id, &mut random, &mut value);
            let partition = id % PARTITIONS.unsigned_abs();
            let mut record = BaseRecord::<str, [u8]>::to(self.name()).payload(&value);
            record = record.partition(i32::try_from(partition).unwrap()).timestamp(1_750_000_000_000 + i64::from(id));
            if self.has_keys() {
                key.clear();
                write!(key, "order-{}", id % 100_000).unwrap();
                let header = Header { key: "trace-id", value: Some(&format!("{:016x}", random.next())) };
                record = record.key(key.as_str()).headers(OwnedHeaders::new().insert(header));
            }
            let producer = &producers[partition as usize % producers.len()];
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
        }
        for producer in producers {
            producer.flush(Duration::from_secs(120)).unwrap();
        }
        assert_eq!(topic.end(), i64::from(records), "the source topic is not filled");
        topic
    }

    /// Those who take turns with the partitions; for small batches one of each size.
    fn producers(self, source: &Cluster) -> Vec<ThreadedProducer<DefaultProducerContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", source.bootstrap()).set("enable.idempotence", "true");
        config.set("compression.codec", self.codec());
        if self == Self::Small {
            config.set("linger.ms", "0");
            let sized = |records: u32| config.clone().set("batch.num.messages", records.to_string()).create().unwrap();
            return (1..=3).map(sized).collect();
        }
        config.set("linger.ms", "50").set("batch.size", "131072");
        vec![config.create().unwrap()]
    }

    fn value(self, id: u32, random: &mut Random, value: &mut Vec<u8>) {
        value.clear();
        match self {
            Self::Random => value.extend((0..64).flat_map(|_| random.next().to_le_bytes())),
            Self::Json | Self::JsonZstd | Self::Small => value.extend_from_slice(order(id, random).as_bytes()),
        }
    }
}

/// An order, as a shop would publish it.
fn order(id: u32, random: &mut Random) -> String {
    const CITIES: [&str; 6] = ["Guangzhou", "Shanghai", "Beijing", "Chengdu", "Singapore", "Frankfurt"];
    const STATES: [&str; 4] = ["created", "paid", "shipped", "delivered"];
    const ARTICLES: [&str; 5] = ["kettle", "notebook, ruled", "desk lamp", "umbrella", "bicycle bell"];
    let mut items = String::new();
    for at in 0..2 + random.below(2) {
        let (comma, article) = (if at > 0 { "," } else { "" }, random.of(&ARTICLES));
        let (sku, count, cents) = (random.below(1_000_000), 1 + random.below(5), random.below(20_000));
        write!(items, r#"{comma}{{"sku":"A-{sku:06}","name":"{article}","quantity":{count},"price_cents":{cents}}}"#)
            .unwrap();
    }
    let (uuid, customer, city, state) =
        (random.next(), random.below(5_000_000), random.of(&CITIES), random.of(&STATES));
    format!(
        r#"{{"id":{id},"event":"{uuid:016x}","state":"{state}","customer":{{"id":{customer},"city":"{city}","tier":{}}},"items":[{items}],"currency":"CNY","created_at":"2026-06-{:02}T{:02}:{:02}:{:02}.{:03}Z","source":"web-checkout","version":3,"flags":{{"gift":false,"express":true}}}}"#,
        random.below(4),
        1 + random.below(28),
        random.below(24),
        random.below(60),
        random.below(60),
        random.below(1000),
    )
}

/// `SplitMix64`: the same records every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[usize::try_from(self.below(among.len() as u64)).unwrap()]
    }
}
