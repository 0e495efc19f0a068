//! Which partitions of its topics a route copies in this process: all of them, or those that the group of its processes
//! was given.

use std::collections::HashMap;

use super::preparation::{Topics, partitions_of};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::Keeping;

/// Which partitions this process copies.
#[derive(Clone, Debug)]
pub(super) enum Ownership {
    /// All that there are.
    All,
    /// These, each with the number of its assignment: one that was taken away and given back has another.
    Share(HashMap<TopicPartition, u64>),
}

impl Ownership {
    /// For a route before it has any partition from a group.
    pub(super) fn new(keeping: Keeping) -> Self {
        if keeping.is_shared() { Self::Share(HashMap::new()) } else { Self::All }
    }

    /// Which assignment a partition is held by, if it is.
    pub(super) fn assignment(&self, partition: &TopicPartition) -> Option<u64> {
        match self {
            Self::All => Some(0),
            Self::Share(held) => held.get(partition).copied(),
        }
    }

    pub(super) fn owns(&self, partition: &TopicPartition) -> bool {
        self.assignment(partition).is_some()
    }

    /// The partitions of these topics that are copied here.
    pub(super) fn of(&self, topics: &Topics) -> Vec<TopicPartition> {
        let mut partitions = partitions_of(topics);
        partitions.retain(|partition| self.owns(partition));
        partitions
    }

    /// Whether the first partition of all is copied here: its owner speaks for all processes where one has to.
    pub(super) fn leads(&self, topics: &Topics) -> bool {
        partitions_of(topics).first().is_some_and(|first| self.owns(first))
    }

    /// Notes partitions that were given.
    pub(super) fn given(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, u64)>) {
        if let Self::Share(held) = self {
            held.extend(partitions);
        }
    }

    /// Notes that one was taken away.
    pub(super) fn taken(&mut self, partition: &TopicPartition) {
        if let Self::Share(held) = self {
            held.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_was_given_and_not_taken_away() {
        let topics = Topics::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let place = TopicPartition::new;
        assert_eq!(Ownership::new(Keeping::Progress).of(&topics).len(), 3);
        let mut share = Ownership::new(Keeping::ProgressAndShare);
        assert!(share.of(&topics).is_empty() && !share.leads(&topics));
        share.given([(place("b", 1), 7), (place("a", 0), 8), (place("c", 0), 9)]);
        assert_eq!(share.of(&topics), [place("a", 0), place("b", 1)]);
        assert!(share.leads(&topics));
        share.taken(&place("a", 0));
        assert_eq!((share.leads(&topics), share.assignment(&place("b", 1))), (false, Some(7)));
        assert!(Ownership::new(Keeping::Nothing).leads(&topics));
    }
}
