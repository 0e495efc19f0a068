//! What the engine knows without any client, actor or clock: names, offsets, batches, watermarks, rules.
//!
//! Everything here is pure and uses `std` and `serde` alone, so that each rule can be tested by itself.

pub mod bandwidth;
pub mod batch;
pub mod detach;
pub mod fallback;
pub mod fault;
pub mod gap;
pub mod lag;
pub mod lease;
pub mod letters;
pub mod limits;
pub mod note;
pub mod raw;
pub mod records;
pub mod retry;
pub mod routing;
pub mod start;
pub mod state;
pub mod topic_partition;
pub mod watermark;
