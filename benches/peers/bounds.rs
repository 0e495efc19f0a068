//! What the project promises, and whether it is so.

use std::fmt;

use serde_json::{Value, json};

use super::common::data::DataSet;
use super::contender::Contender;
use super::latency::Way;
use super::report::{Copies, Report, Wide};

/// What passing batches on has to gain, per data set: how many times less CPU per record than `MirrorMaker` 2 and than the
/// pipe, and how many times `MirrorMaker` 2's speed. That is `MirrorMaker` 2 as it comes, of which these figures were made, and
/// CPU is that of whole processes for all; the tuned one, and what is left without the start of Java, stand in the tables.
const GAINS: [(DataSet, f64, f64, f64); 2] = [(DataSet::Random, 25.0, 3.0, 5.0), (DataSet::Json, 80.0, 12.0, 12.0)];
/// Peak memory at full speed with three targets, in MiB.
const MEMORY: f64 = 96.0;
/// CPU with three targets, of that with one.
const FAN_WORK: f64 = 2.4;
/// The bytes that the source sends for three targets, of those for one.
const FAN_BYTES: f64 = 1.05;
/// The median latency, in milliseconds.
const LATENCY: f64 = 3.0;
/// The 99th percentile of the latency, of that of one broker by itself.
const TAIL: f64 = 2.0;
/// Share of a core with 1,000 partitions and nothing to do.
const IDLE: f64 = 0.02;
/// Peak memory with 1,000 partitions, in MiB.
const WIDE_MEMORY: f64 = 192.0;
/// How soon the first record after a rest is on the target in each of 1,000 partitions, in milliseconds.
const FIRST: f64 = 1000.0;

/// A promise.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    what: String,
    limit: Limit,
    /// Nothing where that was not part of this run.
    measured: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn kept(&self) -> Option<bool> {
        self.measured.map(|measured| match self.limit {
            Limit::AtLeast(limit) => measured >= limit,
            Limit::AtMost(limit) => measured <= limit,
        })
    }

    /// For the file.
    pub(crate) fn to_json(&self) -> Value {
        let (sign, limit) = self.limit.parts();
        json!({ "what": self.what, "bound": sign, "limit": limit, "measured": self.measured, "kept": self.kept() })
    }
}

impl Limit {
    const fn parts(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(limit) => ("≥", limit),
            Self::AtMost(limit) => ("≤", limit),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, limit) = self.limit.parts();
        let measured = self.measured.map_or("–".to_owned(), |measured| format!("{measured:.3}"));
        let verdict = match self.kept() {
            Some(true) => "kept",
            Some(false) => "**missed**",
            None => "not measured",
        };
        write!(f, "| {} | {sign} {limit} | {measured} | {verdict} |", self.what)
    }
}

/// Whether anything that was measured is not as promised.
pub(crate) fn any_missed(report: &Report) -> bool {
    of(report).iter().any(|bound| bound.kept() == Some(false))
}

/// All of them.
pub(crate) fn of(report: &Report) -> Vec<Bound> {
    let mut bounds = Bounds(Vec::new());
    for (data, mirror, pipe, speed) in GAINS {
        gains(&mut bounds, report, data, [mirror, pipe, speed]);
    }
    fans(&mut bounds, report);
    delays(&mut bounds, report);
    wide(&mut bounds, report);
    bounds.0
}

struct Bounds(Vec<Bound>);

impl Bounds {
    fn at_least(&mut self, what: String, limit: f64, measured: Option<f64>) {
        self.0.push(Bound { what, limit: Limit::AtLeast(limit), measured });
    }

    fn at_most(&mut self, what: String, limit: f64, measured: Option<f64>) {
        self.0.push(Bound { what, limit: Limit::AtMost(limit), measured });
    }
}

fn gains(bounds: &mut Bounds, report: &Report, data: DataSet, [mirror, pipe, speed]: [f64; 3]) {
    let find = |contender| report.find(data, contender, 1);
    let ours = find(Contender::Passthrough);
    let find_work = |contender| find(contender).map(Copies::whole);
    let ratio = |theirs: Option<f64>, own: Option<f64>| Some(theirs? / own?);
    let (work, own_speed) = (ours.map(Copies::whole), ours.map(Copies::speed));
    let speed_of_mirror = find(Contender::Mm2).map(Copies::speed);
    let name = data.name();
    bounds.at_least(
        format!("{name}: CPU per record, MirrorMaker 2's / passthrough's"),
        mirror,
        ratio(find_work(Contender::Mm2), work),
    );
    bounds.at_least(
        format!("{name}: CPU per record, the pipe's / passthrough's"),
        pipe,
        ratio(find_work(Contender::Pipe), work),
    );
    bounds.at_least(
        format!("{name}: records/s, passthrough's / MirrorMaker 2's"),
        speed,
        ratio(own_speed, speed_of_mirror),
    );
}

fn fans(bounds: &mut Bounds, report: &Report) {
    let find = |data, targets| report.find(data, Contender::Passthrough, targets);
    let sets = GAINS.map(|(data, ..)| data);
    let peaks = sets.iter().filter_map(|data| find(*data, 3)).map(Copies::memory);
    bounds.at_most("passthrough, three targets: peak MiB".to_owned(), MEMORY, peaks.reduce(f64::max));
    for data in sets {
        let ratio = |figure: fn(&Copies) -> f64| Some(figure(find(data, 3)?) / figure(find(data, 1)?));
        let name = data.name();
        bounds.at_most(format!("{name}: passthrough's CPU, three targets / one"), FAN_WORK, ratio(Copies::work));
        let bytes = ratio(Copies::source_bytes);
        bounds.at_most(format!("{name}: the source's bytes for passthrough, three targets / one"), FAN_BYTES, bytes);
    }
}

fn delays(bounds: &mut Bounds, report: &Report) {
    const OURS: Contender = Contender::Passthrough;
    let within = |way: Way, per_mille| report.delays.iter().find(|row| row.way == way).map(|row| row.within(per_mille));
    bounds.at_most("passthrough: latency, p50 ms".to_owned(), LATENCY, within(Way::Copied(OURS), 500));
    let of = |way| within(Way::Copied(OURS), 990).zip(within(way, 990)).map(|(ours, one)| ours / one);
    let what = "passthrough: latency, p99 / that of one broker";
    bounds.at_most(format!("{what} that has the machine to itself"), TAIL, of(Way::Alone));
    bounds.at_most(format!("{what} that it copies from"), TAIL, of(Way::Beside(OURS)));
}

fn wide(bounds: &mut Bounds, report: &Report) {
    let ours = Contender::Passthrough;
    let row = report.wide.iter().find(|row| row.contender == Some(ours));
    let name = ours.name();
    bounds.at_most(format!("{name}, 1,000 partitions: idle share of a core"), IDLE, row.and_then(|row| row.idle));
    bounds.at_most(format!("{name}, 1,000 partitions: peak MiB"), WIDE_MEMORY, row.and_then(Wide::memory));
    let last = row.map(|row| row.first.within(1000));
    bounds.at_most(format!("{name}, 1,000 partitions: all first records within ms"), FIRST, last);
}
