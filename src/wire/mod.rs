//! The second way to read and write: record batches as they are, still compressed, over connections of our own. Where records are
//! asked for, its reader opens them.
//!
//! A reader and a writer each have one thread, with a runtime of its own: whatever is shared within one is never locked. Groups,
//! commits and topics stay with [`crate::kafka`], whose seams these stand behind.

mod access;
mod connection;
mod counts;
mod cursor;
mod cut;
mod directory;
mod fetch;
mod fetcher;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inlet;
mod keeper;
mod line;
mod links;
mod metadata;
mod outbound;
mod piece;
mod produce;
pub mod reader;
mod reading;
mod ready;
mod runtime;
mod sasl;
mod session;
mod sift;
mod socket;
pub mod writer;
