//! The measuring of latency: one process writes and reads, by one clock, and adds no waits of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::common::support::seconds;
use super::common::support::topic::Topic;

/// How large a record is.
const SIZE: usize = 512;

/// The time by the one clock.
pub(crate) fn now() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed()
}

/// Writes records that carry the time at which they were written.
pub(crate) struct Speaker {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl Speaker {
    /// Into a topic.
    pub(crate) fn new(topic: &Topic) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &topic.bootstrap).set("linger.ms", "0").set("socket.nagle.disable", "true");
        // not idempotent: no more than five requests would be under way then, and each has one partition
        config.set("enable.idempotence", "false").set("max.in.flight.requests.per.connection", "1000");
        Self { producer: config.create().unwrap(), topic: topic.name.clone() }
    }

    /// Writes a record now.
    pub(crate) fn say(&self, partition: i32) {
        let mut value = [0; SIZE];
        let time = u64::try_from(now().as_nanos()).unwrap();
        value[..8].copy_from_slice(&time.to_be_bytes());
        let record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition).payload(&value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Waits until all is acknowledged.
    pub(crate) fn flush(&self) {
        self.producer.flush(seconds(180)).unwrap();
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When it was written.
    pub(crate) sent: Duration,
    /// How long after that it was read.
    pub(crate) after: Duration,
}

/// Reads a topic from its beginning, on a thread that does nothing else.
pub(crate) struct Listener {
    arrivals: Receiver<Arrival>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Begins.
    pub(crate) fn new(topic: &Topic, partitions: i32) -> Self {
        let consumer = consumer(topic, partitions);
        let (sender, arrivals) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // returns as soon as there is something
                let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                // the client mends a lost connection by itself; records that do not come are missed by who waits for them
                let Ok(message) = message else { continue };
                let time = message.payload().unwrap()[..8].try_into().unwrap();
                let sent = Duration::from_nanos(u64::from_be_bytes(time));
                sender.send(Arrival { sent, after: now().saturating_sub(sent) }).ok();
            }
        });
        Self { arrivals, stop, thread: Some(thread) }
    }

    /// The next records; panics when they do not come in time.
    pub(crate) fn hear(&self, count: usize, deadline: Duration) -> Vec<Arrival> {
        let end = now() + deadline;
        let next = |heard| {
            let left = end.saturating_sub(now());
            self.arrivals
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("{heard} of {count} records within {deadline:?}"))
        };
        (0..count).map(next).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn consumer(topic: &Topic, partitions: i32) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &topic.bootstrap).set("group.id", "probe").set("enable.auto.commit", "false");
    // its default of a second would hold up a partition whose queue was full
    config.set("fetch.queue.backoff.ms", "0").set("socket.nagle.disable", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(&topic.name, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}

/// How long records took, in order.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Of these.
    pub(crate) fn of(arrivals: impl IntoIterator<Item = Arrival>) -> Self {
        let mut all: Vec<Duration> = arrivals.into_iter().map(|arrival| arrival.after).collect();
        assert!(!all.is_empty(), "nothing was measured");
        all.sort();
        Self(all)
    }

    /// The milliseconds within which so many of a thousand were there.
    pub(crate) fn within(&self, per_mille: usize) -> f64 {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        self.0[rank - 1].as_secs_f64() * 1e3
    }
}
