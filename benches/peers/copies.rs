//! Topics that are copied once, from their beginnings to their ends: to one target, and to three.

use std::time::Duration;

use super::common::data::{DataSet, PARTITIONS};
use super::common::measure::Taken;
use super::common::support::topic::Topic;
use super::contender::Contender;
use super::job::Job;
use super::report::{Copies, Report};
use super::stage::{Shape, Stage};
use super::{Arguments, Scenario};

/// The data sets that go to three targets.
const FANNED: [DataSet; 2] = [DataSet::Random, DataSet::Json];

/// What one copy took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    /// Time, CPU and memory.
    pub(crate) taken: Taken,
    /// The records that were copied in that time, per target.
    pub(crate) records: f64,
    /// The CPU time from the start of the process on, and all records per target.
    pub(crate) whole: (Duration, f64),
    /// The bytes of the topic that the source sent.
    pub(crate) source_bytes: i64,
}

/// Copies each data set.
pub(crate) fn run(stage: &Stage, arguments: &Arguments, report: &mut Report) {
    for data in &arguments.data {
        let fans = arguments.wants(Scenario::Three) && FANNED.contains(data);
        if !fans && !arguments.wants(Scenario::One) {
            continue;
        }
        let records = data.records(arguments.records);
        eprintln!("{}: filling {records} records", data.name());
        let topic = data.fill(&stage.source, records);
        let mut contest = |contenders: &[Contender], targets| {
            let copy = |contender| copy(stage, contender, *data, &topic, records, targets);
            let found = rounds(contenders, arguments.rounds, copy);
            report.copies.extend(found.into_iter().map(|(contender, rounds)| Copies {
                data: *data,
                contender,
                targets,
                rounds,
            }));
        };
        if arguments.wants(Scenario::One) {
            contest(&arguments.among(&Contender::ALL), 1);
        }
        if fans {
            contest(&arguments.among(&Contender::FANNING), stage.targets.len());
        }
        topic.delete();
    }
}

/// Everybody once per round, after a round that does not count: the brokers' Java is slow, and takes a third of the machine, until it
/// has compiled what everybody asks of it. Who goes first changes, as who goes later finds warmer brokers.
pub(crate) fn rounds<W: Copy, M>(all: &[W], rounds: u32, mut measure: impl FnMut(W) -> M) -> Vec<(W, Vec<M>)> {
    let mut found: Vec<(W, Vec<M>)> = all.iter().map(|who| (*who, Vec::new())).collect();
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}{}", if round == 0 { ", which does not count" } else { "" });
        let mut turn: Vec<&mut (W, Vec<M>)> = found.iter_mut().collect();
        if round % 2 == 0 {
            turn.reverse();
        }
        for (who, measured) in turn {
            let found = measure(*who);
            if round > 0 {
                measured.push(found);
            }
        }
    }
    found
}

fn copy(stage: &Stage, contender: Contender, data: DataSet, topic: &Topic, records: u32, targets: usize) -> Copied {
    let mut job = Job::new(contender, stage, topic, targets, &Shape::of(PARTITIONS));
    (job.codec, job.keys) = (data.codec(), data.has_keys());
    let before = stage.source.bytes_out(&topic.name);
    let copied = job.copy(records);
    let source_bytes = stage.source.bytes_out(&topic.name) - before;
    job.count();
    job.clear();
    Copied { source_bytes, ..copied }
}
