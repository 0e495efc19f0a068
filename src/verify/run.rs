//! A target compared with its source: topic by topic, several partitions side by side.

use std::collections::{HashMap, HashSet};

use super::accounts::{self, Missed};
use super::comparison::{LaneScope, Rules, SourceScope};
use super::outcome::{Leftover, Pair, Tally};
use super::pairing::Leftovers;
use super::report::{Difference, Kind, Range, Report, TopicReport};
use super::sample::{self, Sample};
use super::scope::{Request, Scope, TopicScope, ask};
use super::streams::Streams;
use super::unit::{Context, Finished, Part, TARGET, Unit};
use crate::domain::fault::Fault;
use crate::domain::routing::Partitioning;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::StreamId;
use crate::kafka::admin::{Admin, OffsetAt};

/// How many partitions are compared side by side.
const SIDE_BY_SIDE: usize = 4;
/// Records of the source that are remembered, over all partitions that are compared at the time.
const WINDOW: usize = 1 << 17;
/// Bytes that are ready to be compared, over all streams.
const READY: u64 = 8 << 20;

/// How far a comparison is: offsets passed, of how many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Offsets that were passed, on both sides.
    pub passed: u64,
    /// All that there are.
    pub all: u64,
}

/// Compares one target with its source, and adds what it finds to the report. `show` is told how far it is, now and then.
pub fn compare(request: &Request<'_>, report: &mut Report, show: &mut dyn FnMut(Progress)) -> Result<(), Fault> {
    let source = Admin::open(&request.route.source)?;
    let target = Admin::open(&request.target.cluster)?;
    let scope = ask(request, &source, &target)?;
    report.remarks.extend(scope.remarks.iter().cloned());
    let mut run = Run { request, admins: [source, target], progress: Progress { passed: 0, all: all(&scope) }, show };
    for topic in &scope.topics {
        let compared = run.topic(topic)?;
        report.topics.push(compared);
    }
    report.judge();
    Ok(())
}

fn all(scope: &Scope) -> u64 {
    let length = |start: i64, end: i64| u64::try_from(end - start).unwrap_or(0);
    let topic = |topic: &TopicScope| -> u64 {
        let sources = topic.sources.iter().map(|(_, scope)| length(scope.start, scope.watermark));
        sources.chain(topic.lanes.iter().map(|(_, scope)| length(scope.start, scope.end))).sum()
    };
    scope.topics.iter().map(topic).sum()
}

struct Run<'a> {
    request: &'a Request<'a>,
    admins: [Admin; 2],
    progress: Progress,
    show: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    fn topic(&mut self, topic: &TopicScope) -> Result<TopicReport, Fault> {
        let parts = if self.request.sample.is_some() { Vec::new() } else { parts(topic) };
        let width = parts.iter().map(|part| part.sources.len() + part.lanes.len()).max().unwrap_or(2);
        let abreast = (SIDE_BY_SIDE * 2 / width).max(1);
        let batch = (READY / (abreast * width) as u64).clamp(64 << 10, 256 << 10);
        let (from, to) = (&self.request.route.source, &self.request.target.cluster);
        let mut streams = Streams::open(&[from, to], batch)?;
        let context = Context {
            cluster: from.alias.clone(),
            partitioning: topic.partitioning,
            partitions: topic.partitions.max(1),
            rules: Rules {
                source_compacted: topic.source_compacted,
                target_compacted: topic.target_compacted,
                sampled: self.request.sample.is_some(),
                window: WINDOW / abreast,
            },
            since: self.request.since,
        };
        let finished = match self.request.sample {
            None => self.units(&context, parts, abreast, &mut streams)?,
            Some(sample) => self.sampled(sample, topic, &context, &mut streams)?,
        };
        drop(streams);
        self.settle(topic, finished)
    }

    /// Compares a sample: the first stretch of each partition, then the second ones, and so on, as a partition can't be read twice at
    /// the same time.
    fn sampled(
        &mut self,
        sample: Sample,
        topic: &TopicScope,
        context: &Context,
        streams: &mut Streams,
    ) -> Result<Vec<Finished>, Fault> {
        let phase = fastrand::u32(..);
        let mut left: Vec<_> = topic.sources.iter().map(|(_, scope)| sample.stretches(scope, phase)).collect();
        let mut finished = Vec::new();
        loop {
            let next = left.iter_mut().enumerate().filter_map(|(at, stretches)| Some((at, stretches.next()?)));
            let stretches: Vec<_> = next.collect();
            if stretches.is_empty() {
                return Ok(finished);
            }
            for some in stretches.chunks(SIDE_BY_SIDE) {
                let parts = sample::place(topic, some, &self.admins[TARGET], streams)?;
                finished.extend(self.units(context, parts, SIDE_BY_SIDE, streams)?);
            }
        }
    }

    /// Compares all parts, some of them side by side.
    fn units(
        &mut self,
        context: &Context,
        parts: Vec<Part>,
        abreast: usize,
        streams: &mut Streams,
    ) -> Result<Vec<Finished>, Fault> {
        let mut left = parts.into_iter();
        let mut units: HashMap<usize, Unit> = HashMap::new();
        let mut of: HashMap<StreamId, usize> = HashMap::new();
        let (mut number, mut finished) = (0, Vec::new());
        let before = self.progress.passed;
        let mut passed = 0;
        loop {
            while units.len() < abreast
                && let Some(part) = left.next()
            {
                let mut unit = Unit::start(context, part, streams);
                if unit.advance(streams) {
                    finished.push(unit.finish(streams));
                    continue;
                }
                of.extend(unit.streams().map(|stream| (stream, number)));
                units.insert(number, unit);
                number += 1;
            }
            let on_their_way: u64 = units.values().map(Unit::passed).sum();
            self.progress.passed = before + passed + on_their_way;
            (self.show)(self.progress);
            if units.is_empty() {
                return Ok(finished);
            }
            let Some(stream) = streams.wait()? else { continue };
            let Some(at) = of.get(&stream).copied() else { continue };
            let Some(unit) = units.get_mut(&at) else { continue };
            if unit.advance(streams) {
                if let Some(unit) = units.remove(&at) {
                    passed += unit.passed();
                    finished.push(unit.finish(streams));
                }
            } else if let Some(lost) = unit.lost(streams) {
                let first = self.first_offset(lost.side, &lost.partition)?.ok_or_else(|| lost.fault.clone())?;
                unit.read_on(&lost, first, streams);
                of.extend(unit.streams().map(|stream| (stream, at)));
            }
        }
    }

    fn first_offset(&self, side: usize, partition: &TopicPartition) -> Result<Option<i64>, Fault> {
        let first = self.admins[side].offsets(std::slice::from_ref(partition), OffsetAt::Earliest)?;
        Ok(first.get(partition).copied())
    }

    /// Puts together what the parts of a topic came to.
    fn settle(&self, topic: &TopicScope, finished: Vec<Finished>) -> Result<TopicReport, Fault> {
        let mut report = head(topic, self.request.target.name());
        if self.request.sample.is_some() {
            let parts = finished.iter().map(|unit| &unit.part);
            report.source_ranges = parts.clone().flat_map(|part| part.sources.iter().map(source_range)).collect();
            report.target_ranges = parts.flat_map(|part| part.lanes.iter().map(lane_range)).collect();
        }
        let (mut missing, mut extra, mut sums) = (Vec::new(), Vec::new(), (0_u128, 0_u128));
        for unit in finished {
            let Finished { part, outcome, kept, source_bytes, target_bytes } = unit;
            count(&mut report, &outcome.tally);
            report.explain("kept in envelopes", kept);
            report.source_bytes += source_bytes;
            report.target_bytes += target_bytes;
            sums.0 = sums.0.wrapping_add(outcome.tally.source_sum);
            sums.1 = sums.1.wrapping_add(outcome.tally.target_sum);
            let global =
                |local: &Pair| Pair { source: part.sources[local.source].0, lane: part.lanes[local.lane].0, ..*local };
            for (kind, pairs) in [(Kind::Duplicated, &outcome.duplicated), (Kind::Reordered, &outcome.reordered)] {
                for pair in pairs {
                    report.list(difference(topic, kind, &global(pair)));
                }
            }
            let source = |local: &Leftover| part.sources.get(local.source).map_or(0, |(global, ..)| *global);
            let place = |local: Leftover| Leftover { source: source(&local), lane: part.lanes[local.lane].0, ..local };
            missing.extend(outcome.missing.into_iter().map(place));
            extra.extend(outcome.extra.into_iter().map(place));
        }
        // what did not fit into the lists is only counted
        report.subtract(Kind::Missing, missing.len() as u64);
        report.subtract(Kind::Extra, extra.len() as u64);
        self.pair_up(topic, &mut report, Leftovers::new(missing, extra), &mut sums)?;
        (report.source_digest, report.target_digest) = (format!("{:032x}", sums.0), format!("{:032x}", sums.1));
        report.listed.sort_by_key(|difference| difference.kind);
        Ok(report)
    }

    /// What one side has and the other has not: what it is, as far as that can be found out.
    fn pair_up(
        &self,
        topic: &TopicScope,
        report: &mut TopicReport,
        mut left: Leftovers,
        sums: &mut (u128, u128),
    ) -> Result<(), Fault> {
        let target = |record: &Leftover| Some(place(&topic.lanes[record.lane].0, record.offset));
        for (kind, pairs) in [(Kind::Reordered, left.take_reordered()), (Kind::Misplaced, left.take_misplaced())] {
            for pair in &pairs {
                report.add(difference(topic, kind, pair));
            }
        }
        let known = self.look_again(topic, left.extra())?;
        for (record, first) in left.take_extra(|record| known.get(&record.print.whole()).cloned()) {
            sums.1 = sums.1.wrapping_sub(record.print.whole());
            report.add(only(Kind::Duplicated, Some(first), target(&record)));
        }
        for (pair, fields) in left.take_altered() {
            let fields = fields.iter().map(|field| field.name()).collect();
            report.add(Difference { fields, ..difference(topic, Kind::Altered, &pair) });
        }
        let (missing, extra) = left.into_rest();
        for record in &extra {
            report.add(only(Kind::Extra, None, target(record)));
        }
        self.account_for(topic, report, &missing, sums)
    }

    /// Records that the target does not have: dead letters, or missing.
    fn account_for(
        &self,
        topic: &TopicScope,
        report: &mut TopicReport,
        missing: &[Leftover],
        sums: &mut (u128, u128),
    ) -> Result<(), Fault> {
        let missed = accounts::dead_letters(self.request, topic, missing)?;
        for (record, missed) in missing.iter().zip(missed) {
            let source = Some(place(&topic.sources[record.source].0, record.offset));
            match missed {
                Missed::DeadLettered => {
                    sums.0 = sums.0.wrapping_sub(record.print.whole());
                    report.explain("dead-lettered", 1);
                }
                Missed::Altered(at, fields) => {
                    report.add(Difference { kind: Kind::Altered, source, target: Some(at), fields });
                }
                Missed::Lacking => report.add(only(Kind::Missing, source, None)),
            }
        }
        Ok(())
    }

    /// Extra records that the source does have, too far back to be remembered: they were written twice.
    fn look_again(&self, topic: &TopicScope, extra: &[Leftover]) -> Result<HashMap<u128, String>, Fault> {
        let wanted: HashSet<u128> = extra.iter().map(|record| record.print.whole()).collect();
        let mut found = HashMap::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        let ranges: Vec<_> =
            topic.sources.iter().map(|(partition, scope)| (partition.clone(), scope.start, scope.watermark)).collect();
        accounts::scan(&self.request.route.source, &ranges, |partition, record| {
            let print = super::fingerprint::Fingerprint::of_source(record).whole();
            if wanted.contains(&print) {
                found.entry(print).or_insert_with(|| place(partition, record.offset));
            }
        })?;
        Ok(found)
    }
}

/// What is compared together: a partition with its own, or with `by_key` all with all.
fn parts(topic: &TopicScope) -> Vec<Part> {
    let sources =
        topic.sources.iter().enumerate().map(|(at, (partition, scope))| (at, partition.clone(), scope.clone()));
    let mut lanes: Vec<_> =
        topic.lanes.iter().enumerate().map(|(at, (partition, scope))| (at, partition.clone(), scope.clone())).collect();
    if topic.partitioning == Partitioning::ByKey {
        return vec![Part { sources: sources.collect(), lanes }];
    }
    let mut by_number: std::collections::BTreeMap<i32, Part> =
        lanes.drain(..).map(|lane| (lane.1.partition, Part { sources: Vec::new(), lanes: vec![lane] })).collect();
    for source in sources {
        if let Some(part) = by_number.get_mut(&source.1.partition) {
            part.sources.push(source);
        }
    }
    by_number.into_values().collect()
}

fn range(partition: &TopicPartition, from: i64, to: i64) -> Range {
    Range { partition: partition.to_string(), from, to: to.max(from) }
}

fn source_range((_, partition, scope): &(usize, TopicPartition, SourceScope)) -> Range {
    range(partition, scope.start, scope.watermark)
}

fn lane_range((_, partition, scope): &(usize, TopicPartition, LaneScope)) -> Range {
    range(partition, scope.start, scope.end)
}

fn head(topic: &TopicScope, target: &str) -> TopicReport {
    let mut source_topics: Vec<String> =
        topic.sources.iter().map(|(partition, _)| partition.topic.to_string()).collect();
    source_topics.dedup();
    TopicReport {
        target: target.to_owned(),
        source_topics,
        target_topic: topic.name.to_string(),
        source_ranges: topic.sources.iter().map(|(tp, scope)| range(tp, scope.start, scope.watermark)).collect(),
        target_ranges: topic.lanes.iter().map(|(tp, scope)| range(tp, scope.start, scope.end)).collect(),
        differences: Kind::ALL.iter().map(|kind| (kind.name(), 0)).collect(),
        ..TopicReport::default()
    }
}

fn count(report: &mut TopicReport, tally: &Tally) {
    report.source_records += tally.source;
    report.target_records += tally.target;
    report.matched += tally.matched;
    let kinds = [
        (Kind::Missing, tally.missing),
        (Kind::Duplicated, tally.duplicated),
        (Kind::Reordered, tally.reordered),
        (Kind::Extra, tally.extra),
    ];
    for (kind, count) in kinds {
        report.count(kind, count);
    }
    let reasons = [
        ("in flight: beyond the watermark", tally.in_flight),
        ("skipped: in ranges that the route has skipped", tally.skipped),
        ("gone at the source: older than what it still has", tally.gone_at_source),
        ("gone at the target: older than what it still has", tally.gone_at_target),
        ("compacted away: their keys have later records", tally.compacted),
        ("compacted away as it seems: there were too many keys to make sure", tally.compacted_unproven),
        ("put aside: before or after what was asked for", tally.aside),
        ("not found where their timestamps say, and not compared", tally.unplaced),
    ];
    for (reason, count) in reasons {
        report.explain(reason, count);
    }
}

fn difference(topic: &TopicScope, kind: Kind, pair: &Pair) -> Difference {
    let source = topic.sources.get(pair.source).map(|(partition, _)| place(partition, pair.offset));
    let target = topic.lanes.get(pair.lane).map(|(partition, _)| place(partition, pair.at));
    Difference { kind, source, target, fields: Vec::new() }
}

fn only(kind: Kind, source: Option<String>, target: Option<String>) -> Difference {
    Difference { kind, source, target, fields: Vec::new() }
}

fn place(partition: &TopicPartition, offset: i64) -> String {
    format!("{partition}@{offset}")
}
