//! The watermarks of a route's targets, watched all the time from outside, as any Kafka tool sees them.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::topic::Topic;

/// How often they are looked at.
const EVERY: Duration = Duration::from_millis(100);

/// Watches until it is stopped.
pub struct Watermarks {
    stop: Sender<()>,
    thread: JoinHandle<Seen>,
}

/// What was seen of each target partition: when which watermark was there, and each time that one went back.
#[derive(Debug, Default)]
pub struct Seen {
    topic: String,
    rises: BTreeMap<(String, i32), Vec<(Duration, i64)>>,
    falls: Vec<String>,
    until: Duration,
}

impl Watermarks {
    /// Watches the targets of a topic's own route.
    pub fn watch(source: &Topic, targets: &[&str]) -> Self {
        let (source, targets) = (source.clone(), targets.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut seen = Seen { topic: source.name.clone(), ..Seen::default() };
            loop {
                for target in &targets {
                    for (partition, watermark) in source.watermarks(target) {
                        seen.note(target, partition, watermark, begun.elapsed());
                    }
                }
                seen.until = begun.elapsed();
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return seen;
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends it; what it has seen.
    pub fn stop(self) -> Seen {
        self.stop.send(()).ok();
        self.thread.join().expect("the watermarks could be read all the time")
    }
}

impl Seen {
    fn note(&mut self, target: &str, partition: i32, watermark: i64, at: Duration) {
        let rises = self.rises.entry((target.to_owned(), partition)).or_default();
        match rises.last() {
            Some((_, last)) if watermark == *last => {}
            Some((_, last)) if watermark < *last => {
                self.falls.push(format!("{target} {}/{partition}: from {last} back to {watermark}", self.topic));
                rises.push((at, watermark));
            }
            _ => rises.push((at, watermark)),
        }
    }

    /// No watermark ever went back.
    pub fn assert_never_back(&self) {
        assert!(!self.rises.is_empty(), "no watermark was seen");
        assert!(self.falls.is_empty(), "watermarks went back: {}", self.falls.join("; "));
    }

    /// The longest time for which a partition's watermark did not rise, at the target where that was longest.
    pub fn longest_rest(&self, partition: &str) -> Duration {
        let mine = self.rises.iter().filter(|((_, number), _)| format!("{}/{number}", self.topic) == partition);
        let longest = |rises: &Vec<(Duration, i64)>| {
            let ends = rises.iter().skip(1).map(|(at, _)| *at).chain([self.until]);
            rises.iter().zip(ends).map(|((from, _), to)| to.saturating_sub(*from)).max().unwrap_or(self.until)
        };
        mine.map(|(_, rises)| longest(rises)).max().unwrap_or_else(|| panic!("nothing was seen of {partition}"))
    }
}
