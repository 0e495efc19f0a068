//! How a count moves while a test does something else: sampled on a thread of its own.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Samples a count until it is stopped.
pub struct Meter {
    begun: Instant,
    stop: Sender<()>,
    thread: JoinHandle<Curve>,
}

impl Meter {
    /// Begins to sample.
    pub fn start(every: Duration, count: impl Fn() -> i64 + Send + 'static) -> Self {
        let begun = Instant::now();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            loop {
                let asked = begun.elapsed();
                let count = count();
                // An answer takes its time; it was true at some moment of it.
                samples.push(((asked + begun.elapsed()) / 2, count));
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return Curve(samples);
                }
            }
        });
        Self { begun, stop, thread }
    }

    /// The time by this meter's own clock, as the curve speaks of it.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends it; what it has seen.
    pub fn stop(self) -> Curve {
        self.stop.send(()).ok();
        self.thread.join().expect("the count could be read all the time")
    }
}

/// Counts and their times since the meter was started.
#[derive(Clone, Debug)]
pub struct Curve(Vec<(Duration, i64)>);

impl Curve {
    /// The rise per second between two times.
    pub fn rate(&self, from: Duration, to: Duration) -> f64 {
        (self.at(to) - self.at(from)) / to.saturating_sub(from).as_secs_f64()
    }

    /// The steepest rise within so much time.
    pub fn most_within(&self, window: Duration) -> i64 {
        let rises = self.0.iter().enumerate().flat_map(|(index, (begin, low))| {
            let within = self.0[index..].iter().take_while(move |(end, _)| *end <= *begin + window);
            within.map(move |(_, high)| high - low)
        });
        rises.max().unwrap_or(0)
    }

    /// The rise in each second, for people.
    pub fn by_the_second(&self) -> String {
        let last = self.0.last().map_or(0, |(time, _)| time.as_secs());
        let second = |at: u64| format!("{:.0}", self.rate(Duration::from_secs(at), Duration::from_secs(at + 1)));
        (0..last).map(second).collect::<Vec<_>>().join(" ")
    }

    /// The highest count that was seen between two times.
    pub fn highest(&self, from: Duration, to: Duration) -> i64 {
        let seen = self.0.iter().filter(|(time, _)| (from..=to).contains(time)).map(|(_, count)| *count);
        seen.max().unwrap_or_else(|| panic!("no sample from {from:?} to {to:?}"))
    }

    /// The time at which a count was reached.
    pub fn reached(&self, count: i64) -> Duration {
        let first = self.0.iter().find(|(_, seen)| *seen >= count);
        first.unwrap_or_else(|| panic!("{count} was never reached: {:?}", self.0.last())).0
    }

    /// The count at a time, on a straight line between the samples beside it.
    #[allow(clippy::cast_precision_loss, reason = "no count here needs more than 52 bits")]
    fn at(&self, time: Duration) -> f64 {
        let next = self.0.partition_point(|(sampled, _)| *sampled < time).clamp(1, self.0.len() - 1);
        let [(begin, low), (end, high)] = [self.0[next - 1], self.0[next]];
        let part = (time.as_secs_f64() - begin.as_secs_f64()) / (end.as_secs_f64() - begin.as_secs_f64());
        low as f64 + (high - low) as f64 * part.clamp(0.0, 1.0)
    }
}
