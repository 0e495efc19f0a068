//! What the instruments show, read from the board: one look for all of them, so that they agree with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::instruments::Out;
use crate::domain::fallback::Fallback;
use crate::domain::fault::FaultClass;
use crate::domain::state::{RouteState, TargetState};
use crate::domain::topic_partition::TopicPartition;
use crate::engine::board::{Board, Posted, lag_of};
use crate::engine::clock::now;
use crate::engine::counts::{Brake, TargetStats, TopicCounts, Volume};
use crate::engine::progress::{Place, TargetIndex};
use crate::engine::status::{Snapshot, TargetSnapshot};

/// What there is to show.
#[derive(Default)]
pub(super) struct Reading {
    routes: Vec<RouteReading>,
    restarts: BTreeMap<(&'static str, &'static str), u64>,
    began_ms: u64,
    per_partition: bool,
}

struct RouteReading {
    posted: Posted,
    snapshot: Snapshot,
    places: BTreeMap<TopicPartition, Place>,
    /// The topics that are copied here, or were: what was not counted of them yet is shown as nothing, as a counter that is
    /// first seen at 1 has not risen.
    topics: BTreeSet<Arc<str>>,
}

struct TargetReading<'a> {
    route: &'a RouteReading,
    index: TargetIndex,
    stats: &'a TargetStats,
    snapshot: &'a TargetSnapshot,
}

impl Reading {
    /// Looks at all routes.
    pub(super) fn take(board: &Board, per_partition: bool) -> Self {
        let routes = board.all().into_iter().map(RouteReading::take).collect();
        Self { routes, restarts: board.events.restarts(), began_ms: board.began_ms, per_partition }
    }

    fn targets(&self) -> impl Iterator<Item = TargetReading<'_>> {
        self.routes.iter().flat_map(|route| {
            let stats = &route.posted.lasting.progress.targets;
            let known =
                route.snapshot.targets.iter().filter_map(|snapshot| Some((stats.get(snapshot.index)?, snapshot)));
            known.map(move |(stats, snapshot)| TargetReading { route, index: snapshot.index, stats, snapshot })
        })
    }

    fn each_topic_read(&self, out: Out<'_, u64>, count: fn(&Volume) -> u64) {
        for route in &self.routes {
            for topic in &route.topics {
                out(&[route.name(), topic], route.posted.lasting.progress.topics_read.of(topic, count));
            }
        }
    }

    fn each_topic_written(&self, out: Out<'_, u64>, count: fn(&TopicCounts) -> u64) {
        for target in self.targets() {
            for topic in &target.route.topics {
                out(&[target.route.name(), target.name(), topic], target.stats.topics.of(topic, count));
            }
        }
    }
}

impl RouteReading {
    fn take(posted: Posted) -> Self {
        let progress = &posted.lasting.progress;
        let (snapshot, places) = (posted.lasting.status.snapshot(), progress.places(now()));
        let mut topics: BTreeSet<Arc<str>> = places.keys().map(|partition| partition.topic.clone()).collect();
        topics.extend(progress.topics_read.topics());
        topics.extend(progress.targets.iter().flat_map(|(_, target)| target.topics.topics()));
        Self { posted, snapshot, places, topics }
    }

    fn name(&self) -> &str {
        &self.posted.configured.name
    }

    /// Where the source's partitions end; nothing where it is not known.
    fn ends(&self) -> impl Iterator<Item = (&TopicPartition, Option<u64>)> {
        self.places.iter().map(|(partition, place)| (partition, place.end.and_then(|end| u64::try_from(end).ok())))
    }
}

impl TargetReading<'_> {
    fn name(&self) -> &str {
        &self.snapshot.name
    }

    /// How many records are missing of each partition; nothing where it is not known.
    fn lags(&self) -> impl Iterator<Item = (&TopicPartition, Option<u64>)> {
        let lag = |place: &Place| place.targets.get(self.index).copied().flatten().and_then(|place| place.lag);
        self.route.places.iter().map(move |(partition, place)| (partition, lag(place)))
    }
}

pub(super) fn build_info(_: &Reading, out: Out<'_, u64>) {
    out(&[env!("CARGO_PKG_VERSION")], 1);
}

pub(super) fn start_time(reading: &Reading, out: Out<'_, f64>) {
    out(&[], Duration::from_millis(reading.began_ms).as_secs_f64());
}

pub(super) fn source_records(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_read(out, Volume::records);
}

pub(super) fn source_bytes(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_read(out, Volume::bytes);
}

pub(super) fn target_records(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_written(out, |counts| counts.written.records());
}

pub(super) fn target_bytes(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_written(out, |counts| counts.written.bytes());
}

pub(super) fn dead_letters(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_written(out, |counts| counts.dead_lettered.load(Relaxed));
}

pub(super) fn dropped(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_written(out, |counts| counts.dropped.load(Relaxed));
}

pub(super) fn kept(reading: &Reading, out: Out<'_, u64>) {
    reading.each_topic_written(out, |counts| counts.kept.load(Relaxed));
}

pub(super) fn fallbacks(reading: &Reading, out: Out<'_, u64>) {
    for route in &reading.routes {
        for why in Fallback::ALL {
            out(&[route.name(), why.name()], route.posted.lasting.progress.fallbacks.of(why));
        }
    }
}

pub(super) fn gaps(reading: &Reading, out: Out<'_, u64>) {
    for route in &reading.routes {
        for topic in &route.topics {
            out(&[route.name(), topic], route.posted.lasting.progress.gaps_of(topic));
        }
    }
}

pub(super) fn lag_records(reading: &Reading, out: Out<'_, u64>) {
    for target in reading.targets() {
        let (route, name) = (target.route.name(), target.name());
        if reading.per_partition {
            for (partition, lag) in target.lags() {
                if let Some(lag) = lag {
                    out(&[route, name, &partition.topic, &partition.partition.to_string()], lag);
                }
            }
            continue;
        }
        for (topic, lag) in sums(target.lags()) {
            out(&[route, name, topic], lag);
        }
    }
}

pub(super) fn source_ends(reading: &Reading, out: Out<'_, u64>) {
    for route in &reading.routes {
        if reading.per_partition {
            for (partition, end) in route.ends() {
                if let Some(end) = end {
                    out(&[route.name(), &partition.topic, &partition.partition.to_string()], end);
                }
            }
            continue;
        }
        for (topic, end) in sums(route.ends()) {
            out(&[route.name(), topic], end);
        }
    }
}

/// The sum of each topic: what is not known of a partition is not known of its topic.
fn sums<'a>(numbers: impl Iterator<Item = (&'a TopicPartition, Option<u64>)>) -> impl Iterator<Item = (&'a str, u64)> {
    let mut topics = BTreeMap::<&str, Option<u64>>::new();
    for (partition, number) in numbers {
        let sum = topics.entry(&partition.topic).or_insert(Some(0));
        *sum = sum.zip(number).map(|(sum, number)| sum + number);
    }
    topics.into_iter().filter_map(|(topic, sum)| Some((topic, sum?)))
}

pub(super) fn lag_seconds(reading: &Reading, out: Out<'_, f64>) {
    for target in reading.targets() {
        if let (_, Some(late)) = lag_of(target.index, &target.route.places) {
            out(&[target.route.name(), target.name()], late.as_secs_f64());
        }
    }
}

pub(super) fn in_flight(reading: &Reading, out: Out<'_, u64>) {
    for route in &reading.routes {
        out(&[route.name()], route.posted.lasting.gate.used());
    }
}

pub(super) fn throttled(reading: &Reading, out: Out<'_, f64>) {
    for target in reading.targets() {
        for brake in Brake::ALL {
            let seconds = target.stats.tally.throttled.of(brake).as_secs_f64();
            out(&[target.route.name(), target.name(), brake.name()], seconds);
        }
    }
}

pub(super) fn retries(reading: &Reading, out: Out<'_, u64>) {
    for target in reading.targets() {
        for class in FaultClass::ALL {
            out(&[target.route.name(), target.name(), class.name()], target.stats.tally.retries.of(class));
        }
    }
}

pub(super) fn detached(reading: &Reading, out: Out<'_, u64>) {
    for target in reading.targets() {
        out(&[target.route.name(), target.name()], target.snapshot.detached as u64);
    }
}

pub(super) fn target_states(reading: &Reading, out: Out<'_, u64>) {
    for target in reading.targets() {
        for state in TargetState::ALL {
            let is = u64::from(target.snapshot.condition.state == state);
            out(&[target.route.name(), target.name(), state.name()], is);
        }
    }
}

pub(super) fn route_states(reading: &Reading, out: Out<'_, u64>) {
    for route in &reading.routes {
        for state in RouteState::ALL {
            out(&[route.name(), state.name()], u64::from(route.snapshot.state == state));
        }
    }
}

pub(super) fn restarts(reading: &Reading, out: Out<'_, u64>) {
    for ((actor, reason), count) in &reading.restarts {
        out(&[actor, reason], *count);
    }
}
