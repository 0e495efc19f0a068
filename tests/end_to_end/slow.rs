//! One of three targets is frozen under a steady load: the others lose nothing of their pace, and it catches up afterwards.

use std::time::Duration;

use crate::support::cluster::{Cluster, Regions, regions_alone};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::number;
use crate::support::meter::{Curve, Meter};
use crate::support::records::Bulk;
use crate::support::{at_length, eventually, seconds};

const TOPIC: &str = "slow.frozen";
/// 12 MB/s.
const RECORDS_PER_SECOND: i64 = 6_000;
const VALUE_SIZE: usize = 2_000;
/// 10 MB/s.
const LEAST: f64 = 5_000.0;
/// What a route may have in flight by default: all of it could be written twice.
const IN_FLIGHT: u64 = 32 << 20;

fn config(regions: &Regions) -> Config {
    Config::of(regions).fan_out("guangzhou", TOPIC, &["shanghai", "beijing", "chengdu"])
}

/// The records that have arrived at a cluster, sampled.
fn arrivals(cluster: &Cluster) -> Meter {
    let topic = cluster.topic(TOPIC);
    Meter::start(Duration::from_millis(200), move || topic.end())
}

/// A frozen target costs the others at most a tenth of what they had before.
fn assert_undisturbed(name: &str, curve: &Curve, [start, frozen, thawed]: [Duration; 3]) {
    let (before, during) = (curve.rate(start, frozen), curve.rate(frozen, thawed));
    println!("{name}: {before:.0} records per second before, {during:.0} while another target was frozen");
    assert!(before >= LEAST, "{name}: {before:.0} records per second are less than 10 MB/s");
    assert!(during >= before * 0.9, "{name}: {during:.0} records per second, {before:.0} before");
}

#[test]
fn a_frozen_target_takes_nothing_from_the_others_and_catches_up_when_it_thaws() {
    let regions = regions_alone();
    let source = regions.guangzhou.topic(TOPIC).create(4);
    let [shanghai, beijing, chengdu] =
        [regions.shanghai, regions.beijing, regions.chengdu].map(|cluster| cluster.topic(TOPIC).create(4));
    let load = source.load(RECORDS_PER_SECOND, Bulk { value_size: VALUE_SIZE, ..Bulk::over(4) });
    let mut engine = Engine::run(&config(&regions));
    let settled = 2 * RECORDS_PER_SECOND;
    eventually(seconds(30), "records arrive on all", || {
        [&shanghai, &beijing, &chengdu].iter().all(|topic| topic.end() > settled)
    });

    let meters = [regions.shanghai, regions.beijing].map(arrivals);
    let time = at_length(seconds(15), seconds(60));
    let start = meters.each_ref().map(Meter::now);
    engine.keeps_running(time);
    regions.chengdu.freeze();
    let frozen = meters.each_ref().map(Meter::now);
    engine.keeps_running(time);
    regions.chengdu.thaw();
    let thawed = meters.each_ref().map(Meter::now);

    let left = engine.wait_for_log(seconds(10), "the frozen target has left the shared read", |line| {
        line["message"] == "target state" && line["target"] == "chengdu" && line["state"] == "detached"
    });
    println!("it left the shared read: {left}");
    engine.wait_for_state(time * 4, "chengdu", "running");
    let behind = source.end() - chengdu.end();
    println!("it follows again, {behind} records behind the source");
    load.stop();
    for target in ["shanghai", "beijing", "chengdu"] {
        source.wait_for(target);
    }
    let finished = engine.drain().assert_bounded();

    for (index, (name, meter)) in ["shanghai", "beijing"].into_iter().zip(meters).enumerate() {
        assert_undisturbed(name, &meter.stop(), [start[index], frozen[index], thawed[index]]);
    }
    let written = source.committed_rows();
    for topic in [&shanghai, &beijing] {
        Ledger::compare(&written, &topic.all_rows()).assert_exact();
    }
    let duplicated = Ledger::compare(&written, &chengdu.all_rows()).assert_at_least_once() as u64;
    println!("{duplicated} of {} records arrived again on the target that was frozen", written.len());
    assert!(duplicated <= IN_FLIGHT / VALUE_SIZE as u64, "{duplicated} duplicates are more than was in flight");
    assert!(number(finished.log().closed("chengdu"), "detached") >= 1);
    assert_eq!(["shanghai", "beijing"].map(|target| number(finished.log().closed(target), "detached")), [0, 0]);
}
