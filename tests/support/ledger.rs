//! The ledger: what was written, as the source tells it afterwards, against what arrived on a target.
//!
//! A record is known by its header `id`, or by all of its content when it has none.

use std::collections::{HashMap, HashSet};
use std::fmt;

/// A record in brief: where it is, when it was, its number if it has one, and hashes of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    /// -1 when it has none.
    pub id: i64,
    pub key: u64,
    pub value: u64,
    pub headers: u64,
}

/// By what a record is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Id(i64),
    Content(i64, u64, u64, u64),
}

impl Row {
    const SIZE: usize = 4 + 6 * 8;

    /// From the agent's answer to `dump`.
    pub fn decode(bytes: &[u8]) -> Vec<Self> {
        assert_eq!(bytes.len() % Self::SIZE, 0, "half a row");
        bytes.chunks_exact(Self::SIZE).map(Self::decode_one).collect()
    }

    fn decode_one(bytes: &[u8]) -> Self {
        let long = |index: usize| u64::from_be_bytes(bytes[4 + index * 8..12 + index * 8].try_into().unwrap());
        Self {
            partition: i32::from_be_bytes(bytes[..4].try_into().unwrap()),
            offset: long(0).cast_signed(),
            timestamp: long(1).cast_signed(),
            id: long(2).cast_signed(),
            key: long(3),
            value: long(4),
            headers: long(5),
        }
    }

    pub const fn identity(&self) -> Identity {
        if self.id >= 0 {
            Identity::Id(self.id)
        } else {
            Identity::Content(self.timestamp, self.key, self.value, self.headers)
        }
    }

    /// The fields in which another record differs.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let fields = [
            ("key", self.key != other.key),
            ("value", self.value != other.value),
            ("headers", self.headers != other.headers),
            ("timestamp", self.timestamp != other.timestamp),
        ];
        fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)?;
        if self.id >= 0 { write!(f, " (id {})", self.id) } else { write!(f, " (no id)") }
    }
}

/// The rows but those of some ids: of records that were given up, by a policy that says so.
pub fn without(rows: &[Row], ids: &[i64]) -> Vec<Row> {
    let left: Vec<Row> = rows.iter().filter(|row| !ids.contains(&row.id)).cloned().collect();
    assert_eq!(left.len() + ids.len(), rows.len(), "not each of the records to be left out is there once");
    left
}

/// What was found of one kind; examples are `partition-offset (id)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub count: usize,
    examples: Vec<String>,
}

impl Findings {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < 5 {
            self.examples.push(example());
        }
    }
}

/// The comparison of a source topic with a target topic.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub source: usize,
    pub target: usize,
    /// At the source, not on the target.
    pub missing: Findings,
    /// On the target once more.
    pub duplicated: Findings,
    /// First occurrences that arrived after a later record of their source partition.
    pub reordered: Findings,
    /// Another key, value, headers or timestamp.
    pub altered: Findings,
    /// On the target, not at the source.
    pub extra: Findings,
    /// Not in the partition where it belongs.
    pub misplaced: Findings,
}

impl Ledger {
    /// Compares, where every record belongs into the partition that it came from.
    pub fn compare(source: &[Row], target: &[Row]) -> Self {
        Self::placed(source, target, |row| row.partition)
    }

    /// Compares, where `place` says into which target partition a source record belongs.
    pub fn placed(source: &[Row], target: &[Row], place: impl Fn(&Row) -> i32) -> Self {
        let mut ledger = Self { source: source.len(), target: target.len(), ..Self::default() };
        let known: HashMap<Identity, &Row> = source.iter().map(|row| (row.identity(), row)).collect();
        assert_eq!(known.len(), source.len(), "two records of the source have the same identity: give them ids");
        let mut seen = HashSet::new();
        let mut latest: HashMap<(i32, i32), i64> = HashMap::new();
        for row in target {
            let Some(origin) = known.get(&row.identity()) else {
                ledger.extra.add(|| row.to_string());
                continue;
            };
            ledger.check_content(origin, row);
            if row.partition != place(origin) {
                ledger.misplaced.add(|| format!("{origin} at {row}, not in {}", place(origin)));
            }
            if !seen.insert(row.identity()) {
                ledger.duplicated.add(|| format!("{origin} at {row}"));
                continue;
            }
            let latest = latest.entry((row.partition, origin.partition)).or_insert(-1);
            if origin.offset < *latest {
                ledger.reordered.add(|| format!("{origin} at {row}, after {}-{latest}", origin.partition));
            }
            *latest = origin.offset.max(*latest);
        }
        for row in source.iter().filter(|row| !seen.contains(&row.identity())) {
            ledger.missing.add(|| row.to_string());
        }
        ledger
    }

    fn check_content(&mut self, origin: &Row, row: &Row) {
        let differences = origin.differences(row);
        if !differences.is_empty() {
            self.altered.add(|| format!("{origin} at {row}: {}", differences.join(", ")));
        }
    }

    /// Everything arrived once, in order, where it belongs, as it was.
    pub fn assert_exact(&self) {
        assert_eq!(self.duplicated.count + self.wrong(), 0, "\n{self}");
    }

    /// As `assert_exact`, but records may have arrived more than once; says how many did.
    pub fn assert_at_least_once(&self) -> usize {
        assert_eq!(self.wrong(), 0, "\n{self}");
        self.duplicated.count
    }

    const fn wrong(&self) -> usize {
        self.missing.count + self.reordered.count + self.altered.count + self.extra.count + self.misplaced.count
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} records at the source, {} on the target", self.source, self.target)?;
        let kinds = [
            ("missing", &self.missing),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
            ("altered", &self.altered),
            ("extra", &self.extra),
            ("misplaced", &self.misplaced),
        ];
        for (name, findings) in kinds {
            writeln!(f, "{:>10} {}  {}", findings.count, name, findings.examples.join("; "))?;
        }
        Ok(())
    }
}
