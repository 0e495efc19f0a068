//! For how long a target's partitions stood still though their source had more: looked at on a thread of its own.
#![allow(dead_code, reason = "each of the tests that share this uses a part of it")]

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::topic::Topic;

const LOOK: Duration = Duration::from_millis(50);

/// Looks until it is stopped.
pub struct Standstill {
    stop: Sender<()>,
    thread: JoinHandle<BTreeMap<i32, Duration>>,
}

impl Standstill {
    /// Begins to look.
    pub fn watch(source: Topic, target: Topic) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            // where each partition was when it was last seen to move, or to have no more to do; and when that was
            let mut moved = BTreeMap::<i32, (i64, Instant)>::new();
            let mut longest = BTreeMap::<i32, Duration>::new();
            loop {
                let had: BTreeMap<i32, i64> =
                    source.offsets().into_iter().map(|(number, (_, end))| (number, end)).collect();
                for (number, (_, end)) in target.offsets() {
                    let last = moved.entry(number).or_insert((end, Instant::now()));
                    if end > last.0 || had.get(&number).is_none_or(|had| end >= *had) {
                        *last = (end, Instant::now());
                    }
                    let still = longest.entry(number).or_default();
                    *still = last.1.elapsed().max(*still);
                }
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return longest;
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends it: the longest time that each partition stood still.
    pub fn stop(self) -> BTreeMap<i32, Duration> {
        self.stop.send(()).ok();
        self.thread.join().expect("the offsets could be read all the time")
    }
}
