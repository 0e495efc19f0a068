//! anabranch: one read of a Kafka cluster, fanned out to every region that wants it.
pub mod cli;
pub mod config;
pub mod domain;
pub mod plan;
pub mod telemetry;
