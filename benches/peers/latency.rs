//! The time from the producer at the source to the consumer at the target, at a steady rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Arguments;
use super::common::data::PARTITIONS;
use super::common::support::process::Tethered;
use super::common::support::topic::Topic;
use super::common::support::{seconds, throughout};
use super::common::unique;
use super::contender::Contender;
use super::copies::rounds;
use super::job::Job;
use super::probe::{Arrival, Latencies, Listener, Speaker, now};
use super::report::{Delay, Heard, Report, name};
use super::stage::{Shape, Stage};

/// Between two records.
const EVERY: Duration = Duration::from_millis(1);
/// How long all runs before anything counts.
const WARM_UP: Duration = seconds(10);
/// How long the first record, and the last ones, may take: a Java process starts, and has a backlog then.
const PATIENCE: Duration = seconds(120);

/// Measures a broker by itself, and everybody between two.
pub(crate) fn run(stage: &Stage, arguments: &Arguments, report: &mut Report) {
    let window = seconds(arguments.seconds);
    let all: Vec<Option<Contender>> =
        std::iter::once(None).chain(arguments.among(&Contender::FOLLOWING).into_iter().map(Some)).collect();
    let measure = |contender: Option<Contender>| {
        let heard = contender.map_or_else(|| by_itself(stage, window), |one| between(stage, one, window));
        let (p50, p99) = (heard.target.within(500), heard.target.within(990));
        let source = heard.source.as_ref().map(|source| source.within(990));
        eprintln!("latency, {}: p50 {p50:.2} ms, p99 {p99:.2} ms, at the source {source:.2?}", name(contender));
        heard
    };
    let found = rounds(&all, arguments.rounds, measure);
    report.delays.extend(found.into_iter().map(|(contender, rounds)| Delay { contender, rounds }));
}

fn by_itself(stage: &Stage, window: Duration) -> Heard {
    let topic = topic(stage);
    let heard = measure(&topic, None, window);
    topic.delete();
    heard
}

fn between(stage: &Stage, contender: Contender, window: Duration) -> Heard {
    let topic = topic(stage);
    let job = Job::new(contender, stage, &topic, 1, &Shape::of(PARTITIONS));
    let mut process = job.follow();
    let heard = measure(&topic, Some((&job.copies[0], &mut process)), window);
    drop(process);
    job.count();
    job.clear();
    topic.delete();
    heard
}

fn topic(stage: &Stage) -> Topic {
    stage.source.topic(&format!("steady{}", unique())).create(PARTITIONS)
}

/// Of the records that are written within the window; `copied`: where they are copied to, and by whom. All that was written
/// before and in it has to arrive.
fn measure(from: &Topic, mut copied: Option<(&Topic, &mut Tethered)>, window: Duration) -> Heard {
    let to = copied.as_ref().map_or(from, |(to, _)| to);
    let at_source = copied.is_some().then(|| Listener::new(from, PARTITIONS));
    let listener = Listener::new(to, PARTITIONS);
    let mut runs = |time| {
        throughout(time, || {
            let ended = copied.as_mut().and_then(|(_, process)| process.ended());
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
    let of = |all: Vec<Arrival>| Latencies::of(all.into_iter().filter(|arrival| (begin..end).contains(&arrival.sent)));
    heard.extend(listener.hear(said - heard.len(), PATIENCE));
    Heard { target: of(heard), source: at_source.map(|listener| of(listener.hear(said, PATIENCE))) }
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
