//! What is kept with each committed watermark, so that a later process knows what the offset alone does not tell: which topic it
//! belongs to, where it began, which leaders wrote what is below it, and what was skipped.

use serde::{Deserialize, Serialize};

use super::gap::GapKind;

/// The note of one target partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The id of the source topic, which another one of the same name does not have; where the cluster tells ids.
    #[serde(rename = "topic", default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// The first source offset that the target was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<i64>,
    /// Leader epochs of what this target has, each with the first source offset that was seen with it, both rising; the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<(i32, i64)>,
    /// Ranges that were skipped because the source did not have them any more, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How many older ranges are not listed any more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgotten: u32,
}

/// Source offsets that were skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The first of them.
    pub from: i64,
    /// The first that is not among them.
    pub to: i64,
    /// Why the source did not have them.
    pub kind: GapKind,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Note {
    /// Epochs that are kept: enough for what a watermark can be behind of, in elections.
    const EPOCHS: usize = 8;
    /// Ranges that are kept: a broker takes 4,096 bytes by default, and one takes up to 70.
    const RANGES: usize = 24;

    /// Notes a range that was skipped. One that continues the last one joins it, but not where both count in different topics.
    pub fn skip(&mut self, range: Skipped) {
        let joins =
            |last: &Skipped| last.kind == range.kind && last.to == range.from && last.kind != GapKind::Recreated;
        match self.skipped.last_mut() {
            Some(last) if joins(last) => last.to = range.to,
            _ => self.skipped.push(range),
        }
        while self.skipped.len() > Self::RANGES {
            self.skipped.remove(0);
            self.forgotten += 1;
        }
    }

    /// Notes that records from `first` on are of this leader epoch. Older and unknown (negative) ones change nothing.
    pub fn see_epoch(&mut self, epoch: i32, first: i64) {
        if epoch < 0 || self.epochs.last().is_some_and(|(last, at)| *last >= epoch || *at >= first) {
            return;
        }
        self.epochs.push((epoch, first));
        let surplus = self.epochs.len().saturating_sub(Self::EPOCHS);
        self.epochs.drain(..surplus);
    }

    /// The leader epoch that wrote the record at an offset; `None` where that is not remembered.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.epochs.partition_point(|(_, first)| *first <= offset);
        self.epochs.get(after.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Forgets the epochs that begin at this offset or later.
    pub fn cut_epochs(&mut self, offset: i64) {
        self.epochs.retain(|(_, first)| *first < offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(from: i64, to: i64, kind: GapKind) -> Skipped {
        Skipped { from, to, kind }
    }

    #[test]
    fn ranges_that_follow_each_other_are_one_and_the_oldest_are_counted_in_the_end() {
        let mut note = Note::default();
        note.skip(skipped(5, 10, GapKind::Trimmed));
        note.skip(skipped(10, 12, GapKind::Trimmed));
        note.skip(skipped(12, 14, GapKind::Truncated));
        assert_eq!(note.skipped, [skipped(5, 12, GapKind::Trimmed), skipped(12, 14, GapKind::Truncated)]);
        for at in 10..40 {
            note.skip(skipped(at * 10, at * 10 + 1, GapKind::Trimmed));
        }
        assert_eq!((note.skipped.len(), note.forgotten), (24, 8));
        assert_eq!(note.skipped.last(), Some(&skipped(390, 391, GapKind::Trimmed)));
    }

    #[test]
    fn topics_of_one_name_do_not_share_a_range() {
        let mut note = Note::default();
        note.skip(skipped(10, 10, GapKind::Recreated));
        note.skip(skipped(10, 12, GapKind::Recreated));
        assert_eq!(note.skipped.len(), 2);
    }

    #[test]
    fn epochs_tell_which_leader_wrote_an_offset_and_the_newest_are_kept() {
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
    fn a_note_is_far_shorter_than_a_broker_takes() {
        let mut note = Note { topic_id: Some("x".repeat(22)), start: Some(i64::MAX), ..Note::default() };
        (0..40).for_each(|_| note.skip(skipped(i64::MAX - 1, i64::MAX, GapKind::Recreated)));
        (0..20).for_each(|at| note.see_epoch(i32::MAX - 20 + at, i64::MAX - 20 + i64::from(at)));
        let text = serde_json::to_string(&Note { forgotten: u32::MAX, ..note }).unwrap();
        assert!(text.len() < 2_500, "{} bytes", text.len());
    }
}
