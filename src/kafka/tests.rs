//! The seams against librdkafka's mock cluster: what is counted on the way, and what is told when a thread dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::admin::Admin;
use super::reader::KafkaReader;
use super::writer::KafkaWriter;
use super::{Part, ReadEvent, ReadSink, Reader, StreamId, TargetTopic, Write, WriteEvent, WriteSink, Writer};
use crate::domain::batch::{OffsetRange, Payload, RecordBatch, Uncounted};
use crate::domain::fault::FaultClass;
use crate::domain::records::Records;
use crate::domain::routing::Partitioning;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::{BatchLimits, ClusterSpec, Security};

const PATIENCE: Duration = Duration::from_secs(20);
const TOPIC: &str = "letters";
const BROKER: i32 = 1;

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster
}

fn spec(bootstrap: String, client: &[(&str, &str)]) -> ClusterSpec {
    ClusterSpec {
        alias: "mock".to_owned(),
        bootstrap: vec![bootstrap],
        region: None,
        security: Security::default(),
        client: client.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        write_bandwidth: None,
        read_bandwidth: None,
    }
}

/// A write of `count` records of `size` bytes.
fn write(ticket: u64, count: i64, size: usize) -> Write {
    let mut records = Records::default();
    for offset in 0..count {
        records.push(offset, 1_700_000_000_000 + offset, None, Some(&vec![b'x'; size]), std::iter::empty());
    }
    let range = OffsetRange { start: 0, end: count };
    let from = TopicPartition::new(TOPIC, 0);
    let batch = Arc::new(RecordBatch::new(from, range, Payload::Records(records), Box::new(Uncounted(u64::MAX))));
    let limits = crate::domain::limits::TopicLimits::default();
    let topic = TargetTopic { name: TOPIC.into(), partitions: 2, partitioning: Partitioning::Keep, limits };
    Write { ticket, batch, part: Part::In(range), topic: Arc::new(topic), heard: 0 }
}

fn write_events() -> (WriteSink, Receiver<WriteEvent>) {
    let (sender, events) = channel();
    (Arc::new(move |event| sender.send(event).unwrap_or_default()), events)
}

fn read_events() -> (ReadSink, Receiver<(StreamId, ReadEvent)>) {
    let (sender, events) = channel();
    (Arc::new(move |stream, event| sender.send((stream, event)).unwrap_or_default()), events)
}

fn limits() -> BatchLimits {
    BatchLimits { max_messages: 1000, max_wait: Duration::from_millis(5), max_bytes: 1 << 20 }
}

fn wait_until_written(events: &Receiver<WriteEvent>, tickets: usize) {
    let mut written = 0;
    while written < tickets {
        match events.recv_timeout(PATIENCE).expect("it is written in time") {
            WriteEvent::Written { refused, .. } => {
                assert!(refused.is_empty());
                written += 1;
            }
            WriteEvent::Trouble(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bytes_on_the_wire_are_those_of_the_records_and_little_more() {
    const PAYLOAD: u64 = 4 * 500 * 1000;
    let cluster = cluster();
    let spec = spec(cluster.bootstrap_servers(), &[("compression.codec", "none")]);
    let (sink, events) = write_events();
    let writer = KafkaWriter::open(&spec, sink).unwrap();
    assert_eq!((writer.wire_bytes(), writer.timed_out()), (0, 0));
    for ticket in 0..4 {
        writer.write(write(ticket, 500, 1000));
    }
    wait_until_written(&events, 4);
    let about = PAYLOAD..PAYLOAD + PAYLOAD / 20;
    assert!(about.contains(&writer.wire_bytes()), "{} bytes were written", writer.wire_bytes());
    assert_eq!(writer.timed_out(), 0);
    writer.close();

    let reader = KafkaReader::open(&spec, limits(), 1 << 20).unwrap();
    let (sink, events) = read_events();
    let stream = StreamId(1);
    reader.start(stream, TopicPartition::new(TOPIC, 0), 0, sink);
    let mut records = 0;
    while records < 2000 {
        match events.recv_timeout(PATIENCE).expect("it is read in time").1 {
            ReadEvent::Batch { batch, more } => {
                records += batch.payload.record_count();
                if more {
                    reader.read(stream, Box::new(Uncounted(1 << 20)));
                }
            }
            ReadEvent::Readable => reader.read(stream, Box::new(Uncounted(1 << 20))),
            ReadEvent::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    // the mock answers in whole batches, and may send one again of which the client had no room for all
    let about = PAYLOAD..PAYLOAD * 2;
    assert!(about.contains(&reader.wire_bytes()), "{} bytes were read", reader.wire_bytes());
    assert_eq!(reader.throttled_ms(), 0);
}

#[test]
fn requests_that_time_out_are_counted() {
    let cluster = cluster();
    let client = [("socket.timeout.ms", "500"), ("topic.metadata.refresh.interval.ms", "200")];
    let spec = spec(cluster.bootstrap_servers(), &client);
    let (sink, events) = write_events();
    let writer = KafkaWriter::open(&spec, sink).unwrap();
    writer.write(write(0, 1, 10));
    wait_until_written(&events, 1);
    cluster.broker_round_trip_time(BROKER, Duration::from_secs(2)).unwrap();
    writer.write(write(1, 1, 10));
    while !matches!(events.recv_timeout(PATIENCE).expect("the client tells of trouble"), WriteEvent::Trouble(_)) {}
    cluster.broker_round_trip_time(BROKER, Duration::ZERO).unwrap();
    wait_until_written(&events, 1);
    assert!(writer.timed_out() > 0);
}

#[test]
fn a_panic_of_the_readers_thread_is_told_to_every_stream() {
    let cluster = cluster();
    let spec = spec(cluster.bootstrap_servers(), &[]);
    let (sink, events) = write_events();
    let writer = KafkaWriter::open(&spec, sink).unwrap();
    let reader = KafkaReader::open(&spec, limits(), 1 << 20).unwrap();
    let (sink, told) = read_events();
    let panics = AtomicBool::new(true);
    let pass_on = sink.clone();
    let bad: ReadSink = Arc::new(move |stream, event| {
        assert!(!panics.swap(false, Relaxed), "the test asks for it");
        pass_on(stream, event);
    });
    reader.start(StreamId(1), TopicPartition::new(TOPIC, 0), 0, bad);
    reader.start(StreamId(2), TopicPartition::new(TOPIC, 1), 0, sink.clone());
    reader.start(StreamId(3), TopicPartition::new(TOPIC, 1), 0, sink.clone());
    reader.stop(StreamId(3));
    writer.write(write(0, 1, 10));
    wait_until_written(&events, 1);
    let mut failed = Vec::new();
    while failed.len() < 2 {
        if let (stream, ReadEvent::Failed(fault)) = told.recv_timeout(PATIENCE).expect("they are told") {
            assert_eq!(fault.class, FaultClass::Crash);
            assert!(fault.reason.contains("`read mock` panicked: the test asks for it"), "{fault}");
            failed.push(stream.0);
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [1, 2], "but not one that was stopped");
    reader.start(StreamId(4), TopicPartition::new(TOPIC, 1), 0, sink);
    let (stream, event) = told.recv_timeout(PATIENCE).expect("it is told at once");
    assert!(stream == StreamId(4) && matches!(event, ReadEvent::Failed(_)), "{event:?}");
}

#[test]
fn a_panic_of_the_writers_thread_is_fatal() {
    let cluster = cluster();
    let (sink, events) = write_events();
    let panics = AtomicBool::new(true);
    let bad: WriteSink = Arc::new(move |event| {
        assert!(!panics.swap(false, Relaxed), "the test asks for it");
        sink(event);
    });
    let writer = KafkaWriter::open(&spec(cluster.bootstrap_servers(), &[]), bad).unwrap();
    writer.write(write(0, 1, 10));
    let WriteEvent::Fatal(fault) = events.recv_timeout(PATIENCE).expect("it is told") else { panic!("it goes on") };
    assert_eq!(fault.class, FaultClass::Crash);
    assert!(fault.reason.contains("`write mock` panicked: the test asks for it"), "{fault}");
    writer.close();
}

#[test]
fn a_cluster_is_waited_for_until_it_answers() {
    let cluster = cluster();
    let spec = spec(cluster.bootstrap_servers(), &[]);
    let answers = |longest| Admin::wait_until_it_answers(&spec, longest);
    assert!(answers(PATIENCE));
    cluster.broker_down(BROKER).unwrap();
    assert!(!answers(Duration::from_millis(300)));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| answers(PATIENCE));
        assert!(!answers(Duration::from_millis(300)));
        cluster.broker_up(BROKER).unwrap();
        assert!(waits.join().unwrap());
    });
}
