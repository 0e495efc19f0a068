//! The harness proves itself: clusters of three, and the proxies before them.

use std::time::Duration;

use crate::support::cluster::regions;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::proxy::{Blackhole, Impairment, Weather};
use crate::support::records::Bulk;
use crate::support::trio::Trio;
use crate::support::{eventually, seconds, throughout};

#[test]
fn a_cluster_of_three_loses_a_broker_a_leader_and_a_controller() {
    let _regions = regions();
    let trio = Trio::start("trio");
    let topic = trio.topic("harness.trio").create(3);
    trio.wait_until_whole();
    let leaders = trio.placements("harness.trio");
    assert!(leaders.values().all(|partition| partition.replicas.len() == 3 && partition.in_sync.len() == 3));
    let old = trio.leader("harness.trio", 0).unwrap();
    let new = old % 3 + 1;
    trio.move_leader("harness.trio", 0, new);

    let load = topic.load(500, Bulk::over(3));
    let controller = trio.controller();
    trio.node(controller).broker.kill();
    eventually(seconds(20), "another one is the controller, and another one leads", || {
        let placements = trio.placements("harness.trio");
        let led = placements.values().all(|partition| partition.leader.is_some_and(|leader| leader != controller));
        trio.controller() != controller && led
    });
    trio.restart(controller);
    trio.wait_until_whole();
    let frozen = trio.leader("harness.trio", 1).unwrap();
    trio.node(frozen).broker.freeze();
    eventually(seconds(20), "another one leads", || {
        trio.leader("harness.trio", 1).is_some_and(|leader| leader != frozen)
    });
    trio.heal();
    trio.balance();
    assert_eq!(load.stop(), topic.end());
}

#[test]
fn a_proxy_delays_holds_swallows_and_resets() {
    let regions = regions();
    let trio = Trio::start("proxied");
    let source = regions.guangzhou.topic("harness.proxied").create(3);
    let target = trio.topic("harness.proxied").create(3);
    let config = Config::new().cluster("guangzhou", regions.guangzhou).trio("proxied", &trio);
    let mut engine = Engine::run(&config.fan_out("guangzhou", "harness.proxied", &["proxied"]));
    let load = source.load(500, Bulk::over(3));
    let mut arrives = |what: &str| {
        let goal = target.end() + 500;
        eventually(seconds(20), &format!("records arrive {what}"), || {
            engine.assert_running();
            target.end() > goal
        });
    };
    arrives("at first");
    let set = |weather: Weather| trio.nodes().iter().for_each(|node| node.proxy.set(weather));
    set(Weather::round_trip(Duration::from_millis(100)));
    arrives("with 100 ms");
    set(Weather { up: Impairment { bandwidth: Some(300_000), ..Impairment::default() }, ..Weather::default() });
    arrives("with 300 kB/s");
    for blackhole in [Blackhole::Holds, Blackhole::Swallows] {
        set(Weather { up: Impairment { blackhole: Some(blackhole), ..Impairment::default() }, ..Weather::default() });
        let mut still = target.end();
        throughout(seconds(1), || still = still.max(target.end()));
        throughout(seconds(1), || assert_eq!(target.end(), still, "nothing gets through: {blackhole:?}"));
        set(Weather::default());
        arrives(&format!("after a hole that {blackhole:?}"));
    }
    trio.nodes().iter().for_each(|node| node.proxy.reset());
    arrives("after a reset");
    set(Weather { refuses: true, ..Weather::default() });
    trio.nodes().iter().for_each(|node| node.proxy.reset());
    let still = target.end();
    throughout(seconds(1), || assert!(target.end() < still + 500, "nobody gets in"));
    set(Weather::default());
    arrives("when clients are let in again");
    load.stop();
    source.wait_for("proxied");
    engine.drain().assert_bounded();
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}
