//! A target's attempts at a record that it refuses, on paused time: the real actors between a reader and a writer that do as
//! they are told. What needs a broker is in the end-to-end tests; no broker can wait for hours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, System};
use anabranch::config::load_str;
use anabranch::domain::batch::{OffsetRange, Payload, Permit, RecordBatch};
use anabranch::domain::fault::{Fault, FaultClass};
use anabranch::domain::limits::TopicLimits;
use anabranch::domain::note::Note;
use anabranch::domain::records::Records;
use anabranch::domain::routing::Partitioning;
use anabranch::domain::topic_partition::TopicPartition;
use anabranch::engine::catch_up::{CatchUp, Params as CatchUpParams};
use anabranch::engine::dead_letter_producer::{DeadLetterProducer, Params as LetterParams};
use anabranch::engine::death_watch::DeathWatch;
use anabranch::engine::events::Events;
use anabranch::engine::flow::{Flow, Gate, Lane, Urgency};
use anabranch::engine::lasting::{Lasting, SharedLimits};
use anabranch::engine::letters::Story;
use anabranch::engine::life::{Life, Rounds};
use anabranch::engine::messages::{
    Adopt, ChildGone, ConsumerReady, DeadLettered, Drained, ReadState, Released, Renew, TargetReady, WriteNews,
};
use anabranch::engine::pacer::Pacer;
use anabranch::engine::partition_consumer::{Params as ConsumerParams, PartitionConsumer};
use anabranch::engine::retries::spread;
use anabranch::engine::router::Router;
use anabranch::engine::target_producer::{Equipment, Owner, Params as ProducerParams, TargetProducer};
use anabranch::kafka::{
    Part, Permits, ReadEvent, ReadSink, Reader, Refusal, StreamId, TargetTopic, Write, WriteEvent, Writer,
};
use anabranch::plan::RoutePlan;
use tokio::time::Instant;

/// How many records there are, and the one that is refused.
const RECORDS: i64 = 10;
const BAD: i64 = 5;

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// Gives all records from where it is told to start, in one batch, with a permit that it was lent.
#[derive(Default)]
struct Source(Mutex<BTreeMap<u64, (i64, ReadSink)>>);

impl Reader for Source {
    fn start(&self, stream: StreamId, _: TopicPartition, from: i64, sink: ReadSink) {
        self.0.lock().unwrap().insert(stream.0, (from, sink));
    }

    fn lend(&self, stream: StreamId, permits: Permits) {
        if self.0.lock().unwrap()[&stream.0].0 < RECORDS {
            self.read(stream, permits().unwrap());
        }
    }

    fn read(&self, stream: StreamId, permit: Box<dyn Permit>) {
        let Some((from, sink)) = self.0.lock().unwrap().get(&stream.0).cloned() else { return };
        let mut records = Records::default();
        for offset in from..RECORDS {
            records.push(offset, 1, Some(b"k"), Some(b"v"), std::iter::empty());
        }
        let range = OffsetRange { start: from, end: RECORDS };
        let batch = RecordBatch::new(partition(), range, Payload::Records(records), permit);
        sink(stream, ReadEvent::Batch { batch, more: false });
    }

    fn stop(&self, stream: StreamId) {
        self.0.lock().unwrap().remove(&stream.0);
    }

    fn wire_bytes(&self) -> u64 {
        0
    }

    fn throttled_ms(&self) -> u64 {
        0
    }
}

/// Refuses every write with the bad record in it, whole, and notes when it was offered that record alone.
struct Target {
    producer: Addr<TargetProducer>,
    alone: Arc<Mutex<Vec<Instant>>>,
}

impl Writer for Target {
    fn write(&self, write: Write) {
        let payload = &write.batch.payload;
        let positions: Vec<u32> = match &write.part {
            Part::In(range) => payload.positions_in(*range).map(|position| u32::try_from(position).unwrap()).collect(),
            Part::Only(positions) => positions.clone(),
        };
        let bad = |position: &u32| payload.offset_at(*position) == Some(BAD);
        let mut refused = Vec::new();
        if positions.iter().any(bad) {
            let fault = Fault::new(FaultClass::Record, "it does not like it");
            refused = positions.iter().map(|at| Refusal { position: *at, fault: fault.clone() }).collect();
            if positions.len() == 1 {
                self.alone.lock().unwrap().push(Instant::now());
            }
        }
        self.producer.do_send(WriteNews(WriteEvent::Written { ticket: write.ticket, refused }));
    }

    fn close(&self) {}

    fn wire_bytes(&self) -> u64 {
        0
    }

    fn timed_out(&self) -> u64 {
        0
    }
}

/// Whoever else there ought to be.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

macro_rules! ignores {
    ($($message:ty),*) => {$(
        impl Handler<$message> for Nobody {
            type Result = ();
            fn handle(&mut self, _: $message, _: &mut Self::Context) {}
        }
    )*};
}

ignores!(Drained, Released, Renew, ChildGone, ReadState, DeadLettered);

/// A route with one partition and one target, which may live several times.
struct Stage {
    plan: Arc<RoutePlan>,
    lasting: Lasting,
    router: Life<Router>,
    _consumer: Life<PartitionConsumer>,
    own: Lane,
    nobody: Addr<Nobody>,
    alone: Arc<Mutex<Vec<Instant>>>,
    cast: Option<(Life<TargetProducer>, Life<CatchUp>, Life<DeadLetterProducer>)>,
    generation: u64,
}

fn unwatched() -> DeathWatch {
    DeathWatch::new(|_| {})
}

impl Stage {
    fn set(retry: &str) -> Self {
        let config = format!(
            "{{ clusters: {{ here: {{ bootstrap: [\"a:1\"] }}, there: {{ bootstrap: [\"127.0.0.1:1\"] }} }}, retry: {{ {retry} }},
               routes: {{ orders: {{ from: here, topics: {{ include: [orders] }}, to: {{ there: {{}} }} }} }} }}"
        );
        let plan = load_str(&config, Path::new(""), &BTreeMap::new()).unwrap();
        let limits = SharedLimits::new(&plan);
        let plan = Arc::new(plan.routes[0].clone());
        let lasting = Lasting::new(&plan, &limits, spread(), Events::new());
        let flow = Arc::<Flow>::default();
        let own = Lane::new(&flow, [Gate::new(1 << 20)], Urgency::CatchUp);
        let nobody = Nobody.start();
        let router = Life::begin(Router::new(1, lasting.progress.clone(), unwatched()));
        let reader: Arc<dyn Reader> = Arc::new(Source::default());
        let consumer = Life::begin(PartitionConsumer::new(ConsumerParams {
            route: "orders".into(),
            partition: partition(),
            read_limit: Some(lasting.read_limit.of(&reader)),
            reader,
            lane: Lane::new(&flow, [Gate::new(1 << 20)], Urgency::Live),
            batch_bytes: 1 << 16,
            out: router.addr().clone().recipient(),
            reads_for: None,
            owner: nobody.clone().recipient(),
            generation: 1,
            retries: lasting.retries.clone(),
            watch: unwatched(),
        }));
        let ready = ConsumerReady { partition: partition(), consumer: consumer.addr().clone(), generation: 1 };
        router.addr().do_send(ready);
        let alone = Arc::default();
        Self { plan, lasting, router, _consumer: consumer, own, nobody, alone, cast: None, generation: 0 }
    }

    /// Begins the target's next life, at its watermark; a former one ends.
    fn live(&mut self) {
        self.cast = None;
        self.generation += 1;
        let (lasting, nobody) = (&self.lasting, &self.nobody);
        let producer = Life::begin(TargetProducer::new(ProducerParams {
            target: 0,
            plan: self.plan.targets[0].clone(),
            story: Story { route: "orders".into(), source: "here".into(), target: "there".into() },
            generation: self.generation,
            share: Gate::new(1 << 20),
            own: self.own.clone(),
            pacer: Pacer::new(Vec::new()),
            router: self.router.addr().clone(),
            progress: lasting.progress.clone(),
            retries: lasting.retries.clone(),
            lease: None,
            status: lasting.status.clone(),
            owner: Owner {
                drained: nobody.clone().recipient(),
                released: nobody.clone().recipient(),
                renew: nobody.clone().recipient(),
                gone: nobody.clone().recipient(),
            },
            watch: unwatched(),
        }));
        let catch_up = Life::begin(CatchUp::new(CatchUpParams {
            route: "orders".into(),
            target: 0,
            open_reader: Box::new(|| Ok(Arc::new(Source::default()))),
            lane: self.own.clone(),
            batch_bytes: 1 << 16,
            producer: producer.addr().clone(),
            router: self.router.addr().clone(),
            read_limit: None,
            owner: nobody.clone().recipient(),
            gone: nobody.clone().recipient(),
            generation: self.generation,
            rounds: Rounds::within(Duration::from_secs(30)),
            retries: lasting.retries.clone(),
            progress: lasting.progress.clone(),
            watch: Box::new(|_| unwatched()),
        }));
        let letters = Life::begin(DeadLetterProducer::new(LetterParams {
            target: 0,
            route: self.plan.clone(),
            producer: nobody.clone().recipient(),
            lasting: lasting.clone(),
            watch: unwatched(),
        }));
        let writer = Arc::new(Target { producer: producer.addr().clone(), alone: self.alone.clone() });
        self.router.addr().do_send(TargetReady { target: 0, producer: Some(producer.addr().clone()) });
        let (catch_up_addr, letters_addr) = (catch_up.addr().clone(), letters.addr().clone());
        producer.addr().do_send(Equipment { writer, catch_up: catch_up_addr, letters: letters_addr });
        let limits = TopicLimits::default();
        let topic = TargetTopic { name: "orders".into(), partitions: 1, partitioning: Partitioning::Keep, limits };
        let from = lasting.progress.watermark(0, &partition()).unwrap_or(0);
        producer.addr().do_send(Adopt { partition: partition(), topic: Arc::new(topic), from, note: Note::default() });
        self.cast = Some((producer, catch_up, letters));
    }

    /// Lets time pass until the bad record was offered so often; when that was, in seconds after the first time.
    async fn attempts(&self, count: usize) -> Vec<f64> {
        let deadline = Instant::now() + Duration::from_hours(48);
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while self.alone.lock().unwrap().len() < count && Instant::now() < deadline {
            looks.tick().await;
        }
        let alone = self.alone.lock().unwrap();
        alone.iter().map(|at| (at.duration_since(alone[0]).as_secs_f64() * 10.0).round() / 10.0).collect()
    }

    /// The attempt that the target's state speaks of.
    fn attempt(&self) -> (&'static str, Option<u32>) {
        let condition = self.lasting.status.snapshot().targets[0].condition.clone();
        (condition.state.name(), condition.trouble.map(|trouble| trouble.attempt))
    }
}

fn on_paused_time(test: impl Future<Output = ()>) {
    let paused = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    System::with_tokio_rt(paused).block_on(test);
}

fn minutes(count: u32) -> Vec<f64> {
    (0..count).map(|minute| f64::from(minute) * 60.0).collect()
}

#[test]
fn a_refused_record_is_offered_as_its_profile_says() {
    // three attempts a second apart; then it is blocked, and offered again each minute
    let durable = vec![0.0, 1.0, 2.0, 62.0, 122.0, 182.0];
    let profiles = [
        ("profile: durable", durable),
        ("profile: ckafka-2020", minutes(200)),
        ("profile: ckafka-2025", minutes(200)),
        // its dead letters would need a broker
        ("profile: scf-async, on_exhausted: drop", minutes(3)),
    ];
    for (profile, expected) in profiles {
        on_paused_time(async {
            let mut stage = Stage::set(profile);
            stage.live();
            let attempts = stage.attempts(expected.len()).await;
            assert_eq!(attempts, expected, "{profile}");
        });
    }
}

#[test]
fn counts_per_topic_are_those_of_what_was_acknowledged_and_what_was_not() {
    on_paused_time(async {
        let mut stage = Stage::set("profile: scf-async, on_exhausted: drop");
        let progress = stage.lasting.progress.clone();
        let ages = Arc::new(Mutex::new(Vec::new()));
        let heard = ages.clone();
        progress.targets[0].listen(move |age| heard.lock().unwrap().push(age));
        stage.live();
        stage.attempts(3).await;
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while progress.watermark(0, &partition()).is_none_or(|watermark| watermark < RECORDS) {
            looks.tick().await;
        }
        let (target, topic) = (&progress.targets[0], "orders");
        // a key and a value of one byte each
        let written = target.topics.of(topic, |counts| (counts.written.records(), counts.written.bytes()));
        assert_eq!(written, (9, 18));
        assert_eq!(written, (target.written.records(), target.written.bytes()));
        assert_eq!(target.topics.of(topic, |counts| counts.dropped.load(Relaxed)), 1);
        assert_eq!(target.topics.of(topic, |counts| counts.dead_lettered.load(Relaxed)), 0);
        assert_eq!(target.tally.retries.of(FaultClass::Record), 2);
        assert_eq!(target.tally.retries.total(), 2);
        let read = progress.topics_read.of(topic, |read| (read.records(), read.bytes()));
        assert_eq!(read, (progress.read.records(), progress.read.bytes()));
        // the records say that they are of 1970
        let ages = ages.lock().unwrap();
        assert!(!ages.is_empty() && ages.iter().all(|age| *age > Duration::from_hours(24 * 365 * 50)), "{ages:?}");
    });
}

#[test]
fn attempts_are_counted_over_the_lives_of_a_target() {
    on_paused_time(async {
        let mut stage = Stage::set("profile: ckafka-2025");
        for (life, attempts) in [(1, 2), (2, 3), (3, 5)] {
            stage.live();
            stage.attempts(attempts).await;
            tokio::time::advance(Duration::from_millis(200)).await;
            tokio::task::yield_now().await;
            let expected = u32::try_from(attempts).unwrap();
            assert_eq!(stage.attempt(), ("retrying", Some(expected)), "life {life}");
        }
    });
}
