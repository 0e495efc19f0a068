//! What a source does not have any more though a target still needs it, or has it otherwise by now: kinds, exact ranges, and how
//! leader epochs tell.

use std::fmt;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Which leader epoch wrote the record at an offset, by a history of epochs with the first offset of each; `None` where that does
/// not reach back so far.
pub fn epoch_of(history: &[(i32, i64)], offset: i64) -> Option<i32> {
    history.iter().rev().find(|(_, first)| *first <= offset).map(|(epoch, _)| *epoch)
}

/// Adds what was seen to a history: each epoch with the first offset that it was seen at.
pub fn add_epochs(history: &mut Vec<(i32, i64)>, seen: &[(i32, i64)]) {
    for (epoch, offset) in seen {
        match history.iter_mut().find(|(known, _)| known == epoch) {
            Some((_, first)) => *first = (*first).min(*offset),
            None => history.push((*epoch, *offset)),
        }
    }
    history.sort_unstable_by_key(|(_, first)| *first);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_tells_which_leader_wrote_an_offset() {
        let mut history = Vec::new();
        add_epochs(&mut history, &[(3, 100)]);
        add_epochs(&mut history, &[(3, 150), (4, 200)]);
        add_epochs(&mut history, &[(2, 50)]);
        assert_eq!(history, [(2, 50), (3, 100), (4, 200)]);
        let told = [49, 50, 99, 100, 199, 200, 999].map(|offset| epoch_of(&history, offset));
        assert_eq!(told, [None, Some(2), Some(2), Some(3), Some(3), Some(4), Some(4)]);
    }

    #[test]
    fn a_gap_names_its_kind_and_its_exact_range() {
        let text = |kind, from, to, resume| Gap { kind, from, to, resume }.to_string();
        assert!(text(GapKind::Trimmed, 5, 10, 10).starts_with("trimmed: offsets 5 to 9 are gone"));
        assert!(text(GapKind::Truncated, 5, 10, 5).starts_with("truncated: offsets 5 to 9 were copied"));
        assert!(text(GapKind::Recreated, 5, 10, 0).contains("offsets 5 to 9 with it"));
        assert!(text(GapKind::Recreated, 5, 5, 0).contains("deleted at offset 5"));
    }
}
