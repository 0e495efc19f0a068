//! `verify` finds what another client planted, and nothing where nothing is; in little memory, whatever it compares.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::cluster::{Regions, regions, regions_alone};
use crate::support::config::{Config, route_name};
use crate::support::engine::{Engine, Finished};
use crate::support::ledger::Ledger;
use crate::support::records::{Bulk, Exact, noise};
use crate::support::topic::Topic;
use crate::support::{eventually, seconds};

/// What a comparison said, in JSON.
struct Said {
    code: i32,
    peak_memory: u64,
    report: Value,
}

impl Said {
    fn of(finished: &Finished) -> Self {
        let report = serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: exit code {}\n{}", finished.code, finished.output()));
        Self { code: finished.code, peak_memory: finished.peak_memory(), report }
    }

    /// How many differences there are of each kind, without those of which there is none.
    fn differences(&self) -> BTreeMap<&str, u64> {
        self.counts("differences")
    }

    /// What is on one side only, and rightly so.
    fn explained(&self) -> BTreeMap<&str, u64> {
        self.counts("explained")
    }

    fn counts(&self, field: &str) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for topic in self.report["topics"].as_array().unwrap() {
            for (name, count) in topic[field].as_object().unwrap() {
                // what a reason begins with is its name
                *counts.entry(name.split(':').next().unwrap()).or_default() += count.as_u64().unwrap();
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    }

    /// Each difference with its kind, coordinates and fields.
    fn listed(&self) -> Vec<(String, String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let topics = self.report["topics"].as_array().unwrap().iter();
        let listed = topics.flat_map(|topic| topic["listed"].as_array().unwrap());
        let fields = |value: &Value| {
            let fields = value.as_array().map_or(&[][..], Vec::as_slice);
            fields.iter().map(text).collect::<Vec<_>>().join(",")
        };
        listed
            .map(|one| (text(&one["kind"]), text(&one["source"]), text(&one["target"]), fields(&one["fields"])))
            .collect()
    }

    fn sum(&self, field: &str) -> u64 {
        self.report["topics"].as_array().unwrap().iter().map(|topic| topic[field].as_u64().unwrap()).sum()
    }

    /// Nothing is different.
    fn assert_clean(&self) {
        assert_eq!((self.code, self.differences()), (0, BTreeMap::new()), "{:#}", self.report);
        for topic in self.report["topics"].as_array().unwrap() {
            assert_eq!(topic["source_digest"], topic["target_digest"]);
        }
    }
}

fn verify(config: &Config, topic: &Topic, options: &[&str]) -> Said {
    let finished = Engine::verify(config, &route_name(&topic.name), &[&["--output", "json"], options].concat());
    Said::of(&finished)
}

const BEFORE: i64 = 500_000;
const PLANTED: i64 = 40;
const ALL: i64 = 1_000_000;

fn around(topic: &Topic, planted: &[Exact]) {
    let bulk = Bulk { value_size: 100, codec: "lz4", ..Bulk::over(4) };
    topic.fill(BEFORE, bulk);
    topic.write(planted);
    topic.fill(ALL - BEFORE - PLANTED, bulk.numbered_from(BEFORE + PLANTED));
}

#[test]
fn each_of_six_differences_in_a_million_records_is_found_and_none_in_a_clean_copy() {
    let regions = regions_alone();
    let source = regions.guangzhou.topic("verify.million").create(4);
    let planted = regions.beijing.topic("verify.million").create(4);
    let record = |id: i64| Exact::new((id % 4) as i32, id).key(b"k").value(b"v").header("h", Some(b"x"));
    let original: Vec<Exact> = (BEFORE..BEFORE + PLANTED).map(record).collect();
    around(&source, &original);
    let mut changed = original.clone();
    changed[4].headers[1].1 = Some(b"y".to_vec()); // partition 0
    changed[9].timestamp += 1; // partition 1
    changed.swap(14, 18); // partition 2
    changed.insert(27, original[23].clone()); // partition 3, behind itself
    changed.push(Exact { timestamp: 5, ..Exact::new(0, 77) });
    changed.remove(37); // partition 0, one before the last: 36, as one was added before it
    around(&planted, &changed);
    planted.write(&original[3..4]); // once more, long after

    let config = Config::of(&regions).fan_out("guangzhou", "verify.million", &["shanghai", "beijing"]);
    let only = Config::of(&regions).fan_out("guangzhou", "verify.million", &["shanghai"]);
    let began = tokio::time::Instant::now();
    Engine::run_until_caught_up(&only).assert_bounded();
    let copied = began.elapsed();
    let compare = || {
        let began = tokio::time::Instant::now();
        (verify(&config, &source, &["--target", "shanghai"]), began.elapsed())
    };
    // others share the two cores: a run that they slowed down says nothing of the speed
    let (clean, compared) = (0..3).map(|_| compare()).find(|(_, time)| *time <= copied * 2).unwrap_or_else(compare);
    println!("copied in {copied:?}, compared in {compared:?} with {} bytes", clean.peak_memory);
    clean.assert_clean();
    assert_eq!((clean.sum("source_records"), clean.sum("matched")), (1_000_000, 1_000_000));
    let found = verify(&config, &source, &["--target", "beijing"]);
    println!("{:#}", found.report);
    let one_each =
        [("missing", 1), ("duplicated", 2), ("reordered", 1), ("altered", 2), ("extra", 1)].into_iter().collect();
    assert_eq!((found.code, found.differences()), (3, one_each));
    let at = |place: i64, kind: &str, fields: &str| {
        let place = format!("verify.million/{}@{}", place % 4, (BEFORE + place) / 4);
        (kind.to_owned(), place, fields.to_owned())
    };
    let expected = [
        at(36, "missing", ""),
        at(23, "duplicated", ""),
        at(3, "duplicated", ""),
        at(18, "reordered", ""),
        at(4, "altered", "headers"),
        at(9, "altered", "timestamp"),
    ];
    let listed: Vec<_> = found.listed().into_iter().map(|(kind, source, _, fields)| (kind, source, fields)).collect();
    assert_eq!(listed[..6], expected);
    let table = Engine::verify(&config, "verify_million", &["--target", "beijing"]).assert_code(3).stdout;
    println!("{table}");
    assert!(table.contains(&format!("missing    source {}", at(36, "", "").1)), "{table}");
    for said in [&clean, &found] {
        assert!(said.peak_memory <= 64 << 20, "{} bytes of memory", said.peak_memory);
    }
    assert!(compared <= copied * 2, "compared in {compared:?}, copied in {copied:?}");
}

/// Guangzhou to Shanghai, with what is said of the route besides.
fn route(regions: &Regions, topic: &str, more: &Value) -> Config {
    let mut content =
        json!({ "from": "guangzhou", "topics": { "include": [regex::escape(topic)] }, "to": { "shanghai": {} } });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Config::of(regions).route(&route_name(topic), content)
}

#[test]
fn a_renamed_topic_by_key_without_aborted_records_is_clean_until_something_is_planted() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.by_key").create(4);
    let target = regions.shanghai.topic("gz.verify.by_key").create(3);
    let bulk = Bulk { mixed: true, ..Bulk::over(4) };
    source.fill(50_000, bulk);
    for (at, end) in ["abort", "commit", "abort"].into_iter().enumerate() {
        let first = 60_000 + 1_000 * i64::try_from(at).unwrap();
        source.fill(1_000, Bulk { transaction: Some(end), ..bulk.numbered_from(first) });
    }
    let more = json!({ "partitioning": "by_key", "to": { "shanghai": { "topic": "gz.{topic}" } } });
    let config = route(&regions, "verify.by_key", &more);
    Engine::run_until_caught_up(&config).assert_bounded();

    let clean = verify(&config, &source, &[]);
    clean.assert_clean();
    assert_eq!((clean.sum("source_records"), clean.sum("target_records")), (51_000, 51_000));
    let records = target.records();
    let moved = records.iter().find(|record| record.partition == Some(1) && record.key.is_some()).unwrap();
    target.write(&[Exact { partition: Some(2), ..moved.clone() }, Exact::new(0, -1)]);
    let found = verify(&config, &source, &[]);
    // it is on partition 1 as well, so the one on partition 2 is one too many
    assert_eq!(found.code, 3);
    assert_eq!(found.differences(), [("duplicated", 1), ("extra", 1)].into_iter().collect());
}

#[test]
fn what_retention_took_from_either_side_is_no_difference_but_what_is_planted_is() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.retention").create(2);
    let shanghai = regions.shanghai.topic("verify.retention").create(2);
    let beijing = regions.beijing.topic("verify.retention").create(2);
    source.fill(100_000, Bulk::over(2));
    let config = Config::of(&regions).fan_out("guangzhou", "verify.retention", &["shanghai", "beijing"]);
    Engine::run_until_caught_up(&config).assert_bounded();
    source.trim(0, 20_000);
    beijing.trim(0, 30_000);
    beijing.trim(1, 50_000);

    let said = verify(&config, &source, &[]);
    said.assert_clean();
    let gone = [("gone at the source", 20_000), ("gone at the target", 10_000 + 50_000)].into_iter().collect();
    assert_eq!(said.explained(), gone);
    shanghai.write(&[Exact::new(0, -1)]);
    let said = verify(&config, &source, &["--target", "shanghai"]);
    assert_eq!((said.code, said.differences()), (3, [("extra", 1)].into_iter().collect()));
    assert_eq!(said.explained(), [("gone at the source", 20_000)].into_iter().collect());
}

#[test]
fn compaction_may_take_all_but_the_last_record_of_a_key() {
    let regions = regions();
    let compacted = json!({ "cleanup.policy": "compact" });
    let source = regions.guangzhou.topic("verify.compacted").create_with(1, &compacted);
    let target = regions.shanghai.topic("verify.compacted").create_with(1, &compacted);
    let record = |id: i64| Exact::new(0, id).key(format!("key-{}", id % 50).as_bytes()).value(b"v");
    // as the two cleaners may have left them, each in its own time
    let left = |side: i64| (0..2_000).filter(move |id| *id >= 1_950 || id % 7 == side).map(record).collect::<Vec<_>>();
    source.write(&left(0));
    target.write(&left(1));
    let config = Config::of(&regions).fan_out("guangzhou", "verify.compacted", &["shanghai"]);
    let said = verify(&config, &source, &[]);
    assert_eq!((said.code, said.differences()), (0, BTreeMap::new()), "{:#}", said.report);
    assert!(said.explained()["compacted away"] > 500);

    source.write(&[record(2_000)]);
    let said = verify(&config, &source, &[]);
    assert_eq!((said.code, said.differences()["missing"]), (3, 1), "the last one of its key is not there");
}

#[test]
fn it_compares_up_to_the_watermarks_while_the_engine_runs() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.running").create(4);
    source.fill(100_000, Bulk::over(4));
    let config = Config::of(&regions).fan_out("guangzhou", "verify.running", &["shanghai"]);
    let load = source.load(5_000, Bulk::over(4).numbered_from(1_000_000));
    let mut engine = Engine::run(&config);
    let target = regions.shanghai.topic("verify.running");
    let mut compared = Vec::new();
    for round in 1..=4 {
        eventually(seconds(30), "records arrive", || {
            engine.assert_running();
            target.end() > 50_000 * round / 2
        });
        let said = verify(&config, &source, &[]);
        said.assert_clean();
        compared.push(said.sum("matched"));
    }
    load.stop();
    engine.drain().assert_bounded();
    println!("compared {compared:?}");
    assert!(compared[3] > compared[0] && compared[3] > 50_000, "{compared:?}");
}

#[test]
fn dead_letters_and_envelopes_are_accounted_for_and_what_was_dropped_is_missing() {
    let regions = regions();
    let outcomes =
        [("dead_letter", 0, Some("dead-lettered")), ("keep", 0, Some("kept in envelopes")), ("drop", 3, None)];
    for (end, code, explained) in outcomes {
        let name = format!("verify.{end}");
        let source = regions.guangzhou.topic(&name).create(2);
        regions.shanghai.topic(&name).create_with(2, &json!({ "max.message.bytes": "100000" }));
        source.fill(2_000, Bulk::over(2));
        let large = Exact::new(1, 5_000).key(b"k").value(&noise(300_000)).header("trace", None);
        source.write(&[large]);
        source.fill(2_000, Bulk::over(2).numbered_from(2_000));
        let retry = json!({ "record": { "attempts": 1, "on_exhausted": end } });
        let config = route(&regions, &name, &json!({ "to": { "shanghai": { "retry": retry } } }));
        Engine::run_until_caught_up(&config).assert_bounded();
        let said = verify(&config, &source, &[]);
        assert_eq!((said.code, said.sum("source_records")), (code, 4_001), "{:#}", said.report);
        let expected: BTreeMap<&str, u64> = explained.into_iter().map(|reason| (reason, 1)).collect();
        assert_eq!(said.explained(), expected);
        if end == "drop" {
            assert_eq!(said.differences(), [("missing", 1)].into_iter().collect());
            assert_eq!(said.listed()[0].1, format!("{name}/1@1000"));
            assert!(said.report["remarks"].to_string().contains("`drop`"));
        } else {
            assert_eq!(said.differences(), BTreeMap::new());
        }
    }
}

#[test]
fn duplicates_after_a_sigkill_are_told_and_may_be_allowed() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.killed").create(4);
    let target = regions.shanghai.topic("verify.killed").create(4);
    source.fill(200_000, Bulk { value_size: 1_000, ..Bulk::over(4) });
    let config = Config::of(&regions).fan_out("guangzhou", "verify.killed", &["shanghai"]);
    let mut engine = Engine::run(&config);
    eventually(seconds(30), "it is in the middle", || {
        engine.assert_running();
        target.end() > 10_000
    });
    engine.kill();
    Engine::run_until_caught_up(&config).assert_bounded();
    let duplicates = Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_at_least_once() as u64;
    println!("{duplicates} duplicates");
    assert!(duplicates > 0, "nothing was repeated: it was not killed in the middle");

    let said = verify(&config, &source, &[]);
    assert_eq!((said.code, said.differences()), (3, [("duplicated", duplicates)].into_iter().collect()));
    let said = verify(&config, &source, &["--allow-duplicates"]);
    assert_eq!((said.code, said.sum("matched")), (0, 200_000));
}

#[test]
fn what_can_not_be_compared_is_told_in_one_line() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.nothing").create(1);
    source.write(&[Exact::new(0, 0)]);
    let config = Config::of(&regions).fan_out("guangzhou", "verify.nothing", &["shanghai"]);
    let finished = Engine::verify(&config, "verify_nothin", &[]).assert_code(2);
    assert!(finished.stderr.contains("did you mean `verify_nothing`?"), "{}", finished.stderr);
    let finished = Engine::verify(&config, "verify_nothing", &["--target", "shangha"]).assert_code(2);
    assert!(finished.stderr.contains("did you mean `shanghai`?"), "{}", finished.stderr);

    let table = Engine::verify(&config, "verify_nothing", &[]).assert_code(3).stdout;
    for line in ["topic verify.nothing does not exist on cluster shanghai", "missing    source verify.nothing/0@0"] {
        assert!(table.contains(line), "{line:?} is not in\n{table}");
    }
    regions.chengdu.stop();
    let config = config.fan_out("guangzhou", "verify.nothing", &["chengdu"]);
    let finished = Engine::verify(&config, "verify_nothing", &[]).assert_code(1);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert!(finished.stderr.contains("chengdu"), "{}", finished.stderr);
}

#[test]
fn a_sample_finds_what_is_in_it_and_reads_little_else() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.sample").create(2);
    let target = regions.shanghai.topic("verify.sample").create(2);
    source.fill(400_000, Bulk::over(2));
    target.fill(399_998, Bulk::over(2));
    let config = Config::of(&regions).fan_out("guangzhou", "verify.sample", &["shanghai"]);
    let all = verify(&config, &source, &["--sample", "100%"]);
    assert_eq!((all.code, all.differences()), (3, [("missing", 2)].into_iter().collect()));
    let part = verify(&config, &source, &["--sample", "1/10"]);
    assert_eq!(part.sum("source_records"), 40_000);
    assert!(part.sum("target_records") < 100_000, "{:#}", part.report);
    let refused = Engine::verify(&config, "verify_sample", &["--sample", "some"]).assert_code(2);
    assert!(refused.stderr.contains("1/20 or 5%"), "{}", refused.stderr);
}

#[test]
fn since_and_topics_narrow_down_what_is_compared() {
    let regions = regions();
    let config = Config::of(&regions).route(
        "narrow",
        json!({ "from": "guangzhou", "topics": { "include": ["verify\\.narrow\\..*"] }, "to": { "shanghai": {} } }),
    );
    for name in ["verify.narrow.a", "verify.narrow.b"] {
        regions.guangzhou.topic(name).create(2).fill(2_000, Bulk { timestamp_step: 1_000, ..Bulk::over(2) });
    }
    Engine::run_until_caught_up(&config).assert_bounded();
    // 1,700,000,000 is 2023-11-14T22:13:20Z.
    let since = ["--output", "json", "--since", "2023-11-14T22:30:00Z", "--topics", ".*a"];
    let said = Said::of(&Engine::verify(&config, "narrow", &since));
    said.assert_clean();
    assert_eq!(said.sum("source_records"), 1_000);
    regions.shanghai.topic("verify.narrow.b").write(&[Exact::new(0, -1)]);
    assert_eq!(Said::of(&Engine::verify(&config, "narrow", &since)).code, 0);
    assert_eq!(Said::of(&Engine::verify(&config, "narrow", &["--output", "json"])).code, 3);
}

#[test]
fn what_a_route_skipped_is_no_difference_and_a_topic_that_was_created_anew_is_not_compared() {
    let regions = regions();
    let source = regions.guangzhou.topic("verify.skipped").create(1);
    let target = regions.shanghai.topic("verify.skipped").create(1);
    source.fill(1_000, Bulk::over(1));
    let config = route(&regions, "verify.skipped", &json!({ "on_gap": "skip" }));
    Engine::run_until_caught_up(&config).assert_bounded();
    source.fill(2_000, Bulk::over(1).numbered_from(1_000));
    source.trim(0, 1_500);
    Engine::run_until_caught_up(&config).assert_bounded();
    assert_eq!(target.end(), 2_500, "500 were never copied");
    let said = verify(&config, &source, &[]);
    said.assert_clean();
    assert_eq!(said.explained(), [("gone at the source", 1_000)].into_iter().collect());
    target.write(&[Exact::new(0, -1)]);
    assert_eq!(verify(&config, &source, &[]).differences(), [("extra", 1)].into_iter().collect());

    source.delete();
    eventually(seconds(10), "the topic is gone", || source.describe().is_null());
    source.clone().create(1).fill(5_000, Bulk::over(1));
    // with a topic Kafka deletes what is committed for it, sooner or later: nothing is taken for a copy of the new one
    let finished = Engine::verify(&config, "verify_skipped", &[]);
    assert_ne!(finished.code, 0, "{}", finished.output());
}
