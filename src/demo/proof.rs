//! The proof: every record that was written, compared with what is in a target.

use super::regions::record;
use crate::kafka::mock::DemoRecord;

/// What was found in one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Records that were written to the source.
    pub expected: u64,
    /// Records found in the target, duplicates included.
    pub found: u64,
    /// Written, and not found.
    pub missing: u64,
    /// Found, but not as it was written.
    pub altered: u64,
    /// Found more than once.
    pub duplicated: u64,
    /// Found after a later record of its partition (first occurrences).
    pub reordered: u64,
}

impl Proof {
    /// Whether nothing is missing, altered or out of order.
    pub fn holds(&self) -> bool {
        self.missing == 0 && self.altered == 0 && self.reordered == 0
    }
}

/// Compares what a target holds with the `expected` records that were written from `started` on.
pub fn compare(expected: u64, started: i64, found: &[DemoRecord]) -> Proof {
    let mut seen = vec![false; usize::try_from(expected).unwrap_or(0)];
    let mut last = std::collections::HashMap::new();
    let mut proof = Proof { expected, found: found.len() as u64, ..Proof::default() };
    for copy in found {
        let number = <[u8; 8]>::try_from(copy.header.as_slice()).map_or(u64::MAX, u64::from_be_bytes);
        let Some(seen) = usize::try_from(number).ok().and_then(|at| seen.get_mut(at)) else {
            proof.altered += 1;
            continue;
        };
        if *copy != record(number, started) {
            proof.altered += 1;
        }
        if std::mem::replace(seen, true) {
            proof.duplicated += 1;
            continue;
        }
        let last = last.entry(copy.partition).or_insert(number);
        if number < *last {
            proof.reordered += 1;
        }
        *last = number.max(*last);
    }
    proof.missing = seen.iter().filter(|seen| !**seen).count() as u64;
    proof
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_fails_for_each_kind_of_difference() {
        let good: Vec<_> = (0..60).map(|n| record(n, 7)).collect();
        let whole = compare(60, 7, &good);
        assert!(whole.holds() && whole.duplicated == 0);
        assert_eq!(compare(61, 7, &good).missing, 1);
        assert_eq!(compare(60, 8, &good).altered, 60, "other timestamps");
        let twice: Vec<_> = good.iter().chain(&good[..5]).cloned().collect();
        assert_eq!(compare(60, 7, &twice).duplicated, 5);
        assert!(compare(60, 7, &twice).holds());
        let mut swapped = good.clone();
        swapped.swap(0, 6);
        assert_eq!(compare(60, 7, &swapped).reordered, 1);
        let mut foreign = good;
        foreign[3].header = b"?".to_vec();
        let foreign = compare(60, 7, &foreign);
        assert_eq!((foreign.altered, foreign.missing), (1, 1));
    }
}
