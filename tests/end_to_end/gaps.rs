//! What the source does not have any more: told with its kind and exact range, and met as the route's `on_gap` says.

use serde_json::{Value, json};

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::{Log, text};
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::{eventually, seconds};

/// Two routes for a topic: `fail` to Shanghai, which stops at a gap, and `skip` to Beijing, which goes on behind it.
fn both_policies(regions: &Regions, topic: &str) -> Config {
    let route = |to: &str, on_gap: &str| json!({ "from": "guangzhou", "topics": { "include": [regex::escape(topic)] }, "on_gap": on_gap, "to": { to: {} } });
    Config::of(regions).route(&fails(topic), route("shanghai", "fail")).route(&skips(topic), route("beijing", "skip"))
}

fn fails(topic: &str) -> String {
    format!("{}_fail", topic.replace('.', "_"))
}

fn skips(topic: &str) -> String {
    format!("{}_skip", topic.replace('.', "_"))
}

/// What the log says of a gap of a target: partition, kind, from, to.
fn gaps(log: &Log, target: &str) -> Vec<(i64, String, i64, i64)> {
    let number = |line: &Value, field: &str| line[field].as_i64().unwrap_or_else(|| panic!("no {field} in {line}"));
    let lines = log.about("gap", target).into_iter();
    lines
        .map(|line| {
            (number(line, "partition"), text(line, "kind").to_owned(), number(line, "from"), number(line, "to"))
        })
        .collect()
}

fn gap(partition: i64, kind: &str, from: i64, to: i64) -> (i64, String, i64, i64) {
    (partition, kind.to_owned(), from, to)
}

/// Waits until both routes' targets have all that is there.
fn wait_for_both(source: &Topic) {
    source.wait_for_target_of(&fails(&source.name), "shanghai");
    source.wait_for_target_of(&skips(&source.name), "beijing");
}

#[test]
fn what_is_trimmed_while_nobody_looks_stops_its_partition_or_is_skipped() {
    let regions = regions();
    let source = regions.guangzhou.topic("gaps.trimmed").create(2);
    let config = both_policies(&regions, "gaps.trimmed");
    source.fill(1_000, Bulk::over(2));
    Engine::run_until_caught_up(&config).assert_code(0);
    source.fill(400, Bulk::over(2).numbered_from(1_000));
    source.trim(0, 600);

    let finished = Engine::run_until_caught_up(&config).assert_code(1);
    assert_eq!(gaps(&finished.log(), "shanghai"), [gap(0, "trimmed", 500, 600)]);
    assert_eq!(gaps(&finished.log(), "beijing"), [gap(0, "trimmed", 500, 600)]);
    let state = finished.log().states_of("shanghai").contains(&"failed");
    assert!(
        state && finished.stderr.contains("trimmed: offsets 500 to 599 are gone from the source, which starts at 600")
    );

    // the other partition goes on, whatever the policy; and behind the gap, where that is to be skipped
    let ends = |topic: &Topic| topic.offsets().values().map(|(_, end)| *end).collect::<Vec<_>>();
    assert_eq!(ends(&regions.shanghai.topic("gaps.trimmed")), [500, 700]);
    assert_eq!(ends(&regions.beijing.topic("gaps.trimmed")), [600, 700]);
    let note = source.note_of(&skips("gaps.trimmed"), "beijing", 0);
    assert_eq!(note["skipped"], json!([{ "from": 500, "to": 600, "kind": "trimmed" }]));

    // somebody decides, with Kafka's own tool
    source.set_watermark(&fails("gaps.trimmed"), "shanghai", 0, 600);
    Engine::run_until_caught_up(&config).assert_code(0);
    assert_eq!(ends(&regions.shanghai.topic("gaps.trimmed")), [600, 700]);
}

#[test]
fn what_is_trimmed_under_a_target_that_lags_is_its_own_gap_and_is_mended_while_it_runs() {
    let regions = regions();
    let source = regions.guangzhou.topic("gaps.lag").create(1);
    let targets = [regions.chengdu, regions.beijing].map(|cluster| cluster.topic("gaps.lag").create(1));
    let config = Config::of(&regions).fan_out("guangzhou", "gaps.lag", &["chengdu", "beijing"]);
    let mut engine = Engine::run(&config);
    source.fill(1_000, Bulk { value_size: 1_000, ..Bulk::over(1) });
    source.wait_for("chengdu");
    regions.chengdu.freeze();
    source.fill(60_000, Bulk { value_size: 1_000, ..Bulk::over(1).numbered_from(1_000) });
    source.wait_for("beijing");
    source.trim(0, 60_000);
    regions.chengdu.thaw();

    engine.wait_for_state(seconds(60), "chengdu", "failed");
    let watermark = gaps(&engine.log(), "chengdu")[0].2;
    eventually(seconds(10), "that is where it is", || source.watermarks("chengdu")[&0] == watermark);
    assert!((1_000..60_000).contains(&watermark), "{watermark} is no place to lag at");
    assert_eq!(gaps(&engine.log(), "chengdu"), [gap(0, "trimmed", watermark, 60_000)]);
    assert_eq!(gaps(&engine.log(), "beijing"), []);
    let reason = engine.log().state_of("chengdu").map(|line| text(line, "reason").to_owned()).unwrap();
    assert!(reason.contains(&format!("offsets {watermark} to 59999")), "{reason}");

    // the other target goes on meanwhile
    source.fill(500, Bulk::over(1).numbered_from(100_000));
    source.wait_for("beijing");
    source.set_watermark("gaps_lag", "chengdu", 0, 60_000);
    source.wait_for("chengdu");
    engine.wait_for_state(seconds(30), "chengdu", "running");
    assert_eq!(targets[0].end(), watermark + 1_500);
    engine.drain().assert_bounded();
}

/// Deletes a topic and creates it again, with so many records, while both routes run.
fn recreate(source: &Topic, records: i64) {
    source.delete();
    eventually(seconds(20), "the topic is gone", || source.offsets().is_empty());
    let again = source.clone().create(1);
    again.fill(records, Bulk::over(1).numbered_from(1_000_000));
}

fn recreated_while_it_runs(topic: &str, records: i64) {
    let regions = regions();
    let source = regions.guangzhou.topic(topic).create(1);
    let config = both_policies(&regions, topic);
    source.fill(1_000, Bulk::over(1));
    let mut engine = Engine::run(&config);
    wait_for_both(&source);
    recreate(&source, records);

    engine.wait_for_state(seconds(60), "shanghai", "failed");
    let target = regions.beijing.topic(topic);
    eventually(seconds(60), "what is new is copied, where the gap is skipped", || target.end() >= 1_000 + records);
    source.wait_for_target_of(&skips(topic), "beijing");
    for target in ["shanghai", "beijing"] {
        assert_eq!(gaps(&engine.log(), target), [gap(0, "recreated", 1_000, 1_000)], "{target}");
    }
    let reason = engine.log().state_of("shanghai").map(|line| text(line, "reason").to_owned()).unwrap();
    assert!(reason.contains("recreated: the topic was deleted at offset 1000"), "{reason}");
    assert_eq!(regions.shanghai.topic(topic).end(), 1_000, "nothing of the new topic, where the gap stops it");
    engine.drain();

    let mut arrived = target.all_rows();
    arrived.retain(|row| row.id >= 1_000_000);
    let ledger = Ledger::compare(&source.committed_rows(), &arrived);
    println!("{ledger}");
    ledger.assert_at_least_once();
    let note = source.note_of(&skips(topic), "beijing", 0);
    assert_eq!(note["skipped"], json!([{ "from": 1_000, "to": 1_000, "kind": "recreated" }]));
}

/// Kafka deletes a topic's committed offsets with it: what was there nobody can tell then, and that much is said.
#[test]
fn a_topic_that_is_created_anew_while_nobody_looks_is_copied_as_a_new_one_and_that_is_said() {
    let regions = regions();
    let source = regions.guangzhou.topic("gaps.unseen").create(1);
    let config = both_policies(&regions, "gaps.unseen");
    source.fill(1_000, Bulk::over(1));
    Engine::run_until_caught_up(&config).assert_code(0);
    recreate(&source, 300);
    eventually(seconds(20), "Kafka has deleted the offsets", || {
        source.watermarks_of(&fails("gaps.unseen"), "shanghai").is_empty()
    });
    let finished = Engine::run_until_caught_up(&config).assert_code(0);
    let said = finished.log();
    let said = said.lines().iter().filter(|line| text(line, "message").starts_with("no watermark is known"));
    assert_eq!(said.count(), 2);
    assert_eq!(regions.shanghai.topic("gaps.unseen").end(), 1_300);
}

#[test]
fn a_topic_that_is_created_anew_with_fewer_records_is_another_one() {
    recreated_while_it_runs("gaps.recreated.short", 300);
}

#[test]
fn a_topic_that_is_created_anew_with_more_records_is_another_one() {
    recreated_while_it_runs("gaps.recreated.long", 3_000);
}
