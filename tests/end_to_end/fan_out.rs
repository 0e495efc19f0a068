//! One read, many targets: every kind of record arrives on each of them as it was, and the source is read once.

use serde_json::json;

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::kcat;
use crate::support::ledger::Ledger;
use crate::support::records::{Bulk, Exact};
use crate::support::topic::Topic;

/// A config with all shared clusters and one route, named as its topic.
fn config(regions: &Regions, topic: &str, targets: &[&str]) -> Config {
    Config::of(regions).fan_out("guangzhou", topic, targets)
}

/// 200,000 records and more, of every kind that Kafka knows.
fn fill_with_every_kind(topic: &Topic) {
    let mixed = Bulk { mixed: true, ..Bulk::over(8) };
    for (codec, first_id) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip((0..).step_by(40_000)) {
        topic.fill(40_000, Bulk { codec, ..mixed.numbered_from(first_id) });
    }
    for (round, first_id) in (300_000..).step_by(10_000).take(4).enumerate() {
        let transaction = Some(if round % 2 == 0 { "commit" } else { "abort" });
        topic.fill(2_500, Bulk { transaction, codec: "lz4", ..mixed.numbered_from(first_id) });
    }
    topic.write(&[
        Exact::new(0, 400_000).key(b"large").value(&vec![0xa5; 900 * 1024]),
        Exact::new(1, 400_001),
        Exact { headers: Vec::new(), ..Exact::new(2, 400_002) }.key(b"no headers"),
        Exact { timestamp: 1, ..Exact::new(3, 400_003) }.value(b"1970"),
        Exact::new(4, 400_004).header("", Some(b"")).header("", None).header("", Some(b"")),
        Exact::new(5, 400_005).key(&[0, 0xc3, 0x28, 0xff]).value(&[0xff; 3]),
    ]);
}

#[test]
fn every_kind_of_record_arrives_on_both_targets_as_it_was() {
    let regions = regions();
    let source = regions.guangzhou.topic("fan_out.kinds").create(8);
    fill_with_every_kind(&source);
    let config = config(&regions, "fan_out.kinds", &["shanghai", "beijing"]);

    Engine::run_until_caught_up(&config).assert_bounded();

    let written = source.committed_rows();
    assert_eq!(written.len(), 205_006);
    for cluster in [regions.shanghai, regions.beijing] {
        let target = cluster.topic("fan_out.kinds");
        Ledger::compare(&written, &target.all_rows()).assert_exact();
        for partition in 0..8 {
            let same = kcat::print(&source, partition) == kcat::print(&target, partition);
            assert!(same, "kcat sees a difference in partition {partition}");
        }
    }
}

#[test]
fn a_second_run_has_nothing_left_to_copy() {
    let regions = regions();
    let source = regions.guangzhou.topic("fan_out.again").create(2);
    let target = regions.shanghai.topic("fan_out.again");
    let config = config(&regions, "fan_out.again", &["shanghai"]);
    for round in 1..=2 {
        source.fill(1_000, Bulk::over(2).numbered_from(round * 1_000));
        for _ in 0..2 {
            Engine::run_until_caught_up(&config).assert_bounded();
            Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
        }
    }
}

#[test]
fn three_targets_cost_the_source_one_read() {
    let regions = regions();
    let mut sent = Vec::new();
    for (name, targets) in
        [("fan_out.one", &["shanghai"][..]), ("fan_out.three", &["shanghai", "beijing", "chengdu"][..])]
    {
        let source = regions.guangzhou.topic(name).create(4);
        source.fill(100_000, Bulk { value_size: 500, ..Bulk::over(4) });
        Engine::run_until_caught_up(&config(&regions, name, targets)).assert_bounded();
        sent.push(regions.guangzhou.bytes_out(name));
        let written = source.committed_rows();
        for target in targets {
            let cluster =
                [regions.shanghai, regions.beijing, regions.chengdu].into_iter().find(|c| c.name() == *target);
            Ledger::compare(&written, &cluster.unwrap().topic(name).all_rows()).assert_exact();
        }
    }
    let (one, three) = (sent[0], sent[1]);
    println!("bytes out of the source: {one} for one target, {three} for three");
    assert!(one > 50_000_000, "the broker counted {one} bytes only");
    assert!(three * 10 <= one * 11, "{three} bytes out for three targets, {one} for one");
}

#[test]
fn in_flight_bytes_keep_to_the_budget_while_a_target_does_not_answer() {
    let regions = regions();
    let source = regions.guangzhou.topic("fan_out.frozen").create(4);
    let [healthy, frozen] =
        [regions.shanghai, regions.chengdu].map(|cluster| cluster.topic("fan_out.frozen").create(4));
    source.fill(64_000, Bulk { value_size: 1_000, ..Bulk::over(4) });
    let config = config(&regions, "fan_out.frozen", &["shanghai", "chengdu"])
        .set("/routes/fan_out_frozen", "in_flight", json!("8MiB"))
        .set("", "limits", json!({ "in_flight": "8MiB" }));

    regions.chengdu.freeze();
    let engine = Engine::run(&config);
    source.wait_for("shanghai");
    regions.chengdu.thaw();
    source.wait_for("chengdu");
    engine.drain().assert_bounded();

    let written = source.committed_rows();
    Ledger::compare(&written, &healthy.all_rows()).assert_exact();
    let duplicated = Ledger::compare(&written, &frozen.all_rows()).assert_at_least_once();
    println!("{duplicated} records were written again to the target that did not answer");
}

#[test]
fn a_record_larger_than_the_budget_travels_alone() {
    let regions = regions();
    let source = regions.guangzhou.topic("fan_out.large").create(2);
    source.fill(2_000, Bulk { value_size: 1_000, ..Bulk::over(2) });
    source.write(&[Exact::new(0, 10_000).value(&vec![0x5a; 900 * 1024]), Exact::new(1, 10_001)]);
    source.fill(2_000, Bulk { value_size: 1_000, ..Bulk::over(2).numbered_from(20_000) });
    let config = config(&regions, "fan_out.large", &["shanghai", "beijing"])
        .set("/routes/fan_out_large", "in_flight", json!("512KiB"))
        .set("/routes/fan_out_large", "batch", json!({ "max_bytes": "64KiB" }))
        .set("", "limits", json!({ "in_flight": "512KiB" }));

    Engine::run_until_caught_up(&config).assert_bounded();

    let written = source.committed_rows();
    for cluster in [regions.shanghai, regions.beijing] {
        Ledger::compare(&written, &cluster.topic("fan_out.large").all_rows()).assert_exact();
    }
}

#[test]
fn a_timestamp_of_zero_is_written_as_one_and_that_is_said() {
    let regions = regions();
    let source = regions.guangzhou.topic("fan_out.zero").create(1);
    source.write(&[Exact { timestamp: 0, ..Exact::new(0, 1) }, Exact::new(0, 2)]);
    let config = config(&regions, "fan_out.zero", &["shanghai"]);
    let config = config.set("/routes/fan_out_zero", "transfer", json!("records"));
    let finished = Engine::run_until_caught_up(&config).assert_bounded();
    assert!(finished.stderr.contains("records stamped 0"), "nothing is altered silently\n{}", finished.stderr);
    let copied = regions.shanghai.topic("fan_out.zero").records();
    assert_eq!(copied.iter().map(|record| record.timestamp).min(), Some(1));
    assert_eq!(copied.len(), 2);
}
