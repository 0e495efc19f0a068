//! What is compared: topics, partitions and offsets, as the clusters tell them. All of it blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use regex::Regex;

use super::comparison::{LaneScope, SourceScope};
use super::sample::Sample;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::gap::GapKind;
use crate::domain::limits::TopicLimits;
use crate::domain::note::{Note, Skipped};
use crate::domain::retry::OnExhausted;
use crate::domain::routing::Partitioning;
use crate::domain::start::Start;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt, TopicInfo};
use crate::kafka::group::{Group, group_name};
use crate::plan::{RoutePlan, Selected, TargetPlan};

/// What is to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The route.
    pub route: &'a RoutePlan,
    /// The target.
    pub target: &'a TargetPlan,
    /// Which of the route's source topics; all where absent.
    pub topics: Option<&'a Regex>,
    /// Only records from this time on, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Only a part of each partition; all where absent. Needs partitions that are kept.
    pub sample: Option<Sample>,
}

/// All that is compared for one target.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) topics: Vec<TopicScope>,
    /// What has to be known to read the result.
    pub(super) remarks: Vec<String>,
}

/// A target topic, with the source topics that go there.
#[derive(Clone, Debug)]
pub(super) struct TopicScope {
    pub(super) name: Arc<str>,
    pub(super) partitioning: Partitioning,
    pub(super) sources: Vec<(TopicPartition, SourceScope)>,
    pub(super) lanes: Vec<(TopicPartition, LaneScope)>,
    /// How many partitions the target topic has.
    pub(super) partitions: i32,
    pub(super) source_compacted: bool,
    pub(super) target_compacted: bool,
}

impl TopicScope {
    /// Adds a lane for each that the source needs and the target does not have: nothing is there.
    fn complete_lanes(&mut self) {
        let least = match self.partitioning {
            Partitioning::ByKey => 1,
            Partitioning::Keep => self.sources.iter().map(|(partition, _)| partition.partition + 1).max().unwrap_or(0),
        };
        for number in self.partitions..least {
            let partition = TopicPartition { topic: self.name.clone(), partition: number };
            self.lanes.push((partition, LaneScope::default()));
        }
    }
}

/// What a target has acknowledged of a partition, and what was noted beside that.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    watermark: i64,
    /// The first offset that the target was given; where absent it is not known.
    start: Option<i64>,
    skipped: Vec<(i64, i64)>,
    /// Records that the target has of topics that had this name before.
    before: u64,
    /// Records that the source has lost after they were copied.
    truncated: u64,
    /// Ranges that there was no room to note.
    forgotten: u32,
}

impl Known {
    fn of(watermark: i64, note: &Note) -> Self {
        // what was noted up to the last recreated topic counts in the offsets of its predecessors
        let recreated = note.skipped.iter().rposition(|range| range.kind == GapKind::Recreated).map_or(0, |at| at + 1);
        let (before, now) = note.skipped.split_at(recreated);
        let length = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
        let of_kind = |kind: GapKind| move |range: &&Skipped| range.kind == kind;
        Self {
            watermark,
            start: note.start,
            skipped: now.iter().map(|range| (range.from, range.to)).collect(),
            before: before.iter().filter(of_kind(GapKind::Recreated)).map(|range| length(0, range.from)).sum(),
            truncated: now.iter().filter(of_kind(GapKind::Truncated)).map(|range| length(range.from, range.to)).sum(),
            forgotten: note.forgotten,
        }
    }
}

/// Asks both clusters. The order is what makes it right while the engine runs: the watermarks first, then the target's ends, then the
/// source's, so that all below a watermark is on the target, and all on the target is at the source.
pub(super) fn ask(request: &Request<'_>, source: &Admin, target: &Admin) -> Result<Scope, Fault> {
    let topics = selected(request, source)?;
    let partitions = partitions_of(&topics);
    let known = known(request, source, &partitions)?;
    let (existing, by_target) = (target.topics()?, by_target(request, &topics)?);
    let mut lanes: Vec<TopicPartition> = Vec::new();
    for name in by_target.keys() {
        match existing.get(name).map(|info| (&info.fault, info.partitions)) {
            Some((Some(fault), _)) => return Err(fault.clone()),
            Some((None, count)) => lanes.extend((0..count).map(|number| TopicPartition::new(name.as_str(), number))),
            None => {}
        }
    }
    let there = Ends::of(target, &lanes, request.since)?;
    let here = Ends::of(source, &partitions, request.since)?;
    let source_limits = source.limits(&topics.keys().map(String::as_str).collect::<Vec<_>>())?;
    let target_names: Vec<_> =
        by_target.keys().map(String::as_str).filter(|name| existing.contains_key(*name)).collect();
    let target_limits = target.limits(&target_names)?;
    let asked = Asked { request, known, here, there, source_limits, target_limits };
    let mut scope = Scope { remarks: asked.remarks(&by_target, &existing), topics: Vec::new() };
    for (name, sources) in &by_target {
        let of_topic: Vec<_> = partitions.iter().filter(|partition| sources.contains(&*partition.topic)).collect();
        let of_target: Vec<_> = lanes.iter().filter(|partition| &*partition.topic == name.as_str()).collect();
        scope.topics.push(asked.topic(name, &of_topic, &of_target));
    }
    Ok(scope)
}

/// The target topics, each with the source topics that go there.
fn by_target(
    request: &Request<'_>,
    topics: &BTreeMap<String, i32>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Fault> {
    let mut by_target: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for topic in topics.keys() {
        let name = request.target.topic.apply(topic);
        let name = name.map_err(|error| Fault::new(FaultClass::Config, error.to_string()))?;
        by_target.entry(name).or_default().insert(topic.clone());
    }
    Ok(by_target)
}

/// What was asked of both clusters.
struct Asked<'a> {
    request: &'a Request<'a>,
    known: HashMap<TopicPartition, Known>,
    here: Ends,
    there: Ends,
    source_limits: BTreeMap<String, TopicLimits>,
    target_limits: BTreeMap<String, TopicLimits>,
}

impl Asked<'_> {
    /// What has to be known to read the result.
    fn remarks(
        &self,
        by_target: &BTreeMap<String, BTreeSet<String>>,
        existing: &BTreeMap<String, TopicInfo>,
    ) -> Vec<String> {
        let name = self.request.target.name();
        let lacking = by_target.keys().filter(|topic| !existing.contains_key(*topic));
        let mut remarks: Vec<String> =
            lacking.map(|topic| format!("topic {topic} does not exist on cluster {name}")).collect();
        if !self.is_committed() && !by_target.is_empty() {
            remarks.push(format!(
                "target {name} has no progress, as it never ran or was filled by `copy`: it is compared up to the source's end"
            ));
        }
        let unknown = |partition: &&TopicPartition| !self.begins(partition);
        if let Some(partition) = self.here.low.keys().filter(unknown).min() {
            remarks.push(format!(
                "where target {name} began is not known, as for {partition}: what is before its first record does not count"
            ));
        }
        if self.known.values().any(|known| known.forgotten > 0) {
            remarks.push(format!(
                "target {name} has skipped more ranges than are remembered: the oldest count as missing"
            ));
        }
        let retry = &self.request.target.retry;
        let classes = [&retry.record, &retry.overrun, &retry.system];
        if classes.iter().any(|policy| policy.on_exhausted == OnExhausted::Drop) {
            remarks.push(format!("a policy of target {name} says `drop`: what it dropped is missing here"));
        }
        remarks
    }

    fn is_committed(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether the target's first offset of a partition is known.
    fn begins(&self, partition: &TopicPartition) -> bool {
        let known = self.known.get(partition).and_then(|known| known.start);
        known.is_some() || self.request.route.start == Start::Earliest
    }

    fn topic(&self, name: &str, sources: &[&TopicPartition], lanes: &[&TopicPartition]) -> TopicScope {
        let is_compacted = |limits: &BTreeMap<String, TopicLimits>, name: &str| {
            limits.get(name).is_some_and(|limits| limits.compacted)
        };
        let begins = sources.iter().all(|partition| self.begins(partition));
        let mut topic = TopicScope {
            name: name.into(),
            partitioning: self.request.route.partitioning,
            sources: sources.iter().map(|partition| ((*partition).clone(), self.source(partition))).collect(),
            lanes: lanes.iter().map(|partition| ((*partition).clone(), self.lane(partition, begins))).collect(),
            partitions: i32::try_from(lanes.len()).unwrap_or(i32::MAX),
            source_compacted: sources.iter().any(|source| is_compacted(&self.source_limits, &source.topic)),
            target_compacted: is_compacted(&self.target_limits, name),
        };
        topic.complete_lanes();
        topic
    }

    fn source(&self, partition: &TopicPartition) -> SourceScope {
        let (low, since, end) = self.here.get(partition);
        let known = self.known.get(partition);
        let begun = known.and_then(|known| known.start).unwrap_or(0);
        let watermark = match known {
            Some(known) => known.watermark,
            // it was born after the last commit: nothing has to be there yet
            None if self.is_committed() => low,
            None => end,
        };
        let start = begun.max(since).min(end);
        let gone = if start == low { u64::try_from(low - begun).unwrap_or(0) } else { 0 };
        let skipped = known.map(|known| known.skipped.clone()).unwrap_or_default();
        let (before, truncated) = known.map_or((0, 0), |known| (known.before, known.truncated));
        // what was trimmed before it was copied is on neither side
        let neither = |(from, to): &(i64, i64)| u64::try_from(low.min(*to) - *from).unwrap_or(0);
        let gone = gone.saturating_sub(skipped.iter().map(neither).sum()) + before;
        SourceScope { start, watermark: watermark.clamp(start, end), end, skipped, gone, truncated }
    }

    fn lane(&self, partition: &TopicPartition, begins: bool) -> LaneScope {
        let (low, start, end) = self.there.get(partition);
        let gone = if start == low { u64::try_from(low).unwrap_or(0) } else { 0 };
        LaneScope { start: start.min(end), end, gone: if begins { gone } else { u64::MAX } }
    }
}

/// The route's topics that are asked about: name → partitions.
fn selected(request: &Request<'_>, source: &Admin) -> Result<BTreeMap<String, i32>, Fault> {
    let mut topics = BTreeMap::new();
    for (name, info) in source.topics()? {
        let asked = request.topics.is_none_or(|regex| regex.is_match(&name));
        if asked && request.route.topics.select(&name) == Selected::Yes {
            match info.fault {
                Some(fault) => return Err(fault),
                None => drop(topics.insert(name, info.partitions)),
            }
        }
    }
    Ok(topics)
}

fn partitions_of(topics: &BTreeMap<String, i32>) -> Vec<TopicPartition> {
    let of = |(name, count): (&String, &i32)| {
        let name: Arc<str> = name.as_str().into();
        (0..*count).map(move |partition| TopicPartition { topic: name.clone(), partition })
    };
    topics.iter().flat_map(of).collect()
}

/// What is committed for the target. A topic that was created anew since is not the one that was copied.
fn known(
    request: &Request<'_>,
    source: &Admin,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, Known>, Fault> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let (route, target) = (request.route, request.target);
    let group = Group::open(&route.source, &group_name(&route.name, target.name()))?;
    let committed = group.committed_with_notes(partitions)?;
    let topics: BTreeSet<&str> = committed.keys().map(|partition| &*partition.topic).collect();
    let ids = source.topic_ids(topics.into_iter())?;
    for (partition, (_, note)) in &committed {
        if let (Some(Some(now)), Some(then)) = (ids.get(&*partition.topic), &note.topic_id)
            && now != then
        {
            return Err(Fault::new(
                FaultClass::Config,
                format!(
                    "topic {} was deleted and created again since: start the route, which says what becomes of that, and compare then",
                    partition.topic
                ),
            ));
        }
    }
    Ok(committed.into_iter().map(|(partition, (offset, note))| (partition, Known::of(offset, &note))).collect())
}

/// The offsets that a cluster has.
struct Ends {
    low: HashMap<TopicPartition, i64>,
    since: Option<HashMap<TopicPartition, i64>>,
    end: HashMap<TopicPartition, i64>,
}

impl Ends {
    fn of(admin: &Admin, partitions: &[TopicPartition], since: Option<i64>) -> Result<Self, Fault> {
        let low = admin.offsets(partitions, OffsetAt::Earliest)?;
        let since = since.map(|time| admin.offsets(partitions, OffsetAt::Timestamp(time))).transpose()?;
        let end = admin.offsets(partitions, OffsetAt::Latest)?;
        Ok(Self { low, since, end })
    }

    /// The first offset that is there, the first that is asked about, and the end.
    fn get(&self, partition: &TopicPartition) -> (i64, i64, i64) {
        let of = |offsets: &HashMap<TopicPartition, i64>| offsets.get(partition).copied().unwrap_or(0);
        let low = of(&self.low);
        (low, self.since.as_ref().map_or(low, of).max(low), of(&self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::note::Note;

    #[test]
    fn a_note_tells_what_need_not_be_there_and_what_may_be() {
        let range = |from, to, kind| Skipped { from, to, kind };
        let note = Note {
            start: Some(7),
            skipped: vec![
                range(10, 20, GapKind::Trimmed),
                range(500, 600, GapKind::Recreated),
                range(30, 40, GapKind::Trimmed),
                range(50, 55, GapKind::Truncated),
            ],
            ..Note::default()
        };
        let known = Known::of(90, &note);
        let expected = Known {
            watermark: 90,
            start: Some(7),
            skipped: vec![(30, 40), (50, 55)],
            before: 500,
            truncated: 5,
            forgotten: 0,
        };
        assert_eq!(known, expected);
        assert_eq!(Known::of(0, &Note::default()), Known::default());
    }
}
