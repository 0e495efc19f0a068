//! The engine is told to stop, or killed, in the middle of its work; the next start goes on from the watermarks.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::{Identity, Ledger, Row};
use crate::support::records::Bulk;
use crate::support::topic::{Offsets, Topic};
use crate::support::{eventually, seconds};

fn config(regions: &Regions, topic: &str) -> Config {
    Config::new().cluster("guangzhou", regions.guangzhou).cluster("shanghai", regions.shanghai).fan_out(
        "guangzhou",
        topic,
        &["shanghai"],
    )
}

fn random(from: i64, to: i64) -> i64 {
    let drawn = RandomState::new().hash_one(0) >> 1;
    from + drawn.cast_signed() % (to - from)
}

/// Waits until the target has so many records more than it had.
fn progress(engine: &mut Engine, target: &Topic, records: i64) {
    let before = target.end();
    eventually(seconds(30), "records arrive", || {
        engine.assert_running();
        target.end() >= before + records
    });
}

#[test]
fn sigterm_in_the_middle_loses_nothing_and_repeats_nothing() {
    let regions = regions();
    let source = regions.guangzhou.topic("restarts.term").create(8);
    let target = regions.shanghai.topic("restarts.term").create(8);
    source.fill(200_000, Bulk { value_size: 1_000, ..Bulk::over(8) });
    let config = config(&regions, "restarts.term");

    let mut engine = Engine::run(&config);
    progress(&mut engine, &target, 10_000);
    engine.drain().assert_bounded();
    let at_stop = target.end();
    println!("stopped after {at_stop} of 200000 records");
    assert!(at_stop < 200_000, "all was copied before SIGTERM: that was not the middle");

    Engine::run_until_caught_up(&config).assert_bounded();
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}

/// What is known at a restart after SIGKILL.
struct Restart {
    committed: BTreeMap<i32, i64>,
    target: Offsets,
}

#[test]
fn five_sigkills_lose_nothing_and_repeat_only_what_was_not_committed() {
    let regions = regions();
    let source = regions.guangzhou.topic("restarts.kill").create(8);
    let target = regions.shanghai.topic("restarts.kill").create(8);
    source.fill(300_000, Bulk { value_size: 1_000, ..Bulk::over(8) });
    let config = config(&regions, "restarts.kill");
    let load = source.load(5_000, Bulk { value_size: 1_000, ..Bulk::over(8).numbered_from(1_000_000) });

    let mut restarts = Vec::new();
    for _ in 0..5 {
        let mut engine = Engine::run(&config);
        progress(&mut engine, &target, random(1, 40_000));
        engine.kill();
        restarts.push(restart(&source, &target));
    }
    load.stop();
    Engine::run_until_caught_up(&config).assert_bounded();

    let (written, arrived) = (source.committed_rows(), target.all_rows());
    let duplicated = Ledger::compare(&written, &arrived).assert_at_least_once();
    let bound = duplicates_allowed(&written, &arrived, &restarts);
    println!("five times SIGKILL: {duplicated} duplicates of {} records; {bound} were not committed", written.len());
    assert!(i64::try_from(duplicated).unwrap() <= bound, "{duplicated} duplicates, {bound} records were not committed");
}

/// Notes what was committed and what had arrived, once the broker has done with what the killed engine had sent.
fn restart(source: &Topic, target: &Topic) -> Restart {
    let mut last = Offsets::new();
    eventually(seconds(10), "the target's end stands still", || {
        let now = target.offsets();
        std::mem::replace(&mut last, now.clone()) == now
    });
    Restart { committed: source.watermarks("shanghai"), target: last }
}

/// For each restart, the records between the committed offset and the highest source offset that had arrived.
fn duplicates_allowed(written: &[Row], arrived: &[Row], restarts: &[Restart]) -> i64 {
    let origins: HashMap<Identity, i64> = written.iter().map(|row| (row.identity(), row.offset)).collect();
    let mut allowed = 0;
    for restart in restarts {
        for (partition, (_, end)) in &restart.target {
            let there = arrived.iter().filter(|row| row.partition == *partition && row.offset < *end);
            let highest = there.map(|row| origins[&row.identity()] + 1).max().unwrap_or(0);
            let committed = restart.committed.get(partition).copied().unwrap_or(0);
            assert!(committed <= highest, "partition {partition}: {committed} is committed, {highest} has arrived");
            allowed += highest - committed;
        }
    }
    allowed
}
