//! Where a target begins when it has no watermark yet.

use std::collections::BTreeMap;

/// The position of a target's first record, per partition.
///
/// It counts only for partitions that existed when the route was started for the first time; a partition born
/// later is copied from its first record, so that nothing written before it was noticed is missed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// The first record that the source still has.
    #[default]
    Earliest,
    /// Only what is written from now on.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
    /// Explicit offsets, topic → partition → offset; a partition that is not named starts at the earliest.
    Offsets(BTreeMap<String, BTreeMap<i32, i64>>),
}
