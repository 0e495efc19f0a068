//! What is kept beside a watermark, in the metadata of its commit: which topic it counts in, and what is missing below it.

use serde::{Deserialize, Serialize};

use super::gap::GapKind;

/// Leader epochs that are remembered.
const EPOCHS: usize = 8;
/// Ranges that are remembered: with all numbers as long as they can be, a note stays below 2,000 bytes. A broker takes 4,096 by
/// default.
const RANGES: usize = 18;

/// Offsets that the source lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The first of them.
    pub from: i64,
    /// One past the last.
    pub to: i64,
    /// How it lost them. What was trimmed was never copied, nor was what was left of a recreated topic; what was truncated was copied
    /// already, and other records may have been written at these offsets since.
    pub kind: GapKind,
}

/// What is known of a target's source partition besides its watermark. Offsets count in the topic `topic_id`, but those of ranges
/// before the last recreated one, which count in its predecessors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// The topic's id, as the cluster tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The first offset that the target was to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// The newest leader epochs below the watermark, each with the first offset that was seen with it, both rising.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<(i32, i64)>,
    /// What was skipped, in the order in which it was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How many older ranges there was no room for.
    #[serde(skip_serializing_if = "is_zero")]
    pub forgotten: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks for it
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An offset with its note.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The watermark.
    pub offset: i64,
    /// What is known besides.
    pub note: Note,
}

impl Note {
    /// Notes that records from `first` on have this leader epoch. Older and unknown (negative) ones change nothing.
    pub fn see_epoch(&mut self, epoch: i32, first: i64) {
        if epoch < 0 || self.epochs.last().is_some_and(|(last, at)| *last >= epoch || *at >= first) {
            return;
        }
        self.epochs.push((epoch, first));
        if self.epochs.len() > EPOCHS {
            self.epochs.remove(0);
        }
    }

    /// The leader epoch that a record at this offset had, as far as that is remembered.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.epochs.partition_point(|(_, first)| *first <= offset);
        self.epochs.get(after.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Notes a range that is skipped. One that continues the last one becomes a part of it, but where the offsets of both may be
    /// those of different topics.
    pub fn skip(&mut self, range: Skipped) {
        if let Some(last) = self.skipped.last_mut()
            && (last.kind, last.to) == (range.kind, range.from)
            && range.kind != GapKind::Recreated
        {
            last.to = range.to;
            return;
        }
        self.skipped.push(range);
        if self.skipped.len() > RANGES {
            self.skipped.remove(0);
            self.forgotten += 1;
        }
    }

    /// Forgets the epochs that began at `offset` or later.
    pub fn cut_epochs(&mut self, offset: i64) {
        self.epochs.retain(|(_, first)| *first < offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: i64, to: i64, kind: GapKind) -> Skipped {
        Skipped { from, to, kind }
    }

    #[test]
    fn epochs_tell_which_one_a_record_had() {
        let mut note = Note::default();
        for (epoch, first) in [(-1, 0), (3, 10), (3, 15), (2, 18), (5, 20)] {
            note.see_epoch(epoch, first);
        }
        assert_eq!(note.epochs, [(3, 10), (5, 20)]);
        assert_eq!([9, 10, 19, 20, 99].map(|at| note.epoch_at(at)), [None, Some(3), Some(3), Some(5), Some(5)]);
        note.cut_epochs(20);
        assert_eq!(note.epoch_at(20), Some(3));
        (10..30).for_each(|epoch| note.see_epoch(epoch, i64::from(epoch) * 10));
        assert_eq!((note.epochs.len(), note.epochs[0]), (8, (22, 220)));
    }

    #[test]
    fn ranges_that_continue_each_other_are_one() {
        let mut note = Note::default();
        for (from, to) in [(0, 10), (10, 20), (25, 30)] {
            note.skip(range(from, to, GapKind::Trimmed));
        }
        note.skip(range(30, 40, GapKind::Truncated));
        assert_eq!(
            note.skipped.iter().map(|range| (range.from, range.to)).collect::<Vec<_>>(),
            [(0, 20), (25, 30), (30, 40)]
        );
        note.skip(range(40, 50, GapKind::Recreated));
        note.skip(range(50, 60, GapKind::Recreated));
        assert_eq!(note.skipped.len(), 5);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_a_note_stays_short() {
        let mut note = Note { topic_id: Some("x".repeat(22)), start: Some(i64::MAX), ..Note::default() };
        (0..40).for_each(|_| note.skip(range(i64::MAX - 1, i64::MAX, GapKind::Recreated)));
        (0..20).for_each(|at| note.see_epoch(i32::MAX - 20 + at, i64::MAX - 20 + i64::from(at)));
        assert_eq!((note.skipped.len(), note.forgotten), (18, 22));
        let text = serde_json::to_string(&Note { forgotten: u64::MAX, ..note }).unwrap();
        assert!(text.len() < 2_000, "{} bytes", text.len());
    }
}
