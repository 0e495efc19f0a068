//! Records that one side has and the other has not, put together: one that is on the wrong partition, came much too late, or was altered
//! is missing at one place and extra at another.

use std::collections::HashMap;
use std::hash::Hash;

use super::fingerprint::Field::{self, Headers, Key, Timestamp, Value};
use super::outcome::{Leftover, Pair};

/// By what an altered record is known, the surest first: all fields but one, or those that hardly agree by chance.
const KNOWN_BY: [&[Field]; 6] = [
    &[Key, Value, Headers],
    &[Key, Value, Timestamp],
    &[Key, Headers, Timestamp],
    &[Value, Headers, Timestamp],
    &[Key, Value],
    &[Value, Timestamp],
];

/// What was put together, and what was left.
#[derive(Debug, Default)]
pub struct Pairing {
    /// Equal records, in the partition where they belong: they came much earlier or later than they should.
    pub reordered: Vec<Pair>,
    /// Equal records, in another partition.
    pub misplaced: Vec<Pair>,
    /// Records that differ in these fields.
    pub altered: Vec<(Pair, Vec<Field>)>,
    /// Records that the target does not have.
    pub missing: Vec<Leftover>,
    /// Records that only the target has.
    pub extra: Vec<Leftover>,
}

/// Puts together what belongs together. Takes time and memory in proportion to what there is.
pub fn pair(missing: Vec<Leftover>, extra: Vec<Leftover>) -> Pairing {
    let mut rest = Rest { missing: missing.into_iter().map(Some).collect(), extra };
    let mut pairing = Pairing::default();
    rest.join(|record| (record.print.whole(), record.lane), |pair, _, _| pairing.reordered.push(pair));
    rest.join(|record| (record.print.whole(), 0), |pair, _, _| pairing.misplaced.push(pair));
    for fields in KNOWN_BY {
        // an altered record is looked for where it belongs first
        for anywhere in [false, true] {
            let place = |lane: usize| if anywhere { usize::MAX } else { lane };
            rest.join(
                |record| (record.print.of_fields(fields), place(record.lane)),
                |pair, one, other| pairing.altered.push((pair, one.print.differences(&other.print))),
            );
        }
    }
    pairing.altered.sort_by_key(|(pair, _)| (pair.source, pair.offset));
    pairing.missing = rest.missing.into_iter().flatten().collect();
    pairing.extra = rest.extra;
    pairing
}

struct Rest {
    missing: Vec<Option<Leftover>>,
    extra: Vec<Leftover>,
}

impl Rest {
    /// Takes out what has the same key on both sides, the first with the first.
    fn join<K: Hash + Eq>(&mut self, key: impl Fn(&Leftover) -> K, mut found: impl FnMut(Pair, &Leftover, &Leftover)) {
        let mut places: HashMap<K, Vec<usize>> = HashMap::new();
        for (at, record) in self.missing.iter().enumerate().rev() {
            if let Some(record) = record {
                places.entry(key(record)).or_default().push(at);
            }
        }
        let missing = &mut self.missing;
        self.extra.retain(|other| {
            let Some(at) = places.get_mut(&key(other)).and_then(Vec::pop) else { return true };
            let Some(record) = missing[at].take() else { return true };
            let pair = Pair { source: record.source, offset: record.offset, lane: other.lane, at: other.offset };
            found(pair, &record, other);
            false
        });
    }
}
