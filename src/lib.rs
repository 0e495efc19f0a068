//! anabranch: one read of a Kafka cluster, fanned out to every region that wants it.
//!
//! ```text
//! source cluster ⇒ PartitionConsumer ⇒ Router ⇒ TargetProducer ⇒ target cluster      (record batches)
//!         commit ⇐ Route             ⇐────────── TargetProducer ⇐ acknowledgement    (watermarks)
//!                  Supervisor: starts, watches, backs off, makes anew, drains        (control)
//! ```
//!
//! The modules, from the bottom up; each may use those above it in this list, never those below:
//! - [`format`](mod@format): Kafka's record batches as bytes.
//! - [`domain`]: names, batches, watermarks, rules; pure.
//! - [`config`] and [`plan`]: what a user writes, and what it becomes once it is checked.
//! - [`kafka`]: the only place that knows rdkafka; blocking calls have threads of their own.
//! - [`wire`]: the same seams without it: record batches as they are.
//! - [`engine`]: the actors, and the flow between them.
//! - [`telemetry`]: the log, and the metrics of a running engine.
//! - [`admin`]: the HTTP API over a running engine, and its client.
//! - [`verify`]: the comparison of a target with its source.
//! - [`demo`], [`cli`]: the commands and what they need.
//!
//! What a user may rely on: nothing is lost while the source retains it, records arrive in their partition's order and
//! byte for byte, a slow target holds up no other, a record that a target refuses holds up its partition there alone, limits
//! are kept to, and memory is bounded. ARCHITECTURE.md says where each is enforced.

pub mod admin;
pub mod cli;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod format;
pub mod kafka;
pub mod plan;
pub mod telemetry;
pub mod verify;
pub mod wire;
