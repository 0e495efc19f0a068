//! The writer that passes batches on, against brokers that follow a script: whatever they do, each record is written once, in order.
#![allow(clippy::disallowed_methods, reason = "an answer that takes its time is what a broker plays here")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking, and nobody depends on it")]

mod broker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anabranch::domain::batch::{OffsetRange, Payload, RecordBatch, Uncounted};
use anabranch::domain::fault::FaultClass;
use anabranch::domain::limits::TopicLimits;
use anabranch::domain::raw::{Offsets, Raw};
use anabranch::domain::routing::Partitioning;
use anabranch::domain::topic_partition::TopicPartition;
use anabranch::format::{Codec, Encoder, RawBatch};
use anabranch::kafka::{Part, Refusal, TargetTopic, Write, WriteEvent, Writer};
use anabranch::plan::{ClusterSpec, Security};
use anabranch::wire::writer::WireWriter;

use broker::{BAD, Brokers, PARTITIONS, TOPIC, Whim};

const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS_PER_BATCH: usize = 5;

/// A number of a sequence that is the same every time.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn spec(brokers: &Brokers) -> ClusterSpec {
    ClusterSpec {
        alias: "scripted".to_owned(),
        bootstrap: brokers.bootstrap(),
        region: None,
        security: Security::default(),
        client: BTreeMap::from([("socket.timeout.ms".to_owned(), "3000".to_owned())]),
        write_bandwidth: None,
        read_bandwidth: None,
    }
}

/// A batch of a partition, with its values: `<ticket>.<n>`, but for those that are bad.
fn batch(values: &[Vec<u8>]) -> RawBatch {
    let mut encoder = Encoder::new(Codec::Lz4);
    for value in values {
        encoder.push(1_700_000_000_000, None, Some(value), std::iter::empty());
    }
    encoder.finish().unwrap()
}

/// What is written to one partition: by ticket, what comes with it.
#[derive(Default)]
struct Feed {
    batches: BTreeMap<u64, (Arc<RecordBatch>, Vec<Vec<u8>>)>,
    under_way: usize,
    /// What was refused, by ticket: to be written again, one by one, once nothing is under way.
    back: BTreeMap<u64, VecDeque<u32>>,
    next: i64,
}

/// The writer, and what it was given: what came back goes again before anything new does, as in the engine.
struct Bench {
    writer: WireWriter,
    events: Receiver<WriteEvent>,
    topic: Arc<TargetTopic>,
    feeds: Vec<Feed>,
    tickets: u64,
    heard: u64,
}

impl Bench {
    fn new(brokers: &Brokers) -> Self {
        let (sender, events) = channel();
        let sink = Arc::new(move |event| sender.send(event).unwrap_or_default());
        let topic = TargetTopic {
            name: TOPIC.into(),
            partitions: PARTITIONS,
            partitioning: Partitioning::Keep,
            limits: TopicLimits::default(),
        };
        Self {
            writer: WireWriter::open(&spec(brokers), sink, Arc::default()).unwrap(),
            events,
            topic: Arc::new(topic),
            feeds: (0..PARTITIONS).map(|_| Feed::default()).collect(),
            tickets: 0,
            heard: 0,
        }
    }

    /// Writes one ticket of `count` batches to a partition.
    fn write(&mut self, partition: usize, count: usize, with_bad: bool) {
        self.tickets += 1;
        let feed = &mut self.feeds[partition];
        let (mut raw, mut all, start) = (Raw::default(), Vec::new(), feed.next);
        for at in 0..count {
            let mut values: Vec<Vec<u8>> =
                (0..RECORDS_PER_BATCH).map(|n| format!("{}.{at}.{n}", self.tickets).into_bytes()).collect();
            if with_bad && at == 0 {
                values[2] = BAD.to_vec();
            }
            raw.push(batch(&values), Offsets::From(feed.next));
            feed.next += i64::try_from(values.len()).unwrap();
            all.extend(values);
        }
        let range = OffsetRange { start, end: feed.next };
        let partition = TopicPartition::new(TOPIC, i32::try_from(partition).unwrap());
        let batch = RecordBatch::new(partition, range, Payload::Raw(raw), Box::new(Uncounted(u64::MAX)));
        let batch = Arc::new(batch);
        feed.batches.insert(self.tickets, (batch.clone(), all));
        feed.under_way += 1;
        self.writer.write(Write {
            ticket: self.tickets,
            batch,
            part: Part::In(range),
            topic: self.topic.clone(),
            heard: self.heard,
        });
    }

    /// Waits for one result; what was refused for what is in it, alone, is left out from then on.
    fn hear(&mut self) {
        match self.events.recv_timeout(PATIENCE).expect("it is written in time") {
            WriteEvent::Written { ticket, refused } => self.written(ticket, &refused),
            WriteEvent::Fatal(fault) => panic!("{fault}"),
            WriteEvent::Trouble(_) | WriteEvent::Throttled(_) => {}
        }
    }

    fn written(&mut self, ticket: u64, refused: &[Refusal]) {
        let feed = self.feeds.iter_mut().find(|feed| feed.batches.contains_key(&ticket)).unwrap();
        feed.under_way -= 1;
        self.heard += u64::from(!refused.is_empty());
        match feed.back.get_mut(&ticket) {
            // an attempt with its first record alone
            Some(left) => match refused {
                [] => drop(left.pop_front()),
                [one] if one.fault.class == FaultClass::Record => drop(left.pop_front()),
                _ => {}
            },
            None if refused.is_empty() => {}
            None => drop(feed.back.insert(ticket, refused.iter().map(|one| one.position).collect())),
        }
        feed.back.retain(|_, left| !left.is_empty());
        if feed.under_way == 0
            && let Some((ticket, left)) = feed.back.first_key_value()
        {
            let (ticket, only) = (*ticket, vec![left[0]]);
            let batch = feed.batches[&ticket].0.clone();
            feed.under_way += 1;
            self.writer.write(Write {
                ticket,
                batch,
                part: Part::Only(only),
                topic: self.topic.clone(),
                heard: self.heard,
            });
        }
    }

    fn may_write(&self, partition: usize, window: usize) -> bool {
        self.feeds[partition].back.is_empty() && self.feeds[partition].under_way < window
    }

    fn is_done(&self) -> bool {
        self.feeds.iter().all(|feed| feed.under_way == 0)
    }

    /// What has to be there.
    fn expected(&self, partition: usize) -> Vec<String> {
        let all = self.feeds[partition].batches.values().flat_map(|(_, values)| values);
        all.filter(|value| *value != BAD).map(|value| String::from_utf8(value.clone()).unwrap()).collect()
    }
}

/// Writes `tickets` to brokers that follow a script, and compares.
fn compare(script: impl FnMut() -> Whim + Send + 'static, tickets: u64, seed: u64, one_bad_in: u64) {
    compare_within(8, script, tickets, seed, one_bad_in);
}

/// The same, with at most `window` writes under way to each partition.
fn compare_within(
    window: usize,
    script: impl FnMut() -> Whim + Send + 'static,
    tickets: u64,
    mut seed: u64,
    one_bad_in: u64,
) {
    let brokers = Brokers::start(script);
    let mut bench = Bench::new(&brokers);
    while bench.tickets < tickets || !bench.is_done() {
        let partition = usize::try_from(random(&mut seed) % u64::from(PARTITIONS.unsigned_abs())).unwrap();
        if bench.tickets < tickets && bench.may_write(partition, window) {
            let with_bad = one_bad_in > 0 && random(&mut seed).is_multiple_of(one_bad_in);
            let count = 1 + usize::try_from(random(&mut seed) % 3).unwrap();
            bench.write(partition, count, with_bad);
        } else {
            bench.hear();
        }
    }
    bench.writer.close();
    for partition in 0..PARTITIONS {
        let written = brokers.values(partition).into_iter().map(|value| String::from_utf8(value).unwrap());
        let (written, expected): (Vec<String>, _) =
            (written.collect(), bench.expected(usize::try_from(partition).unwrap()));
        assert!(!expected.is_empty());
        assert_eq!(written, expected, "partition {partition}");
    }
}

/// Now and then one of these, and else what has to be done.
fn now_and_then(whims: &'static [Whim], one_in: u64, mut seed: u64) -> impl FnMut() -> Whim + Send {
    move || {
        let at = random(&mut seed);
        if at.is_multiple_of(one_in) {
            whims[usize::try_from(random(&mut seed)).unwrap_or(0) % whims.len()]
        } else {
            Whim::Take
        }
    }
}

/// Each script several times, all at the same time: they mostly wait.
fn each_seed(run: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for seed in 1..=8_u64 {
            let run = &run;
            scope.spawn(move || run(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        }
    });
}

#[test]
fn what_is_lost_on_the_way_is_written_once() {
    const WHIMS: &[Whim] =
        &[Whim::LoseRequest, Whim::LoseAnswer, Whim::HalfAnAnswer, Whim::Twice, Whim::WrongNumber, Whim::Late];
    each_seed(|seed| compare(now_and_then(WHIMS, 12, seed), 150, seed, 0));
}

#[test]
fn what_is_denied_for_a_moment_or_written_without_a_word_of_it_is_written_once() {
    /// No answer in time, too few replicas before and after it was written, a disk that fails, one that leads no more or not yet.
    const WHIMS: &[Whim] = &[
        Whim::Deny(7),
        Whim::Deny(19),
        Whim::Deny(56),
        Whim::Deny(6),
        Whim::Deny(74),
        Whim::Lie(7),
        Whim::Lie(20),
        Whim::Lie(13),
        Whim::Resign,
    ];
    each_seed(|seed| compare(now_and_then(WHIMS, 8, seed), 200, seed, 0));
}

#[test]
fn a_number_out_of_order_or_of_a_producer_that_nobody_knows_begins_anew() {
    const WHIMS: &[Whim] = &[Whim::Muddle(45), Whim::Muddle(59), Whim::Lie(46), Whim::LoseAnswer];
    each_seed(|seed| compare(now_and_then(WHIMS, 10, seed), 200, seed, 0));
}

#[test]
fn what_waits_behind_slow_answers_goes_in_fewer_requests() {
    const TICKETS: u64 = 600;
    let requests = Arc::new(AtomicU64::new(0));
    let counted = requests.clone();
    let slow = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Whim::Late
    };
    compare_within(usize::MAX, slow, TICKETS, 7, 0);
    // of a ticket's two batches on average, each would take a request, which it shares with one other partition at the most
    let requests = requests.load(Ordering::Relaxed);
    assert!(requests < TICKETS / 4, "{requests} requests");
}

#[test]
fn a_broker_works_for_two_partitions_at_the_same_time() {
    let brokers = Brokers::start(|| Whim::Late);
    let mut bench = Bench::new(&brokers);
    for _ in 0..20 {
        // both are led by the first broker
        bench.write(0, 1, false);
        bench.write(2, 1, false);
    }
    while !bench.is_done() {
        bench.hear();
    }
    assert_eq!(brokers.most_at_once(), 2);
}

#[test]
fn a_record_that_is_refused_takes_nothing_with_it_whatever_else_happens() {
    const WHIMS: &[Whim] =
        &[Whim::Lie(7), Whim::LoseAnswer, Whim::LoseRequest, Whim::Resign, Whim::Deny(7), Whim::Late];
    each_seed(|seed| compare(now_and_then(WHIMS, 12, seed), 120, seed, 9));
}
