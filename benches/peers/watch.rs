//! Looking on while a topic is copied: how far it is, and how long it took.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::common::support::agent::try_ask;
use super::common::support::topic::Topic;

/// Between two looks.
pub(crate) const EVERY: Duration = Duration::from_millis(50);
/// Longer than any copy takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Somebody who looks on.
pub(crate) struct Watch(JoinHandle<Duration>);

impl Watch {
    /// Begins, before a record is there; so many are to come over all copies.
    pub(crate) fn start(copies: &[Topic], all: i64) -> Self {
        let copies = copies.to_vec();
        Self(std::thread::spawn(move || watch(&copies, all)))
    }

    /// How long it took, from the last look that saw no record to the first that saw all. To be asked when all are there.
    pub(crate) fn took(self) -> Duration {
        self.0.join().unwrap()
    }
}

fn watch(copies: &[Topic], all: i64) -> Duration {
    let begin = Instant::now();
    let mut empty = begin;
    loop {
        let before = Instant::now();
        match records(copies) {
            Some(0) => empty = before,
            Some(seen) if seen >= all => return empty.elapsed(),
            seen => assert!(begin.elapsed() < PATIENCE, "{seen:?} of {all} records after {PATIENCE:?}"),
        }
        std::thread::sleep(EVERY);
    }
}

/// How many records the copies have together; nothing where a broker is too busy to say.
pub(crate) fn records(copies: &[Topic]) -> Option<i64> {
    copies.iter().map(end).sum()
}

fn end(topic: &Topic) -> Option<i64> {
    let offsets = try_ask("offsets", json!({ "bootstrap": topic.bootstrap, "topic": topic.name })).ok()?;
    offsets.as_object()?.values().map(|range| range[1].as_i64()).sum()
}
