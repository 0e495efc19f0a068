//! The harness proves itself, without the engine: that it writes and reads every kind of record, and that the ledger can fail.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::agent::ask;
use crate::support::cluster::regions;
use crate::support::kcat;
use crate::support::ledger::Ledger;
use crate::support::records::{Bulk, Exact, hex};
use crate::support::{eventually, seconds};

#[test]
fn the_other_client_writes_and_reads_every_kind_of_record() {
    let regions = regions();
    let topic = regions.guangzhou.topic("harness.kinds").create(2);
    let no_headers = Exact { headers: Vec::new(), ..Exact::new(0, 5) };
    let records = vec![
        Exact::new(0, 0).value(b"null key"),
        Exact::new(0, 1).key(b"").value(b""),
        Exact::new(0, 2).key(&[0, 0xff, 0x80]).value(&[0xde, 0xad]),
        Exact::new(0, 3).key(b"tombstone"),
        Exact::new(0, 4).header("twice", Some(b"1")).header("twice", None).header("", Some(b"")),
        no_headers.key(b"no headers"),
        Exact { timestamp: 1, ..Exact::new(1, 6) }.value(&vec![7; 900 * 1024]),
    ];
    topic.write(&records);
    let mut read = topic.records();
    read.sort_by_key(|record| record.partition);
    assert_eq!(read, records);
}

#[test]
fn the_ledger_finds_exactly_what_was_planted() {
    let regions = regions();
    let source = regions.guangzhou.topic("harness.planted").create(2);
    let target = regions.shanghai.topic("harness.planted").create(2);
    let record = |id: i64| Exact::new((id % 2) as i32, id).key(b"k").value(b"v").header("h", Some(b"x"));
    let original: Vec<Exact> = (0..20).map(record).collect();
    source.write(&original);
    let mut arrived = original;
    arrived[3].value = None;
    arrived[4].key = Some(Vec::new());
    arrived[5].timestamp += 1;
    arrived[6].headers[1].1 = None;
    arrived[7].partition = Some(0);
    arrived.swap(10, 12);
    arrived.push(record(1));
    arrived.push(record(1));
    arrived.push(record(99));
    arrived.retain(|record| ![record_id(record)].contains(&15));
    target.write(&arrived);

    let ledger = Ledger::compare(&source.committed_rows(), &target.all_rows());
    println!("{ledger}");
    let found =
        [&ledger.missing, &ledger.duplicated, &ledger.reordered, &ledger.altered, &ledger.extra, &ledger.misplaced];
    assert_eq!(found.map(|findings| findings.count), [1, 2, 1, 4, 1, 1]);
    let text = ledger.to_string();
    for example in ["(id 15)", "(id 3) at 1-1 (id 3): value", ": key", ": timestamp", ": headers", "(id 99)"] {
        assert!(text.contains(example), "{example:?} is not in\n{text}");
    }
    assert!(std::panic::catch_unwind(|| ledger.assert_exact()).is_err());
    assert!(std::panic::catch_unwind(|| ledger.assert_at_least_once()).is_err());
}

fn record_id(record: &Exact) -> i64 {
    i64::from_be_bytes(record.headers[0].1.clone().unwrap().try_into().unwrap())
}

#[test]
fn bulk_records_are_the_same_on_every_cluster_and_aborted_ones_are_not_seen() {
    let regions = regions();
    let [here, there] = [regions.guangzhou, regions.shanghai].map(|cluster| cluster.topic("harness.bulk").create(4));
    let mixed = Bulk { mixed: true, ..Bulk::over(4) };
    for (block, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let bulk = Bulk { codec, ..mixed.numbered_from(10_000 * i64::try_from(block).unwrap()) };
        here.fill(10_000, bulk);
        there.fill(10_000, Bulk { codec: "none", ..bulk });
    }
    here.fill(1_000, Bulk { transaction: Some("abort"), ..mixed.numbered_from(60_000) });
    here.fill(1_000, Bulk { transaction: Some("commit"), ..mixed.numbered_from(61_000) });
    there.fill(1_000, mixed.numbered_from(61_000));

    let ledger = Ledger::compare(&here.committed_rows(), &there.all_rows());
    ledger.assert_exact();
    assert_eq!(ledger.source, 51_000);
    assert_eq!(Ledger::compare(&here.all_rows(), &there.all_rows()).missing.count, 1_000);
    for partition in 0..4 {
        let (one, other) = (kcat::print(&here, partition), kcat::print(&there, partition));
        assert!(!one.is_empty() && one == other, "kcat sees a difference in partition {partition}");
    }
}

#[test]
fn java_places_keys_as_murmur2_does() {
    let regions = regions();
    let topic = regions.guangzhou.topic("harness.placement").create(5);
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    let records: Vec<Exact> =
        keys.iter().zip(0..).map(|(key, id)| Exact::new(0, id).key(key.as_bytes()).anywhere()).collect();
    topic.write(&records);
    let hexed: Vec<_> = keys.iter().map(|key| hex(Some(key.as_bytes()))).collect();
    let told: Vec<i32> = serde_json::from_value(ask("placement", json!({ "partitions": 5, "keys": hexed }))).unwrap();
    let expected: BTreeSet<_> = keys.into_iter().map(String::into_bytes).zip(told.into_iter().map(Some)).collect();
    let placed: BTreeSet<_> =
        topic.records().into_iter().map(|record| (record.key.unwrap(), record.partition)).collect();
    assert_eq!(placed, expected);
}

#[test]
fn a_broker_survives_what_the_tests_do_to_it() {
    let regions = regions();
    let topic = regions.chengdu.topic("harness.survives").create(1);
    topic.write(&[Exact::new(0, 0)]);
    regions.chengdu.stop();
    regions.chengdu.restart();
    topic.write(&[Exact::new(0, 1)]);
    regions.chengdu.kill();
    regions.chengdu.restart();
    regions.chengdu.freeze();
    regions.chengdu.thaw();
    let load = topic.load(500, Bulk::over(1).numbered_from(2));
    eventually(seconds(10), "the load arrives", || topic.end() > 100);
    let written = load.stop();
    assert_eq!(topic.end(), written + 2);
    topic.trim(0, 10);
    topic.grow(3);
    assert_eq!(topic.offsets()[&0].0, 10);
    assert_eq!(topic.describe(), json!({ "partitions": 3, "configs": {} }));
    let sent = regions.chengdu.bytes_out("harness.survives");
    topic.all_rows();
    assert!(regions.chengdu.bytes_out("harness.survives") > sent);
    topic.delete();
    eventually(seconds(5), "the topic is gone", || topic.describe().is_null());
}
