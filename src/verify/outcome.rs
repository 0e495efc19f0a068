//! What a comparison comes to.

use super::fingerprint::Fingerprint;

/// Differences that are kept to be paired, per side; what comes after that is only counted.
pub const KEPT: usize = 1 << 15;
/// Differences that are listed, of each kind.
pub const LISTED: usize = 100;

/// A pair of records: source partition and offset, lane and target offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The source partition's position among those compared.
    pub source: usize,
    /// The source offset.
    pub offset: i64,
    /// The lane.
    pub lane: usize,
    /// The target offset.
    pub at: i64,
}

/// A record that the other side does not have.
#[derive(Clone, Copy, Debug)]
pub struct Leftover {
    /// What stands for it.
    pub print: Fingerprint,
    /// The source partition's position among those compared; 0 for a target's record.
    pub source: usize,
    /// The lane that it is in, or goes to.
    pub lane: usize,
    /// Its offset, on its side.
    pub offset: i64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records of the source below the watermark.
    pub source: u64,
    /// Records of the target.
    pub target: u64,
    /// Records that are on both sides, below the watermark.
    pub matched: u64,
    /// Records that the target has once more.
    pub duplicated: u64,
    /// Records that the target has in another order.
    pub reordered: u64,
    /// Records that the target does not have.
    pub missing: u64,
    /// Records that only the target has.
    pub extra: u64,
    /// Records that the target has from beyond the watermark.
    pub in_flight: u64,
    /// Records in ranges that were skipped.
    pub skipped: u64,
    /// Records of the target that the source has no more.
    pub gone_at_source: u64,
    /// Records of the source that the target has no more.
    pub gone_at_target: u64,
    /// Records that are gone because their key has a later one.
    pub compacted: u64,
    /// The same, but there were too many keys to make sure.
    pub compacted_unproven: u64,
    /// Records of the target that are not asked about: see [`Seen::aside`](crate::verify::comparison::Seen::aside).
    pub aside: u64,
    /// Records of a sample's stretches that were not found on the target at all.
    pub unplaced: u64,
    /// The sum of the source's fingerprints that count.
    pub source_sum: u128,
    /// The sum of the target's fingerprints that count.
    pub target_sum: u128,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was counted. `missing` and `extra` are those in the lists, and those that did not fit.
    pub tally: Tally,
    /// The first duplicates.
    pub duplicated: Vec<Pair>,
    /// The first that came in another order.
    pub reordered: Vec<Pair>,
    /// Records that the target does not have; at most [`KEPT`].
    pub missing: Vec<Leftover>,
    /// Records that only the target has; at most [`KEPT`].
    pub extra: Vec<Leftover>,
    /// Whether the source had more records than the window, so that a duplicate may not be recognised.
    pub forgetful: bool,
}

impl Outcome {
    pub(super) fn add_missing(&mut self, record: Leftover) {
        self.tally.missing += 1;
        self.tally.source_sum = self.tally.source_sum.wrapping_add(record.print.whole());
        if self.missing.len() < KEPT {
            self.missing.push(record);
        }
    }

    pub(super) fn add_extra(&mut self, record: Leftover) {
        self.tally.extra += 1;
        self.tally.target_sum = self.tally.target_sum.wrapping_add(record.print.whole());
        if self.extra.len() < KEPT {
            self.extra.push(record);
        }
    }
}

/// Adds to a list what there is still room for.
pub(super) fn list<T>(listed: &mut Vec<T>, difference: T) {
    if listed.len() < LISTED {
        listed.push(difference);
    }
}
