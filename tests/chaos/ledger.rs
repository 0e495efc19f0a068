//! The ledger of a run: all that the source has, in 16 bytes a record, and how much of it each target has, in what order.
//!
//! Both are read on from where they were read last, so an hour's run is compared as it goes. A target holds the source's
//! records in the source's partitions, so for each of its partitions one number says how far it is without a hole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use super::load::Claims;
use super::watch::Offsets;
use crate::support::agent::ask_for_bytes;
use crate::support::topic::Topic;

/// A record in brief.
#[derive(Clone, Copy, Debug)]
struct Row {
    partition: i32,
    offset: i64,
    id: i64,
    digest: i64,
}

/// The records of a topic from offsets on; they are moved to its end.
fn read_on(topic: &Topic, from: &mut Offsets) -> Vec<Row> {
    let request = json!({
        "bootstrap": topic.bootstrap, "topic": topic.name, "isolation": "read_uncommitted", "from": from,
    });
    let bytes = ask_for_bytes("digest", request);
    let rows = bytes.chunks_exact(4 + 3 * 8).map(|row| {
        let long = |at: usize| i64::from_be_bytes(row[4 + 8 * at..12 + 8 * at].try_into().unwrap());
        let partition = i32::from_be_bytes(row[..4].try_into().unwrap());
        Row { partition, offset: long(0), id: long(1), digest: long(2) }
    });
    let rows: Vec<Row> = rows.collect();
    for row in &rows {
        from.insert(row.partition, row.offset + 1);
    }
    rows
}

/// What the source has, by partition: each record's id and digest. The offset is the place, as there are no transactions.
#[derive(Debug, Default)]
pub struct Source {
    records: BTreeMap<i32, Vec<(i64, i64)>>,
    read: Offsets,
}

impl Source {
    /// Reads what has come since the last time.
    pub fn read_on(&mut self, topic: &Topic) {
        for row in read_on(topic, &mut self.read) {
            let records = self.records.entry(row.partition).or_default();
            assert_eq!(usize::try_from(row.offset).unwrap(), records.len(), "the source has a hole at {row:?}");
            assert!(records.last().is_none_or(|(id, _)| *id < row.id), "the source is out of order at {row:?}");
            records.push((row.id, row.digest));
        }
    }

    /// Checks that the source has what it acknowledged: otherwise it is the source that lost it, and nobody can copy it. How
    /// many were acknowledged after it was read.
    pub fn assert_has(&self, claims: &Claims) -> usize {
        let mut later = 0;
        for (partition, claims) in claims.partitions() {
            let records = self.records.get(&partition).map_or(&[][..], Vec::as_slice);
            for claim in claims {
                match usize::try_from(claim.offset).ok().and_then(|offset| records.get(offset)) {
                    Some((id, _)) => assert_eq!(*id, claim.id, "the source itself has lost {partition}-{claim:?}"),
                    None => later += 1,
                }
            }
        }
        later
    }

    /// How many records it has.
    pub fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }

    fn find(&self, row: &Row) -> Option<(i64, i64)> {
        let records = self.records.get(&row.partition)?;
        let at = records.binary_search_by_key(&row.id, |(id, _)| *id).ok()?;
        Some((i64::try_from(at).unwrap(), records[at].1))
    }
}

/// What a target has of it.
#[derive(Debug, Default)]
pub struct Copy {
    read: Offsets,
    partitions: BTreeMap<i32, Progress>,
    findings: Findings,
}

/// How far a partition is.
#[derive(Debug, Default)]
struct Progress {
    /// One more than the highest source offset that has arrived.
    next: i64,
    /// Source offsets below `next` that have not.
    holes: BTreeSet<i64>,
    /// For target offsets, in order, up to which source offset everything was there before it.
    complete: Vec<(i64, i64)>,
}

/// What is wrong, and what is to be counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub records: usize,
    pub missing: usize,
    pub duplicated: usize,
    /// First occurrences after a later record of their partition.
    pub reordered: usize,
    pub altered: usize,
    /// On the target, not at the source.
    pub extra: usize,
    /// Watermarks that were ahead of the target.
    pub ahead: usize,
    examples: Vec<String>,
}

impl Copy {
    /// Reads what has come since the last time, and compares it. The source has to be read after that: see `compare`.
    pub fn read_on(&mut self, topic: &Topic) -> Arrived {
        Arrived(read_on(topic, &mut self.read))
    }

    /// Compares what has arrived with a source that was read later.
    pub fn compare(&mut self, arrived: Arrived, source: &Source) {
        for row in arrived.0 {
            self.findings.records += 1;
            let Some((offset, digest)) = source.find(&row) else {
                self.findings.note(|found| &mut found.extra, || format!("extra: {row:?}"));
                continue;
            };
            if digest != row.digest {
                self.findings.note(|found| &mut found.altered, || format!("altered: source offset {offset}, {row:?}"));
            }
            let progress = self.partitions.entry(row.partition).or_default();
            if offset >= progress.next {
                progress.holes.extend(progress.next..offset);
                progress.next = offset + 1;
            } else if progress.holes.remove(&offset) {
                self.findings.note(|found| &mut found.reordered, || format!("late: source offset {offset}, {row:?}"));
            } else {
                self.findings.duplicated += 1;
            }
            progress.complete.push((row.offset + 1, progress.without_a_hole()));
        }
    }

    /// Counts what is missing below offsets of the source that the target has acknowledged.
    pub fn find_missing(&mut self, below: &Offsets) {
        for (partition, below) in below {
            let progress = self.partitions.entry(*partition).or_default();
            let holes: Vec<i64> = progress.holes.range(..*below).copied().chain(progress.next..*below).collect();
            for offset in holes {
                self.findings.note(|found| &mut found.missing, || format!("missing: {partition}-{offset}"));
            }
        }
    }

    /// Whether a look can be judged: what it saw of the target has been read.
    pub fn has_read(&self, ends: &Offsets) -> bool {
        ends.iter().all(|(partition, end)| self.read.get(partition).copied().unwrap_or(0) >= *end)
    }

    /// Checks that all below the watermarks was on the target below the ends that were seen later.
    pub fn judge(&mut self, watermarks: &Offsets, ends: &Offsets) {
        for (partition, watermark) in watermarks {
            let progress = self.partitions.entry(*partition).or_default();
            let end = ends.get(partition).copied().unwrap_or(0);
            let seen = progress.complete.partition_point(|(offset, _)| *offset <= end);
            let complete = seen.checked_sub(1).map_or(0, |at| progress.complete[at].1);
            if *watermark > complete {
                let told = || format!("ahead: {partition} at {watermark}, the target has {complete} below {end}");
                self.findings.note(|found| &mut found.ahead, told);
            }
        }
    }

    /// Forgets what was needed for looks that have been judged: ends never fall.
    pub fn forget(&mut self, ends: &Offsets) {
        for (partition, progress) in &mut self.partitions {
            let end = ends.get(partition).copied().unwrap_or(0);
            let seen = progress.complete.partition_point(|(offset, _)| *offset <= end);
            progress.complete.drain(..seen.saturating_sub(1));
        }
    }

    /// What was found so far.
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }
}

/// Rows of a target that are not compared yet.
pub struct Arrived(Vec<Row>);

impl Progress {
    fn without_a_hole(&self) -> i64 {
        self.holes.first().copied().unwrap_or(self.next)
    }
}

impl Findings {
    fn note(&mut self, count: fn(&mut Self) -> &mut usize, example: impl FnOnce() -> String) {
        *count(self) += 1;
        if self.examples.len() < 8 {
            self.examples.push(example());
        }
    }

    /// Everything but duplicates.
    pub const fn wrong(&self) -> usize {
        self.missing + self.reordered + self.altered + self.extra + self.ahead
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, missing, duplicated, reordered, altered, extra, ahead, examples } = self;
        write!(f, "{records} records, {missing} missing, {duplicated} duplicated, {reordered} reordered, ")?;
        write!(f, "{altered} altered, {extra} extra, {ahead} watermarks ahead; {}", examples.join("; "))
    }
}

#[test]
fn the_ledger_of_a_run_finds_what_was_planted() {
    let row = |offset: i64, id: i64, digest: i64| Row { partition: 0, offset, id, digest };
    let mut source = Source::default();
    source.records.insert(0, (0..10).map(|id| (id * 3, id)).collect());
    let arrived = [(0, 0), (1, 1), (2, 2), (1, 1), (4, 4), (3, 3), (5, 9), (7, 7)];
    let arrived = arrived.iter().zip(0..).map(|((id, digest), offset)| row(offset, id * 3, *digest));
    let mut copy = Copy::default();
    copy.compare(Arrived(arrived.chain([row(8, 4, 4)]).collect()), &source);
    copy.find_missing(&BTreeMap::from([(0, 9)]));
    let found = copy.findings().clone();
    println!("{found}");
    assert_eq!(
        (found.missing, found.duplicated, found.reordered, found.altered, found.extra),
        (2, 1, 1, 1, 1),
        "6 and 8 are missing, 1 is there twice, 3 is late, 5 is not as it was, and nobody wrote 4"
    );
    let looks = |watermark: i64, end: i64| (BTreeMap::from([(0, watermark)]), BTreeMap::from([(0, end)]));
    for (watermark, end, ahead) in [(3, 4, 0), (4, 4, 1), (3, 5, 1), (5, 6, 1), (6, 9, 1), (7, 9, 2)] {
        let (watermarks, ends) = looks(watermark, end);
        copy.judge(&watermarks, &ends);
        assert_eq!(copy.findings().ahead, ahead, "a watermark of {watermark}, an end of {end}");
    }
}
