//! Several processes with the same config share a route's partitions by Kafka's group protocol: they spread out, take over from each
//! other, and one that comes back late changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::number;
use crate::support::records::Bulk;
use crate::support::topic::Topic;
use crate::support::watermarks::Watermarks;
use crate::support::{eventually, seconds, throughout};

/// As the brokers under test have it.
const SESSION: Duration = seconds(6);
const PARTITIONS: i32 = 6;
const RATE: i64 = 3_000;

fn config(regions: &Regions, topic: &str) -> Config {
    Config::of(regions).fan_out("guangzhou", topic, &["shanghai", "beijing"])
}

/// Waits until the engines have all partitions among them, each so many.
fn wait_for_shares(engines: &mut [Engine], deadline: Duration, sizes: &[usize]) {
    eventually(deadline, &format!("the partitions are shared {sizes:?}"), || {
        engines.iter_mut().for_each(Engine::assert_running);
        let mut shares: Vec<usize> = engines.iter().map(|engine| engine.log().share().len()).collect();
        shares.sort_unstable();
        shares == sizes
    });
}

struct World {
    source: Topic,
    targets: [Topic; 2],
}

impl World {
    fn new(regions: &Regions, topic: &str) -> Self {
        let targets = [regions.shanghai, regions.beijing].map(|cluster| cluster.topic(topic).create(PARTITIONS));
        Self { source: regions.guangzhou.topic(topic).create(PARTITIONS), targets }
    }

    fn watch(&self) -> Watermarks {
        Watermarks::watch(&self.source, &["shanghai", "beijing"])
    }

    /// Everything has arrived, in order and as it was; how much of it more than once, at the target that has the most.
    fn prove(&self) -> usize {
        for target in ["shanghai", "beijing"] {
            self.source.wait_for(target);
        }
        let written = self.source.committed_rows();
        let duplicates = self.targets.iter().map(|target| {
            let ledger = Ledger::compare(&written, &target.all_rows());
            println!("{ledger}");
            ledger.assert_at_least_once()
        });
        duplicates.max().unwrap()
    }
}

/// What a killed or fenced engine may have written without having committed it: a second's worth between two commits, and what was on
/// its way; with room for a busy machine.
fn bound(partitions: usize) -> usize {
    let rate = usize::try_from(RATE).unwrap();
    rate * 4 * partitions / usize::try_from(PARTITIONS).unwrap()
}

/// Lets them be in the middle of their work, and not at its beginning.
fn all_copy(engines: &mut [Engine]) {
    throughout(seconds(3), || engines.iter_mut().for_each(Engine::assert_running));
}

/// Two engines that have half of the partitions each.
fn two(config: &Config) -> Vec<Engine> {
    let mut engines = vec![Engine::run(config), Engine::run(config)];
    wait_for_shares(&mut engines, seconds(30), &[3, 3]);
    engines
}

/// Ends all of them in peace.
fn drain(engines: Vec<Engine>) {
    for engine in engines {
        engine.drain().assert_bounded();
    }
}

#[test]
fn what_a_killed_process_had_is_taken_over_within_the_session() {
    let regions = regions();
    let world = World::new(&regions, "takeover.kill");
    let config = config(&regions, "takeover.kill");
    let load = world.source.load(RATE, Bulk::over(PARTITIONS));
    let mut engines = two(&config);
    let watermarks = world.watch();
    all_copy(&mut engines);

    engines.pop().unwrap().kill();
    wait_for_shares(&mut engines, SESSION + seconds(5), &[6]);

    all_copy(&mut engines);
    load.stop();
    let duplicates = world.prove();
    assert!(duplicates <= bound(3), "{duplicates} duplicates");
    watermarks.stop().assert_never_back();
    engines.pop().unwrap().drain().assert_bounded();
}

#[test]
fn a_third_process_gets_its_share_and_nobody_else_stops_for_it() {
    let regions = regions();
    let world = World::new(&regions, "takeover.join");
    let config = config(&regions, "takeover.join");
    let load = world.source.load(RATE, Bulk::over(PARTITIONS));
    let mut engines = two(&config);
    let before: Vec<BTreeSet<String>> = engines.iter().map(|engine| engine.log().share()).collect();
    let watermarks = world.watch();
    all_copy(&mut engines);

    engines.push(Engine::run(&config));
    wait_for_shares(&mut engines, seconds(15), &[2, 2, 2]);
    all_copy(&mut engines);
    let kept: BTreeSet<String> = before
        .iter()
        .zip(&engines)
        .flat_map(|(before, engine)| before.intersection(&engine.log().share()).cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(kept.len(), 4, "two partitions move, and four stay where they are");
    for engine in &engines[..2] {
        let log = engine.log();
        let lines = log.lines();
        let taken =
            lines.iter().rposition(|line| line["message"] == "taken").expect("each of the two gives one of its three");
        let moving = lines[taken..].iter().take_while(|line| line["message"] != "given back");
        let states: Vec<_> = moving.filter(|line| line["message"] == "target state").collect();
        assert!(states.is_empty(), "to hand a partition over is no trouble of a target's: {states:?}");
    }
    let seen = watermarks.stop();
    seen.assert_never_back();
    for partition in &kept {
        let longest = seen.longest_rest(partition);
        println!("{partition} stood still for {longest:?} at the most");
        assert!(longest < seconds(3), "{partition} was not to move, and stood still for {longest:?}");
    }

    // and one that leaves in peace hands over at once, and nothing of it twice
    engines.remove(0).drain().assert_bounded();
    wait_for_shares(&mut engines, seconds(4), &[3, 3]);
    load.stop();
    assert_eq!(world.prove(), 0, "nobody was killed: nothing is copied twice");
    drain(engines);
}

#[test]
fn a_process_that_was_frozen_for_longer_than_its_session_changes_nothing_when_it_comes_back() {
    let regions = regions();
    let world = World::new(&regions, "takeover.zombie");
    let config = config(&regions, "takeover.zombie");
    let load = world.source.load(RATE, Bulk::over(PARTITIONS));
    let mut engines = two(&config);
    let watermarks = world.watch();
    all_copy(&mut engines);

    engines[1].freeze();
    wait_for_shares(&mut engines[..1], SESSION + seconds(5), &[6]);
    // that took one session at least: twice as long as it may be silent
    throughout(SESSION, || engines[0].assert_running());
    engines[1].thaw();
    engines[1].wait_for_log(seconds(10), "it ends what it did in its old name", |line| line["message"] == "fenced");
    wait_for_shares(&mut engines, seconds(20), &[3, 3]);
    all_copy(&mut engines);
    let log = engines[1].log();
    assert!(log.with_message("made anew").is_empty(), "to be frozen is no failure of the route's");
    let delays = log.with_message("joins anew").into_iter().map(|line| number(line, "retry_ms"));
    assert!(delays.max().is_some_and(|delay| delay < 2_000), "it joins anew at once");
    load.stop();
    let duplicates = world.prove();
    println!("{duplicates} duplicates");
    assert!(duplicates <= bound(3), "{duplicates} duplicates");
    watermarks.stop().assert_never_back();
    drain(engines);
}

/// What it lost while it was frozen is still known to it, and others have gone on with that.
#[test]
fn a_process_that_came_back_late_puts_nothing_back_when_it_leaves() {
    let regions = regions();
    let world = World::new(&regions, "takeover.leaves");
    let config = config(&regions, "takeover.leaves");
    let load = world.source.load(RATE, Bulk::over(PARTITIONS));
    let mut engines = two(&config);
    let watermarks = world.watch();
    all_copy(&mut engines);
    let mut shares = [0, 1].map(|engine: usize| engines[engine].log().share());

    // Who is alone for a while keeps the first half of what there is: freezing the one that has it means that it gets another.
    if shares[1].contains("takeover.leaves/0") {
        engines.swap(0, 1);
        shares.swap(0, 1);
    }
    engines[0].freeze();
    wait_for_shares(&mut engines[1..], SESSION + seconds(5), &[6]);
    throughout(seconds(3), || engines[1].assert_running());
    engines[0].thaw();
    engines[0].wait_for_log(seconds(10), "it ends what it did in its old name", |line| line["message"] == "fenced");
    wait_for_shares(&mut engines, seconds(20), &[3, 3]);
    assert_ne!(engines[0].log().share(), shares[0], "it has lost nothing, and there is nothing to be seen here");
    let left = engines.remove(0).drain();
    wait_for_shares(&mut engines, seconds(10), &[6]);
    load.stop();
    world.prove();
    watermarks.stop().assert_never_back();
    left.assert_bounded();
    engines.pop().unwrap().drain().assert_bounded();
}

#[test]
fn a_cluster_without_the_newer_protocol_shares_by_the_classic_one() {
    let regions = regions();
    let world = World::new(&regions, "takeover.classic");
    // who sets the time of the session has to use the protocol that lets them
    let client = json!({ "session.timeout.ms": "6000", "heartbeat.interval.ms": "1000" });
    let config = config(&regions, "takeover.classic").set("/clusters/guangzhou", "client", client);
    let load = world.source.load(RATE, Bulk::over(PARTITIONS));
    let mut engines = two(&config);
    for engine in &engines {
        let log = engine.log();
        assert_eq!(log.with_message("joining")[0]["protocol"], "classic");
    }
    let watermarks = world.watch();
    all_copy(&mut engines);
    engines.pop().unwrap().kill();
    wait_for_shares(&mut engines, SESSION + seconds(5), &[6]);
    engines.push(Engine::run(&config));
    wait_for_shares(&mut engines, seconds(15), &[3, 3]);
    load.stop();
    let duplicates = world.prove();
    assert!(duplicates <= bound(3), "{duplicates} duplicates");
    watermarks.stop().assert_never_back();
    drain(engines);
}
