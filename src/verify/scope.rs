//! What is compared: topics, partitions and offsets, as the clusters tell them. All of it blocks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::Regex;

use super::comparison::{LaneScope, SourceScope};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::retry::{OnExhausted, Policies};
use crate::domain::routing::Partitioning;
use crate::domain::start::Start;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt};
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

/// What a target has acknowledged of a partition.
#[derive(Debug, Default)]
struct Known {
    watermark: Option<i64>,
    /// The first offset that the target was given; where absent it is not known.
    start: Option<i64>,
    skipped: Vec<(i64, i64)>,
}

/// Asks both clusters. The order is what makes it right while the engine runs: the watermarks first, then the target's ends, then the
/// source's, so that all below a watermark is on the target, and all on the target is at the source.
pub(super) fn ask(request: &Request<'_>, source: &Admin, target: &Admin) -> Result<Scope, Fault> {
    let (route, to) = (request.route, request.target);
    let topics = selected(request, source)?;
    let partitions = partitions_of(&topics);
    let mut scope = Scope::default();
    let known = known(request, &partitions)?;
    let committed = known.values().any(|known| known.watermark.is_some());
    let existing = target.topics()?;
    let mut by_target: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for topic in topics.keys() {
        let name = to.topic.apply(topic).map_err(|error| Fault::new(FaultClass::Config, error.to_string()))?;
        by_target.entry(name).or_default().push(topic);
    }
    let mut lanes: Vec<TopicPartition> = Vec::new();
    for name in by_target.keys() {
        match existing.get(name).map(|info| (&info.fault, info.partitions)) {
            Some((Some(fault), _)) => return Err(fault.clone()),
            Some((None, count)) => lanes.extend((0..count).map(|number| TopicPartition::new(name.as_str(), number))),
            None => scope.remarks.push(format!("topic {name} does not exist on cluster {}", to.name())),
        }
    }
    let there = Ends::of(target, &lanes, request.since)?;
    let here = Ends::of(source, &partitions, request.since)?;
    let starts = if committed { HashMap::new() } else { assumed(route, source, &partitions)? };
    if !committed && !partitions.is_empty() {
        scope.remarks.push(format!(
            "no progress of target {} is committed: it is compared up to the source's end, with the route's `start`",
            to.name()
        ));
    }
    let limits = |admin: &Admin, names: Vec<&str>| admin.limits(&names);
    let source_limits = limits(source, topics.keys().map(String::as_str).collect())?;
    let target_names = by_target.keys().map(String::as_str).filter(|name| existing.contains_key(*name)).collect();
    let target_limits = limits(target, target_names)?;
    for (name, sources) in &by_target {
        let is_compacted = |limits: &BTreeMap<String, _>, name: &str| {
            limits.get(name).is_some_and(|limits: &crate::domain::batch::TopicLimits| limits.compacted)
        };
        let source_scope = |partition: &TopicPartition| {
            let known = known.get(partition);
            source_scope(known, committed, starts.get(partition).copied(), &here, partition)
        };
        let of_topic = partitions.iter().filter(|partition| sources.contains(&&*partition.topic));
        let of_target = lanes.iter().filter(|partition| &*partition.topic == name.as_str());
        let mut topic = TopicScope {
            name: name.as_str().into(),
            partitioning: route.partitioning,
            sources: of_topic.map(|partition| (partition.clone(), source_scope(partition))).collect(),
            lanes: of_target.clone().map(|partition| (partition.clone(), lane_scope(&there, partition))).collect(),
            partitions: i32::try_from(of_target.count()).unwrap_or(i32::MAX),
            source_compacted: sources.iter().any(|source| is_compacted(&source_limits, source)),
            target_compacted: is_compacted(&target_limits, name),
        };
        topic.complete_lanes();
        scope.topics.push(topic);
    }
    scope.remarks.extend(policies(&to.retry));
    Ok(scope)
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

fn known(request: &Request<'_>, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, Known>, Fault> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let (route, target) = (request.route, request.target);
    let group = Group::open(&route.source, &group_name(&route.name, target.name()))?;
    let committed = group.committed(partitions)?;
    let known = |offset| Known { watermark: Some(offset), ..Known::default() };
    Ok(committed.into_iter().map(|(partition, offset)| (partition, known(offset))).collect())
}

/// Where a target without progress would have begun.
fn assumed(
    route: &RoutePlan,
    source: &Admin,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, i64>, Fault> {
    match &route.start {
        Start::Earliest => Ok(HashMap::new()),
        // where that was nobody knows any more
        Start::Latest => Ok(HashMap::new()),
        Start::Timestamp(time) => source.offsets(partitions, OffsetAt::Timestamp(*time)),
        Start::Offsets(offsets) => {
            let of = |partition: &TopicPartition| {
                let offset = offsets.get(&*partition.topic)?.get(&partition.partition)?;
                Some((partition.clone(), *offset))
            };
            Ok(partitions.iter().filter_map(of).collect())
        }
    }
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

fn source_scope(
    known: Option<&Known>,
    committed: bool,
    assumed: Option<i64>,
    here: &Ends,
    partition: &TopicPartition,
) -> SourceScope {
    let (low, since, end) = here.get(partition);
    let begun = known.and_then(|known| known.start).or(assumed).unwrap_or(0);
    let watermark = match known.and_then(|known| known.watermark) {
        Some(watermark) => watermark,
        // it was born after the last commit: nothing has to be there yet
        None if committed => low,
        None => end,
    };
    let start = begun.max(since).min(end);
    let gone = if start == low { u64::try_from(low - begun).unwrap_or(0) } else { 0 };
    let skipped = known.map(|known| known.skipped.clone()).unwrap_or_default();
    SourceScope { start, watermark: watermark.min(end), end, skipped, gone }
}

fn lane_scope(there: &Ends, partition: &TopicPartition) -> LaneScope {
    let (low, start, end) = there.get(partition);
    let gone = if start == low { u64::try_from(low).unwrap_or(0) } else { 0 };
    LaneScope { start: start.min(end), end, gone }
}

/// What the target's policies make of records that it does not take.
fn policies(policies: &Policies) -> Option<String> {
    let classes = [&policies.record, &policies.overrun, &policies.system];
    let drops = classes.iter().any(|policy| policy.on_exhausted == OnExhausted::Drop);
    drops.then(|| "a policy of this target says `drop`: what it dropped is missing here".to_owned())
}
