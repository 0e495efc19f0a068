//! The HTTP API, over real connections: an engine whose brokers are not there, so that nothing but the API has to be waited for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bad_requests;
mod client;
mod console;
mod contract;
mod description;
mod harness;
mod orders;
mod patience;
mod stream;
mod views;
