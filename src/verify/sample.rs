//! A part of a large topic: every so many-th stretch of each source partition, found on the target by its first record's time.

use std::str::FromStr;

use super::comparison::{LaneScope, SourceScope};
use super::scope::TopicScope;
use super::streams::Streams;
use super::unit::{Part, SOURCE};
use crate::domain::fault::Fault;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt};

/// Source offsets in a stretch.
pub const STRETCH: i64 = 10_000;
/// How far a stretch is followed on the target, in stretches: times need not rise with the offsets.
const FOLLOWED: i64 = 8;

/// One in so many stretches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// One in how many; at least 1.
    pub one_in: u32,
}

impl FromStr for Sample {
    type Err = String;

    /// From `1/20` or `5%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let one_in = match (text.strip_prefix("1/"), text.strip_suffix('%')) {
            (Some(parts), _) => parts.parse().ok(),
            (_, Some(percent)) => percent.parse().ok().filter(|percent| (0.001..=100.0).contains(percent)).map(parts),
            _ => None,
        };
        let one_in = one_in.filter(|parts| *parts > 0);
        one_in.map(|one_in| Self { one_in }).ok_or_else(|| format!("`{text}` is no part; write it as 1/20 or 5%"))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 1 to 100,000
fn parts(percent: f64) -> u32 {
    (100.0 / percent).round() as u32
}

impl Sample {
    /// The stretches of a partition, counted from `phase`: where the first one of all would begin is up to the caller.
    pub(super) fn stretches(self, scope: &SourceScope, phase: u32) -> impl Iterator<Item = SourceScope> + use<> {
        let scope = scope.clone();
        let step = i64::from(self.one_in) * STRETCH;
        let mut at = scope.start + i64::from(phase % self.one_in) * STRETCH;
        if at >= scope.watermark {
            at = scope.start;
        }
        std::iter::from_fn(move || {
            let end = (at + STRETCH).min(scope.watermark);
            let stretch = SourceScope { start: at, watermark: end, end, ..scope.clone() };
            at += step;
            (stretch.start < stretch.end).then_some(stretch)
        })
    }
}

/// The parts that compare these stretches, each of another partition. One without a record is none.
pub(super) fn place(
    topic: &TopicScope,
    stretches: &[(usize, SourceScope)],
    target: &Admin,
    streams: &mut Streams,
) -> Result<Vec<Part>, Fault> {
    let mut placed = Vec::new();
    for (at, stretch) in stretches {
        let partition = &topic.sources[*at].0;
        let lane = topic.lanes.iter().position(|(lane, _)| lane.partition == partition.partition);
        let Some(lane) = lane else { continue };
        let Some(time) = first_time(partition, stretch, streams)? else { continue };
        let (name, scope) = &topic.lanes[lane];
        let scope = if scope.end > scope.start { follow(target, name, scope, time)? } else { scope.clone() };
        let source = (*at, partition.clone(), stretch.clone());
        placed.push(Part { sources: vec![source], lanes: vec![(lane, name.clone(), scope)] });
    }
    Ok(placed)
}

/// The time of a stretch's first record.
fn first_time(partition: &TopicPartition, stretch: &SourceScope, streams: &mut Streams) -> Result<Option<i64>, Fault> {
    let stream = streams.start(SOURCE, partition.clone(), stretch.start, stretch.end);
    let mut time = None;
    while time.is_none() && !streams.is_done(stream) {
        match streams.next(stream) {
            Some(batch) => {
                let records = batch.payload.decoded();
                time = records.get(0).filter(|record| record.offset < stretch.end).map(|record| record.timestamp);
            }
            None => drop(streams.wait()?),
        }
        if let Some(fault) = streams.lost(stream) {
            return Err(fault);
        }
    }
    streams.stop(stream);
    Ok(time)
}

/// Where a stretch is looked for on the target.
fn follow(target: &Admin, partition: &TopicPartition, scope: &LaneScope, time: i64) -> Result<LaneScope, Fault> {
    // a writer can't write a time of 0
    let found = target.offsets(std::slice::from_ref(partition), OffsetAt::Timestamp(time.max(1)))?;
    let start = found.get(partition).copied().unwrap_or(scope.start).clamp(scope.start, scope.end);
    Ok(LaneScope { start, end: scope.end.min(start + FOLLOWED * STRETCH), gone: scope.gone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_as_a_fraction_or_in_percent() {
        let of = |text: &str| text.parse::<Sample>().map(|sample| sample.one_in).ok();
        assert_eq!(["1/20", "5%", "100%", "0.5%", "1/1"].map(of), [Some(20), Some(20), Some(1), Some(200), Some(1)]);
        assert_eq!(["0%", "1/0", "20", "2/3", "", "-1%", "101%"].map(of), [None; 7]);
    }

    #[test]
    fn stretches_are_as_far_apart_as_they_should_be_and_end_at_the_watermark() {
        let scope = SourceScope { start: 5, watermark: 65_000, end: 80_000, ..SourceScope::default() };
        let of = |one_in, phase| {
            let stretches = Sample { one_in }.stretches(&scope, phase);
            stretches.map(|stretch| (stretch.start, stretch.end)).collect::<Vec<_>>()
        };
        assert_eq!(of(3, 0), [(5, 10_005), (30_005, 40_005), (60_005, 65_000)]);
        assert_eq!(of(3, 4), [(10_005, 20_005), (40_005, 50_005)]);
        assert_eq!(of(100, 50), [(5, 10_005)], "a short partition is not left out");
        assert_eq!(of(1, 0).len(), 7);
        let none = SourceScope { watermark: 5, ..scope.clone() };
        assert_eq!(Sample { one_in: 1 }.stretches(&none, 0).count(), 0);
    }
}
