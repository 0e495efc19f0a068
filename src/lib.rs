//! anabranch: one read of a Kafka cluster, fanned out to every region that wants it.
pub mod config;
pub mod domain;
pub mod plan;
