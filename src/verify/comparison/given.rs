//! What a comparison is given: what is known beforehand, and the records.

use crate::verify::fingerprint::Fingerprint;

/// What is known of a source partition beforehand.
#[derive(Clone, Debug, Default)]
pub struct SourceScope {
    /// The first offset that is compared.
    pub start: i64,
    /// The watermark: what is below it has to be on the target.
    pub watermark: i64,
    /// How far it may be read: what the target holds is below that.
    pub end: i64,
    /// Ranges of offsets that were skipped, and need not be on the target.
    pub skipped: Vec<(i64, i64)>,
    /// How many records the target may have from before `start`.
    pub gone: u64,
    /// How many records the target may have, wherever, that the source had once.
    pub truncated: u64,
}

/// What is known of a target partition beforehand.
#[derive(Clone, Debug, Default)]
pub struct LaneScope {
    /// The first offset that is compared.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
    /// How many records it may have forgotten.
    pub gone: u64,
}

/// What is known of all of them.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether the source's topic is compacted.
    pub source_compacted: bool,
    /// Whether the target's topic is compacted.
    pub target_compacted: bool,
    /// Whether the lanes have records before and after what is compared.
    pub sampled: bool,
    /// How many records of the source are remembered.
    pub window: usize,
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its offset, on its side.
    pub offset: i64,
    /// What stands for it.
    pub print: Fingerprint,
    /// On the target: that it is not what is asked about, and no difference if the source does not have it.
    pub aside: bool,
}
