//! The actors: from the source's partitions to every target, and the watermarks back.
//!
//! ```text
//! PartitionConsumer ⇒ Router ⇒ TargetProducer        (record batches)
//!            CatchUp ⇒ TargetProducer                (what a detached target reads by itself)
//!              Route ⇐ TargetProducer                (watermarks, in `progress`)
//! Supervisor → Route → its children                  (control)
//! ```

pub mod backoff;
pub mod catch_up;
pub mod death_watch;
pub mod feed;
pub mod flow;
pub mod messages;
pub mod partition_consumer;
pub mod preparation;
pub mod progress;
pub mod refused;
pub mod route;
pub mod router;
mod source;
pub mod supervisor;
pub mod target_producer;
mod target_slot;

pub use supervisor::{Ended, Engine, Options};
