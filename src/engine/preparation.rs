//! What has to be known and done before partitions can be copied: topics, offsets, watermarks. All of it blocks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::domain::batch::TopicLimits;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::note::{Note, Noted};
use crate::domain::routing::Partitioning;
use crate::domain::start::Start;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::TargetTopic;
use crate::kafka::admin::{Admin, NewTopicSpec, OffsetAt, TopicInfo};
use crate::kafka::group::Group;
use crate::plan::{RoutePlan, Selected, TargetPlan, TopicSelection};

/// A route's source topics: name → partitions.
pub type Topics = BTreeMap<String, i32>;

/// The group whose members are the processes that share a route.
pub fn shared_group(route: &str) -> String {
    format!("anabranch.{route}")
}

/// The selected topics of the source, and those that can't be read.
pub fn discover(source: &Admin, selection: &TopicSelection) -> Result<(Topics, Vec<Fault>), Fault> {
    let mut topics = Topics::new();
    let mut unreadable = Vec::new();
    for (name, info) in source.topics()? {
        if selection.select(&name) == Selected::Yes {
            match info.fault {
                Some(fault) => unreadable.push(fault),
                None => drop(topics.insert(name, info.partitions)),
            }
        }
    }
    Ok((topics, unreadable))
}

/// The partitions of these topics.
pub fn partitions_of(topics: &Topics) -> Vec<TopicPartition> {
    topics
        .iter()
        .flat_map(|(name, count)| {
            let name: Arc<str> = name.as_str().into();
            (0..*count).map(move |partition| TopicPartition { topic: name.clone(), partition })
        })
        .collect()
}

/// What has to happen to a target topic before it can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicAction {
    /// It fits as it is.
    Use {
        /// How many partitions it has.
        partitions: i32,
    },
    /// It is missing.
    Create {
        /// With how many partitions.
        partitions: i32,
    },
    /// It has fewer partitions than the source's.
    Grow {
        /// How many it has.
        from: i32,
        /// How many it needs.
        to: i32,
    },
    /// It can't be written, and only somebody else can change that.
    Refuse(String),
}

/// Decides over one target topic. Pure: `plan` shows what `run` does.
pub fn action_for(route: &RoutePlan, target: &str, name: &str, source: i32, found: Option<&TopicInfo>) -> TopicAction {
    let Some(found) = found else {
        return if route.create_topics {
            TopicAction::Create { partitions: source }
        } else {
            TopicAction::Refuse(format!(
                "topic {name} does not exist on cluster {target}, and create_topics is off: create it, or switch that on"
            ))
        };
    };
    if let Some(fault) = &found.fault {
        return TopicAction::Refuse(fault.reason.clone());
    }
    if route.partitioning == Partitioning::ByKey || found.partitions >= source {
        return TopicAction::Use { partitions: found.partitions };
    }
    if route.create_topics {
        return TopicAction::Grow { from: found.partitions, to: source };
    }
    TopicAction::Refuse(format!(
        "topic {name} on cluster {target} has {} partitions, the source has {source}: add partitions, switch create_topics \
         on, or use `partitioning: by_key`",
        found.partitions
    ))
}

/// The clients that a target's preparation needs.
pub struct Clients {
    /// The source cluster.
    pub source: Arc<Admin>,
    /// The target cluster.
    pub target: Arc<Admin>,
    /// The target's watermarks; `None` where no progress is kept.
    pub group: Option<Arc<Group>>,
}

/// What is to be prepared.
pub struct Request {
    /// The route.
    pub route: Arc<RoutePlan>,
    /// The target.
    pub target: TargetPlan,
    /// The source topics that are not written yet, or have grown, with all of their partitions.
    pub topics: Topics,
    /// Those of their partitions that this process copies.
    pub partitions: Vec<TopicPartition>,
    /// Watermarks that this process knows already.
    pub known: HashMap<TopicPartition, Noted>,
    /// All topics of the route.
    pub all: Topics,
    /// Whether the route was just started: only then does its `start` count.
    pub first: bool,
    /// Whether it is this process that says where a target starts for the first time: it copies the first partition.
    pub leads: bool,
    /// Set once one of the partitions is to be another process's: then nothing may be committed for it any more.
    pub withdrawn: Arc<AtomicBool>,
}

/// A target that can be written.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Each source partition, where its records go, and the first offset that the target needs.
    pub partitions: Vec<(TopicPartition, Arc<TargetTopic>, Noted)>,
    /// Source topics that can't be written, and why.
    pub refused: Vec<(String, Fault)>,
    /// Partitions of which the source does not have what comes next, and which offsets are lost.
    pub gaps: Vec<(TopicPartition, Fault)>,
}

/// Makes a target ready: finds or fixes where it starts, and creates or grows its topics.
pub fn prepare(clients: &Clients, request: &Request) -> Result<Prepared, Fault> {
    let starts = starts(clients, request)?;
    let gaps = gaps(clients, request, &starts)?;
    let existing = clients.target.topics()?;
    let limits = limits(clients, request, &existing);
    let mut prepared = Prepared::default();
    for (name, partitions) in &request.topics {
        match make_ready(clients, request, name, *partitions, &existing) {
            Ok(topic) => {
                let limits = limits.get(&*topic.name).copied().unwrap_or_default();
                let topic = Arc::new(TargetTopic { limits, ..topic });
                for partition in request.partitions.iter().filter(|partition| *partition.topic == **name) {
                    if let Some(from) = starts.get(partition).filter(|_| !gaps.contains_key(partition)) {
                        prepared.partitions.push((partition.clone(), topic.clone(), from.clone()));
                    }
                }
            }
            // one topic's trouble is its own; trouble with the cluster is everybody's
            Err(fault) if fault.class != FaultClass::Config => return Err(fault),
            Err(fault) => prepared.refused.push((name.clone(), fault)),
        }
    }
    prepared.gaps.extend(gaps);
    Ok(prepared)
}

/// What the target's topics take. Who may not ask for it goes without: what is refused is found out then.
fn limits(
    clients: &Clients,
    request: &Request,
    existing: &BTreeMap<String, TopicInfo>,
) -> BTreeMap<String, TopicLimits> {
    let names = request.topics.keys().filter_map(|name| request.target.topic.apply(name).ok());
    let names: Vec<String> = names.filter(|name| existing.contains_key(name)).collect();
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    clients.target.limits(&asked).unwrap_or_else(|fault| {
        tracing::debug!(target = %request.target.name(), "limits of topics are not known: {fault}");
        BTreeMap::new()
    })
}

/// Finds the partitions that the source has trimmed past their watermark, or cut off below it. Such a target must not
/// join a read that the others can go on with, and nothing is skipped behind anybody's back.
fn gaps(
    clients: &Clients,
    request: &Request,
    starts: &HashMap<TopicPartition, Noted>,
) -> Result<HashMap<TopicPartition, Fault>, Fault> {
    let partitions: Vec<TopicPartition> = starts.keys().cloned().collect();
    let first = clients.source.offsets(&partitions, OffsetAt::Earliest)?;
    let end = clients.source.offsets(&partitions, OffsetAt::Latest)?;
    let target = request.target.name();
    let gap = |partition: TopicPartition| {
        let (from, first, end) = (&starts.get(&partition)?.offset, first.get(&partition)?, end.get(&partition)?);
        let reason = if from < first {
            format!(
                "{partition} for target {target}: offsets {from} to {} are gone from the source, which starts at {first}",
                first - 1
            )
        } else if from > end {
            format!(
                "{partition} for target {target}: it goes on at offset {from}, and the source ends at {end}: was it truncated or created anew?"
            )
        } else {
            return None;
        };
        Some((partition, Fault::new(FaultClass::Config, reason)))
    };
    Ok(partitions.into_iter().filter_map(gap).collect())
}

fn make_ready(
    clients: &Clients,
    request: &Request,
    source_topic: &str,
    source_partitions: i32,
    existing: &BTreeMap<String, TopicInfo>,
) -> Result<TargetTopic, Fault> {
    let config_fault = |reason: String| Fault::new(FaultClass::Config, reason);
    let name = request.target.topic.apply(source_topic).map_err(|error| config_fault(error.to_string()))?;
    let action = action_for(&request.route, request.target.name(), &name, source_partitions, existing.get(&name));
    let partitions = match action {
        TopicAction::Use { partitions } => partitions,
        TopicAction::Refuse(reason) => return Err(config_fault(reason)),
        TopicAction::Create { partitions } => {
            let settings = clients.source.settings(source_topic)?;
            tracing::info!(target = %request.target.name(), topic = %name, partitions, ?settings, "creating a topic");
            clients.target.create_topic(&NewTopicSpec { name: name.clone(), partitions, settings })?;
            partitions
        }
        TopicAction::Grow { from, to } => {
            tracing::info!(target = %request.target.name(), topic = %name, from, to, "growing a topic");
            clients.target.grow_topic(&name, to)?;
            to
        }
    };
    let limits = TopicLimits::default();
    Ok(TargetTopic { name: name.into(), partitions, partitioning: request.route.partitioning, limits })
}

/// Where each partition starts: at what this process knows, else at what is committed, else at the route's `start`;
/// but a partition born after the route was started begins with its first record.
///
/// New starts are committed at once, before anything is copied: that is how a later process knows them from newborn
/// ones. At the first start ever one process does so for the partitions of all processes, or they would take each other's
/// commits for a sign that theirs are newborn.
fn starts(clients: &Clients, request: &Request) -> Result<HashMap<TopicPartition, Noted>, Fault> {
    let mut starts = request.known.clone();
    let unknown: Vec<TopicPartition> =
        request.partitions.iter().filter(|tp| !starts.contains_key(*tp)).cloned().collect();
    if unknown.is_empty() {
        return Ok(starts);
    }
    let asked = if request.first { partitions_of(&request.all) } else { unknown.clone() };
    let committed = match &clients.group {
        Some(group) => group.committed_with_notes(&asked)?,
        None => HashMap::new(),
    };
    let first_ever = request.first && committed.is_empty() && starts.is_empty();
    let fresh = if first_ever {
        if !request.leads {
            let reason = "another process that shares this route has not said yet where it starts";
            return Err(Fault::new(FaultClass::System, reason));
        }
        starting_offsets(&clients.source, &request.route.start, &asked)?
    } else {
        let newborn: Vec<TopicPartition> = unknown.into_iter().filter(|tp| !committed.contains_key(tp)).collect();
        clients.source.offsets(&newborn, OffsetAt::Earliest)?
    };
    let begins = |offset| Noted { offset, note: Note { start: Some(offset), ..Note::default() } };
    let fresh: Vec<(TopicPartition, Noted)> = fresh.into_iter().map(|(tp, offset)| (tp, begins(offset))).collect();
    if let Some(group) = &clients.group
        && !fresh.is_empty()
    {
        if request.withdrawn.load(Relaxed) {
            return Err(Fault::new(
                FaultClass::System,
                "another process is to have a part of it: what is left is looked at anew",
            ));
        }
        group.commit(&fresh)?;
    }
    let found = committed.into_iter().chain(fresh).filter(|(partition, _)| request.partitions.contains(partition));
    for (partition, noted) in found {
        starts.entry(partition).or_insert(noted);
    }
    Ok(starts)
}

/// The offsets that a `start` means for these partitions.
pub fn starting_offsets(
    source: &Admin,
    start: &Start,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, i64>, Fault> {
    match start {
        Start::Earliest => source.offsets(partitions, OffsetAt::Earliest),
        Start::Latest => source.offsets(partitions, OffsetAt::Latest),
        Start::Timestamp(time) => source.offsets(partitions, OffsetAt::Timestamp(*time)),
        Start::Offsets(offsets) => {
            let mut starts = source.offsets(partitions, OffsetAt::Earliest)?;
            for (partition, start) in &mut starts {
                let explicit = offsets.get(&*partition.topic).and_then(|topic| topic.get(&partition.partition));
                *start = explicit.copied().unwrap_or(*start);
            }
            Ok(starts)
        }
    }
}
