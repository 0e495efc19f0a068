//! A record that a target will not take: narrowed down, tried again, and given up as the policy says. All others go through.

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Regions, regions};
use crate::support::config::{Config, route_name};
use crate::support::engine::{Engine, Finished};
use crate::support::ledger::{Ledger, without};
use crate::support::log::{number, text};
use crate::support::records::{Bulk, Exact, noise};
use crate::support::topic::Topic;
use crate::support::{envelope, eventually, seconds};

const GOOD: i64 = 10_000;
/// The number of the record that is refused, and where it stands at the source.
const BAD: i64 = 1_000_000;
const PARTITION: i32 = 1;
const OFFSET: i64 = GOOD / 8;

/// Three attempts, as by default, but soon.
fn policy(more: &Value) -> Value {
    let mut policy = json!({ "attempts": 3, "backoff": { "fixed": "200ms" } });
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

/// 500 KB that no codec makes smaller, with a key and headers of all kinds.
fn too_large() -> Exact {
    let record = Exact::new(PARTITION, BAD).key(&[0, 0xff, b'k']).value(&noise(500_000));
    record.header("trace", Some(&[0, 0xfe])).header("trace", None).header("", Some(b""))
}

/// 10,000 good records on 4 partitions, the bad one among them; Shanghai does not take it, Beijing does.
struct Case {
    source: Topic,
    shanghai: Topic,
    beijing: Topic,
    config: Config,
}

impl Case {
    fn prepare(regions: &Regions, name: &str, bad: &Exact, refusing: &Value) -> Self {
        let source = regions.guangzhou.topic(name).create(4);
        let shanghai = regions.shanghai.topic(name).create_with(4, refusing);
        let beijing = regions.beijing.topic(name).create(4);
        source.fill(GOOD / 2, Bulk::over(4));
        source.write(std::slice::from_ref(bad));
        source.fill(GOOD / 2, Bulk::over(4).numbered_from(GOOD / 2));
        let config = Config::of(regions).fan_out("guangzhou", name, &["shanghai", "beijing"]);
        Self { source, shanghai, beijing, config }
    }

    fn large(regions: &Regions, name: &str) -> Self {
        Self::prepare(regions, name, &too_large(), &json!({ "max.message.bytes": "100000" }))
    }

    /// Sets the target's `retry`.
    fn retry(mut self, retry: Value) -> Self {
        let target = format!("/routes/{}/to/shanghai", self.route());
        self.config = self.config.set(&target, "retry", retry);
        self
    }

    fn route(&self) -> String {
        route_name(&self.source.name)
    }

    /// Copies all that both targets will ever have; the record is given up on the way.
    fn copy(&self, how: &str) -> Finished {
        let mut engine = Engine::run(&self.config);
        let given_up = engine.wait_for_log(seconds(60), "the record is given up", |line| line["message"] == "given up");
        self.assert_given_up(&given_up, how);
        for target in ["shanghai", "beijing"] {
            self.source.wait_for(target);
            engine.wait_for_state(seconds(10), target, "running");
        }
        let finished = engine.drain().assert_bounded();
        assert_attempts(&finished);
        finished
    }

    fn assert_given_up(&self, line: &Value, how: &str) {
        let place = format!("{}/{PARTITION}", self.source.name);
        let expected = json!({
            "route": self.route(), "target": "shanghai", "partition": place, "offset": OFFSET,
            "class": "record", "attempts": 3, "how": how,
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&line[field], value, "{field} in {line}");
        }
        assert!(!text(line, "reason").is_empty(), "{line}");
    }

    /// The other partitions have everything, and the bad one's everything up to it.
    fn assert_the_others_complete(&self, engine: &mut Engine) {
        eventually(seconds(30), "the other partitions are complete", || {
            engine.assert_running();
            let offsets = self.shanghai.offsets();
            [0, 2, 3].iter().all(|partition| offsets[partition].1 == GOOD / 4)
        });
        eventually(seconds(10), "the watermark is at the record", || {
            self.source.watermarks("shanghai").get(&PARTITION) == Some(&OFFSET)
        });
    }

    /// All good ones are on Shanghai, and everything is on Beijing; once, and in order.
    fn assert_arrived_but_for_the_bad_one(&self) {
        let written = self.source.committed_rows();
        Ledger::compare(&without(&written, &[BAD]), &self.shanghai.all_rows()).assert_exact();
        Ledger::compare(&written, &self.beijing.all_rows()).assert_exact();
    }
}

/// It was tried three times, with the policy's delay between.
fn assert_attempts(finished: &Finished) {
    let log = finished.log();
    assert_eq!(log.with_message("given up").len(), 1, "nothing else is given up");
    let refused = log.about("refused", "shanghai").into_iter();
    let waits: Vec<_> = refused
        .filter(|line| line["offset"] == OFFSET && line["retry_ms"] != 0)
        .map(|line| (number(line, "attempt"), number(line, "retry_ms"), text(line, "class")))
        .collect();
    assert_eq!(waits, [(1, 200, "record"), (2, 200, "record")]);
    assert!(log.about("refused", "beijing").is_empty(), "Beijing takes everything");
}

/// The counters of the target that refuses: the last three are what became of the record.
fn assert_counted(finished: &Finished, [dead_lettered, dropped, kept]: [u64; 3]) {
    let log = finished.log();
    let counted = |target: &str, field: &str| number(log.closed(target), field);
    let ends = ["dead_lettered", "dropped", "kept"];
    assert_eq!(ends.map(|field| counted("shanghai", field)), [dead_lettered, dropped, kept]);
    assert!(counted("shanghai", "refused") >= 1 && counted("shanghai", "retries") >= 2, "{}", log.closed("shanghai"));
    let good = GOOD.unsigned_abs();
    assert!((good..=good + 1).contains(&counted("shanghai", "records")), "{}", log.closed("shanghai"));
    assert_eq!(counted("beijing", "records"), good + 1);
    assert_eq!([ends[0], ends[1], ends[2], "refused", "timed_out"].map(|field| counted("beijing", field)), [0; 5]);
}

/// The dead letter is the record, byte for byte, with headers after its own that say where it was from and why.
fn assert_dead_letter(case: &Case, cluster: &Cluster, topic: &str, record: &Exact) {
    let letters = cluster.topic(topic).records();
    assert_eq!(letters.len(), 1, "one dead letter in {topic}");
    let letter = &letters[0];
    assert_eq!((&letter.key, &letter.timestamp), (&record.key, &record.timestamp));
    assert!(letter.value == record.value, "the value is another one");
    let (own, added) = letter.headers.split_at(record.headers.len());
    assert_eq!(own, record.headers);
    let added: Vec<(&str, &str)> = added
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.as_deref().unwrap()).unwrap()))
        .collect();
    let error = added.iter().find(|(name, _)| *name == "anabranch.error").map_or("", |(_, error)| error);
    assert!(!error.is_empty(), "no error in {added:?}");
    let (offset, timestamp, partition) = (OFFSET.to_string(), record.timestamp.to_string(), PARTITION.to_string());
    let route = case.route();
    let expected = [
        ("anabranch.source.cluster", "guangzhou"),
        ("anabranch.source.topic", &case.source.name),
        ("anabranch.source.partition", &partition),
        ("anabranch.source.offset", &offset),
        ("anabranch.source.timestamp", &timestamp),
        ("anabranch.class", "record"),
        ("anabranch.error", error),
        ("anabranch.attempts", "3"),
        ("anabranch.route", &route),
        ("anabranch.target", "shanghai"),
    ];
    assert_eq!(added, expected);
}

#[test]
fn a_record_that_is_too_large_blocks_its_partition_alone_until_it_is_taken() {
    let mut regions = regions();
    let case = Case::large(&regions, "refusals.block").retry(json!({ "record": policy(&json!({})) }));
    let mut engine = Engine::run(&case.config);

    let blocked = engine.wait_for_state(seconds(60), "shanghai", "blocked");
    assert!(text(&blocked, "reason").contains("refusals.block"), "the place is not named: {blocked}");
    let given_up = engine.log().with_message("given up")[0].clone();
    case.assert_given_up(&given_up, "blocked");
    case.source.wait_for("beijing");
    case.assert_the_others_complete(&mut engine);
    assert_eq!(case.shanghai.offsets()[&PARTITION].1, OFFSET, "nothing overtakes it");
    assert_eq!(engine.log().state_of("shanghai").unwrap()["state"], "blocked");
    assert_eq!(engine.log().state_of("beijing").unwrap()["state"], "running");

    case.shanghai.alter(&json!({ "max.message.bytes": "1000000" }));
    regions.give_way(|| {
        eventually(seconds(75), "the record goes through by itself", || case.shanghai.end() == GOOD + 1);
    });
    engine.wait_for_state(seconds(10), "shanghai", "running");
    case.source.wait_for("shanghai");
    let finished = engine.drain().assert_bounded();

    assert_counted(&finished, [0, 0, 0]);
    let written = case.source.committed_rows();
    for target in [&case.shanghai, &case.beijing] {
        Ledger::compare(&written, &target.all_rows()).assert_exact();
    }
}

#[test]
fn a_record_that_is_too_large_becomes_a_dead_letter_on_the_target() {
    let regions = regions();
    let case = Case::large(&regions, "refusals.dead_letter")
        .retry(json!({ "record": policy(&json!({ "on_exhausted": "dead_letter" })) }));
    let finished = case.copy("dead-lettered");
    let topic = "refusals.dead_letter.dead-letter";
    assert_eq!(finished.log().with_message("given up")[0]["topic"], topic);
    assert_counted(&finished, [1, 0, 0]);
    case.assert_arrived_but_for_the_bad_one();
    assert_dead_letter(&case, regions.shanghai, topic, &too_large());
}

#[test]
fn a_record_that_is_too_large_becomes_a_dead_letter_on_another_cluster() {
    let regions = regions();
    let mut case = Case::large(&regions, "refusals.elsewhere");
    let elsewhere = json!({ "cluster": "chengdu", "topic": "lost.{topic}" });
    let retry = json!({ "record": policy(&json!({})), "on_exhausted": "dead_letter", "dead_letter": elsewhere });
    case.config = case.config.set("", "retry", retry);
    let finished = case.copy("dead-lettered");
    let topic = "lost.refusals.elsewhere";
    assert_eq!(finished.log().with_message("given up")[0]["topic"], topic);
    assert_counted(&finished, [1, 0, 0]);
    case.assert_arrived_but_for_the_bad_one();
    assert_dead_letter(&case, regions.chengdu, topic, &too_large());
    assert!(regions.shanghai.topic(topic).describe().is_null(), "the topic is on the target too");
}

#[test]
fn nothing_passes_a_record_before_its_dead_letter_is_acknowledged() {
    let regions = regions();
    let elsewhere = json!({ "cluster": "chengdu" });
    let retry = json!({ "record": policy(&json!({})), "on_exhausted": "dead_letter", "dead_letter": elsewhere });
    let case = Case::large(&regions, "refusals.waits").retry(retry);
    regions.chengdu.stop();
    let mut engine = Engine::run(&case.config);
    case.source.wait_for("beijing");
    case.assert_the_others_complete(&mut engine);
    engine.keeps_running(seconds(3));
    assert_eq!(case.source.watermarks("shanghai")[&PARTITION], OFFSET, "the dead letter is nowhere yet");

    regions.chengdu.restart();
    case.source.wait_for("shanghai");
    let finished = engine.drain().assert_bounded();
    assert_counted(&finished, [1, 0, 0]);
    case.assert_arrived_but_for_the_bad_one();
    assert_dead_letter(&case, regions.chengdu, "refusals.waits.dead-letter", &too_large());
}

#[test]
fn a_record_that_is_too_large_is_dropped_and_counted() {
    let regions = regions();
    let mut case = Case::large(&regions, "refusals.drop");
    let route = format!("/routes/{}", case.route());
    case.config = case.config.set(&route, "retry", json!({ "record": policy(&json!({})), "on_exhausted": "drop" }));
    let finished = case.copy("dropped");
    assert_counted(&finished, [0, 1, 0]);
    case.assert_arrived_but_for_the_bad_one();
    assert!(regions.shanghai.topic("refusals.drop.dead-letter").describe().is_null(), "a dead letter all the same");
}

#[test]
fn a_record_that_is_too_large_is_kept_in_envelopes_that_fit() {
    let regions = regions();
    let case =
        Case::large(&regions, "refusals.keep").retry(json!({ "record": policy(&json!({ "on_exhausted": "keep" })) }));
    let finished = case.copy("kept");
    assert_counted(&finished, [0, 0, 1]);

    let bad = too_large();
    let (rows, envelopes) = case.shanghai.rows_and_envelopes();
    assert!(envelopes.iter().all(|(record, _)| record.partition == bad.partition && record.key == bad.key));
    let opened: Vec<Value> = envelopes.into_iter().map(|(_, envelope)| envelope).collect();
    let kept = envelope::put_together(&opened);
    let place = json!({
        "cluster": "guangzhou", "topic": "refusals.keep", "partition": PARTITION, "offset": OFFSET, "timestamp": bad.timestamp,
    });
    assert_eq!(kept.source, place);
    assert_eq!((&kept.failure["class"], &kept.failure["attempts"]), (&json!("record"), &json!(3)));
    assert!(!text(&kept.failure, "error").is_empty());
    assert!(kept.parts >= 7, "667 KB of base64 do not fit into {} records of 100 KB", kept.parts);
    assert_eq!((kept.key, kept.headers), (bad.key, bad.headers));
    assert!(kept.value == bad.value, "the value is another one");

    let written = case.source.committed_rows();
    Ledger::compare(&without(&written, &[BAD]), &rows).assert_exact();
    Ledger::compare(&written, &case.beijing.all_rows()).assert_exact();
}

#[test]
fn a_record_without_a_key_does_not_go_into_a_compacted_topic() {
    let regions = regions();
    let bad = Exact::new(PARTITION, BAD).value(b"no key").header("trace", Some(b"1"));
    let case = Case::prepare(&regions, "refusals.compacted", &bad, &json!({ "cleanup.policy": "compact" }))
        .retry(json!({ "record": policy(&json!({ "on_exhausted": "dead_letter" })) }));
    let finished = case.copy("dead-lettered");
    assert_counted(&finished, [1, 0, 0]);
    case.assert_arrived_but_for_the_bad_one();
    assert_dead_letter(&case, regions.shanghai, "refusals.compacted.dead-letter", &bad);
}
