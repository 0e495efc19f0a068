//! Which topics are copied, from where on, to which name and partition; and what happens when topics come and grow.

use serde_json::{Value, json};

use crate::support::agent::ask;
use crate::support::cluster::{Regions, regions};
use crate::support::config::{Config, route_name};
use crate::support::engine::Engine;
use crate::support::ledger::{Ledger, Row};
use crate::support::records::{Bulk, Exact, hex};
use crate::support::topic::Topic;
use crate::support::{eventually, seconds};

/// Guangzhou, Shanghai, and a route between them, with what is said of it besides.
fn config(regions: &Regions, route: &str, topics: &str, more: &Value) -> Config {
    let mut content = json!({ "from": "guangzhou", "topics": { "include": [topics] }, "to": { "shanghai": {} } });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = Config::new().cluster("guangzhou", regions.guangzhou).cluster("shanghai", regions.shanghai);
    config.route(route, content)
}

/// Copies what `start` selects from 2 × 100 records, one per second, and compares with the rows that it should select.
fn assert_start(name: &str, start: &Value, selected: impl Fn(&Row) -> bool) {
    let regions = regions();
    let source = regions.guangzhou.topic(name).create(2);
    let target = regions.shanghai.topic(name).create(2);
    source.fill(200, Bulk { timestamp_step: 1_000, ..Bulk::over(2) });
    let config = config(&regions, &route_name(name), &regex::escape(name), &json!({ "start": start }));

    Engine::run_until_caught_up(&config).assert_bounded();

    let selected: Vec<Row> = source.committed_rows().into_iter().filter(selected).collect();
    Ledger::compare(&selected, &target.all_rows()).assert_exact();
}

#[test]
fn start_earliest_copies_all() {
    assert_start("topics.earliest", &json!("earliest"), |_| true);
}

#[test]
fn start_at_a_timestamp_copies_what_is_not_older() {
    // 1,700,000,000 is 2023-11-14T22:13:20Z.
    assert_start("topics.timestamp", &json!({ "timestamp": "2023-11-14T22:14:10Z" }), |row| {
        row.timestamp >= 1_700_000_050_000
    });
}

#[test]
fn start_at_offsets_copies_from_them_on() {
    let offsets = json!({ "offsets": { "topics.offsets": { "0": 42, "1": 90 } } });
    assert_start("topics.offsets", &offsets, |row| row.offset >= [42, 90][usize::try_from(row.partition).unwrap()]);
}

#[test]
fn start_latest_copies_what_comes_and_all_of_topics_that_come() {
    let regions = regions();
    let source = regions.guangzhou.topic("topics.latest.old").create(2);
    let target = regions.shanghai.topic("topics.latest.old").create(2);
    source.fill(1_000, Bulk::over(2));
    let before = source.offsets();
    let engine = Engine::run(&config(&regions, "topics_latest", r"topics\.latest\..*", &json!({ "start": "latest" })));
    let load = source.load(200, Bulk::over(2).numbered_from(10_000));
    eventually(seconds(30), "records arrive", || target.end() > 200);
    load.stop();

    let young = regions.guangzhou.topic("topics.latest.young").create(3);
    young.fill(300, Bulk::over(3));
    let young_target = regions.shanghai.topic("topics.latest.young");
    eventually(seconds(20), "the young topic arrives", || young_target.end() >= 300);
    eventually(seconds(20), "the old topic's watermarks are at its end", || {
        let watermarks = source.watermarks_of("topics_latest", "shanghai");
        source.offsets().iter().all(|(partition, (_, end))| watermarks.get(partition) == Some(end))
    });
    engine.drain().assert_bounded();

    Ledger::compare(&young.committed_rows(), &young_target.all_rows()).assert_exact();
    assert_is_the_tail(&source, &target, |row| row.offset >= before[&row.partition].1);
}

/// Checks that the target has all from its first record on, and none that is too old.
fn assert_is_the_tail(source: &Topic, target: &Topic, young_enough: impl Fn(&Row) -> bool) {
    let (written, arrived) = (source.committed_rows(), target.all_rows());
    let first = |partition: i32| {
        let first = arrived.iter().find(|row| row.partition == partition).expect("some records arrived");
        written.iter().find(|row| row.identity() == first.identity()).expect("it came from the source").offset
    };
    let first = [first(0), first(1)];
    let tail: Vec<Row> =
        written.into_iter().filter(|row| row.offset >= first[usize::try_from(row.partition).unwrap()]).collect();
    assert!(tail.iter().all(young_enough), "records from before the start were copied");
    Ledger::compare(&tail, &arrived).assert_exact();
}

#[test]
fn topics_and_partitions_that_come_later_are_copied_from_their_first_record() {
    let regions = regions();
    let growing = regions.guangzhou.topic("topics.later.growing").create(2);
    growing.fill(100, Bulk::over(2));
    let engine = Engine::run(&config(&regions, "topics_later", r"topics\.later\..*", &json!({})));
    let grown = regions.shanghai.topic("topics.later.growing");
    eventually(seconds(30), "the first records arrive", || grown.end() >= 100);

    growing.grow(4);
    growing.fill(4_000, Bulk::over(4).numbered_from(1_000));
    let born = regions.guangzhou.topic("topics.later.born").create(3);
    born.fill(3_000, Bulk::over(3));
    let copied = regions.shanghai.topic("topics.later.born");
    eventually(seconds(20), "the grown topic arrives", || grown.end() >= 4_100);
    eventually(seconds(20), "the new topic arrives", || copied.end() >= 3_000);
    engine.drain().assert_bounded();

    Ledger::compare(&growing.committed_rows(), &grown.all_rows()).assert_exact();
    Ledger::compare(&born.committed_rows(), &copied.all_rows()).assert_exact();
    assert_eq!(grown.describe()["partitions"], 4);
    assert_eq!(copied.describe()["partitions"], 3);
}

#[test]
fn only_whole_names_are_selected_and_targets_can_have_other_names() {
    let regions = regions();
    let names = ["topics.names.a", "topics.names.b", "topics.names.a.tmp", "x.topics.names.a"];
    for name in names {
        regions.guangzhou.topic(name).create(2).fill(500, Bulk::over(2));
    }
    let topics = json!({ "include": [r"topics\.names\..*"], "exclude": [r".*\.tmp"] });
    let config = config(&regions, "topics_names", "", &json!({ "topics": topics }))
        .cluster("beijing", regions.beijing)
        .set("/routes/topics_names/to", "beijing", json!({ "topic": "gz.{topic}" }));

    Engine::run_until_caught_up(&config).assert_bounded();

    for name in &names[..2] {
        let written = regions.guangzhou.topic(name).committed_rows();
        Ledger::compare(&written, &regions.shanghai.topic(name).all_rows()).assert_exact();
        Ledger::compare(&written, &regions.beijing.topic(&format!("gz.{name}")).all_rows()).assert_exact();
        assert!(regions.beijing.topic(name).describe().is_null(), "{name} is there by its old name");
    }
    for name in &names[2..] {
        assert!(regions.shanghai.topic(name).describe().is_null(), "{name} was copied");
    }
}

#[test]
fn missing_target_topics_get_the_settings_that_matter() {
    let regions = regions();
    let configs = json!({
        "cleanup.policy": "compact", "max.message.bytes": "2000000", "retention.ms": "987654321", "retention.bytes": "123456789",
        "compression.type": "zstd", "message.timestamp.type": "CreateTime",
    });
    let source = regions.guangzhou.topic("topics.settings").create_with(3, &configs);
    source.fill(300, Bulk::over(3));
    Engine::run_until_caught_up(&config(&regions, "topics_settings", r"topics\.settings", &json!({}))).assert_bounded();

    let target = regions.shanghai.topic("topics.settings");
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
    let described = target.describe();
    assert_eq!(described["partitions"], 3);
    for (key, value) in configs.as_object().unwrap() {
        // A setting that is Kafka's default need not be repeated.
        if key != "message.timestamp.type" {
            assert_eq!(&described["configs"][key], value, "{key}");
        }
    }
}

#[test]
fn by_key_places_records_as_java_would() {
    let regions = regions();
    let source = regions.guangzhou.topic("topics.by_key").create(3);
    let target = regions.shanghai.topic("topics.by_key").create(7);
    let keys: Vec<Vec<u8>> = (0..2_000_i64).map(key).collect();
    let records: Vec<Exact> = keys.iter().zip(0..).map(|(key, id)| Exact::new((id % 3) as i32, id).key(key)).collect();
    source.write(&records);
    source.write(&records.iter().zip(2_000..).map(again).collect::<Vec<_>>());
    let more = json!({ "partitioning": "by_key" });

    Engine::run_until_caught_up(&config(&regions, "topics_by_key", r"topics\.by_key", &more)).assert_bounded();

    let hexed: Vec<Value> = keys.iter().map(|key| hex(Some(key))).collect();
    let reply = ask("placement", json!({ "partitions": 7, "keys": hexed }));
    let places: Vec<i32> = serde_json::from_value(reply).unwrap();
    let place = |row: &Row| places[usize::try_from(row.id).unwrap() % 2_000];
    Ledger::placed(&source.committed_rows(), &target.all_rows(), place).assert_exact();
}

/// Keys of all lengths from 0 to 30, text and bytes.
fn key(number: i64) -> Vec<u8> {
    let length = usize::try_from(number % 31).unwrap();
    let bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).to_be_bytes();
    bytes.into_iter().cycle().take(length).collect()
}

/// The same key once more, in the same partition.
fn again((record, id): (&Exact, i64)) -> Exact {
    Exact { key: record.key.clone(), ..Exact::new(record.partition.unwrap(), id) }
}

#[test]
fn a_target_with_fewer_partitions_is_an_error_for_that_topic_alone() {
    let regions = regions();
    let fine = regions.guangzhou.topic("topics.fewer.fine").create(2);
    let narrow = regions.guangzhou.topic("topics.fewer.narrow").create(4);
    regions.shanghai.topic("topics.fewer.narrow").create(2);
    for topic in [&fine, &narrow] {
        topic.fill(400, Bulk::over(2));
    }
    let more = json!({ "create_topics": false });
    let copied = regions.shanghai.topic("topics.fewer.fine").create(2);
    let engine = Engine::run(&config(&regions, "topics_fewer", r"topics\.fewer\..*", &more));
    eventually(seconds(30), "the other topic arrives", || copied.end() >= 400);
    let finished = engine.drain();

    let said = finished.output();
    assert!(said.contains("topics.fewer.narrow") && said.contains("partitions"), "not a word of it:\n{said}");
    assert_eq!(regions.shanghai.topic("topics.fewer.narrow").end(), 0);
    Ledger::compare(&fine.committed_rows(), &copied.all_rows()).assert_exact();
}
