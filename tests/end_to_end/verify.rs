//! `verify` finds what another client planted, and nothing where nothing is; in little memory, whatever it compares.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::cluster::regions;
use crate::support::config::{Config, route_name};
use crate::support::engine::{Engine, Finished};
use crate::support::records::{Bulk, Exact};
use crate::support::topic::Topic;

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
        listed.map(|one| (text(&one["kind"]), text(&one["source"]), text(&one["target"]), fields(&one["fields"]))).collect()
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
    let regions = regions();
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

    let config = Config::of(&regions).fan_out("guangzhou", "verify.million", &["shanghai", "beijing"]);
    let only = Config::of(&regions).fan_out("guangzhou", "verify.million", &["shanghai"]);
    let began = tokio::time::Instant::now();
    Engine::run_until_caught_up(&only).assert_bounded();
    let copied = began.elapsed();
    let began = tokio::time::Instant::now();
    let clean = verify(&config, &source, &["--target", "shanghai"]);
    let compared = began.elapsed();
    println!("copied in {copied:?}, compared in {compared:?} with {} bytes", clean.peak_memory);
    clean.assert_clean();
    assert_eq!((clean.sum("source_records"), clean.sum("matched")), (1_000_000, 1_000_000));
    let found = verify(&config, &source, &["--target", "beijing"]);
    println!("{:#}", found.report);
    let one_each =
        [("missing", 1), ("duplicated", 1), ("reordered", 1), ("altered", 2), ("extra", 1)].into_iter().collect();
    assert_eq!((found.code, found.differences()), (3, one_each));
    let at = |place: i64, kind: &str, fields: &str| {
        let place = format!("verify.million/{}@{}", place % 4, (BEFORE + place) / 4);
        (kind.to_owned(), place, fields.to_owned())
    };
    let expected = [
        at(36, "missing", ""),
        at(23, "duplicated", ""),
        at(18, "reordered", ""),
        at(4, "altered", "headers"),
        at(9, "altered", "timestamp"),
    ];
    let listed: Vec<_> = found.listed().into_iter().map(|(kind, source, _, fields)| (kind, source, fields)).collect();
    assert_eq!(listed[..5], expected);
    for said in [&clean, &found] {
        assert!(said.peak_memory <= 64 << 20, "{} bytes of memory", said.peak_memory);
    }
    assert!(compared <= copied * 2, "compared in {compared:?}, copied in {copied:?}");
}
