//! When a target has to leave the shared read, and when it may join again.
//!
//! Sharing one read costs nothing while all targets keep up. A target that holds the in-flight budget while another
//! one runs dry is holding that other one up: it leaves, catches up by a read of its own, and joins when it is level.

use std::time::Duration;

use super::retry::{Backoff, OnExhausted, Policy};

/// A target that acknowledged nothing for this long while it held the others up is down or frozen. A healthy broker's
/// disk or garbage collector can take a second.
pub const FROZEN_GRACE: Duration = Duration::from_secs(2);
/// A target that acknowledges, but slower than the others want to read, gets longer: fast ones wait a little for
/// each other all the time, and a read of its own costs the source a second transfer.
pub const SLOW_GRACE: Duration = Duration::from_secs(4);
/// A target within this many records of the shared read joins it. What is in between is read twice.
pub const JOIN_WITHIN: i64 = 20_000;

/// How long a target that held the others up keeps to its own read before it may follow the shared one again: longer each
/// time, or one that is slow for good would hold them up again and again.
pub const REST: Policy = Policy {
    attempts: None,
    backoff: Backoff::doubling(Duration::from_secs(5), Duration::from_secs(60)),
    max_age: None,
    on_exhausted: OnExhausted::Block,
};

/// What a target holds of the in-flight budget right now.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes that it has not acknowledged.
    pub backlog: u64,
    /// Whether any of its partitions follows the shared read.
    pub attached: bool,
    /// How many batches it has acknowledged so far.
    pub acknowledged: u64,
}

/// Decides, sample by sample, which targets hold the others up.
#[derive(Debug)]
pub struct Judge {
    /// A backlog below this is nobody's fault.
    share: u64,
    suspects: Vec<Suspect>,
}

#[derive(Clone, Debug, Default)]
struct Suspect {
    slow_for: Duration,
    silent_for: Duration,
    acknowledged: u64,
}

impl Judge {
    /// For targets that share `budget` bytes.
    pub fn new(budget: u64) -> Self {
        Self { share: budget / 4, suspects: Vec::new() }
    }

    /// From now on they share this many bytes.
    pub fn resize(&mut self, budget: u64) {
        self.share = budget / 4;
    }

    /// Takes a sample, `elapsed` after the last one: whether reads wait for permits, and each target's load.
    /// Returns the targets that have to leave.
    pub fn sample(&mut self, elapsed: Duration, reads_wait: bool, loads: &[Load]) -> Vec<usize> {
        let mut leave = Vec::new();
        self.suspects.resize(loads.len(), Suspect::default());
        for (at, (suspect, load)) in self.suspects.iter_mut().zip(loads).enumerate() {
            let holds_up = reads_wait && load.attached && load.backlog >= self.share && starving(loads, at);
            let silent = load.acknowledged == suspect.acknowledged;
            suspect.acknowledged = load.acknowledged;
            suspect.silent_for = if silent && holds_up { suspect.silent_for + elapsed } else { Duration::ZERO };
            suspect.slow_for =
                if holds_up { suspect.slow_for + elapsed } else { suspect.slow_for.saturating_sub(elapsed) };
            if suspect.silent_for >= FROZEN_GRACE || suspect.slow_for >= SLOW_GRACE {
                *suspect = Suspect { acknowledged: load.acknowledged, ..Suspect::default() };
                leave.push(at);
            }
        }
        leave
    }
}

/// Whether another target that shares the read has little left to do while this one has much.
fn starving(loads: &[Load], at: usize) -> bool {
    let backlog = loads[at].backlog;
    loads.iter().enumerate().any(|(other, load)| other != at && load.attached && load.backlog < backlog / 4)
}

/// Where the shared read of a partition starts, given the next offset of each target: at the lowest of those that are
/// close to the most advanced one. The others catch up. `None` without targets.
pub fn shared_start(next: &[i64]) -> Option<i64> {
    let most = *next.iter().max()?;
    next.iter().copied().filter(|offset| most - offset <= JOIN_WITHIN).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const TICK: Duration = Duration::from_millis(100);

    fn load(backlog: u64, acknowledged: u64) -> Load {
        Load { backlog, attached: true, acknowledged }
    }

    #[test]
    fn a_frozen_target_leaves_after_two_seconds_and_a_slow_one_after_four() {
        let mut judge = Judge::new(32 * MIB);
        let frozen = (1..100).find(|_| !judge.sample(TICK, true, &[load(0, 5), load(30 * MIB, 0)]).is_empty());
        assert_eq!(frozen, Some(20));
        let mut judge = Judge::new(32 * MIB);
        let slow = (1..100).find(|at| !judge.sample(TICK, true, &[load(0, *at), load(30 * MIB, *at)]).is_empty());
        assert_eq!(slow, Some(40));
    }

    #[test]
    fn nobody_leaves_when_all_are_equally_busy_or_reads_do_not_wait() {
        let mut judge = Judge::new(32 * MIB);
        for at in 0..1000 {
            assert!(judge.sample(TICK, true, &[load(20 * MIB, at), load(12 * MIB, at)]).is_empty());
            assert!(judge.sample(TICK, false, &[load(0, at), load(32 * MIB, 0)]).is_empty());
        }
        let mut alone = Judge::new(32 * MIB);
        assert!((0..1000).all(|_| alone.sample(TICK, true, &[load(32 * MIB, 0)]).is_empty()));
    }

    #[test]
    fn the_shared_read_starts_at_the_lowest_of_the_close_ones() {
        assert_eq!(shared_start(&[]), None);
        assert_eq!(shared_start(&[100, 90]), Some(90));
        assert_eq!(shared_start(&[1_000_000, 999_000, 5]), Some(999_000));
    }
}
