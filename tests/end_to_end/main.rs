//! What anabranch shows on real Kafka: the engine as a process, between brokers, judged by another client.
//!
//! Three tests may be under way, each with clusters of its own (`regions()`), but for those that measure (`regions_alone()`).
//! `tests/run` fetches what they need; after that a single one runs with `cargo test --release --test end_to_end <name>`. With
//! `ANABRANCH_KEEP=1` the brokers' folders are kept, in `target/tmp`; with `ANABRANCH_LONG=1` what is watched over time is watched for
//! as long as it is promised for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(unreachable_pub, reason = "the support is shared with the benchmark")]

#[path = "../support/mod.rs"]
mod support;

mod bandwidth;
mod copy;
mod credentials;
mod demo;
mod down;
mod fan_out;
mod gaps;
mod harness;
mod orders;
mod outages;
mod passthrough;
mod plan;
mod refusals;
mod reload;
mod restarts;
mod security;
mod slow;
mod takeover;
mod time_outs;
mod topics;
mod trio;
mod verify;
