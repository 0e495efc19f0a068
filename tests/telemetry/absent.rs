//! A receiver that is not there, and one that takes connections and never answers: neither costs throughput, memory or time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::receiver::{ARRIVAL, BlackHole, Receiver, nobody, ports_for_later};
use crate::support::api::Api;
use crate::support::cluster::{Regions, regions_alone};
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::Log;
use crate::support::meter::{Curve, Meter};
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::{at_length, eventually, seconds, within_at};
use crate::work::{all_to, begin, config, median, meter};

const TOPIC: &str = "telemetry.absent";
const RECORDS: i64 = 1_000_000;
/// What is held more than without: queues, and a client for each signal. In MiB.
const MEMORY: f64 = 16.0;
/// How long an end may wait for who takes nothing.
const GOODBYE: Duration = seconds(5);

/// What one of the engines that did the same work side by side took for it.
struct Run {
    /// Records per second, between the moments at which the last of all was under way and the first was nearly through.
    rate: f64,
    /// Processor seconds, up to its last record.
    cpu: f64,
    /// The most that it occupied, in bytes.
    memory: f64,
    /// For how many seconds its end lasted.
    end: f64,
}

/// An engine under way.
struct Runner {
    engine: Engine,
    target: Topic,
    /// How many signals it pushes.
    signals: usize,
    cpu: Option<f64>,
}

impl Runner {
    fn begin(source: &Topic, target: Topic, telemetry: Value) -> Self {
        let signals = if telemetry == json!({}) { 0 } else { 3 };
        let target = target.create(4);
        Self { engine: begin(source, &target, telemetry), target, signals, cpu: None }
    }

    /// Whether it is through.
    fn is_done(&mut self) -> bool {
        if self.cpu.is_none() && self.target.end() >= RECORDS {
            self.cpu = Some(self.engine.cpu_time().as_secs_f64());
        }
        self.cpu.is_some()
    }

    /// Ends the engine.
    fn end(self, rate: f64) -> Run {
        let asked = Instant::now();
        let finished = self.engine.drain().assert_bounded();
        let end = asked.elapsed().as_secs_f64();
        assert_one_word_each(&finished.log(), self.signals);
        self.target.delete();
        #[allow(clippy::cast_precision_loss, reason = "no process here has 2^52 bytes")]
        let memory = finished.peak_memory() as f64;
        Run { rate, cpu: self.cpu.unwrap(), memory, end }
    }
}

/// Copies the same records by an engine for each of these, all at the same time: what else goes on here, all of them feel.
fn side_by_side(regions: &Regions, source: &Topic, with: Vec<(String, Value)>) -> Vec<Run> {
    let runner = |(name, telemetry): (String, Value)| Runner::begin(source, regions.shanghai.topic(&name), telemetry);
    let mut runners: Vec<Runner> = with.into_iter().map(runner).collect();
    let meters: Vec<Meter> = runners.iter_mut().map(|runner| meter(Api::of(&mut runner.engine))).collect();
    // each is asked, and not only up to the first that is not through
    let done = || (runners.iter_mut().map(Runner::is_done).filter(|done| !done).count() == 0).then_some(());
    within_at(Duration::from_millis(20), seconds(120), done).expect("everything arrives");
    let curves: Vec<Curve> = meters.into_iter().map(Meter::stop).collect();
    let begun = curves.iter().map(|curve| curve.reached(RECORDS / 10)).max().unwrap();
    let nearly = curves.iter().map(|curve| curve.reached(RECORDS * 9 / 10)).min().unwrap();
    runners.into_iter().zip(curves).map(|(runner, curve)| runner.end(curve.rate(begun, nearly))).collect()
}

/// The log does not flood: one line for each signal, and what was dropped at most once a minute.
fn assert_one_word_each(log: &Log, signals: usize) {
    let beginning = |start: &str| {
        let says = |line: &&Value| line["message"].as_str().unwrap_or_default().starts_with(start);
        log.lines().iter().filter(says).count()
    };
    let warnings = log.lines().iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").count();
    assert!(warnings <= 3 * signals + 1, "{log:?}");
    assert!(beginning("telemetry does not arrive") <= signals, "{log:?}");
    assert!(beginning("telemetry was dropped") <= 2 * signals, "{log:?}");
}

/// How many times as much of a kind it was as without, in the same round: the median, as whoever is disturbed in a round may take a
/// third more than those beside it.
fn times(runs: &[Run], off: &[Run], what: fn(&Run) -> f64) -> f64 {
    median(runs.iter().zip(off).map(|(run, off)| what(run) / what(off)))
}

/// Whoever has no processor time to spare is slower by what something costs in it; and whoever waits is slower than those beside it.
#[test]
fn who_takes_nothing_costs_neither_throughput_nor_memory_nor_time() {
    let regions = regions_alone();
    let source = regions.guangzhou.topic(TOPIC).create(4);
    source.fill(RECORDS, Bulk::over(4));
    let (hole, dead) = (BlackHole::open(), nobody());
    // runs that last some seconds differ by a tenth from those beside them
    let (rounds, most_cpu, least_rate) = at_length((5, 1.2, 0.75), (13, 1.08, 0.92));
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 0..rounds {
        let with = [json!({}), all_to(&dead, "http"), all_to(&hole.url(), "grpc")];
        let named = with.into_iter().enumerate().map(|(at, telemetry)| (format!("{TOPIC}.{round}.{at}"), telemetry));
        let mut named: Vec<_> = named.collect();
        // who begins first has something of a start
        named.rotate_left(round % 3);
        let mut done = side_by_side(&regions, &source, named);
        done.rotate_right(round % 3);
        for (run, runs) in done.into_iter().zip(&mut runs) {
            runs.push(run);
        }
    }
    assert!(hole.has_somebody());
    let [off, absent, silent] = &runs;
    for (how, runs, most) in [("absent", absent, seconds(2)), ("silent", silent, GOODBYE)] {
        let (cpu, rate) = (times(runs, off, |run| run.cpu), times(runs, off, |run| run.rate));
        let more = median(runs.iter().map(|run| run.memory)) - median(off.iter().map(|run| run.memory));
        let end = runs.iter().zip(off).map(|(run, off)| run.end - off.end).fold(0.0, f64::max);
        let mib = more / f64::from(1 << 20);
        println!(
            "{how}: {cpu:.3} times the processor time, {rate:.3} of the rate, {mib:+.1} MiB, an end {end:.1} s later"
        );
        assert!(cpu <= most_cpu && rate >= least_rate, "{how}: {cpu} times the time, {rate} of the rate");
        assert!(mib <= MEMORY, "{how}: {mib} MiB");
        assert!(end <= (most + seconds(2)).as_secs_f64(), "{how}: {end} s");
    }
}

#[test]
fn a_collector_that_comes_later_is_told_once_and_then_heard() {
    let regions = regions_alone();
    let topic = "telemetry.later";
    let source = regions.guangzhou.topic(topic).create(1);
    let ports = ports_for_later();
    let endpoint = format!("http://127.0.0.1:{}", ports[0]);
    let mut engine = Engine::run(&config(&regions, topic, &["shanghai"], all_to(&endpoint, "grpc")));
    let load = source.load(200, Bulk::over(1));
    let about = |log: &Log, start: &str| -> Vec<String> {
        let says = |line: &&Value| line["message"].as_str().unwrap_or_default().starts_with(start);
        let lines = log.lines().iter().filter(says);
        let mut signals: Vec<String> = lines.map(|line| line["signal"].as_str().unwrap().to_owned()).collect();
        signals.sort();
        signals
    };
    let all = ["logs", "metrics", "traces"];
    let failed = "telemetry does not arrive";
    eventually(seconds(20), "each signal says that it does not arrive", || about(&engine.log(), failed) == all);
    engine.keeps_running(seconds(5));
    assert_eq!(about(&engine.log(), failed), all, "once");
    let receiver = Receiver::start_at(ports);
    let again = "telemetry arrives again";
    // a log record has to be there to be sent: this one's are
    eventually(seconds(30), "metrics and traces arrive again", || {
        let signals = about(&engine.log(), again);
        ["metrics", "traces"].iter().all(|signal| signals.iter().any(|known| known == signal))
    });
    eventually(ARRIVAL, "spans arrive", || !receiver.spans().is_empty());
    let written = load.stop();
    source.wait_for("shanghai");
    let finished = engine.drain().assert_code(0);
    eventually(ARRIVAL, "the last words arrive", || {
        receiver.logs().iter().any(|(_, record)| record["body"]["stringValue"] == "engine stopped")
    });
    assert!(about(&finished.log(), again).len() <= 3 && about(&finished.log(), failed).len() == 3);
    assert!(!about(&finished.log(), "telemetry was dropped").is_empty(), "what was lost is told");
    let target = regions.shanghai.topic(topic);
    assert_eq!(target.end(), written);
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}
