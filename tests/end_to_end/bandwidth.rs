//! Bytes per second: of a target, a route, the process, a cluster's share; as the brokers count them, compressed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::access::Quota;
use crate::support::cluster::{Cluster, Regions, regions_alone};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::{number, text};
use crate::support::meter::{Curve, Meter};
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::{at_length, eventually, seconds};

const MIB: f64 = 1_048_576.0;
/// Half of it is noise: about 1 KiB of each record is left on the wire.
const VALUE_SIZE: usize = 2_000;

fn config(regions: &Regions) -> Config {
    Config::of(regions)
}

/// A topic at the source, with records of about 1 KiB on the wire.
fn filled(regions: &Regions, name: &str, records: i64) -> Topic {
    let source = regions.guangzhou.topic(name).create(4);
    source.fill(records, Bulk { value_size: VALUE_SIZE, ..Bulk::over(4) });
    source
}

/// The bytes of a topic that a broker has taken, sampled.
fn pace(cluster: &'static Cluster, topic: &str) -> Meter {
    let topic = topic.to_owned();
    Meter::start(Duration::from_millis(100), move || cluster.bytes_in(&topic))
}

/// A stretch of a steady copy, seen by some meters.
struct Window {
    meters: Vec<Meter>,
    from: Vec<Duration>,
    to: Vec<Duration>,
}

impl Window {
    /// Waits until the first records arrive and the first burst is over; then measures.
    fn watch(engine: &mut Engine, arrives: &Topic, meters: Vec<Meter>, settling: Duration, time: Duration) -> Self {
        eventually(seconds(30), "the first records arrive", || arrives.end() > 0);
        engine.keeps_running(settling);
        let from = meters.iter().map(Meter::now).collect();
        engine.keeps_running(time);
        let to = meters.iter().map(Meter::now).collect();
        Self { meters, from, to }
    }

    /// Bytes per second of each meter in the window, in MiB, and the whole curves.
    fn stop(self) -> Vec<(f64, Curve)> {
        let times = self.from.into_iter().zip(self.to);
        let curves = self.meters.into_iter().map(Meter::stop).zip(times);
        let measured = curves.map(|(curve, (from, to))| {
            println!("from {from:.1?} to {to:.1?}, bytes by the second: {}", curve.by_the_second());
            (curve.rate(from, to) / MIB, curve)
        });
        measured.collect()
    }
}

#[track_caller]
fn assert_within(rate: f64, least: f64, most: f64) {
    println!("{rate:.3} MiB/s, from {least:.3} to {most:.3} expected");
    assert!(rate >= least && rate <= most, "{rate} MiB/s, not from {least} to {most}");
}

fn assert_all_arrived(source: &Topic, clusters: &[&Cluster]) {
    let written = source.committed_rows();
    for cluster in clusters {
        Ledger::compare(&written, &cluster.topic(&source.name).all_rows()).assert_exact();
    }
}

#[test]
fn five_mebibytes_a_second_are_five_and_the_other_target_runs_free() {
    const TOPIC: &str = "bandwidth.five";
    const RECORDS: i64 = 140_000;
    let regions = regions_alone();
    let source = filled(&regions, TOPIC, RECORDS);
    let [limited, free] = [regions.shanghai, regions.beijing].map(|cluster| cluster.topic(TOPIC).create(4));
    let config = config(&regions).fan_out("guangzhou", TOPIC, &["shanghai", "beijing"]).set(
        "/routes/bandwidth_five/to/shanghai",
        "bandwidth",
        json!("5MiB/s"),
    );
    let arrivals = [&limited, &free].map(|topic| {
        let topic = topic.clone();
        Meter::start(Duration::from_millis(100), move || topic.end())
    });

    let mut engine = Engine::run(&config);
    let meters = vec![pace(regions.shanghai, TOPIC)];
    let window = Window::watch(&mut engine, &limited, meters, seconds(3), seconds(20));
    for target in ["shanghai", "beijing"] {
        source.wait_for(target);
    }
    let measured = window.stop();
    let finished = engine.drain().assert_bounded();
    println!("the target with a limit was {:?}", finished.log().states_of("shanghai"));
    let [slow, fast] = arrivals.map(|meter| {
        let curve = meter.stop();
        println!("records by the second: {}", curve.by_the_second());
        curve.reached(RECORDS)
    });

    let (rate, curve) = &measured[0];
    assert_within(*rate, 4.75, 5.25);
    let burst = curve.most_within(seconds(1)) >> 10;
    assert!(burst <= 10 << 10, "{burst} KiB in one second: more than the second before it could have saved");
    println!("all was on the free target after {fast:?}, on the other after {slow:?}");
    assert!(fast * 2 <= slow, "{fast:?} for the target without a limit, {slow:?} for the other");
    let throttled = |target: &str| number(finished.log().closed(target), "throttled_ms");
    assert!(throttled("shanghai") > 10_000 && throttled("beijing") == 0);
    assert_all_arrived(&source, &[regions.shanghai, regions.beijing]);
}

#[test]
fn limits_of_the_process_a_route_and_a_target_hold_together() {
    const NAMES: [&str; 2] = ["bandwidth.nested.a", "bandwidth.nested.b"];
    let regions = regions_alone();
    let sources = [filled(&regions, NAMES[0], 12_000), filled(&regions, NAMES[1], 54_000)];
    let route = |topic: &Topic, more: Value| {
        let mut route = json!({ "from": "guangzhou", "topics": { "include": [regex::escape(&topic.name)] } });
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let two = json!({ "bandwidth": "4MiB/s", "to": { "shanghai": { "bandwidth": "2MiB/s" }, "beijing": {} } });
    let config = config(&regions)
        .route("a", route(&sources[0], two))
        .route("b", route(&sources[1], json!({ "to": { "chengdu": {} } })))
        .set("", "limits", json!({ "bandwidth": "6MiB/s" }));

    let mut engine = Engine::run(&config);
    let Regions { shanghai, beijing, chengdu, .. } = regions;
    let target = move || shanghai.bytes_in(NAMES[0]);
    let route = move || target() + beijing.bytes_in(NAMES[0]);
    let process = move || route() + chengdu.bytes_in(NAMES[1]);
    let often = Duration::from_millis(100);
    let meters = vec![Meter::start(often, target), Meter::start(often, route), Meter::start(often, process)];
    let window = Window::watch(&mut engine, &chengdu.topic(NAMES[1]), meters, seconds(2), seconds(6));
    for (source, route, target) in [(1, "b", "chengdu"), (0, "a", "shanghai"), (0, "a", "beijing")] {
        sources[source].wait_for_target_of(route, target);
    }
    let measured = window.stop();
    engine.drain().assert_bounded();

    // Five seconds may have what six allow: what was not used in the second before.
    for ((_, curve), limit) in measured.iter().zip([2, 4, 6]) {
        let most = curve.most_within(seconds(5));
        println!("at most {most} bytes in 5 s with {limit} MiB/s");
        assert!(most <= limit * 6 * 1_100_000, "{most} bytes in 5 s with {limit} MiB/s");
    }
    assert_within(measured[2].0, 5.4, 6.3);
    assert_all_arrived(&sources[0], &[shanghai, beijing]);
    assert_all_arrived(&sources[1], &[chengdu]);
}

#[test]
fn a_source_is_read_no_faster_than_it_may_be() {
    const TOPIC: &str = "bandwidth.read";
    let regions = regions_alone();
    let source = filled(&regions, TOPIC, 28_000);
    let config = config(&regions).fan_out("guangzhou", TOPIC, &["shanghai"]).set(
        "/clusters/guangzhou",
        "read_bandwidth",
        json!("4MiB/s"),
    );

    let mut engine = Engine::run(&config);
    let guangzhou = regions.guangzhou;
    let read = Meter::start(Duration::from_millis(100), move || guangzhou.bytes_out(TOPIC));
    let window = Window::watch(&mut engine, &regions.shanghai.topic(TOPIC), vec![read], seconds(3), seconds(7));
    source.wait_for("shanghai");
    let (rate, _) = window.stop().remove(0);
    engine.drain().assert_bounded();

    assert_within(rate, 3.2, 4.4);
    assert_all_arrived(&source, &[regions.shanghai]);
}

#[test]
fn a_share_of_what_a_cluster_is_sold_with_is_left_to_others() {
    const TOPIC: &str = "bandwidth.share";
    let regions = regions_alone();
    let source = filled(&regions, TOPIC, 36_000);
    let mut config = config(&regions).fan_out("guangzhou", TOPIC, &["beijing", "chengdu"]).set(
        "/routes/bandwidth_share/to/chengdu",
        "bandwidth",
        json!("80%"),
    );
    for cluster in ["/clusters/beijing", "/clusters/chengdu"] {
        config = config.set(cluster, "peak_bandwidth", json!("8MiB/s")).set(cluster, "replicas", json!(2));
    }

    let mut engine = Engine::run(&config);
    let meters = vec![pace(regions.beijing, TOPIC), pace(regions.chengdu, TOPIC)];
    let window = Window::watch(&mut engine, &regions.beijing.topic(TOPIC), meters, seconds(2), seconds(6));
    for target in ["beijing", "chengdu"] {
        source.wait_for(target);
    }
    let rates: Vec<f64> = window.stop().into_iter().map(|(rate, _)| rate).collect();
    engine.drain().assert_bounded();

    assert_within(rates[0], 3.7, 4.3); // the peak by its replicas
    assert_within(rates[1], 2.9, 3.5); // and four fifths of that
    assert_all_arrived(&source, &[regions.beijing, regions.chengdu]);
}

#[test]
fn a_quota_of_the_target_is_used_and_never_overrun() {
    const TOPIC: &str = "bandwidth.quota";
    let regions = regions_alone();
    let time = at_length(seconds(30), seconds(60));
    let records = 30_000 + 1_050 * i64::try_from(time.as_secs()).unwrap();
    let source = filled(&regions, TOPIC, records);
    let target = regions.chengdu.topic(TOPIC).create(4);
    let limited = regions.chengdu.limit(Quota::Produce, 1 << 20);

    let mut engine = Engine::run(&config(&regions).fan_out("guangzhou", TOPIC, &["shanghai", "chengdu"]));
    let meters = vec![pace(regions.chengdu, TOPIC)];
    // Kafka grants the first ten seconds at once, and then wants them back.
    let window = Window::watch(&mut engine, &target, meters, seconds(15), time);
    let throttled = engine.wait_for_state(seconds(5), "chengdu", "throttled");
    assert!(["quota", "throttl"].iter().any(|word| text(&throttled, "reason").to_lowercase().contains(word)));
    source.wait_for("shanghai");
    drop(limited);
    source.wait_for("chengdu");
    engine.wait_for_state(seconds(60), "chengdu", "running");
    let (rate, _) = window.stop().remove(0);
    let finished = engine.drain().assert_bounded();

    assert_within(rate, 0.85, 1.1);
    assert_eq!(number(finished.log().closed("chengdu"), "timed_out"), 0);
    assert!(number(finished.log().closed("chengdu"), "throttled_ms") > 0);
    assert!(!finished.log().states_of("shanghai").contains(&"throttled"), "the other target has no quota");
    assert_all_arrived(&source, &[regions.shanghai, regions.chengdu]);
}
