//! anabranch: one read of a Kafka cluster, fanned out to every region that wants it.
pub mod domain;
pub mod engine;
pub mod kafka;
pub mod plan;
