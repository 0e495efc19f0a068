//! A target that is down holds nobody else back, and misses nothing once it is there again.

use std::time::Instant;

use serde_json::json;

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::text;
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::trio::Trio;
use crate::support::{eventually, seconds};

fn config(regions: &Regions, topic: &str) -> Config {
    Config::new()
        .cluster("guangzhou", regions.guangzhou)
        .cluster("shanghai", regions.shanghai)
        .cluster("chengdu", regions.chengdu)
        .fan_out("guangzhou", topic, &["shanghai", "chengdu"])
}

/// Ends the engine, and checks both targets: nothing missing, and nothing repeated where nothing failed.
fn check(engine: Engine, source: &Topic, steady: &Topic, unsteady: &Topic) {
    engine.drain().assert_bounded();
    let written = source.committed_rows();
    Ledger::compare(&written, &steady.all_rows()).assert_exact();
    let duplicated = Ledger::compare(&written, &unsteady.all_rows()).assert_at_least_once();
    println!("{duplicated} of {} records arrived again on the target that was down", written.len());
}

#[test]
fn a_target_that_is_down_at_the_start_is_served_when_it_comes() {
    let regions = regions();
    let source = regions.guangzhou.topic("outages.start").create(4);
    let [steady, unsteady] = [regions.shanghai, regions.chengdu].map(|cluster| cluster.topic("outages.start"));
    source.fill(50_000, Bulk { value_size: 1_000, ..Bulk::over(4) });

    regions.chengdu.stop();
    let mut engine = Engine::run(&config(&regions, "outages.start"));
    source.wait_for("shanghai");
    source.fill(1_000, Bulk::over(4).numbered_from(100_000));
    source.wait_for("shanghai");
    engine.assert_running();
    regions.chengdu.restart();
    source.wait_for("chengdu");

    check(engine, &source, &steady, &unsteady);
}

#[test]
fn a_target_that_goes_down_for_20_seconds_holds_nobody_back() {
    let regions = regions();
    let source = regions.guangzhou.topic("outages.middle").create(4);
    let [steady, unsteady] =
        [regions.shanghai, regions.chengdu].map(|cluster| cluster.topic("outages.middle").create(4));
    let load = source.load(2_000, Bulk { value_size: 1_000, ..Bulk::over(4) });
    let mut engine = Engine::run(&config(&regions, "outages.middle"));
    eventually(seconds(30), "records arrive on both", || steady.end() > 2_000 && unsteady.end() > 2_000);

    regions.chengdu.kill();
    let down = Instant::now();
    while down.elapsed() < seconds(20) {
        let before = steady.end();
        eventually(seconds(5), "the other target's records keep arriving", || steady.end() >= before + 1_000);
        engine.assert_running();
    }
    regions.chengdu.restart();
    load.stop();
    source.wait_for("shanghai");
    source.wait_for("chengdu");

    check(engine, &source, &steady, &unsteady);
}

#[test]
fn a_source_partition_without_a_leader_holds_no_other_back() {
    let regions = regions();
    let trio = Trio::start("source");
    let alone = json!({ "min.insync.replicas": "1" });
    let [led, lost] = [("outages.led", 1), ("outages.lost", 3)].map(|(name, broker)| {
        let topic = trio.topic(name).create_on(&[broker], &alone);
        topic.fill(1_000, Bulk::over(1));
        topic
    });
    let bootstrap: Vec<String> = trio.bootstrap().split(',').map(str::to_owned).collect();
    let both = json!({ "from": "guangzhou", "topics": { "include": ["outages\\.l.*"] }, "to": { "shanghai": {} } });
    let config = Config::of(&regions).set("/clusters/guangzhou", "bootstrap", json!(bootstrap)).route("outages", both);
    let arrived = |topic: &Topic| regions.shanghai.topic(&topic.name);
    let engine = Engine::run(&config);
    eventually(seconds(30), "all of both is copied", || {
        [&led, &lost].iter().all(|topic| arrived(topic).end() == 1_000)
    });
    engine.drain().assert_bounded();

    trio.node(3).broker.kill();
    led.fill(1_000, Bulk::over(1).numbered_from(1_000));
    let mut engine = Engine::run(&config);
    // the cluster has to notice that there is no leader, and the client to stop waiting for it
    eventually(seconds(30), "what has a leader is copied", || arrived(&led).end() == 2_000);
    let retrying = engine.wait_for_state(seconds(20), "shanghai", "retrying");
    assert!(text(&retrying, "reason").contains("outages.lost/0"), "it is said what is missing: {retrying}");
    trio.restart(3);
    lost.fill(1_000, Bulk::over(1).numbered_from(1_000));
    eventually(seconds(30), "what has a leader again is copied", || arrived(&lost).end() == 2_000);
    engine.wait_for_state(seconds(10), "shanghai", "running");
    engine.drain().assert_bounded();
    for topic in [&led, &lost] {
        Ledger::compare(&topic.committed_rows(), &arrived(topic).all_rows()).assert_exact();
    }
}
