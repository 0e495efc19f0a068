//! The watch: how far a target says it is, and how far it is, looked at all the time.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::Millis;
use crate::support::agent::ask;
use crate::support::topic::Topic;

const EVERY: Duration = Duration::from_millis(200);

/// How long a broker may take to answer a look before another one is asked.
const PATIENCE_MS: u64 = 1_500;

/// Offsets by partition.
pub type Offsets = BTreeMap<i32, i64>;

/// One look.
#[derive(Clone, Debug)]
pub struct Look {
    pub asked: Millis,
    /// When the watermarks were known.
    pub told: Millis,
    /// As committed on the source.
    pub watermarks: Offsets,
    /// Each commit so far that was below the one before it.
    pub falls: Vec<String>,
    /// The target's ends, asked for after that; not always to be had.
    pub ends: Option<Offsets>,
}

/// A thread that looks at one target until this is dropped.
pub struct Watch {
    looks: Receiver<Look>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(source: &Topic, target: &Topic, group: &str, partitions: i32) -> Self {
        let request = json!({
            "bootstrap": source.bootstrap, "topic": source.name, "group": group, "partitions": partitions,
            "patience_ms": PATIENCE_MS, "target": { "bootstrap": target.bootstrap, "patience_ms": PATIENCE_MS },
        });
        let (seen, looks) = channel();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            loop {
                if let Some(look) = look(request.clone()) {
                    seen.send(look).ok();
                }
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self { looks, stop: Some(stop), thread: Some(thread) }
    }

    /// The looks since the last time.
    pub fn looks(&self) -> impl Iterator<Item = Look> + '_ {
        self.looks.try_iter()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// `None` where the source does not tell.
fn look(request: Value) -> Option<Look> {
    let seen = ask("look", request);
    let offsets = |of: &Value| -> Option<Offsets> {
        Some(of.as_object()?.iter().map(|(partition, at)| (partition.parse().unwrap(), at.as_i64().unwrap())).collect())
    };
    Some(Look {
        asked: seen["asked"].as_i64()?,
        told: seen["told"].as_i64()?,
        watermarks: offsets(&seen["committed"])?,
        falls: seen["falls"].as_array()?.iter().map(|fall| fall.as_str().unwrap().to_owned()).collect(),
        ends: offsets(&seen["ends"]),
    })
}
