//! A receiver that is not there, and one that takes connections and never answers: neither costs throughput, memory or time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::receiver::{ARRIVAL, BlackHole, Receiver, nobody, ports_for_later};
use crate::support::cluster::{Regions, regions_alone};
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::Log;
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::{at_length, eventually, seconds};
use crate::work::{Copy, all_to, config, copy, median, meter, rate};

const TOPIC: &str = "telemetry.absent";
const RECORDS: i64 = 1_000_000;
/// What is held more than without: queues, and a client for each signal.
const MEMORY: u64 = 16 << 20;
/// How long an end may wait for who takes nothing.
const GOODBYE: Duration = seconds(5);

/// One round: how fast, how much memory, how long the end took.
struct Round {
    rate: f64,
    memory: f64,
    end: Duration,
}

fn round(regions: &Regions, source: &Topic, name: &str, telemetry: Value) -> Round {
    let target = regions.shanghai.topic(name);
    let Copy { engine, beside, .. } = copy((source, RECORDS), target.clone(), telemetry, meter);
    let rate = rate(beside, RECORDS);
    let asked = Instant::now();
    let finished = engine.drain().assert_bounded();
    let end = asked.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "no process here has 2^52 bytes")]
    let memory = finished.peak_memory() as f64;
    assert_eq!(target.end(), RECORDS);
    target.delete();
    assert_one_word_each(&finished.log(), if telemetry_is_off(name) { 0 } else { 3 });
    Round { rate, memory, end }
}

fn telemetry_is_off(name: &str) -> bool {
    name.contains(".off.")
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

#[test]
fn who_takes_nothing_costs_neither_throughput_nor_memory_nor_time() {
    let regions = regions_alone();
    let source = regions.guangzhou.topic(TOPIC).create(4);
    source.fill(RECORDS, Bulk::over(4));
    let (hole, dead) = (BlackHole::open(), nobody());
    let rounds = at_length(seconds(3), seconds(9)).as_secs();
    let warm = regions.shanghai.topic(&format!("{TOPIC}.warm"));
    copy((&source, RECORDS), warm, json!({}), drop).engine.drain();
    let (mut off, mut absent, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..rounds {
        let run = |how: &str, telemetry: Value| round(&regions, &source, &format!("{TOPIC}.{how}.{at}"), telemetry);
        off.push(run("off", json!({})));
        absent.push(run("absent", all_to(&dead, "http")));
        silent.push(run("silent", all_to(&hole.url(), "grpc")));
    }
    assert!(hole.has_somebody());
    let memory = |rounds: &[Round]| median(rounds.iter().map(|round| round.memory));
    for (how, rounds, most) in [("absent", &absent, seconds(2)), ("silent", &silent, GOODBYE)] {
        // each beside the one without of the same round, as what else goes on here changes
        let ratio = median(rounds.iter().zip(&off).map(|(round, off)| round.rate / off.rate));
        let more = memory(rounds) - memory(&off);
        let ends = rounds.iter().zip(&off).map(|(round, off)| round.end.saturating_sub(off.end).as_secs_f64());
        let (end, worst) = (median(ends.clone()), ends.fold(0.0, f64::max));
        println!(
            "{how}: throughput {ratio:.3} of that without, {:+.1} MiB, the end {end:.1} s later, {worst:.1} at worst",
            more / f64::from(1 << 20)
        );
        assert!(ratio >= 0.95, "{how}: {ratio}");
        #[allow(clippy::cast_precision_loss, reason = "it is 16 MiB")]
        let bound = MEMORY as f64;
        assert!(more <= bound, "{how}: {more} bytes");
        assert!(worst <= (most + seconds(2)).as_secs_f64(), "{how}: {worst} s");
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
