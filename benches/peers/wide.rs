//! A topic of many partitions: what it costs to look after them, and how soon a record in each is on the target.

use std::time::Duration;

use serde_json::json;

use super::Arguments;
use super::common::measure::sync;
use super::common::support::process::{Tethered, cpu_time};
use super::common::support::topic::Topic;
use super::common::support::{seconds, throughout, within_at};
use super::common::unique;
use super::contender::Contender;
use super::job::Job;
use super::probe::{Latencies, Listener, Speaker};
use super::report::{Report, Wide};
use super::stage::{Shape, Stage, create};

/// How many partitions.
pub(crate) const PARTITIONS: i32 = 1000;
/// How many records each has at first.
const RECORDS: u32 = 10;
/// How often a record in each is written before it counts: brokers are slow until they have compiled what they do.
const WARMING: u32 = 6;
/// How long what follows a copy may take until all is quiet.
const SETTLE: Duration = seconds(5);
const PATIENCE: Duration = seconds(180);

/// Measures a broker by itself, and everybody who looks after many partitions. All copy the same topic, and no topic is
/// deleted: that would keep the brokers busy for a while.
pub(crate) fn run(stage: &Stage, arguments: &Arguments, report: &mut Report) {
    let shape = unindexed();
    let (topic, speaker) = topic(stage, &shape);
    sync();
    let listener = listen(&topic);
    warm(&speaker, &listener);
    let first = call(&speaker, &listener);
    drop(listener);
    report.wide.push(told(Wide { contender: None, idle: None, peak_memory: None, first }));
    for contender in arguments.among(&Contender::WIDE) {
        let job = Job::new(contender, stage, &topic, 1, &shape);
        report.wide.push(told(measure(&job, &speaker, seconds(arguments.seconds))));
        job.count();
    }
}

fn told(wide: Wide) -> Wide {
    let (p99, last) = (wide.first.within(990), wide.first.within(1000));
    eprintln!("{PARTITIONS} partitions, {}: idle {:?}, p99 {p99:.1} ms, last {last:.1} ms", wide.who(), wide.idle);
    wide
}

/// Every so many bytes a broker notes in an index where it is: a page of a mapped file, which some disks take milliseconds
/// for. All partitions are filled alike, so that it would do so in all of them at once, and in the measure of whoever it
/// happened to; so these have no such notes, which only long logs are read with.
fn unindexed() -> Shape {
    Shape { configs: json!({ "index.interval.bytes": "1073741824" }), ..Shape::of(PARTITIONS) }
}

/// The topic with its first records, and who wrote them: connected, and known to all partitions.
fn topic(stage: &Stage, shape: &Shape) -> (Topic, Speaker) {
    eprintln!("{PARTITIONS} partitions: filling");
    let topic = create(stage.source.topic(&format!("wide{}", unique())), shape);
    let speaker = Speaker::new(&topic);
    for _ in 0..RECORDS {
        (0..PARTITIONS).for_each(|partition| speaker.say(partition));
        speaker.flush();
    }
    (topic, speaker)
}

fn measure(job: &Job<'_>, speaker: &Speaker, idle: Duration) -> Wide {
    let mut process = job.follow();
    let ends = job.topic.offsets();
    let level = within_at(Duration::from_millis(500), PATIENCE, || {
        runs(&mut process);
        (job.copies[0].offsets() == ends).then_some(())
    });
    assert!(level.is_some(), "{} does not catch up", job.contender.name());
    let listener = listen(&job.copies[0]);
    warm(speaker, &listener);
    throughout(SETTLE, || runs(&mut process));
    // nor does anybody pay for what the disk has not written yet
    sync();
    let before = cpu_time(process.pid());
    throughout(idle, || runs(&mut process));
    let share = cpu_time(process.pid()).saturating_sub(before).as_secs_f64() / idle.as_secs_f64();
    let first = call(speaker, &listener);
    let peak_memory = Some(process.peak_memory());
    Wide { contender: Some(job.contender), idle: Some(share), peak_memory, first }
}

fn runs(process: &mut Tethered) {
    assert_eq!(process.ended(), None, "the contender has ended");
}

/// A consumer that has read all that is there.
fn listen(topic: &Topic) -> Listener {
    let listener = Listener::new(topic, PARTITIONS);
    listener.hear(usize::try_from(topic.end()).unwrap(), PATIENCE);
    listener
}

fn warm(speaker: &Speaker, listener: &Listener) {
    for _ in 0..WARMING {
        call(speaker, listener);
    }
}

/// Writes one record into each partition, and waits for all of them.
fn call(speaker: &Speaker, listener: &Listener) -> Latencies {
    (0..PARTITIONS).for_each(|partition| speaker.say(partition));
    Latencies::of(listener.hear(usize::try_from(PARTITIONS).unwrap(), PATIENCE))
}
