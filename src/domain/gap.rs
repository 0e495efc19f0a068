//! What a source does not have any more though a target still needs it, or has it otherwise by now: kinds, exact ranges, and how
//! offsets, topic ids and leader epochs tell.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::note::{Note, Skipped};

/// How a source came to lack what a target needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapKind {
    /// It has dropped its oldest records: by retention, or because somebody deleted them.
    Trimmed,
    /// It has lost its newest records, and may have others in their place: a leader was elected that did not have them.
    Truncated,
    /// The topic was deleted, and another one of that name was created.
    Recreated,
}

impl GapKind {
    /// The name used in logs, notes and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Truncated => "truncated",
            Self::Recreated => "recreated",
        }
    }
}

/// What a route does about a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGap {
    /// The partition stops, for the target that has the gap, and says so.
    #[default]
    Fail,
    /// It goes on behind the gap, and the range is recorded.
    Skip,
}

impl OnGap {
    /// The name used in the config and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// A gap of one target partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How it came.
    pub kind: GapKind,
    /// The first source offset that is concerned.
    pub from: i64,
    /// The first that is not. What is concerned is gone unread (trimmed, and of a topic that was deleted), or was copied and is
    /// not at the source any more (truncated).
    pub to: i64,
    /// Where whoever skips it goes on.
    pub resume: i64,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, resume, .. } = self;
        let last = to - 1;
        match self.kind {
            GapKind::Trimmed => {
                write!(f, "trimmed: offsets {from} to {last} are gone from the source, which starts at {resume}")
            }
            GapKind::Truncated => write!(
                f,
                "truncated: offsets {from} to {last} were copied, and are gone from the source or others are in their place"
            ),
            GapKind::Recreated if from >= to => {
                write!(f, "recreated: the topic was deleted at offset {from}, and a new one starts at {resume}")
            }
            GapKind::Recreated => write!(
                f,
                "recreated: the topic was deleted, offsets {from} to {last} with it, and a new one starts at {resume}"
            ),
        }
    }
}

impl Gap {
    /// Where a target goes on that skips it, and its note then.
    pub fn passed(&self, note: &Note, source: &SourceNow) -> (i64, Note) {
        let mut note = note.clone();
        match self.kind {
            GapKind::Trimmed => {}
            GapKind::Truncated => note.cut_epochs(self.resume),
            GapKind::Recreated => {
                let (topic_id, start) = (source.topic_id.clone(), Some(self.resume));
                note = Note { topic_id, start, epochs: Vec::new(), ..note };
            }
        }
        note.skip(Skipped { from: self.from, to: self.to, kind: self.kind });
        (self.resume, note)
    }
}

/// What a source has of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNow {
    /// The topic's id, where the cluster tells it.
    pub topic_id: Option<String>,
    /// The first offset that is there.
    pub first: i64,
    /// The end.
    pub end: i64,
}

/// What follows from a watermark and what the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The source has what comes next.
    Fine,
    /// It does not.
    Gap(Gap),
    /// It ends below the watermark, and may have been written anew before that: to be searched.
    Search(Search),
    /// It seems to. Whether the record before the watermark is still the one that was copied tells more: the first one at or after
    /// this offset.
    Look(i64),
}

/// Compares a watermark with what the source has. `seen`: an end that the topic is known to have had, if any.
pub fn compare(at: i64, note: &Note, source: &SourceNow, seen: Option<i64>) -> Verdict {
    if let (Some(then), Some(now)) = (&note.topic_id, &source.topic_id)
        && then != now
    {
        let to = seen.unwrap_or(at).max(at);
        return Verdict::Gap(Gap { kind: GapKind::Recreated, from: at, to, resume: source.first });
    }
    if at < source.first {
        return Verdict::Gap(Gap { kind: GapKind::Trimmed, from: at, to: source.first, resume: source.first });
    }
    if at > source.end {
        return Verdict::Search(Search::new(note, source, source.end));
    }
    match note.epoch_at(at - 1) {
        Some(_) if at > source.first => Verdict::Look(at - 1),
        _ => Verdict::Fine,
    }
}

/// A record that was looked at: its offset and its leader epoch, negative where that is not known.
pub type Looked = (i64, i32);

/// Whether a record is the one that was copied, as far as its leader epoch tells.
fn is_same(note: &Note, (offset, epoch): Looked) -> bool {
    epoch < 0 || note.epoch_at(offset).is_none_or(|then| then == epoch)
}

/// What follows from the record that [`Verdict::Look`] asked for.
pub fn looked(at: i64, note: &Note, source: &SourceNow, record: Option<Looked>) -> Verdict {
    match record.filter(|(offset, _)| *offset < at) {
        Some(record) if is_same(note, record) => Verdict::Fine,
        // where there is none before the watermark, as behind a transaction, those before that have to tell
        _ => Verdict::Search(Search::new(note, source, at.min(source.end))),
    }
}

/// The search for the offset from which on a source's records are others than those that were copied. What is below is the same, as a
/// log is only ever cut off at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    low: i64,
    high: i64,
    /// From here on all is lost, whatever is found below.
    lost: i64,
    /// Whether a record was found that is another one.
    differs: bool,
}

impl Search {
    /// All from `lost` on is lost; what is older than the note remembers is not doubted.
    fn new(note: &Note, source: &SourceNow, lost: i64) -> Self {
        let low = note.epochs.first().map_or(lost, |(_, first)| source.first.max(*first)).min(lost);
        Self { low, high: lost, lost, differs: false }
    }

    /// The offset to look at next: the first record at or after it is wanted. `None`: it is found.
    pub fn next(&self) -> Option<i64> {
        (self.low < self.high).then(|| i64::midpoint(self.low, self.high))
    }

    /// Takes the answer to [`next`](Self::next).
    pub fn answer(&mut self, note: &Note, record: Option<Looked>) {
        let Some(asked) = self.next() else { return };
        match record.filter(|(offset, _)| *offset < self.high) {
            Some(record) if is_same(note, record) => self.low = record.0 + 1,
            record => {
                self.high = asked;
                self.differs |= record.is_some();
            }
        }
    }

    /// The gap that was found, for a target that has copied all below `watermark`; `None` if nothing of it is lost. Offsets without
    /// a record at the end of what is the same belong to it.
    pub fn gap(&self, watermark: i64) -> Option<Gap> {
        let from = if self.differs { self.low } else { self.lost };
        (from < watermark).then_some(Gap { kind: GapKind::Truncated, from, to: watermark, resume: from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(first: i64, end: i64) -> SourceNow {
        SourceNow { topic_id: Some("a".to_owned()), first, end }
    }

    fn note(epochs: &[(i32, i64)]) -> Note {
        Note { topic_id: Some("a".to_owned()), epochs: epochs.to_vec(), ..Note::default() }
    }

    #[test]
    fn what_was_trimmed_or_created_anew_is_told_by_offsets_and_ids() {
        assert_eq!(compare(20, &note(&[]), &source(0, 20), None), Verdict::Fine);
        assert_eq!(compare(20, &note(&[(0, 0)]), &source(20, 20), None), Verdict::Fine);
        assert_eq!(compare(20, &note(&[(0, 0)]), &source(0, 20), None), Verdict::Look(19));
        let trimmed = Gap { kind: GapKind::Trimmed, from: 20, to: 25, resume: 25 };
        assert_eq!(compare(20, &note(&[]), &source(25, 90), None), Verdict::Gap(trimmed));
        let other = SourceNow { topic_id: Some("b".to_owned()), first: 0, end: 90 };
        for (seen, to) in [(None, 20), (Some(10), 20), (Some(33), 33)] {
            let gap = Gap { kind: GapKind::Recreated, from: 20, to, resume: 0 };
            assert_eq!(compare(20, &note(&[]), &other, seen), Verdict::Gap(gap));
        }
        let untold = SourceNow { topic_id: None, ..other };
        assert_eq!(compare(20, &note(&[]), &untold, None), Verdict::Fine);
    }

    #[test]
    fn whoever_passes_a_gap_keeps_its_range_and_what_is_still_so() {
        let gap = Gap { kind: GapKind::Truncated, from: 12, to: 20, resume: 12 };
        let (at, passed) = gap.passed(&note(&[(1, 0), (2, 15)]), &source(0, 30));
        assert_eq!((at, &passed.epochs[..]), (12, &[(1, 0)][..]));
        assert_eq!(passed.skipped, [Skipped { from: 12, to: 20, kind: GapKind::Truncated }]);
        let other = SourceNow { topic_id: Some("b".to_owned()), first: 3, end: 90 };
        let gap = Gap { kind: GapKind::Recreated, from: 12, to: 14, resume: 3 };
        let (at, passed) = gap.passed(&passed, &other);
        assert_eq!((at, passed.start, passed.skipped.len()), (3, Some(3), 2));
        assert_eq!((passed.topic_id.as_deref(), passed.epochs.len()), (Some("b"), 0));
    }

    #[test]
    fn a_gap_names_its_kind_and_its_exact_range() {
        let text = |kind, from, to, resume| Gap { kind, from, to, resume }.to_string();
        assert!(text(GapKind::Trimmed, 5, 10, 10).starts_with("trimmed: offsets 5 to 9 are gone"));
        assert!(text(GapKind::Truncated, 5, 10, 5).starts_with("truncated: offsets 5 to 9 were copied"));
        assert!(text(GapKind::Recreated, 5, 10, 0).contains("offsets 5 to 9 with it"));
        assert!(text(GapKind::Recreated, 5, 5, 0).contains("deleted at offset 5"));
    }

    proptest! {
        /// A log with holes is cut off somewhere and goes on with a younger epoch: the cut is found, in few looks.
        #[test]
        fn the_place_where_two_logs_part_is_found(
            old in prop::collection::vec((0..3_i32, 1..4_i64), 1..60),
            cut in 0..60_usize,
            more in prop::collection::vec(1..4_i64, 0..60),
        ) {
            let (mut note, mut epoch, mut end) = (Note::default(), 5, 0);
            let mut log: Vec<Looked> = Vec::new();
            for (older, step) in old {
                epoch += older / 2;
                note.see_epoch(epoch, end);
                log.push((end, epoch));
                end += step;
            }
            let behind_last = |log: &[Looked]| log.last().map_or(0, |(offset, _)| offset + 1);
            let watermark = behind_last(&log);
            log.truncate(cut);
            let parted = behind_last(&log);
            let mut end = parted;
            for step in more {
                log.push((end, epoch + 1));
                end += step;
            }
            let now = SourceNow { topic_id: None, first: 0, end: behind_last(&log).max(parted) };
            let first_from = |at: i64| log.iter().copied().find(|(offset, _)| *offset >= at);
            let verdict = match compare(watermark, &note, &now, None) {
                Verdict::Look(at) => looked(watermark, &note, &now, first_from(at)),
                verdict => verdict,
            };
            let Verdict::Search(mut search) = verdict else {
                prop_assert_eq!((verdict, parted), (Verdict::Fine, watermark));
                return Ok(());
            };
            let mut looks = 0;
            while let Some(at) = search.next() {
                search.answer(&note, first_from(at));
                looks += 1;
            }
            // what is older than is remembered is not doubted
            let expected = parted.max(note.epochs[0].1.min(now.end));
            prop_assert_eq!(search.gap(watermark).map_or(watermark, |gap| gap.from), expected);
            prop_assert!(looks <= 9);
        }
    }
}
