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

/// What two sides have that the other has not; what belongs together is taken out step by step.
#[derive(Debug)]
pub struct Leftovers {
    missing: Vec<Option<Leftover>>,
    extra: Vec<Leftover>,
}

impl Leftovers {
    /// All that was left.
    pub fn new(missing: Vec<Leftover>, extra: Vec<Leftover>) -> Self {
        Self { missing: missing.into_iter().map(Some).collect(), extra }
    }

    /// Equal records in the partition where they belong: they came much earlier or later than they should.
    pub fn take_reordered(&mut self) -> Vec<Pair> {
        let mut found = Vec::new();
        self.join(|record| (record.print.whole(), record.lane), |pair, _, _| found.push(pair));
        found
    }

    /// Equal records in another partition.
    pub fn take_misplaced(&mut self) -> Vec<Pair> {
        let mut found = Vec::new();
        self.join(|record| record.print.whole(), |pair, _, _| found.push(pair));
        found
    }

    /// Records that differ in some fields.
    pub fn take_altered(&mut self) -> Vec<(Pair, Vec<Field>)> {
        let mut found = Vec::new();
        for fields in KNOWN_BY {
            // where it belongs first, and where few fields have to do only there
            let places: &[bool] = if fields.len() > 2 { &[false, true] } else { &[false] };
            for anywhere in places {
                let place = |lane: usize| if *anywhere { usize::MAX } else { lane };
                self.join(
                    |record| (record.print.of_fields(fields), place(record.lane)),
                    |pair, one, other| found.push((pair, one.print.differences(&other.print))),
                );
            }
        }
        found.sort_by_key(|(pair, _)| (pair.source, pair.offset));
        found
    }

    /// Records that only the target has, as far as they are still here.
    pub fn extra(&self) -> &[Leftover] {
        &self.extra
    }

    /// Takes out those extra records that `known` knows, with what it says.
    pub fn take_extra<T>(&mut self, known: impl Fn(&Leftover) -> Option<T>) -> Vec<(Leftover, T)> {
        let mut found = Vec::new();
        self.extra.retain(|record| match known(record) {
            Some(known) => {
                found.push((*record, known));
                false
            }
            None => true,
        });
        found
    }

    /// Takes all that is still here: what is missing, and what is extra.
    pub fn into_rest(self) -> (Vec<Leftover>, Vec<Leftover>) {
        (self.missing.into_iter().flatten().collect(), self.extra)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::records::Records;
    use crate::verify::fingerprint::Fingerprint;

    fn left(lane: usize, offset: i64, key: &str, value: &str, timestamp: i64) -> Leftover {
        let mut records = Records::default();
        let value = Some(value.as_bytes());
        records.push(0, timestamp, Some(key.as_bytes()), value, [(&b"h"[..], None)].into_iter());
        let print = Fingerprint::of(&records.get(0).unwrap());
        Leftover { print, source: lane, lane, offset }
    }

    fn places(pairs: &[Pair]) -> Vec<(i64, i64)> {
        pairs.iter().map(|pair| (pair.offset, pair.at)).collect()
    }

    #[test]
    fn what_belongs_together_is_taken_out_and_the_rest_stays() {
        let missing = vec![
            left(0, 1, "a", "1", 10),
            left(0, 2, "b", "2", 20),
            left(0, 3, "c", "3", 30),
            left(0, 4, "d", "4", 40),
            left(1, 5, "e", "5", 50),
        ];
        let extra = vec![
            left(0, 101, "a", "1", 10),
            left(1, 102, "b", "2", 20),
            left(0, 103, "c", "3", 31),
            left(1, 104, "d", "4", 41),
            left(0, 105, "e", "5", 51),
            left(0, 106, "z", "9", 90),
        ];
        let mut leftovers = Leftovers::new(missing, extra);
        assert_eq!(places(&leftovers.take_reordered()), [(1, 101)]);
        assert_eq!(places(&leftovers.take_misplaced()), [(2, 102)]);
        let altered = leftovers.take_altered();
        let told: Vec<_> = altered.iter().map(|(pair, fields)| (pair.offset, pair.at, fields.clone())).collect();
        let expected = [(3, 103), (4, 104), (5, 105)].map(|(offset, at)| (offset, at, vec![Timestamp]));
        assert_eq!(told, expected);
        let (missing, extra) = leftovers.into_rest();
        assert_eq!((missing.len(), extra[0].offset), (0, 106));
    }

    #[test]
    fn records_that_hardly_have_anything_in_common_are_not_put_together() {
        let missing = vec![left(0, 1, "k", "1", 10), left(0, 2, "k", "2", 20)];
        let extra = vec![left(0, 101, "k", "7", 70), left(1, 102, "k", "2", 99)];
        let mut leftovers = Leftovers::new(missing, extra);
        let altered = leftovers.take_altered();
        assert_eq!(altered.len(), 1, "key, value and headers agree, and nobody knows better: {altered:?}");
        let twice = leftovers.take_extra(|record| (record.offset == 101).then_some("twice"));
        assert_eq!(twice[0].1, "twice");
        let (missing, extra) = leftovers.into_rest();
        assert_eq!((missing.len(), extra.len()), (1, 0));
    }
}
