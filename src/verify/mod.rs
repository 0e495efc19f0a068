//! The comparison of a target with its source, record by record, in constant memory.
//!
//! ```text
//! source ⇒ Streams ⇒ Unit ⇒ Comparison ⇐ Unit ⇐ Streams ⇐ target        one unit per partition, or with `by_key` per topic
//!                     what is left ⇒ pairing, dead letters, a second look ⇒ Report
//! ```
//!
//! [`comparison`], [`fingerprint`] and [`pairing`] are pure; the others read clusters, on the thread that calls [`compare`].

mod accounts;
pub mod comparison;
mod envelopes;
pub mod fingerprint;
mod orphans;
pub mod outcome;
pub mod pairing;
mod report;
mod run;
mod sample;
mod scope;
mod streams;
mod unit;
mod window;

pub use report::{Difference, Kind, Range, Report, TopicReport};
pub use run::{Progress, compare};
pub use sample::{STRETCH, Sample};
pub use scope::Request;
