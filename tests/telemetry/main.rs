//! What an engine tells about itself arrives at a receiver of OTLP that has nothing of ours in it; and what a collector that is not
//! there, or takes nothing, costs: nothing.
//!
//! `tests/run` brings what the receiver needs; after that a single test runs with `cargo test --release --test telemetry <name>`.
//! What tracing and scraping cost is measured by `tests/run --test telemetry -- --ignored --nocapture cost`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(unreachable_pub, reason = "the support is shared with the benchmark")]
#![allow(dead_code, reason = "the support has more than this takes")]

#[path = "../support/mod.rs"]
mod support;

mod absent;
mod arrives;
mod cost;
mod encrypted;
mod environment;
mod receiver;
mod work;
