//! The harness proves itself, without the engine: that it writes and reads every kind of record, and that the ledger can fail.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::access::Quota;
use crate::support::agent::ask;
use crate::support::cluster::regions;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::{Ledger, without};
use crate::support::log::{Log, time};
use crate::support::meter::Meter;
use crate::support::records::{Bulk, Exact, hex};
use crate::support::{envelope, eventually, kcat, seconds, throughout};

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

    let written = source.committed_rows();
    let but_two = Ledger::compare(&without(&written, &[15, 16]), &target.all_rows());
    assert_eq!((but_two.missing.count, but_two.extra.count), (0, 2), "15 did not arrive, 16 did");
    assert!(std::panic::catch_unwind(|| without(&written, &[15, 99])).is_err());
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

#[test]
fn a_quota_slows_a_producer_down_until_it_is_taken_away() {
    let regions = regions();
    let chengdu = regions.chengdu;
    let topic = chengdu.topic("harness.quota").create(1);
    drop(chengdu.limit(Quota::Consume, 1 << 20));
    let limited = chengdu.limit(Quota::Produce, 100_000);
    let meter = Meter::start(Duration::from_millis(50), move || chengdu.bytes_in("harness.quota"));
    let load = topic.load(1_000, Bulk { value_size: 1_000, ..Bulk::over(1) });
    eventually(seconds(10), "the burst that Kafka grants is over", || topic.end() > 900);
    let begin = meter.now();
    throughout(seconds(5), || {});
    let end = meter.now();
    drop(limited);
    let written = load.stop();
    let curve = meter.stop();
    let rate = curve.rate(begin, end);
    println!("{rate:.0} bytes per second with a quota of 100000; {written} records in all");
    assert!(rate < 200_000.0, "{curve:?}");
    assert!(curve.most_within(seconds(2)) > 500_000, "the first seconds are free: {curve:?}");
    assert_eq!(topic.end(), written);
}

#[test]
fn what_a_broker_counts_rises_with_what_is_done_to_it() {
    let regions = regions();
    let chengdu = regions.chengdu;
    let topic = chengdu.topic("harness.counters").create(1);
    let counts = || [chengdu.bytes_in(&topic.name), chengdu.requests("Produce"), chengdu.connections()];
    let before = counts();
    assert_eq!(before[0], 0, "nobody has written yet");
    topic.write(&[Exact::new(0, 0).value(&[7; 5_000])]);
    let after = counts();
    assert!(after[0] > 5_000 && after[0] < 6_000, "{after:?}");
    assert_eq!(after[1], before[1] + 1, "one request is one request");
    assert!(after[2] > before[2], "a new client is a new connection: {before:?}, {after:?}");
    assert_eq!(chengdu.failed_authentications(), 0, "there is nothing to fail at");
}

#[test]
fn a_meter_tells_rates_and_heights() {
    let regions = regions();
    let topic = regions.shanghai.topic("harness.meter").create(1);
    let counted = topic.clone();
    let meter = Meter::start(Duration::from_millis(20), move || counted.end());
    let load = topic.load(1_000, Bulk::over(1));
    eventually(seconds(10), "the load arrives", || topic.end() > 500);
    let begin = meter.now();
    throughout(seconds(3), || {});
    let end = meter.now();
    let written = load.stop();
    eventually(seconds(5), "the meter has seen the end", || meter.now() > end + seconds(1));
    let curve = meter.stop();
    let rate = curve.rate(begin, end);
    assert!((900.0..1_100.0).contains(&rate), "{rate} per second, not 1000");
    let second = curve.most_within(seconds(1));
    assert!((900..1_500).contains(&second), "{second} within a second");
    assert!(curve.reached(500) < end && curve.highest(end, end + seconds(1)) == written);
}

#[test]
fn a_topic_takes_larger_records_once_its_limit_is_raised() {
    let regions = regions();
    let topic = regions.shanghai.topic("harness.limit").create_with(1, &json!({ "max.message.bytes": "2000" }));
    let large = [Exact::new(0, 0).value(&[7; 5_000])];
    assert!(std::panic::catch_unwind(|| topic.write(&large)).is_err());
    topic.alter(&json!({ "max.message.bytes": "10000" }));
    topic.write(&large);
    topic.alter(&json!({ "max.message.bytes": null }));
    assert_eq!(topic.describe()["configs"], json!({}));
    assert_eq!(topic.records(), large);
}

#[test]
fn envelopes_are_opened_and_put_together() {
    let part = |part: i64, value: &str| {
        let record = json!({ "key": "AP8=", "value": value, "headers": [["h", ""], ["h", null]] });
        let source = json!({ "cluster": "guangzhou", "topic": "t", "partition": 0, "offset": 7, "timestamp": 9 });
        json!({
            "anabranch": "kept", "source": source, "failure": { "class": "record", "error": "too large", "attempts": 3 },
            "record": record, "part": part, "parts": 3,
        })
    };
    let parts = [part(1, "Zm9v"), part(2, "Zm8="), part(3, "Zg==")];
    let kept = envelope::put_together(&parts);
    assert_eq!((kept.key, kept.value), (Some(vec![0, 0xff]), Some(b"foofof".to_vec())));
    assert_eq!(kept.headers, [("h".to_owned(), Some(Vec::new())), ("h".to_owned(), None)]);
    assert_eq!((kept.parts, &kept.source["offset"]), (3, &json!(7)));
    assert!(std::panic::catch_unwind(|| envelope::put_together(&parts[1..])).is_err(), "the first part is missing");

    let regions = regions();
    let topic = regions.shanghai.topic("harness.envelopes").create(1);
    let wrapped = Exact::new(0, 1).value(parts[0].to_string().as_bytes());
    topic.write(&[Exact::new(0, 0), wrapped.clone(), Exact::new(0, 2).value(br#"{"anabranch":"lost"}"#)]);
    let (rows, envelopes) = topic.rows_and_envelopes();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(envelopes, [(wrapped, parts[0].clone())]);
}

#[test]
fn a_log_tells_states_deaths_and_times() {
    let line = |at: u32, message: &str, of: &str, state: &str| {
        let timestamp = format!("2026-11-01T00:00:00.{at:06}Z");
        json!({ "timestamp": timestamp, "message": message, "target": of, "actor": of, "state": state })
    };
    let [first, last] = [line(1, "target state", "t", "starting"), line(250_001, "target state", "t", "running")];
    let died = line(300_001, "made anew", "router", "");
    let text = format!("no json\n{first}\n{last}\n{died}\n{{\"half");
    let log = Log::read(&text);
    assert_eq!(log.states_of("t"), ["starting", "running"]);
    assert_eq!((log.state_of("t"), log.state_of("other")), (Some(&last), None));
    assert_eq!((log.made_anew("router"), log.made_anew("target")), (vec![&died], vec![]));
    let times: Vec<Duration> = log.lines().iter().map(time).collect();
    assert_eq!(times[0] + Duration::from_millis(250), times[1]);
}

#[test]
fn the_engine_is_watched_while_it_runs() {
    let regions = regions();
    let source = regions.guangzhou.topic("harness.watched").create(2);
    source.fill(1_000, Bulk::over(2));
    let config = Config::new().cluster("guangzhou", regions.guangzhou).cluster("shanghai", regions.shanghai);
    let config = config.fan_out("guangzhou", "harness.watched", &["shanghai"]);
    let mut engine = Engine::run_with(&config, &[("ANABRANCH__LIMITS__IN_FLIGHT", "48MiB")]);
    let memory = engine.memory();
    let creating = |line: &Value| line["message"] == "creating a topic" && line["target"] == "shanghai";
    engine.wait_for_log(seconds(10), "the topic is created", creating);
    source.wait_for("shanghai");
    let end = memory.now();
    let highest = memory.stop().highest(seconds(0), end);
    assert!((1 << 20..256 << 20).contains(&highest), "{highest} bytes of memory");
    let finished = engine.drain().assert_bounded();
    assert_eq!(finished.log().with_message("engine stopped")[0]["in_flight_budget_bytes"], 48 << 20);
}
