//! Batches are passed on as they are, and those that no broker would take so arrive nevertheless.

use serde_json::json;

use crate::support::agent::ask;
use crate::support::cluster::{Cluster, Regions, regions};
use crate::support::config::{Config, route_name};
use crate::support::engine::{Engine, Finished};
use crate::support::kcat;
use crate::support::ledger::Ledger;
use crate::support::log::text;
use crate::support::raw;
use crate::support::records::{Bulk, Exact, noise};
use crate::support::topic::Topic;
use crate::support::{seconds, within_at};

/// A config with one route that passes batches on.
fn config(regions: &Regions, topic: &str, targets: &[&str]) -> Config {
    config_with(regions, topic, targets, "passthrough")
}

fn config_with(regions: &Regions, topic: &str, targets: &[&str], transfer: &str) -> Config {
    let route = format!("/routes/{}", route_name(topic));
    Config::of(regions).fan_out("guangzhou", topic, targets).set(&route, "transfer", json!(transfer))
}

/// Copies all, and compares the ledgers; also says what was not passed on as it is, and why. To another target it copies records of the
/// same batches.
fn copy(regions: &Regions, source: &Topic) -> (Topic, String) {
    let finished = Engine::run_until_caught_up(&config(regions, &source.name, &["shanghai"])).assert_bounded();
    let target = regions.shanghai.topic(&source.name);
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
    copy_records(
        source,
        &config_with(regions, &source.name, &["beijing"], "records"),
        &regions.beijing.topic(&source.name),
    );
    (target, fallbacks(&finished))
}

fn copy_records(source: &Topic, config: &Config, target: &Topic) {
    let finished = Engine::run_until_caught_up(config).assert_bounded();
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
    assert_eq!(fallbacks(&finished), "");
}

/// How many batches were not passed on as they are, by reason.
fn fallbacks(finished: &Finished) -> String {
    let log = finished.log();
    text(log.with_message("source closed")[0], "fallbacks").to_owned()
}

#[test]
fn batches_of_each_codec_are_on_the_target_byte_for_byte() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.bytes").create(3);
    for (codec, first_id) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip((0..).step_by(10_000)) {
        source.fill(10_000, Bulk { codec, mixed: true, ..Bulk::over(3).numbered_from(first_id) });
    }
    let config = config(&regions, &source.name, &["shanghai", "beijing"]);
    Engine::run_until_caught_up(&config).assert_bounded();
    for target in [regions.shanghai.topic(&source.name), regions.beijing.topic(&source.name)] {
        for partition in 0..3 {
            let (written, arrived) = (raw::batches(&source, partition), raw::batches(&target, partition));
            assert!(written.len() > 20 && written.len() == arrived.len(), "{} {}", written.len(), arrived.len());
            for (one, other) in written.iter().zip(&arrived) {
                let (was, is) = (one.header(), other.header());
                assert_eq!(one.payload(), other.payload());
                assert_eq!((was.attributes, was.count), (is.attributes, is.count));
                assert_eq!((was.base_timestamp, was.max_timestamp), (is.base_timestamp, is.max_timestamp));
                assert_eq!((was.base_offset, was.last_offset_delta), (is.base_offset, is.last_offset_delta));
            }
        }
        // Java's consumer, and then others
        Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
        for partition in 0..3 {
            for print in [kcat::print, kcat::print_by_confluent] {
                let (written, arrived) = (print(&source, partition), print(&target, partition));
                assert!(arrived.len() > 10_000 && arrived == written, "{} {}", arrived.len(), written.len());
            }
        }
    }
}

#[test]
fn a_timestamp_of_zero_stays_as_it_is() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.zero").create(1);
    source.write(&[Exact { timestamp: 0, ..Exact::new(0, 1) }, Exact::new(0, 2)]);
    let finished = Engine::run_until_caught_up(&config(&regions, &source.name, &["shanghai"])).assert_bounded();
    assert_eq!(fallbacks(&finished), "");
    let target = regions.shanghai.topic(&source.name);
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
    assert_eq!(target.records().iter().map(|record| record.timestamp).min(), Some(0));
    assert_eq!(target.records(), source.records());
}

#[test]
fn batches_with_the_brokers_timestamps_keep_them() {
    let regions = regions();
    let stamped = json!({ "message.timestamp.type": "LogAppendTime" });
    let source = regions.guangzhou.topic("passthrough.stamped").create_with(2, &stamped);
    source.fill(5_000, Bulk { codec: "lz4", mixed: true, ..Bulk::over(2) });
    let (_, fallbacks) = copy(&regions, &source);
    assert!(fallbacks.starts_with("append_time "), "{fallbacks}");
}

#[test]
fn a_copy_that_begins_in_the_middle_of_a_batch_has_each_record_once() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.middle").create(1);
    source.fill(5_000, Bulk { codec: "zstd", ..Bulk::over(1) });
    let route = route_name(&source.name);
    let middle = raw::batches(&source, 0)[2].header().base_offset + 7;
    source.set_watermark(&route, "shanghai", 0, middle);
    let target = regions.shanghai.topic(&source.name).create(1);
    let finished = Engine::run_until_caught_up(&config(&regions, &source.name, &["shanghai"])).assert_bounded();
    assert_eq!(fallbacks(&finished), "resumed 1");
    let written = source.records();
    let rest = &written[usize::try_from(middle).unwrap()..];
    assert_eq!(target.records(), rest);

    source.set_watermark(&route, "beijing", 0, middle);
    let target = regions.beijing.topic(&source.name).create(1);
    let config = config_with(&regions, &source.name, &["beijing"], "records");
    Engine::run_until_caught_up(&config).assert_bounded();
    assert_eq!(target.records(), rest);
}

#[test]
fn a_source_whose_client_is_set_up_by_librdkafkas_properties_is_read_by_it() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.librdkafka").create(3);
    for (codec, first_id) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().zip((0..).step_by(10_000)) {
        source.fill(10_000, Bulk { codec, mixed: true, ..Bulk::over(3).numbered_from(first_id) });
    }
    source.fill(1_000, Bulk { transaction: Some("abort"), ..Bulk::over(3).numbered_from(50_000) });
    let config = config_with(&regions, &source.name, &["shanghai"], "auto");
    let config = config.set("/clusters/guangzhou", "client", json!({ "fetch.min.bytes": "2" }));
    copy_records(&source, &config, &regions.shanghai.topic(&source.name));
}

#[test]
fn batches_larger_than_a_target_takes_are_cut() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.large").create(1);
    source.fill(3_000, Bulk { value_size: 2_000, codec: "none", ..Bulk::over(1) });
    source.write(&[Exact::new(0, 9_000).value(&noise(9_000))]);
    let small = json!({ "max.message.bytes": "10000" });
    let target = regions.shanghai.topic(&source.name).create_with(1, &small);
    let (_, fallbacks) = copy(&regions, &source);
    assert!(fallbacks.starts_with("too_large "), "{fallbacks}");
    assert!(raw::batches(&target, 0).iter().all(|batch| batch.total_bytes() <= 10_000));
}

#[test]
fn small_batches_are_put_together() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.small").create(1);
    for id in 0..40 {
        source.write(&[Exact::new(0, id).value(b"one by one")]);
    }
    let (target, fallbacks) = copy(&regions, &source);
    assert!(fallbacks.starts_with("small "), "{fallbacks}");
    let (written, arrived) = (raw::batches(&source, 0).len(), raw::batches(&target, 0).len());
    assert!(written == 40 && arrived < 10, "{written} batches became {arrived}");
}

#[test]
fn what_compaction_has_left_arrives_with_all_its_holes() {
    let regions = regions();
    let cleaned = json!({
        "cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0",
    });
    let source = regions.guangzhou.topic("passthrough.compacted").create_with(1, &cleaned);
    // all but each seventh have the same key, so that what is left of a batch lies apart
    let key = |id: i64| if id % 7 == 0 { format!("key-{id}") } else { "same".to_owned() };
    let records: Vec<Exact> = (0..2_000).map(|id| Exact::new(0, id).key(key(id).as_bytes()).value(b"v")).collect();
    source.write(&records);
    // a segment is closed by a record that is later than its first one by what its records say
    let later = Exact::new(0, 2_000).key(b"later").value(b"v");
    source.write(&[Exact { timestamp: later.timestamp + 3_600_000, ..later }]);
    let left = || source.committed_rows().iter().filter(|row| row.id < 2_000).count();
    let cleaned = within_at(seconds(1), seconds(90), || (left() == 287).then_some(()));
    assert!(cleaned.is_some(), "the cleaner has left {}", left());
    let batches = raw::batches(&source, 0);
    assert!(batches.iter().any(|batch| !batch.header().is_dense()), "no batch has a hole");
    let (_, fallbacks) = copy(&regions, &source);
    assert!(fallbacks.contains("thinned "), "{fallbacks}");
}

#[test]
fn what_was_aborted_is_left_out() {
    let regions = regions();
    let source = regions.guangzhou.topic("passthrough.aborted").create(2);
    for (end, first_id) in ["abort", "commit", "abort", "commit"].into_iter().zip((0..).step_by(1_000)) {
        source.fill(1_000, Bulk { transaction: Some(end), codec: "lz4", ..Bulk::over(2).numbered_from(first_id) });
    }
    let (target, fallbacks) = copy(&regions, &source);
    assert_eq!(target.end(), 2_000);
    assert!(fallbacks.contains("aborted "), "{fallbacks}");
}

#[test]
fn messages_of_the_formats_before_record_batches_become_batches() {
    let regions = regions();
    let source = regions.chengdu.topic("passthrough.old").create(1);
    // as a topic is that is older than its brokers: it begins in one format and goes on in the next
    regions.chengdu.kill();
    let sets: Vec<_> =
        (0..=1).flat_map(|magic| ["none", "gzip", "snappy", "lz4"].map(|codec| (magic, codec))).collect();
    let sets: Vec<_> =
        sets.iter().map(|(magic, codec)| json!({ "magic": magic, "codec": codec, "count": 70 })).collect();
    let segment = regions.chengdu.first_segment(&source.name, 0);
    let end = ask("write_old_format", json!({ "file": segment, "sets": sets }));
    regions.chengdu.restart();
    assert_eq!((end, source.end()), (json!(560), 560));
    source.fill(500, Bulk { codec: "lz4", ..Bulk::over(1) });

    let route = route_name(&source.name);
    let copy_to = |name: &str, cluster: &'static Cluster, transfer: &str| {
        source.set_watermark(&route, name, 0, 100); // amid what gzip has packed
        let config = Config::new().cluster("chengdu", regions.chengdu).cluster(name, cluster);
        let config = config.fan_out("chengdu", &source.name, &[name]);
        let config = config.set(&format!("/routes/{route}"), "transfer", json!(transfer));
        let target = cluster.topic(&source.name).create(1);
        let finished = Engine::run_until_caught_up(&config).assert_bounded();
        assert_eq!(target.records(), &source.records()[100..], "{transfer}");
        fallbacks(&finished)
    };
    let counted = copy_to("shanghai", regions.shanghai, "passthrough");
    assert!(counted.contains("old_format "), "{counted}");
    assert_eq!(copy_to("beijing", regions.beijing, "records"), "");
}
