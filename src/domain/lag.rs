//! For how long a target has been behind: told by when the source was seen to end where, and not by what records say of
//! themselves, which may be old or wrong.

use std::collections::VecDeque;
use std::time::Duration;

/// So many looks are remembered; when they are too many, every second one of them is forgotten.
const MOST: usize = 128;

/// Where a partition of the source ended, and since when it was seen to.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Ends that rise, each with the moment at which it was seen first.
    seen: VecDeque<(i64, Duration)>,
}

impl Ends {
    /// Notes where the source ends at a moment; moments never fall. An end that falls begins all over: the source was cut off, or
    /// is another one.
    pub fn see(&mut self, end: i64, at: Duration) {
        match self.seen.back() {
            Some((last, _)) if *last == end => return,
            Some((last, _)) if *last > end => self.seen.clear(),
            _ => {}
        }
        if self.seen.len() == MOST {
            self.thin_out();
        }
        self.seen.push_back((end, at));
    }

    /// Two looks become one: with the later end, and the earlier moment, so that nothing seems younger than it is.
    fn thin_out(&mut self) {
        let all: Vec<_> = self.seen.drain(..).collect();
        self.seen.extend(all.chunks(2).map(|pair| (pair[pair.len() - 1].0, pair[0].1)));
    }

    /// Where it ended at the last look.
    pub fn end(&self) -> Option<i64> {
        self.seen.back().map(|(end, _)| *end)
    }

    /// When the record at this offset was seen to be there; `None` where there is none yet.
    pub fn since(&self, offset: i64) -> Option<Duration> {
        let first = self.seen.partition_point(|(end, _)| *end <= offset);
        self.seen.get(first).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_oldest_record_that_is_missing_tells_since_when() {
        let mut ends = Ends::default();
        assert_eq!((ends.end(), ends.since(0)), (None, None));
        for (end, at) in [(10, 1), (10, 2), (15, 3), (15, 4), (40, 5)] {
            ends.see(end, s(at));
        }
        assert_eq!(ends.end(), Some(40));
        let since: Vec<_> = [0, 9, 10, 14, 15, 39, 40].map(|offset| ends.since(offset)).into();
        assert_eq!(since, [Some(s(1)), Some(s(1)), Some(s(3)), Some(s(3)), Some(s(5)), Some(s(5)), None]);
        ends.see(5, s(6));
        assert_eq!((ends.end(), ends.since(4), ends.since(5)), (Some(5), Some(s(6)), None), "it was cut off");
    }

    #[test]
    fn what_is_forgotten_makes_nothing_younger() {
        let mut ends = Ends::default();
        for at in 1..=10_000_u32 {
            ends.see(i64::from(at), s(at.into()));
        }
        assert!(ends.seen.len() <= MOST);
        for offset in 0..10_000_u32 {
            let since = ends.since(offset.into()).unwrap();
            assert!(since <= s(u64::from(offset) + 1), "{offset} was there at {since:?}");
        }
        assert_eq!(ends.since(9_999), Some(s(10_000)), "the latest are told exactly");
    }
}
