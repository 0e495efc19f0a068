//! The actors: from the source's partitions to every target, and the watermarks back.
//!
//! ```text
//! PartitionConsumer ⇒ Router ⇒ TargetProducer        (record batches)
//!            CatchUp ⇒ TargetProducer                (what a detached target reads by itself)
//!                      TargetProducer ⇒ DeadLetterProducer   (what a target does not take)
//!              Route ⇐ TargetProducer                (watermarks, in `progress`)
//! Supervisor → Route → its children                  (control)
//! ```
//!
//! Actors end when whoever started them lets go of their `life`, and are made anew when they panic or hang. What is older
//! than a route's actor is in `lasting`: `progress`, the attempts in `retries`, the states in `status`.

pub mod board;
mod cast;
pub mod catch_up;
mod changing;
mod children;
pub mod clock;
pub mod counts;
pub mod dead_letter_producer;
pub mod death_watch;
mod ending;
pub mod events;
mod failpoint;
pub mod feed;
pub mod flow;
mod following;
pub mod gaps;
mod hand_over;
pub mod handle;
mod heads;
pub mod lasting;
pub mod letters;
pub mod life;
pub mod messages;
mod ownership;
pub mod pacer;
pub mod partition_consumer;
mod pausing;
pub mod preparation;
pub mod progress;
pub mod read_limit;
mod readying;
mod recall;
pub mod refusals;
pub mod refused;
mod release;
pub mod retries;
pub mod route;
pub mod router;
mod sharing;
mod source;
pub mod status;
pub mod supervisor;
pub mod target_producer;
mod target_slot;
pub mod trace;
mod trouble;
pub mod view;

pub use supervisor::{Ended, Engine, Options, Standing};
