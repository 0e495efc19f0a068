//! What a broker keeps in mind of what is fetched from it: only changes are told then, and only news is answered.
//!
//! The rules are those of KIP-227: a first request with everything begins a session; each further one counts up and tells what is
//! asked for anew, what has changed, and what is left out from now on. A broker that keeps nothing in mind is told everything.

use std::collections::HashMap;

use super::fetch::Wanted;
use crate::domain::topic_partition::TopicPartition;

/// Which session a request goes on with, and as the how manieth; `(0, 0)` asks for a new one.
pub(super) type Number = (i32, i32);

/// A session with one broker, over one connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    version: i16,
    /// What the broker has in mind.
    told: HashMap<TopicPartition, Wanted>,
}

/// What a request has to say.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) number: Number,
    /// What is asked for, or in another way than before.
    pub(super) wanted: Vec<Wanted>,
    /// What is asked for no longer.
    pub(super) forgotten: Vec<Wanted>,
}

impl Session {
    /// What has to be said so that the broker has all of `wanted` in mind, and nothing else. Who comes first changes from `round` to
    /// round where it is told everything: only the first is sure to get a batch that is larger than its share.
    pub(super) fn changes<'a>(
        &mut self,
        wanted: impl ExactSizeIterator<Item = &'a Wanted> + Clone,
        version: i16,
        round: usize,
    ) -> Changes {
        if self.id == 0 || self.version != version {
            *self = Self { version, ..Self::default() };
            self.told = wanted.clone().map(|one| (one.partition.clone(), one.clone())).collect();
            let mut all: Vec<Wanted> = wanted.cloned().collect();
            let first = round.checked_rem(all.len()).unwrap_or(0);
            all.rotate_left(first);
            return Changes { number: (0, 0), wanted: all, forgotten: Vec::new() };
        }
        let mut forgotten = Vec::new();
        if self.told.len() != wanted.len() || wanted.clone().any(|one| !self.told.contains_key(&one.partition)) {
            let mut before = std::mem::take(&mut self.told);
            self.told = wanted.clone().filter_map(|one| before.remove_entry(&one.partition)).collect();
            forgotten.extend(before.into_values());
        }
        let mut changed = Vec::new();
        for one in wanted.filter(|one| self.told.get(&one.partition) != Some(*one)).collect::<Vec<_>>() {
            let told = self.told.insert(one.partition.clone(), one.clone());
            // another topic of the same name
            forgotten.extend(told.filter(|told| told.topic_id != one.topic_id));
            changed.push(one.clone());
        }
        forgotten.sort_unstable_by(|a, b| a.partition.cmp(&b.partition));
        Changes { number: (self.id, self.epoch), wanted: changed, forgotten }
    }

    /// The broker has answered, and said which session it keeps; 0 for none.
    pub(super) fn answered(&mut self, id: i32) {
        let is_new = self.id != id;
        self.id = id;
        self.epoch = if is_new || self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: i16 = 12;

    fn wanted(partition: i32, from: i64) -> Wanted {
        let partition = TopicPartition::new("orders", partition);
        Wanted { partition, topic_id: 7, from, bytes: 100, leader_epoch: 1, last_epoch: -1 }
    }

    fn told(changes: &Changes) -> (Number, Vec<(i32, i64)>, Vec<i32>) {
        let wanted = changes.wanted.iter().map(|one| (one.partition.partition, one.from)).collect();
        (changes.number, wanted, changes.forgotten.iter().map(|one| one.partition.partition).collect())
    }

    #[test]
    fn only_changes_are_told_once_there_is_a_session() {
        let mut session = Session::default();
        let first = session.changes([wanted(0, 5), wanted(1, 5), wanted(2, 5)].iter(), VERSION, 1);
        assert_eq!(told(&first), ((0, 0), vec![(1, 5), (2, 5), (0, 5)], vec![]));
        session.answered(33);
        let next = session.changes([wanted(0, 5), wanted(1, 6), wanted(2, 5)].iter(), VERSION, 2);
        assert_eq!(told(&next), ((33, 1), vec![(1, 6)], vec![]));
        session.answered(33);
        let next = session.changes([wanted(0, 5), wanted(3, 9)].iter(), VERSION, 3);
        assert_eq!(told(&next), ((33, 2), vec![(3, 9)], vec![1, 2]));
        session.answered(33);
        let next = session.changes([wanted(0, 5), wanted(2, 5), wanted(3, 9)].iter(), VERSION, 4);
        assert_eq!(told(&next), ((33, 3), vec![(2, 5)], vec![]), "what comes back is told again");
    }

    #[test]
    fn another_topic_of_the_same_name_takes_the_place_of_the_first() {
        let mut session = Session::default();
        session.changes([wanted(0, 5)].iter(), VERSION, 0);
        session.answered(33);
        let other = Wanted { topic_id: 8, ..wanted(0, 5) };
        let changes = session.changes(std::iter::once(&other), VERSION, 0);
        assert_eq!((&changes.wanted[..], &changes.forgotten[..]), (&[other][..], &[wanted(0, 5)][..]));
    }

    #[test]
    fn without_a_session_everything_is_told_each_time() {
        let mut session = Session::default();
        for round in 0..3 {
            let all = session.changes([wanted(0, 5), wanted(1, 5)].iter(), VERSION, round);
            assert_eq!((all.number, all.wanted.len(), all.forgotten.len()), ((0, 0), 2, 0));
            session.answered(0);
        }
        session.answered(33);
        let other = session.changes([wanted(0, 5)].iter(), VERSION + 1, 0);
        assert_eq!(told(&other), ((0, 0), vec![(0, 5)], vec![]), "topics go by other names there");
    }

    #[test]
    fn numbers_go_on_from_1_after_the_largest() {
        let mut session = Session { id: 33, epoch: i32::MAX, ..Session::default() };
        session.answered(33);
        assert_eq!(session.epoch, 1);
    }
}
