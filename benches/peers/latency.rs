//! The time from the producer at the source to the consumer at the target, at a steady rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Arguments;
use super::common::data::PARTITIONS;
use super::common::support::process::Tethered;
use super::common::support::topic::Topic;
use super::common::support::{eventually, seconds, throughout};
use super::common::unique;
use super::contender::Contender;
use super::copies::rounds;
use super::job::Job;
use super::probe::{Latencies, Listener, Speaker, now};
use super::report::{ALONE, Delay, Report};
use super::stage::{Shape, Stage};

/// Between two records.
const EVERY: Duration = Duration::from_millis(1);
/// How long all runs before anything counts.
const WARM_UP: Duration = seconds(10);
/// How long the first record, and the last ones, may take: a Java process starts, and has a backlog then.
const PATIENCE: Duration = seconds(120);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the producer to a consumer of the same broker, which has the machine to itself.
    Alone,
    /// The same, while somebody copies the records to another broker: on a machine that has as much to do as when it is copied.
    Beside(Contender),
    /// From the producer at the source to a consumer at the target of this one's copy.
    Copied(Contender),
}

impl Way {
    /// For tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Alone => ALONE.to_owned(),
            Self::Beside(contender) => format!("at the source, beside {}", contender.name()),
            Self::Copied(contender) => contender.name().to_owned(),
        }
    }
}

/// Measures a broker by itself, and everybody between two.
pub(crate) fn run(stage: &Stage, arguments: &Arguments, report: &mut Report) {
    const OURS: Contender = Contender::Passthrough;
    let window = seconds(arguments.seconds);
    let all = arguments.among(&Contender::FOLLOWING);
    let beside = all.contains(&OURS).then_some(Way::Beside(OURS));
    let ways: Vec<Way> = std::iter::once(Way::Alone).chain(beside).chain(all.into_iter().map(Way::Copied)).collect();
    let measure = |way: Way| {
        let heard = match way {
            Way::Alone => alone(stage, window),
            Way::Beside(contender) => followed(stage, contender, |source, _| source, window),
            Way::Copied(contender) => followed(stage, contender, |_, copy| copy, window),
        };
        eprintln!("latency, {}: p50 {:.2} ms, p99 {:.2} ms", way.name(), heard.within(500), heard.within(990));
        heard
    };
    let found = rounds(&ways, arguments.rounds, measure);
    report.delays.extend(found.into_iter().map(|(way, rounds)| Delay { way, rounds }));
}

fn alone(stage: &Stage, window: Duration) -> Latencies {
    let topic = topic(stage);
    let heard = measure(&topic, &topic, None, window);
    topic.delete();
    heard
}

/// While the contender copies from the source; `at`: which of the two is listened to, as a second listener would slow both.
fn followed(
    stage: &Stage,
    contender: Contender,
    at: for<'a> fn(&'a Topic, &'a Topic) -> &'a Topic,
    window: Duration,
) -> Latencies {
    let topic = topic(stage);
    let job = Job::new(contender, stage, &topic, 1, &Shape::of(PARTITIONS));
    let (copy, mut process) = (&job.copies[0], job.follow());
    let heard = measure(&topic, at(&topic, copy), Some(&mut process), window);
    eventually(PATIENCE, "all is copied", || copy.end() == topic.end());
    drop(process);
    job.count();
    job.clear();
    topic.delete();
    heard
}

fn topic(stage: &Stage) -> Topic {
    stage.source.topic(&format!("steady{}", unique())).create(PARTITIONS)
}

/// Of the records that are written within the window, as they are heard there. All that was written before and in it has to
/// arrive, and who copies has to stay.
fn measure(from: &Topic, at: &Topic, mut copies: Option<&mut Tethered>, window: Duration) -> Latencies {
    let listener = Listener::new(at, PARTITIONS);
    let mut runs = |time| {
        throughout(time, || {
            let ended = copies.as_mut().and_then(|process| process.ended());
            assert_eq!(ended, None, "the contender has ended");
        });
    };
    let stop = AtomicBool::new(false);
    let (begin, end, said, mut heard) = std::thread::scope(|scope| {
        let speaking = scope.spawn(|| speak(from, &stop));
        // it has to stop when the wait for its records fails
        let _stop = OnDrop(&stop);
        let first = listener.hear(1, PATIENCE);
        runs(WARM_UP);
        let begin = now();
        runs(window);
        let end = now();
        stop.store(true, Ordering::Relaxed);
        (begin, end, speaking.join().unwrap(), first)
    });
    heard.extend(listener.hear(said - heard.len(), PATIENCE));
    Latencies::of(heard.into_iter().filter(|arrival| (begin..end).contains(&arrival.sent)))
}

/// Sets what it has when it goes.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes at the rate until it is stopped; how many records.
fn speak(topic: &Topic, stop: &AtomicBool) -> usize {
    let speaker = Speaker::new(topic);
    let mut due = now();
    let mut said = 0;
    for partition in (0..PARTITIONS).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        speaker.say(partition);
        said += 1;
        due += EVERY;
        std::thread::sleep(due.saturating_sub(now()));
    }
    speaker.flush();
    said
}
