//! What the source does not have any more: told with its kind and exact range, and met as the route's `on_gap` says.

use serde_json::{Value, json};

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::listeners::Listener;
use crate::support::log::{Log, text};
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::trio::Trio;
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

    let plan: Value = serde_json::from_str(&Engine::plan_as(&config, "json").assert_code(1).stdout).unwrap();
    for route in plan["routes"].as_array().unwrap() {
        let rows = route["topics"].as_array().unwrap().iter();
        let told: Vec<&Value> = rows.map(|row| &row["gaps"]).filter(|gaps| **gaps != json!({})).collect();
        assert!(
            told.len() == 1 && told[0]["0"].as_str().unwrap().starts_with("trimmed: offsets 500 to 599"),
            "{told:?}"
        );
    }

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
    // what stopped is looked at again in the meantime, and nothing has changed
    engine.keeps_running(seconds(20));
    assert_eq!(
        gaps(&engine.log(), "shanghai"),
        [gap(0, "recreated", 1_000, 1_000)],
        "the new topic's end is none of the old one's"
    );
    assert_eq!(regions.shanghai.topic(topic).end(), 1_000, "nothing of the new topic, as long as nobody has decided");
    engine.drain();

    // and a process that starts later knows it, too, though Kafka has deleted the topic's offsets with it
    let finished = Engine::run_until_caught_up(&config).assert_code(1);
    assert_eq!(gaps(&finished.log(), "shanghai"), [gap(0, "recreated", 1_000, 1_000)]);
    assert_eq!(gaps(&finished.log(), "beijing"), []);
    assert_eq!(regions.shanghai.topic(topic).end(), 1_000);

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

/// A source of three brokers whose topic is on two of them, the second of which is down while records are written: what only the
/// first has is lost with it when the second takes over.
struct Unclean {
    trio: Trio,
    source: Topic,
    leader: u16,
    follower: u16,
}

impl Unclean {
    /// A topic with 1,000 records that both replicas have.
    fn start(topic: &str) -> Self {
        let trio = Trio::start("source");
        let allowed = json!({ "unclean.leader.election.enable": "true", "min.insync.replicas": "1" });
        let source = trio.topic(topic).create_on(&[1, 2], &allowed);
        trio.wait_until_whole();
        source.fill(1_000, Bulk::over(1));
        let leader = trio.leader(topic, 0).unwrap();
        Self { trio, source, leader, follower: 3 - leader }
    }

    fn config(&self, regions: &Regions) -> Config {
        let bootstrap: Vec<String> = self.trio.bootstrap().split(',').map(str::to_owned).collect();
        both_policies(regions, &self.source.name).set("/clusters/guangzhou", "bootstrap", json!(bootstrap))
    }

    /// Has the broker that is going to die coordinate a group.
    fn let_the_leader_coordinate(&self, group: &str) {
        // there are coordinators once anybody has committed
        self.source.set_watermark("nobody", "nowhere", 0, 0);
        let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let count = self.trio.placements("__consumer_offsets").len();
        let partition = (hash & i32::MAX) % i32::try_from(count).unwrap();
        if self.trio.leader("__consumer_offsets", partition) != Some(self.leader) {
            self.trio.move_leader("__consumer_offsets", partition, self.leader);
        }
        assert_eq!(self.trio.coordinator(group), Some(self.leader));
    }

    /// Writes 500 records that only the leader has.
    fn write_to_the_leader_alone(&self) {
        self.trio.node(self.follower).broker.stop();
        eventually(seconds(30), "the leader is alone in sync", || {
            self.trio.placements(&self.source.name)[&0].in_sync == [self.leader]
        });
        self.source.fill(500, Bulk::over(1).numbered_from(1_000));
    }

    /// Has the follower lead, without what only the leader has, and writes `more` records there.
    fn elect(&mut self, more: i64) {
        self.trio.node(self.leader).broker.kill();
        self.trio.restart(self.follower);
        self.trio.elect_unclean(&self.source.name, 0);
        eventually(seconds(60), "the follower leads", || {
            self.trio.placements(&self.source.name)[&0].leader == Some(self.follower)
        });
        // the other client had better not look for the one that is gone
        self.source.bootstrap = self.trio.node(self.follower).broker.address(Listener::Plaintext);
        assert_eq!(self.source.end(), 1_000, "the follower has what both had");
        if more > 0 {
            self.source.fill(more, Bulk::over(1).numbered_from(1_000_000));
        }
    }
}

/// What was copied of 1,500 records, of which the source has lost the last 500, has another `more` in their place.
fn assert_truncated(regions: &Regions, source: &Topic, log: &Log, more: i64) {
    for target in ["shanghai", "beijing"] {
        assert_eq!(gaps(log, target), [gap(0, "truncated", 1_000, 1_500)], "{target}");
    }
    let reason = log.state_of("shanghai").map(|line| text(line, "reason").to_owned()).unwrap();
    assert!(reason.contains("truncated: offsets 1000 to 1499 were copied"), "{reason}");
    let ends = [regions.shanghai, regions.beijing].map(|cluster| cluster.topic(&source.name).end());
    assert_eq!(ends, [1_500, 1_500 + more], "it stops, and it goes on with what is in their place");
    let note = source.note_of(&skips(&source.name), "beijing", 0);
    assert_eq!(note["skipped"], json!([{ "from": 1_000, "to": 1_500, "kind": "truncated" }]));
    let mut arrived = regions.beijing.topic(&source.name).all_rows();
    arrived.retain(|row| row.id < 1_000 || row.id >= 1_000_000);
    Ledger::compare(&source.committed_rows(), &arrived).assert_exact();
}

fn truncated_while_nobody_looks(topic: &str, more: i64) {
    let regions = regions();
    let mut unclean = Unclean::start(topic);
    let config = unclean.config(&regions);
    unclean.write_to_the_leader_alone();
    Engine::run_until_caught_up(&config).assert_code(0);
    unclean.elect(more);
    let finished = Engine::run_until_caught_up(&config).assert_code(1);
    assert!(finished.log().states_of("shanghai").contains(&"failed"));
    assert_truncated(&regions, &unclean.source, &finished.log(), more);
}

fn truncated_while_it_runs(topic: &str, more: i64) {
    let regions = regions();
    let mut unclean = Unclean::start(topic);
    let config = unclean.config(&regions);
    // with the broker, the place in the group is lost
    unclean.let_the_leader_coordinate(&format!("anabranch.{}", fails(topic)));
    unclean.write_to_the_leader_alone();
    let mut engine = Engine::run(&config);
    wait_for_both(&unclean.source);
    unclean.elect(more);
    engine.wait_for_state(seconds(120), "shanghai", "failed");
    let skipping = regions.beijing.topic(topic);
    eventually(seconds(60), "what is in their place is copied", || skipping.end() >= 1_500 + more);
    unclean.source.wait_for_target_of(&skips(topic), "beijing");
    let log = engine.drain().log();
    assert_truncated(&regions, &unclean.source, &log, more);
}

#[test]
fn an_unclean_election_is_a_truncation_where_the_log_is_shorter_than_what_was_copied() {
    truncated_while_nobody_looks("gaps.unclean.short", 200);
}

#[test]
fn an_unclean_election_is_a_truncation_where_other_records_are_in_place_of_those_that_were_copied() {
    truncated_while_nobody_looks("gaps.unclean.long", 2_000);
}

#[test]
fn an_unclean_election_while_it_runs_is_a_truncation_where_the_log_is_shorter() {
    truncated_while_it_runs("gaps.unclean.running.short", 200);
}

#[test]
fn an_unclean_election_while_it_runs_is_a_truncation_where_other_records_are_in_place() {
    truncated_while_it_runs("gaps.unclean.running.long", 2_000);
}
