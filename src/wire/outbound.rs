//! What is on its way to one partition of a target: in which order, under which sequence numbers, and what an answer means for it.
//!
//! A broker takes a producer's batches in the order of their sequence numbers, and each once. So a batch whose fate is not known is
//! sent again under its old number, whatever happens; and where a number will never be taken (its batch was refused), the partition
//! begins anew in a later epoch of the producer, once nothing of the old one is open.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::links::Link;
use super::piece::{Piece, gather};
use crate::format::{Identity, RawBatch};

/// A broker remembers so many batches of a producer in a partition: of more, it could not tell which it has.
pub(super) const MOST_UNDER_WAY: usize = 5;

/// What became of a batch that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    Taken,
    /// It will not be taken as it is: for what is in it.
    Refused,
    /// It is not taken now, and nothing of that is due to what is in it.
    Denied,
    /// It was not taken this time, and has to be sent again.
    Again,
    /// It may be there, and has to be sent again.
    Unknown,
    /// It is not there, and its number will never be the next: what was before it is missing there.
    OutOfOrder,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Course {
    /// One batch after the other.
    #[default]
    Ahead,
    /// Something has to be sent again, one batch at a time: a broker remembers the latest five only, and of one that may be there
    /// already, it could not tell that it is once others have followed.
    Again,
    /// The same, and the numbers have to begin anew.
    Anew,
}

/// A batch that goes out now.
#[derive(Debug)]
pub(super) struct Sent {
    /// By what its answer is known.
    pub(super) number: u64,
    pub(super) batch: RawBatch,
    /// Under whose name it goes.
    pub(super) identity: Identity,
    pub(super) sequence: i32,
    /// How many batches were put together for it.
    pub(super) gathered: usize,
}

/// One partition's batches.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// To be sent, in order; those that were sent before have their numbers.
    waiting: VecDeque<Piece>,
    /// Sent, in order, and not answered: all over the same connection.
    under_way: VecDeque<(u64, Piece)>,
    /// The connection that it went over last.
    pub(super) link: Option<Link>,
    identity: Option<Identity>,
    next: i32,
    sent: u64,
    course: Course,
    /// How often in a row something had to be sent again.
    pub(super) failures: u32,
    /// Whether it waits before it sends again.
    pub(super) rests: bool,
    /// The connection in whose line it stands.
    pub(super) listed: Option<Link>,
    /// Whether brokers know the producer here, in its present epoch: one that does not takes any number for the first.
    proven: bool,
    /// Writes of which something was refused here, and whose writer was not told yet.
    untold: Vec<u64>,
    /// Who writes has to know of so many refusals: else it would overtake what was refused.
    told: u64,
}

impl Outbound {
    pub(super) fn push(&mut self, piece: Piece) {
        self.waiting.push_back(piece);
    }

    /// Whether anything is left of it.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// The connection over which something was not answered.
    pub(super) fn waits_for(&self) -> Option<Link> {
        self.link.filter(|_| !self.under_way.is_empty())
    }

    /// Whether it has something for that connection now.
    pub(super) fn can_send(&self, link: Link) -> bool {
        let elsewhere = self.link.is_some_and(|other| other != link) && !self.under_way.is_empty();
        !self.waiting.is_empty()
            && !self.rests
            && !elsewhere
            && (self.course == Course::Ahead || self.under_way.is_empty())
            && self.under_way.len() < if self.proven { MOST_UNDER_WAY } else { 1 }
    }

    /// Takes the next batch as sent over `link`, which was busy all the time from `busy` on. `latest` is the
    /// producer's present identity.
    pub(super) fn send(&mut self, link: Link, latest: Identity, busy: Instant) -> Option<Sent> {
        if !self.can_send(link) {
            return None;
        }
        self.begin_anew_if_due(latest);
        if self.course == Course::Again && self.waiting.front().is_some_and(|piece| piece.sequence.is_none()) {
            self.course = Course::Ahead; // all that was sent before is there
        }
        let identity = *self.identity.get_or_insert(latest);
        let gathered = if self.course == Course::Ahead { gather(&mut self.waiting, busy, Instant::now()) } else { 0 };
        // before numbers can begin anew, only what may be there is asked for
        let is_open = |piece: &Piece| piece.uncertain;
        let open = if self.course == Course::Anew { self.waiting.iter().position(is_open) } else { None };
        let mut piece = self.waiting.remove(open.unwrap_or(0))?;
        let count = piece.batch.header().count;
        let sequence = *piece.sequence.get_or_insert_with(|| {
            let sequence = self.next;
            self.next = advanced(sequence, count);
            sequence
        });
        self.sent += 1;
        self.link = Some(link);
        let batch = piece.batch.clone();
        self.under_way.push_back((self.sent, piece));
        Some(Sent { number: self.sent, batch, identity, sequence, gathered })
    }

    /// Where numbers have to begin anew, they do once nothing is under way and the fate of all that was sent is known.
    fn begin_anew_if_due(&mut self, latest: Identity) {
        let is_known = |outbound: &Self| outbound.waiting.iter().all(|piece| !piece.uncertain);
        let due = self.course == Course::Anew && self.under_way.is_empty() && self.identity != Some(latest);
        if due && is_known(self) {
            self.course = Course::Ahead;
            self.identity = Some(latest);
            (self.next, self.proven) = (0, false);
            self.waiting.iter_mut().for_each(|piece| piece.sequence = None);
        }
    }

    /// Whether it waits for a later epoch than this one.
    pub(super) fn needs_later_than(&self, latest: Identity) -> bool {
        self.course == Course::Anew && self.identity == Some(latest)
    }

    /// What became of a batch that was sent. Gives it back where it is done with.
    pub(super) fn answered(&mut self, sent: u64, fate: Fate) -> Option<Piece> {
        let at = self.under_way.iter().position(|(number, _)| *number == sent)?;
        let (_, mut piece) = self.under_way.remove(at)?;
        match fate {
            Fate::Taken => {
                (self.failures, self.proven) = (0, true);
                return Some(piece);
            }
            Fate::Denied if piece.uncertain => {}
            Fate::Refused | Fate::Denied => {
                self.course = Course::Anew;
                self.untold.extend(piece.tickets());
                return Some(piece);
            }
            // an earlier attempt may have put it there
            Fate::Again => {}
            Fate::Unknown => piece.uncertain = true,
            Fate::OutOfOrder => (piece.uncertain, self.course) = (false, Course::Anew),
        }
        self.send_again(piece);
        None
    }

    /// The connection is gone: whatever was under way may be there or not.
    pub(super) fn lost(&mut self) {
        while let Some((_, mut piece)) = self.under_way.pop_back() {
            piece.uncertain = true;
            self.send_again(piece);
        }
    }

    /// Puts a batch back where it belongs among those that wait.
    fn send_again(&mut self, piece: Piece) {
        if self.course == Course::Ahead {
            self.course = Course::Again;
        }
        let earlier = |other: &Piece| is_before(other.sequence, piece.sequence);
        let at = self.waiting.iter().take_while(|other| earlier(other)).count();
        self.waiting.insert(at, piece);
    }

    /// Takes out what waits and certainly is not there, and was written without knowing that something was refused: it would overtake
    /// that.
    pub(super) fn hand_back(&mut self) -> Vec<Piece> {
        if self.untold.is_empty() && self.told == 0 {
            return Vec::new(); // nothing was ever refused here
        }
        let is_told = self.untold.is_empty();
        let stays = |piece: &Piece| piece.uncertain || (is_told && piece.heard >= self.told);
        let (waiting, back): (VecDeque<Piece>, VecDeque<Piece>) =
            std::mem::take(&mut self.waiting).into_iter().partition(stays);
        self.waiting = waiting;
        self.untold.extend(back.iter().flat_map(Piece::tickets));
        back.into()
    }

    /// The writer of a write is told that something of it was refused, as the how manieth.
    pub(super) fn told_of(&mut self, ticket: u64, number: u64) {
        let before = self.untold.len();
        self.untold.retain(|untold| *untold != ticket);
        if self.untold.len() < before {
            self.told = number;
        }
    }

    /// Takes everything out that waits: it can't be written. What may be there already stays, unless `gone` says that nothing is
    /// there any more.
    pub(super) fn give_up(&mut self, gone: bool) -> Vec<Piece> {
        if self.waiting.iter().any(|piece| piece.sequence.is_some()) {
            self.course = Course::Anew;
        }
        let (open, given_up): (VecDeque<Piece>, VecDeque<Piece>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|piece| piece.uncertain && !gone);
        self.waiting = open;
        self.untold.extend(given_up.iter().flat_map(Piece::tickets));
        given_up.into()
    }
}

/// Numbers count up to the largest, and go on from 0.
fn advanced(sequence: i32, count: i32) -> i32 {
    let next = i64::from(sequence) + i64::from(count);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

/// Whether one number was given before another; those without one come last.
fn is_before(one: Option<i32>, other: Option<i32>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => other.wrapping_sub(one) & i32::MAX < i32::MAX / 2 && one != other,
        (one, _) => one.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::Links;
    use super::*;
    use crate::format::{Codec, Encoder};

    /// The connections of two brokers.
    fn link(broker: i32) -> Link {
        Links::to(broker).upcoming()
    }

    fn id(epoch: i16) -> Identity {
        Identity { producer_id: 77, epoch }
    }

    fn piece(ticket: u64, records: usize) -> Piece {
        let mut encoder = Encoder::new(Codec::None);
        (0..records).for_each(|_| encoder.push(1, None, Some(b"v"), std::iter::empty()));
        Piece::new(ticket, encoder.finish().unwrap(), Vec::new())
    }

    /// With pieces of 10 records for tickets 1 to `count`.
    fn outbound(count: u64) -> Outbound {
        let mut outbound = Outbound { proven: true, ..Outbound::default() };
        (1..=count).for_each(|ticket| outbound.push(piece(ticket, 10)));
        outbound
    }

    /// Sends all that may be sent; by what each is known, and its number.
    fn send(outbound: &mut Outbound, latest: Identity) -> Vec<(u64, i16, i32)> {
        let sent = std::iter::from_fn(|| outbound.send(link(1), latest, Instant::now()));
        sent.map(|sent| (sent.number, sent.identity.epoch, sent.sequence)).collect()
    }

    #[test]
    fn batches_go_in_order_and_no_more_at_a_time_than_a_broker_remembers() {
        let mut out = outbound(7);
        assert_eq!(send(&mut out, id(0)), [(1, 0, 0), (2, 0, 10), (3, 0, 20), (4, 0, 30), (5, 0, 40)]);
        assert_eq!(out.answered(1, Fate::Taken).unwrap().parts[0].0, 1);
        assert_eq!(send(&mut out, id(0)), [(6, 0, 50)]);
        assert!(!out.can_send(link(2)), "what is under way elsewhere could be overtaken");
    }

    #[test]
    fn what_a_lost_connection_leaves_open_goes_again_under_the_same_numbers() {
        let mut out = outbound(3);
        send(&mut out, id(0));
        out.answered(1, Fate::Taken);
        out.lost();
        assert!(out.can_send(link(2)), "the leader may be another one now");
        assert_eq!(send(&mut out, id(0)), [(4, 0, 10)], "one at a time");
        assert!(out.answered(4, Fate::Taken).is_some());
        assert_eq!(send(&mut out, id(0)), [(5, 0, 20)]);
    }

    #[test]
    fn nothing_is_sent_before_all_is_known_of_what_went_after_a_failure() {
        let mut out = outbound(4);
        send(&mut out, id(0));
        assert!(out.answered(1, Fate::Again).is_none());
        assert_eq!(send(&mut out, id(0)), []);
        assert!(out.answered(2, Fate::Unknown).is_none());
        assert!(out.answered(4, Fate::Again).is_none());
        assert!(out.answered(3, Fate::Again).is_none());
        for (number, sequence) in [(5, 0), (6, 10), (7, 20), (8, 30)] {
            assert_eq!(send(&mut out, id(0)), [(number, 0, sequence)], "in the old order");
            assert!(out.answered(number, Fate::Taken).is_some());
        }
    }

    #[test]
    fn after_a_refusal_numbers_begin_anew_once_all_else_is_settled() {
        let mut out = outbound(3);
        send(&mut out, id(0));
        assert_eq!(out.answered(1, Fate::Refused).unwrap().parts[0].0, 1);
        out.lost();
        // one of them may be there: it is asked for under its old number, alone
        assert_eq!(send(&mut out, id(1)), [(4, 0, 10)]);
        assert!(out.answered(4, Fate::OutOfOrder).is_none());
        assert_eq!(send(&mut out, id(1)), [(5, 0, 20)]);
        assert!(out.answered(5, Fate::OutOfOrder).is_none());
        assert!(out.needs_later_than(id(0)));
        assert_eq!(send(&mut out, id(1)), [(6, 1, 0)]);
        out.answered(6, Fate::Taken);
        assert_eq!(send(&mut out, id(1)), [(7, 1, 10)], "in their order");
    }

    #[test]
    fn what_may_be_there_stays_so_until_it_is_known() {
        let mut out = outbound(1);
        send(&mut out, id(0));
        out.answered(1, Fate::Unknown);
        send(&mut out, id(0));
        assert!(out.answered(2, Fate::Again).is_none(), "a young leader has not heard of it");
        send(&mut out, id(0));
        assert!(out.answered(3, Fate::Denied).is_none(), "nor does a right that was taken away tell");
        assert!(out.give_up(false).is_empty());
        assert_eq!(out.give_up(true).len(), 1, "where the topic is gone, all of it is");
    }

    #[test]
    fn nothing_overtakes_what_was_refused() {
        let mut out = outbound(5);
        send(&mut out, id(0));
        out.push(piece(6, 10));
        assert!(out.answered(1, Fate::Refused).is_some());
        assert!(out.answered(2, Fate::OutOfOrder).is_none());
        assert!(out.answered(3, Fate::Unknown).is_none());
        let back = |out: &mut Outbound| out.hand_back().iter().flat_map(Piece::tickets).collect::<Vec<_>>();
        assert_eq!(back(&mut out), [2, 6]);
        assert!(out.answered(4, Fate::OutOfOrder).is_none() && out.answered(5, Fate::OutOfOrder).is_none());
        assert_eq!(back(&mut out), [4, 5]);
        assert_eq!(send(&mut out, id(0)), [(6, 0, 20)], "of this one it is not known");
        assert!(out.answered(6, Fate::OutOfOrder).is_none());
        assert_eq!(back(&mut out), [3]);
        assert!(out.is_idle());
        for (told, ticket) in (1..).zip([1, 2, 6, 4, 5, 3]) {
            out.push(piece(7, 10).knowing(told - 1, u64::MAX));
            assert_eq!(back(&mut out), [7], "of some, who wrote it did not know");
            out.told_of(ticket, told);
            out.told_of(7, told);
        }
        out.push(piece(8, 10).knowing(6, u64::MAX));
        assert!(back(&mut out).is_empty());
    }

    #[test]
    fn a_later_epoch_is_asked_for_and_used() {
        let mut out = outbound(2);
        send(&mut out, id(0));
        assert!(out.answered(1, Fate::Refused).is_some());
        assert!(out.answered(2, Fate::OutOfOrder).is_none());
        assert!(out.needs_later_than(id(0)));
        out.push(piece(3, 10));
        assert_eq!(send(&mut out, id(1)), [(3, 1, 0)], "the first of an epoch goes alone");
        assert!(!out.needs_later_than(id(1)));
        assert!(out.answered(3, Fate::Taken).is_some());
        assert_eq!(send(&mut out, id(1)), [(4, 1, 10)]);
        out.push(piece(9, 1));
        assert_eq!(send(&mut out, id(5)), [(5, 1, 20)], "others' new epochs are not its own");
    }

    #[test]
    fn numbers_go_on_from_0_after_the_largest() {
        assert_eq!(advanced(i32::MAX - 1, 2), 0);
        assert_eq!(advanced(i32::MAX, 5), 4);
        assert!(is_before(Some(i32::MAX), Some(3)) && !is_before(Some(3), Some(i32::MAX)));
        assert!(is_before(Some(3), None) && !is_before(None, Some(3)) && !is_before(Some(3), Some(3)));
    }
}
