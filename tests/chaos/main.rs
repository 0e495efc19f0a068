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

use run::single;

#[test]
fn a_source_broker_that_is_killed_costs_nothing_but_time() {
    single("source_broker_killed", 1);
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
