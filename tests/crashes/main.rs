//! Each kind of actor panics or hangs on purpose; a new one takes its place after the policy's delay, and nothing is lost.
//!
//! Only in a build with the feature `failpoints`: `cargo test --release --features failpoints --test crashes`. The failpoint
//! of an actor is hit once for each message that it handles.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(dead_code, unreachable_pub, reason = "the support is shared with the other tests, which use more of it")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use support::cluster::{Regions, regions};
use support::config::Config;
use support::engine::{Engine, Finished};
use support::ledger::{Ledger, without};
use support::log::{Log, number, text, time};
use support::records::{Bulk, Exact, noise};
use support::topic::{Load, Topic};
use support::{eventually, seconds, throughout};

/// How an actor fails: panics so many times in a row, or hangs for good.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Panics(usize),
    Hangs,
}

/// One actor fails after it has handled some messages.
struct Case {
    actor: &'static str,
    messages: u32,
    failure: Failure,
}

impl Case {
    const fn new(actor: &'static str, messages: u32, failure: Failure) -> Self {
        Self { actor, messages, failure }
    }

    /// What the environment says of it.
    fn failpoints(&self) -> String {
        let action = match self.failure {
            Failure::Panics(times) => format!("{times}*panic"),
            Failure::Hangs => "1*return(hang)".to_owned(),
        };
        match self.messages {
            0 => format!("{}={action}->off", self.actor),
            messages => format!("{}={messages}*off->{action}->off", self.actor),
        }
    }

    fn start(&self, config: &Config) -> Engine {
        Engine::run_with(config, &[("FAILPOINTS", &self.failpoints())])
    }

    const fn times(&self) -> usize {
        match self.failure {
            Failure::Panics(times) => times,
            Failure::Hangs => 1,
        }
    }

    const fn why(&self) -> &'static str {
        match self.failure {
            Failure::Panics(_) => "panicked",
            Failure::Hangs => "hung",
        }
    }

    /// Waits until it has failed as often as it should, and a new one was made each time.
    fn wait_for_it(&self, engine: &mut Engine) {
        eventually(seconds(30), &format!("{} is made anew {} times", self.actor, self.times()), || {
            engine.assert_running();
            engine.log().made_anew(self.actor).len() >= self.times()
        });
    }

    /// Each time it was made anew after the policy's delay, and neither too often nor too late. Where there are several
    /// of its kind, each has a count of its own.
    fn assert_delays(&self, log: &Log) {
        let all = log.made_anew(self.actor);
        assert_eq!(all.len(), self.times(), "{all:#?}");
        assert!(all.iter().all(|line| text(line, "why") == self.why()), "{all:#?}");
        let children: BTreeSet<&str> = all.iter().map(|line| line["child"].as_str().unwrap_or_default()).collect();
        for child in children {
            let lines: Vec<_> =
                all.iter().copied().filter(|line| line["child"].as_str().unwrap_or_default() == child).collect();
            Self::assert_delays_of_one(&lines);
        }
    }

    fn assert_delays_of_one(lines: &[&Value]) {
        for ((line, attempt), delay) in lines.iter().zip(1..).zip(delays()) {
            assert_eq!(number(line, "attempt"), attempt, "{lines:#?}");
            // restarts at the same moment are spread
            assert!((delay..=delay + SPREAD).contains(&number(line, "retry_ms")), "{lines:#?}");
        }
        let generations: Vec<u64> = lines.iter().map(|line| number(line, "generation")).collect();
        assert!(generations.is_sorted_by(|one, next| one < next), "{generations:?}");
        for (pair, delay) in lines.windows(2).zip(delays()) {
            let passed = time(pair[1]).saturating_sub(time(pair[0]));
            let delay = Duration::from_millis(delay);
            assert!(passed >= delay, "{passed:?} between two of them, {delay:?} is the policy's: {}", pair[1]);
            assert!(passed <= delay * 2 + seconds(3), "{passed:?} between two of them: {}", pair[1]);
        }
    }
}

/// How many milliseconds later some may start than others, so that not all do at once.
const SPREAD: u64 = 50;

/// The delays of `config` in milliseconds: doubled each time, up to the most.
fn delays() -> impl Iterator<Item = u64> {
    [50, 100, 200].into_iter().chain(std::iter::repeat(400))
}

fn config(regions: &Regions, topic: &str, targets: &[&str]) -> Config {
    let backoff = json!({ "initial": "50ms", "factor": 2, "max": "400ms", "jitter": 0 });
    Config::new()
        .cluster("guangzhou", regions.guangzhou)
        .cluster("shanghai", regions.shanghai)
        .cluster("beijing", regions.beijing)
        .fan_out("guangzhou", topic, targets)
        .set("", "limits", json!({ "stall": "2s" }))
        .set("", "retry", json!({ "crash": { "backoff": backoff } }))
}

/// A source with one partition, so that there is one consumer, and a steady load; both targets have the topic.
fn loaded(regions: &Regions, name: &str, first_id: i64) -> (Topic, Load) {
    let source = regions.guangzhou.topic(name);
    (source.clone(), source.load(1_000, Bulk::over(1).numbered_from(first_id)))
}

fn create(regions: &Regions, name: &str) -> [(&'static str, Topic); 2] {
    regions.guangzhou.topic(name).create(1);
    [regions.shanghai, regions.beijing].map(|cluster| (cluster.name(), cluster.topic(name).create(1)))
}

/// Ends the load and the engine, once all has gone on for a while.
fn end(mut engine: Engine, source: &Topic, load: Load, targets: &[(&str, Topic)]) -> Finished {
    let ends = || targets.iter().map(|(_, topic)| topic.end());
    let before: Vec<i64> = ends().collect();
    eventually(seconds(30), "records keep arriving on all", || {
        engine.assert_running();
        ends().zip(&before).all(|(end, before)| end > before + 500)
    });
    load.stop();
    for (target, _) in targets {
        source.wait_for(target);
    }
    engine.drain().assert_bounded()
}

/// Nothing is missing and nothing reordered; what was not acknowledged when it failed may be there twice.
fn assert_nothing_lost(source: &Topic, targets: &[(&str, Topic)]) {
    let written = source.committed_rows();
    for (name, topic) in targets {
        let duplicated = Ledger::compare(&written, &topic.all_rows()).assert_at_least_once();
        println!("{duplicated} of {} records arrived again in {name}", written.len());
    }
}

/// One actor fails in the middle of a steady copy to two targets; to one, where each target has an actor of that kind.
fn assert_survived(name: &str, case: &Case) {
    let regions = regions();
    let both = create(&regions, name);
    let targets = if case.actor == "target" { &both[..1] } else { &both[..] };
    let (source, load) = loaded(&regions, name, 0);
    let names: Vec<&str> = targets.iter().map(|(name, _)| *name).collect();
    let mut engine = case.start(&config(&regions, name, &names));
    case.wait_for_it(&mut engine);
    let finished = end(engine, &source, load, targets);
    case.assert_delays(&finished.log());
    assert_nothing_lost(&source, targets);
}

/// The own read of a target that was added later fails.
fn assert_catching_up_survived(name: &str, case: &Case) {
    let regions = regions();
    let targets = create(&regions, name);
    regions.guangzhou.topic(name).fill(100_000, Bulk::over(1));
    Engine::run_until_caught_up(&config(&regions, name, &["shanghai"])).assert_bounded();
    let (source, load) = loaded(&regions, name, 100_000);
    let mut engine = case.start(&config(&regions, name, &["shanghai", "beijing"]));
    case.wait_for_it(&mut engine);
    let finished = end(engine, &source, load, &targets);
    case.assert_delays(&finished.log());
    assert_nothing_lost(&source, &targets);
}

/// What writes dead letters fails while there are some to write.
fn assert_dead_letters_survived(name: &str, case: &Case) {
    const BAD: [i64; 5] = [1_000_001, 1_000_002, 1_000_003, 1_000_004, 1_000_005];
    let regions = regions();
    let targets = create(&regions, name);
    targets[0].1.alter(&json!({ "max.message.bytes": "20000" }));
    let (source, load) = loaded(&regions, name, 0);
    let record = json!({ "attempts": 1, "backoff": { "fixed": "50ms" }, "on_exhausted": "dead_letter" });
    let config = config(&regions, name, &["shanghai", "beijing"]);
    let config = config.set("/retry", "record", record);
    let mut engine = case.start(&config);
    let letters = regions.shanghai.topic(&format!("{name}.dead-letter"));
    for id in BAD {
        source.write(&[Exact::new(0, id).value(&noise(60_000))]);
    }
    case.wait_for_it(&mut engine);
    let finished = end(engine, &source, load, &targets);
    case.assert_delays(&finished.log());

    let written = source.committed_rows();
    Ledger::compare(&without(&written, &BAD), &targets[0].1.all_rows()).assert_at_least_once();
    Ledger::compare(&written, &targets[1].1.all_rows()).assert_exact();
    let arrived: BTreeSet<i64> = letters.all_rows().into_iter().map(|row| row.id).collect();
    assert_eq!(arrived, BTreeSet::from(BAD), "not every dead letter is there");
}

#[test]
fn a_consumer_that_panics_is_made_anew() {
    assert_survived("crashes.consumer.panics", &Case::new("consumer", 50, Failure::Panics(3)));
}

#[test]
fn a_consumer_that_hangs_is_made_anew() {
    assert_survived("crashes.consumer.hangs", &Case::new("consumer", 50, Failure::Hangs));
}

#[test]
fn a_reader_whose_thread_hangs_is_replaced() {
    const NAME: &str = "crashes.reader.hangs";
    let regions = regions();
    let targets = create(&regions, NAME);
    let (source, load) = loaded(&regions, NAME, 0);
    let config = config(&regions, NAME, &["shanghai", "beijing"]);
    let mut engine = Engine::run_with(&config, &[("FAILPOINTS", "reader=100*off->1*pause->off")]);
    let made_anew =
        engine.wait_for_log(seconds(60), "the consumer is made anew", |line| line["message"] == "made anew");
    assert_eq!((text(&made_anew, "actor"), text(&made_anew, "why")), ("consumer", "hung"));
    end(engine, &source, load, &targets);
    assert_nothing_lost(&source, &targets);
}

#[test]
fn a_router_that_panics_is_made_anew() {
    assert_survived("crashes.router.panics", &Case::new("router", 50, Failure::Panics(3)));
}

#[test]
fn a_router_that_hangs_is_made_anew() {
    assert_survived("crashes.router.hangs", &Case::new("router", 50, Failure::Hangs));
}

#[test]
fn a_target_that_panics_is_made_anew() {
    assert_survived("crashes.target.panics", &Case::new("target", 50, Failure::Panics(3)));
}

#[test]
fn a_target_that_hangs_is_made_anew() {
    assert_survived("crashes.target.hangs", &Case::new("target", 50, Failure::Hangs));
}

#[test]
fn a_route_that_panics_is_made_anew() {
    assert_survived("crashes.route.panics", &Case::new("route", 2, Failure::Panics(3)));
}

#[test]
fn a_route_that_hangs_is_made_anew() {
    assert_survived("crashes.route.hangs", &Case::new("route", 2, Failure::Hangs));
}

#[test]
fn a_catch_up_that_panics_is_made_anew() {
    assert_catching_up_survived("crashes.catch_up.panics", &Case::new("catch-up", 0, Failure::Panics(3)));
}

#[test]
fn a_catch_up_that_hangs_is_made_anew() {
    assert_catching_up_survived("crashes.catch_up.hangs", &Case::new("catch-up", 0, Failure::Hangs));
}

#[test]
fn what_writes_dead_letters_is_made_anew_when_it_panics() {
    assert_dead_letters_survived("crashes.dead_letters.panics", &Case::new("dead-letters", 0, Failure::Panics(3)));
}

#[test]
fn what_writes_dead_letters_is_made_anew_when_it_hangs() {
    assert_dead_letters_survived("crashes.dead_letters.hangs", &Case::new("dead-letters", 0, Failure::Hangs));
}

#[test]
fn a_client_that_does_not_find_back_into_its_group_is_replaced() {
    const NAME: &str = "crashes.regain";
    let regions = regions();
    let targets = create(&regions, NAME);
    let (source, load) = loaded(&regions, NAME, 0);
    let config = config(&regions, NAME, &["shanghai", "beijing"]);
    let mut engine = Engine::run_with(&config, &[("FAILPOINTS", "regain=1*return->off")]);
    engine.wait_for_log(seconds(20), "it has a place", |line| line["message"] == "given");
    engine.freeze();
    // longer than the session: the coordinator gives its place away
    throughout(seconds(8), || {});
    engine.thaw();
    engine.wait_for_log(seconds(20), "it has lost its place", |line| line["message"] == "fenced");
    engine.wait_for_log(seconds(60), "another client asks", |line| text(line, "message").starts_with("not given"));
    let finished = end(engine, &source, load, &targets);
    let log = finished.log();
    let given = log.with_message("given").len();
    assert_eq!(given, 2, "at the start, and by the other client");
    assert_nothing_lost(&source, &targets);
}

#[test]
fn twenty_crashes_in_a_row_back_off_as_the_policy_says() {
    // the consumer is one, as there is one partition
    assert_survived("crashes.twenty", &Case::new("consumer", 50, Failure::Panics(20)));
}
