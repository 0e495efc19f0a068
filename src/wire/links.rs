//! The connections to one broker. A broker works on one request of a connection at a time (`SocketServer` mutes the channel), so one
//! connection keeps no more than one of its cores busy. A partition stays with one of them, for its order.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::directory::BrokerId;
use super::line::Line;
use super::outbound::MOST_UNDER_WAY;
use crate::domain::bandwidth::Pace;

/// How many connections a broker gets, where it leads as many partitions.
const LINKS: usize = 2;
/// So many requests a connection may have under way while another one waits.
const SHARE: usize = MOST_UNDER_WAY.div_ceil(LINKS);

/// One of the connections to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) broker: BrokerId,
    number: usize,
}

/// What the connections to one broker share.
pub(super) struct Links {
    broker: BrokerId,
    lines: [Line; LINKS],
    under_way: [Cell<usize>; LINKS],
    /// Wakes those for whom there was no room.
    room: [Notify; LINKS],
    next: Cell<usize>,
    /// How fast it may go, as the broker's throttling teaches: what waits here was handed over before that was known.
    pace: RefCell<Pace>,
    since: Instant,
}

impl Links {
    pub(super) fn to(broker: BrokerId) -> Self {
        Self {
            broker,
            lines: Default::default(),
            under_way: Default::default(),
            room: Default::default(),
            next: Cell::default(),
            pace: RefCell::default(),
            since: Instant::now(),
        }
    }

    /// Each of them.
    pub(super) fn all(&self) -> impl Iterator<Item = Link> + use<> {
        let broker = self.broker;
        (0..LINKS).map(move |number| Link { broker, number })
    }

    /// The one whose turn it is to get a partition.
    pub(super) fn upcoming(&self) -> Link {
        Link { broker: self.broker, number: self.next.get() }
    }

    /// A partition stays with the upcoming one: it is the next one's turn.
    pub(super) fn taken(&self) {
        self.next.set((self.next.get() + 1) % LINKS);
    }

    /// What goes over it.
    pub(super) fn line(&self, link: Link) -> &Line {
        &self.lines[link.number]
    }

    /// Whether another request may go over it: the broker has no more than [`MOST_UNDER_WAY`] at a time, and nobody takes another's
    /// share who has something to send.
    pub(super) fn has_room(&self, link: Link) -> bool {
        let all: usize = self.under_way.iter().map(Cell::get).sum();
        let waits = |number: usize| number != link.number && !self.lines[number].is_empty();
        let is_alone = || !(0..LINKS).any(waits);
        all < MOST_UNDER_WAY && (self.under_way[link.number].get() < SHARE || is_alone())
    }

    /// So many requests are under way over it now.
    pub(super) fn under_way(&self, link: Link, count: usize) {
        let before = self.under_way[link.number].replace(count);
        // also who has nothing to send: it may have by the time it looks again
        let others = |other: &Link| *other != link && self.has_room(*other);
        if count < before {
            self.all().filter(others).for_each(|other| self.room[other.number].notify_one());
        }
    }

    /// Until there may be room for another request.
    pub(super) async fn room(&self, link: Link) {
        self.room[link.number].notified().await;
    }

    /// With how fast it may go, and the time by its clock.
    pub(super) fn pace<T>(&self, ask: impl FnOnce(&mut Pace, Duration) -> T) -> T {
        ask(&mut self.pace.borrow_mut(), self.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topic_partition::TopicPartition;

    /// Links with so many requests under way, and something in the lines of some.
    fn links(under_way: [usize; LINKS], waiting: &[usize]) -> Links {
        let links = Links::to(1);
        links.all().zip(under_way).for_each(|(link, count)| links.under_way(link, count));
        for number in waiting {
            links.lines[*number].push(TopicPartition::new("t", 0));
        }
        links
    }

    fn room(links: &Links) -> Vec<bool> {
        links.all().map(|link| links.has_room(link)).collect()
    }

    #[test]
    fn a_broker_has_no_more_requests_than_it_remembers_and_each_connection_its_share() {
        assert_eq!(room(&links([4, 0], &[0])), [true, true], "nobody else wants it");
        assert_eq!(room(&links([5, 0], &[0, 1])), [false, false]);
        assert_eq!(room(&links([4, 0], &[0, 1])), [false, true]);
        assert_eq!(room(&links([2, 2], &[0, 1])), [true, true]);
        assert_eq!(room(&links([2, 3], &[0, 1])), [false, false]);
    }

    #[tokio::test]
    async fn who_found_no_room_is_woken_when_another_one_leaves_some() {
        let links = links([5, 0], &[0]);
        let (first, second) = (Link { broker: 1, number: 0 }, Link { broker: 1, number: 1 });
        links.under_way(first, 4);
        tokio::time::timeout(Duration::from_secs(5), links.room(second)).await.expect("it is woken");
    }

    #[test]
    fn partitions_take_turns() {
        let links = Links::to(1);
        let take = || {
            let link = links.upcoming();
            links.taken();
            link.number
        };
        assert_eq!([take(), take(), take(), take()], [0, 1, 0, 1]);
    }
}
