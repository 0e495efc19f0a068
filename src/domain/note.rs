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
    /// Leader epochs, each with the first source offset that was seen with it, in rising order; the newest.
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

    /// Notes a range that was skipped. One that continues the last one joins it.
    pub fn skip(&mut self, range: Skipped) {
        match self.skipped.last_mut() {
            Some(last) if last.kind == range.kind && last.to == range.from => last.to = range.to,
            _ => self.skipped.push(range),
        }
        while self.skipped.len() > Self::RANGES {
            self.skipped.remove(0);
            self.forgotten += 1;
        }
    }

    /// Keeps the newest epochs only.
    pub fn trim(&mut self) {
        let surplus = self.epochs.len().saturating_sub(Self::EPOCHS);
        self.epochs.drain(..surplus);
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
    fn the_newest_epochs_are_kept() {
        let mut note =
            Note { epochs: (0..20).map(|epoch| (epoch, i64::from(epoch) * 100)).collect(), ..Note::default() };
        note.trim();
        assert_eq!((note.epochs.len(), note.epochs[0]), (8, (12, 1200)));
    }
}
