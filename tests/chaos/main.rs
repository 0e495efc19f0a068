//! Chaos: named faults against real clusters of three brokers, each drawn from a seed that is printed and can be given again.
//!
//! What every run keeps to is in `world`: each record that the source has acknowledged is on each target, unaltered and in
//! order; duplicates are counted, and within their bound; no watermark is ever ahead of its target, or falls; a target that
//! is not hurt is not held up; memory is bounded; and in the end a fresh record passes. The tests here are the short selection;
//! `tests/chaos/run` is the soak.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(dead_code, unreachable_pub, reason = "the support is shared with the other tests, which use more of it")]

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod faults;
mod ledger;
mod load;
mod report;
mod run;
mod watch;
mod world;

use run::{at_once, some_of};

#[test]
fn a_source_may_lose_a_broker() {
    let faults = ["source_broker_killed", "source_broker_frozen", "source_controller_lost", "coordinator_lost"];
    some_of("source", 1, &faults);
}

#[test]
fn a_target_may_lose_a_broker() {
    let faults = ["target_broker_killed", "target_broker_frozen", "target_controller_lost", "disk_full"];
    some_of("target", 1, &faults);
}

#[test]
fn a_target_that_is_gone_cut_off_or_slow_holds_nobody_up() {
    some_of("gone", 1, &["target_gone", "target_blackholed", "quota"]);
}

#[test]
fn leaders_may_move_connections_break_and_answers_take_their_time() {
    some_of("moves", 2, &["source_leader_moves", "target_leader_moves", "connections_reset", "wan_latency"]);
}

#[test]
fn an_engine_may_be_killed_frozen_or_terminated() {
    some_of("engine", 1, &["engine_killed", "engine_frozen", "engine_terminated"]);
}

#[test]
fn one_of_several_engines_may_be_killed_or_frozen_or_leave() {
    some_of("shared", 1, &["one_of_two_killed", "zombie", "rebalances"]);
}

#[test]
fn faults_may_come_together() {
    at_once("together", 1);
}

#[test]
#[ignore = "it takes as long as it is told to: tests/chaos/run --minutes N"]
fn soak() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let minutes = variable("ANABRANCH_MINUTES").map_or(5, |minutes| minutes.parse().unwrap());
    let report = run::soak(minutes, variable("ANABRANCH_FAULT").as_deref());
    println!("\n{report}");
    if let Some(file) = variable("ANABRANCH_REPORT") {
        std::fs::write(&file, report.to_string()).unwrap();
    }
}
