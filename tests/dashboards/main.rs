//! The dashboards and the alerts: that they keep to Grafana's own rules and to the table of instruments; that Prometheus's own tool finds
//! no fault; and, with a real Prometheus between a running engine and their expressions, that they show what is so.
//!
//! `tests/run` fetches what they need: Prometheus, and all that end-to-end tests need.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(dead_code, unreachable_pub, reason = "the support is shared with the other tests, which use more of it")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod boards;
mod files;
mod linter;
mod names;
mod prometheus;
mod promql;
mod scrapes;
mod truth;
