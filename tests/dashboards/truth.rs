//! What Prometheus has agrees with what is there: counters with the ledger, lag with Kafka's own tool.

use std::collections::BTreeMap;

use serde_json::json;

use super::prometheus::{Prometheus, Series};
use super::support::api::Api;
use super::support::cluster::{Cluster, regions_alone};
use super::support::config::Config;
use super::support::engine::Engine;
use super::support::java::Jvm;
use super::support::ledger::Ledger;
use super::support::raw;
use super::support::records::{Bulk, Exact};
use super::support::topic::Topic;
use super::support::{eventually, seconds};

const ROUTE: &str = "truth";
const TARGETS: [&str; 2] = ["shanghai", "beijing"];
const TOPICS: [(&str, i32, i64); 2] = [("truth.orders", 3, 6_000), ("truth.payments", 2, 3_001)];

/// Numbers of partitions.
type Places = BTreeMap<(String, i32), i64>;

/// What Kafka's own tool says of a group.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    committed: Places,
    ends: Places,
    lags: Places,
}

fn describe(source: &Cluster, target: &str) -> Described {
    let group = format!("anabranch.{ROUTE}.{target}");
    let mut tool = Jvm::brief("128m").command();
    tool.arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
    let output =
        tool.args(["--bootstrap-server", &source.bootstrap(), "--describe", "--group", &group]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| row.first() == Some(&&*group))
        .collect();
    assert!(!rows.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let column = |at: usize| {
        let number = |row: &Vec<&str>| row[at].parse().unwrap_or_else(|_| panic!("{said}"));
        rows.iter().map(|row| ((row[1].to_owned(), row[2].parse().unwrap()), number(row))).collect()
    };
    Described { committed: column(3), ends: column(4), lags: column(5) }
}

/// What Prometheus has of each partition.
fn places(prometheus: &Prometheus, expr: &str) -> Places {
    let series = prometheus.query(expr).unwrap();
    let place = |series: &Series| (series.label("topic").to_owned(), series.label("partition").parse().unwrap());
    series.iter().map(|series| (place(series), series.whole())).collect()
}

fn lags(prometheus: &Prometheus, target: &str) -> Places {
    places(prometheus, &format!(r#"anabranch_lag_records{{target="{target}"}}"#))
}

fn watermarks(prometheus: &Prometheus, target: &str, when: &str) -> Places {
    let lag = format!(r#"anabranch_lag_records{{target="{target}"}}"#);
    places(
        prometheus,
        &format!("anabranch_source_end_offset {when} - on (route, topic, partition) group_right {lag} {when}"),
    )
}

/// Keys, values, headers, as the engine counts them: a header with 8 bytes for its two lengths.
fn bytes(records: &[Exact]) -> usize {
    let field = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
    let headers =
        |record: &Exact| -> usize { record.headers.iter().map(|(name, value)| 8 + name.len() + field(value)).sum() };
    records.iter().map(|record| field(&record.key) + field(&record.value) + headers(record)).sum()
}

/// The counters of a topic are these.
fn assert_counted(prometheus: &Prometheus, name: &str, labels: &str, expected: usize) {
    let expr = format!("anabranch_{name}{{{labels}}}");
    let counted: Vec<i64> = prometheus.query(&expr).unwrap().iter().map(Series::whole).collect();
    assert_eq!(counted, [i64::try_from(expected).unwrap()], "{expr}");
}

/// Of each topic so many partitions and records.
fn filled(source: &Cluster, topics: &[(&str, i32, i64)]) -> Vec<Topic> {
    let fill = |(name, partitions, count): &(&str, i32, i64)| {
        let topic = source.topic(name).create(*partitions);
        topic.fill(*count, Bulk { mixed: true, ..Bulk::over(*partitions) });
        topic
    };
    topics.iter().map(fill).collect()
}

/// Waits until all targets have all that is there now.
fn all_arrived(sources: &[Topic]) {
    for (source, target) in sources.iter().flat_map(|source| TARGETS.map(|target| (source, target))) {
        source.wait_for_target_of(ROUTE, target);
    }
}

/// All counters agree with the ledger, and with what the topics take; `read`: also those of the source, which say how often something
/// was read.
fn assert_ledger(
    prometheus: &Prometheus,
    sources: &[Topic],
    clusters: [&Cluster; 2],
    size: impl Fn(&Topic) -> usize,
    read: bool,
) {
    prometheus.wait_for_scrape();
    for source in sources {
        let (rows, topic) = (source.committed_rows(), format!(r#"topic="{}""#, source.name));
        let size = size(source);
        if read {
            assert_counted(prometheus, "source_records_total", &topic, rows.len());
            assert_counted(prometheus, "source_bytes_total", &topic, size);
        }
        for cluster in clusters {
            Ledger::compare(&rows, &cluster.topic(&source.name).all_rows()).assert_exact();
            let labels = format!(r#"{topic},target="{}""#, cluster.name());
            assert_counted(prometheus, "target_records_total", &labels, rows.len());
            assert_counted(prometheus, "target_bytes_total", &labels, size);
            for given_up in ["dead_letter", "dropped", "kept"] {
                assert_counted(prometheus, &format!("{given_up}_records_total"), &labels, 0);
            }
        }
    }
}

/// While records come and go: what the tool sees lies between what Prometheus had one commit and one scrape before it was started, and
/// what it has after the next look at the source's end.
fn assert_lag_while_it_moves(prometheus: &Prometheus, source: &Cluster, target: &str) {
    prometheus.wait_for_scrape();
    let ends = places(prometheus, "anabranch_source_end_offset");
    let [low, high] = {
        let low = watermarks(prometheus, target, "offset 2s");
        let told = describe(source, target);
        (0..2).for_each(|_| prometheus.wait_for_scrape());
        let (high, later) = (watermarks(prometheus, target, ""), places(prometheus, "anabranch_source_end_offset"));
        for (place, lag) in &told.lags {
            let (committed, end) = (told.committed[place], told.ends[place]);
            assert!(
                (low[place]..=high[place]).contains(&committed),
                "{place:?}: {} {committed} {}",
                low[place],
                high[place]
            );
            assert!((ends[place]..=later[place]).contains(&end), "{place:?}: {} {end} {}", ends[place], later[place]);
            assert!((ends[place] - high[place]..=later[place] - low[place]).contains(lag), "{place:?}: {lag}");
        }
        let sum = |places: &Places| places.values().sum::<i64>();
        println!("the tool: {} committed, {} behind", sum(&told.committed), sum(&told.lags));
        assert!(sum(&told.lags) > 5_000, "there is not much to compare");
        [sum(&low), sum(&high)]
    };
    println!("Prometheus: a watermark of {low}, and {high} after it");
    assert!(low < high, "nothing moves");
}

/// At rest both say the same of each partition.
fn assert_lag_at_rest(prometheus: &Prometheus, source: &Cluster, target: &str) {
    eventually(seconds(30), "the tool and Prometheus say the same", || {
        prometheus.wait_for_scrape();
        describe(source, target).lags == lags(prometheus, target)
    });
}

#[test]
fn counters_agree_with_the_ledger_and_lag_with_kafkas_own_tool() {
    let regions = regions_alone();
    let clusters = [regions.shanghai, regions.beijing];
    let sources = filled(regions.guangzhou, &TOPICS);
    let to: BTreeMap<&str, _> = TARGETS.map(|target| (target, json!({}))).into();
    // bytes are those of keys, values and headers only where batches are opened
    let topics = json!({ "include": ["truth\\..*"] });
    let route = json!({ "from": "guangzhou", "topics": topics, "transfer": "records", "to": to });
    let mut engine = Engine::run(&Config::of(&regions).route(ROUTE, route));
    let api = Api::of(&mut engine);
    let prometheus = Prometheus::start(api.url().trim_start_matches("http://"));
    let size = |source: &Topic| bytes(&source.records());
    all_arrived(&sources);
    assert_ledger(&prometheus, &sources, clusters, size, true);
    assert_lag_at_rest(&prometheus, regions.guangzhou, "beijing");

    let paused = format!("/api/v1/routes/{ROUTE}/targets/beijing");
    api.post(&format!("{paused}/pause"));
    sources[0].fill(40_000, Bulk { value_size: 1_000, ..Bulk::over(3).numbered_from(100_000) });
    assert_eq!(api.throttle(ROUTE, "beijing", "400KiB/s").0, 200);
    api.post(&format!("{paused}/resume"));
    let load = sources[1].load(200, Bulk::over(2).numbered_from(1_000_000));
    prometheus.wait_for(
        seconds(20),
        r#"rate(anabranch_target_records_total{target="beijing",topic="truth.orders"}[5s]) > 10"#,
    );
    assert_lag_while_it_moves(&prometheus, regions.guangzhou, "beijing");
    load.stop();
    api.post(&format!("{paused}/pause"));
    assert_lag_at_rest(&prometheus, regions.guangzhou, "beijing");
    assert!(lags(&prometheus, "beijing").values().sum::<i64>() > 1_000, "there is not much to compare");

    assert_eq!(api.throttle(ROUTE, "beijing", "unlimited").0, 200);
    api.post(&format!("{paused}/resume"));
    all_arrived(&sources);
    assert_ledger(&prometheus, &sources, clusters, size, false);
    assert_lag_at_rest(&prometheus, regions.guangzhou, "beijing");
    engine.drain().assert_bounded();
}

#[test]
fn counters_agree_with_the_ledger_where_batches_are_passed_on() {
    let regions = regions_alone();
    let sources = filled(regions.guangzhou, &[("passed.orders", 3, 6_000)]);
    let to: BTreeMap<&str, _> = TARGETS.map(|target| (target, json!({}))).into();
    let route = json!({ "from": "guangzhou", "topics": { "include": ["passed\\..*"] }, "transfer": "auto", "to": to });
    let mut engine = Engine::run(&Config::of(&regions).route(ROUTE, route));
    let api = Api::of(&mut engine);
    let prometheus = Prometheus::start(api.url().trim_start_matches("http://"));
    all_arrived(&sources);
    let size = |source: &Topic| {
        (0..3).flat_map(|partition| raw::batches(source, partition)).map(|batch| batch.total_bytes()).sum()
    };
    assert_ledger(&prometheus, &sources, [regions.shanghai, regions.beijing], size, true);
    engine.drain().assert_bounded();
}
