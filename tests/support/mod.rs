//! What the end-to-end tests stand on: real Kafka brokers, the engine as a process, another client than ours, and the ledger.
//!
//! Nothing here knows how the engine works inside; it sees what a user sees: the config, the exit code, the log, the clusters.

pub mod access;
pub mod agent;
pub mod api;
pub mod broker;
pub mod certificates;
pub mod cluster;
pub mod config;
pub mod counters;
pub mod engine;
pub mod envelope;
pub mod java;
pub mod kcat;
pub mod ledger;
pub mod listeners;
pub mod log;
pub mod meter;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod records;
pub mod standstill;
pub mod topic;
pub mod trio;
pub mod turns;
pub mod watermarks;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Waits until the condition holds; panics with `what` when it does not by the deadline.
pub fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let reached = within(deadline, || condition().then_some(()));
    assert!(reached.is_some(), "not within {deadline:?}: {what}");
}

/// Waits until `poll` has something; `None` when it has nothing by the deadline.
pub fn within<T>(deadline: Duration, poll: impl FnMut() -> Option<T>) -> Option<T> {
    within_at(Duration::from_millis(10), deadline, poll)
}

/// The same for what costs something to ask: asked no more often than `every`.
pub fn within_at<T>(every: Duration, deadline: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = poll() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(every);
    }
}

/// Seconds, briefly.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets time pass while something goes on, and checks now and then that it does.
pub fn throughout(time: Duration, mut check: impl FnMut()) {
    within(time, || {
        check();
        None::<()>
    });
}

/// How long something is to be watched: briefly, so that all tests can be run often, or with `ANABRANCH_LONG=1` as long as
/// it takes to be sure.
pub fn at_length<T>(briefly: T, long: T) -> T {
    if std::env::var_os("ANABRANCH_LONG").is_some() { long } else { briefly }
}

/// A folder for this run of the tests; it is removed when the run is over, unless `ANABRANCH_KEEP` is set.
pub fn run_folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
