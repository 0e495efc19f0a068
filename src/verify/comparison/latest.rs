//! The last offset of each key, as far as there is room: what compaction has to keep.

use std::collections::HashMap;

use crate::verify::fingerprint::Fingerprint;

/// Keys of compacted topics whose last offset is known, over all partitions of a comparison.
const KEYS: usize = 1 << 17;
/// The last offset of each key, for compacted topics.
#[derive(Debug, Default)]
pub(super) struct Latest {
    offsets: HashMap<u64, i64>,
    room: usize,
}

impl Latest {
    /// For one of so many partitions that are compared together.
    pub(super) fn one_of(partitions: usize) -> Self {
        Self { room: KEYS / partitions.max(1), ..Self::default() }
    }

    pub(super) fn note(&mut self, print: &Fingerprint, offset: i64) {
        let Some(key) = print.key() else { return };
        if self.offsets.len() < self.room || self.offsets.contains_key(&key) {
            self.offsets.insert(key, offset);
        }
    }

    /// Whether the key has a later record. `None`: not known.
    pub(super) fn has_later(&self, print: &Fingerprint, offset: i64) -> Option<bool> {
        let Some(key) = print.key() else { return Some(false) };
        match self.offsets.get(&key) {
            Some(latest) => Some(*latest > offset),
            None if self.offsets.len() < self.room => Some(false),
            None => None,
        }
    }
}
