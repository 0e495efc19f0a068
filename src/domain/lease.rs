//! How long a member of a group may go on in its name, by its own clock.
//!
//! The group's coordinator gives a member's partitions to others once it has not heard of it for the session time-out. The
//! member has to know by itself when that may have happened: a process that was stopped for a while is told of nothing until
//! it asks. So each heartbeat that was answered gives a lease, which ends before the coordinator's patience does, and one that has
//! ended stays so until the member has joined anew.

use std::time::Duration;

/// What a member knows of its own session. Times are counted from any fixed moment, on a clock that never goes back.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    session: Duration,
    /// Which coordinator answered last, and when the question was sent.
    last: Option<(i32, Duration)>,
    until: Option<Duration>,
    lapsed: bool,
}

impl Lease {
    /// Nothing is held yet. `session`: how long the coordinator waits for a sign of life.
    pub fn new(session: Duration) -> Self {
        Self { session, ..Self::default() }
    }

    /// A heartbeat that was sent at `sent` was answered by `coordinator`. What the answer was is not known here: so the lease
    /// is counted from the one before it, because a member that was turned away sends no second heartbeat; and only where
    /// both were answered by the same coordinator, because one that is none says so in its answer.
    pub fn answered(&mut self, coordinator: i32, sent: Duration, now: Duration) {
        let before = self.last.replace((coordinator, sent));
        if let Some((who, sent)) = before
            && who == coordinator
            && self.is_held(now)
        {
            self.until = self.until.max(Some(self.end_of(sent)));
        }
    }

    /// The last answer gave partitions: so it was a good one.
    pub fn begin(&mut self) {
        if let (Some((_, sent)), false) = (self.last, self.lapsed) {
            self.until = self.until.max(Some(self.end_of(sent)));
        }
    }

    /// Whether the member may still act in its own name. Once it may not, it never may again.
    pub fn is_held(&mut self, now: Duration) -> bool {
        self.lapsed |= self.until.is_some_and(|until| now >= until);
        self.until.is_some() && !self.lapsed
    }

    /// For how long the member may, as far as is known now; `None` where it may not.
    pub fn left(&mut self, now: Duration) -> Option<Duration> {
        let until = self.until.filter(|_| self.is_held(now));
        until.map(|until| until.saturating_sub(now))
    }

    /// Whether it was held and ran out.
    pub fn has_lapsed(&mut self, now: Duration) -> bool {
        !self.is_held(now) && self.lapsed
    }

    /// The member has been told that it lost its place.
    pub fn lose(&mut self) {
        self.lapsed = true;
    }

    /// Nothing is held any more, in peace: the member has given everything back.
    pub fn end(&mut self) {
        (self.until, self.lapsed) = (None, false);
    }

    /// A part of the session is left for what was begun under the lease, as a commit on its way.
    fn end_of(&self, sent: Duration) -> Duration {
        sent + self.session.mul_f64(0.9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held() -> Lease {
        let mut lease = Lease::new(s(10));
        lease.answered(1, s(100), s(101));
        lease.begin();
        lease
    }

    #[test]
    fn a_lease_ends_before_the_session_of_the_heartbeat_before_the_last_one_answered() {
        let mut lease = held();
        assert!(lease.is_held(s(108)));
        lease.answered(1, s(103), s(104));
        assert!(lease.clone().is_held(s(108)) && !lease.clone().is_held(s(109)), "counted from the first");
        lease.answered(1, s(106), s(107));
        assert!(lease.clone().is_held(s(111)) && !lease.is_held(s(112)), "counted from the second");
    }

    #[test]
    fn one_that_has_ended_is_not_held_again_before_the_member_has_joined_anew() {
        let mut lease = held();
        // the process was stopped meanwhile, and what it missed is answered at once
        lease.answered(1, s(103), s(130));
        lease.answered(1, s(130), s(130));
        lease.answered(1, s(131), s(131));
        assert!(lease.has_lapsed(s(131)));
        lease.begin();
        assert!(!lease.is_held(s(131)));
        lease.end();
        assert!(!lease.is_held(s(131)) && !lease.has_lapsed(s(131)));
        lease.begin();
        assert!(lease.is_held(s(132)));
    }

    #[test]
    fn answers_of_several_brokers_in_turn_give_nothing() {
        let mut lease = held();
        for (broker, sent) in [(2, 102), (1, 103), (2, 104), (1, 105)] {
            lease.answered(broker, s(sent), s(sent));
        }
        assert!(!lease.is_held(s(109)));
    }

    #[test]
    fn who_is_told_that_it_lost_its_place_has_lost_it() {
        let mut lease = held();
        lease.lose();
        assert!(!lease.is_held(s(102)) && lease.has_lapsed(s(102)));
    }
}
