//! What has to be known and done before partitions can be copied: topics, offsets, watermarks. All of it blocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::gaps::{Compared, Resume, compare_all};
use super::lasting::{COMMIT_LONGEST, Lasting};
use super::progress::{Noted, TargetIndex};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::gap::{Gap, OnGap};
use crate::domain::limits::TopicLimits;
use crate::domain::note::Note;
use crate::domain::routing::Partitioning;
use crate::domain::start::Start;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, NewTopicSpec, OffsetAt, SomeOffsets, TopicInfo};
use crate::kafka::group::Group;
use crate::kafka::{TargetTopic, TopicIds};
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
    /// Watermarks that this process knows already, with their notes.
    pub known: HashMap<TopicPartition, (i64, Note)>,
    /// Watermarks of partitions that were taken away and are back.
    pub former: HashMap<TopicPartition, (i64, Note)>,
    /// Those that are written already: their topic may have grown, and there is nothing else to look at.
    pub running: HashSet<TopicPartition>,
    /// All topics of the route.
    pub all: Topics,
    /// Whether the route was just started: only then does its `start` count.
    pub first: bool,
    /// Whether it is this process that says where a target starts for the first time: it copies the first partition.
    pub leads: bool,
    /// Set once one of the partitions is to be another process's: then nothing may be committed for it any more.
    pub withdrawn: Arc<AtomicBool>,
    /// What is known of the route, and what commits where a target starts if this process may still act for it.
    pub lasting: Lasting,
    /// Which target it is.
    pub index: TargetIndex,
}

/// A target that can be written.
#[derive(Debug, Default)]
pub struct Prepared {
    /// What can be copied.
    pub partitions: Vec<Ready>,
    /// Source topics that can't be written, and why.
    pub refused: Vec<(String, Fault)>,
    /// Partitions of which the source tells nothing now, and why; the others need not wait for them.
    pub silent: BTreeMap<TopicPartition, Fault>,
    /// Partitions that stop, because the source does not have what comes next.
    pub stopped: Vec<(TopicPartition, Gap, Resume)>,
}

/// A source partition that can be copied.
#[derive(Debug)]
pub struct Ready {
    /// Which.
    pub partition: TopicPartition,
    /// Where its records go.
    pub topic: Arc<TargetTopic>,
    /// The first offset that the target needs.
    pub from: i64,
    /// What is kept with the watermark.
    pub note: Note,
    /// What is skipped to begin there, and where the source ends.
    pub skipped: Option<(Gap, i64)>,
}

/// Makes a target ready: finds or fixes where it starts, and creates or grows its topics.
pub fn prepare(clients: &Clients, request: &Request) -> Result<Prepared, Fault> {
    let mut prepared = Prepared::default();
    let (ids, starts) = starts(clients, request, &mut prepared.silent)?;
    let fresh: HashSet<TopicPartition> =
        starts.iter().filter(|(_, resume)| resume.fresh).map(|(partition, _)| partition.clone()).collect();
    let mut compared = compare_all(&request.route.source, &clients.source, starts, &ids, &mut prepared.silent)?;
    let existing = clients.target.topics()?;
    let limits = limits(clients, request, &existing);
    for (name, partitions) in &request.topics {
        match make_ready(clients, request, name, *partitions, &existing) {
            Ok(topic) => {
                let limits = limits.get(&*topic.name).copied().unwrap_or_default();
                let topic = Arc::new(TargetTopic { limits, ..topic });
                if existing.contains_key(&*topic.name) {
                    tell_of_strangers(clients, request, name, &topic, &fresh);
                }
                for partition in request.partitions.iter().filter(|partition| *partition.topic == **name) {
                    let (partition, topic) = (partition.clone(), topic.clone());
                    if let Some((from, note)) =
                        request.known.get(&partition).filter(|_| request.running.contains(&partition))
                    {
                        let (from, note, skipped) = (*from, note.clone(), None);
                        prepared.partitions.push(Ready { partition, topic, from, note, skipped });
                        continue;
                    }
                    match compared.remove(&partition) {
                        Some(Compared { resume, gap: Some(gap), .. }) if request.route.on_gap == OnGap::Fail => {
                            prepared.stopped.push((partition, gap, resume));
                        }
                        Some(compared) => prepared.partitions.push(ready(partition, topic, compared)),
                        None => {}
                    }
                }
            }
            // one topic's trouble is its own; trouble with the cluster is everybody's
            Err(fault) if fault.class != FaultClass::Config => return Err(fault),
            Err(fault) => prepared.refused.push((name.clone(), fault)),
        }
    }
    Ok(prepared)
}

/// Says so where a target has records and nobody knows of a watermark: with a topic its groups' offsets are deleted, so one
/// that was created anew while no process ran looks like one that was never copied. Nothing depends on it.
fn tell_of_strangers(
    clients: &Clients,
    request: &Request,
    source_topic: &str,
    topic: &TargetTopic,
    fresh: &HashSet<TopicPartition>,
) {
    let numbers = fresh.iter().filter(|tp| *tp.topic == *source_topic).map(|tp| tp.partition);
    let there: Vec<TopicPartition> = numbers
        .filter(|number| *number < topic.partitions)
        .map(|number| TopicPartition::new(topic.name.clone(), number))
        .collect();
    let records = clients.target.offsets(&there, OffsetAt::Latest).map_or(0, |ends| ends.values().sum());
    if records > 0 && request.route.keeping.keeps_progress() {
        let (route, target) = (&request.route.name, request.target.name());
        tracing::warn!(%route, target, topic = source_topic, target_topic = %topic.name, records,
            "no watermark is known, and the target has records: was the source topic created anew, or did its offsets expire?");
    }
}

/// A partition that can be copied, behind its gap where it has one.
fn ready(partition: TopicPartition, topic: Arc<TargetTopic>, compared: Compared) -> Ready {
    let Compared { resume, source, gap } = compared;
    let skipped = gap.map(|gap| (gap, source.end));
    let (from, note) = gap.map_or((resume.from, resume.note.clone()), |gap| gap.passed(&resume.note, &source));
    Ready { partition, topic, from, note, skipped }
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
fn starts(
    clients: &Clients,
    request: &Request,
    silent: &mut BTreeMap<TopicPartition, Fault>,
) -> Result<(TopicIds, HashMap<TopicPartition, Resume>), Fault> {
    let ids = clients.source.topic_ids(request.topics.keys().map(String::as_str))?;
    let mut starts: HashMap<TopicPartition, (i64, Note)> = request.known.clone();
    let unknown: Vec<TopicPartition> =
        request.partitions.iter().filter(|tp| !starts.contains_key(*tp)).cloned().collect();
    let mut in_group = HashSet::new();
    let mut fresh = HashMap::new();
    if !unknown.is_empty() {
        let committed = committed(clients, request, &unknown)?;
        in_group.extend(committed.keys().cloned());
        let (begun, without) = unknown_starts(clients, request, (&unknown, &ids), committed, &mut starts)?;
        silent.extend(without);
        fresh = begun;
    }
    let note = |(partition, offset): (TopicPartition, i64)| {
        let topic_id = ids.get(&*partition.topic).cloned().flatten();
        (partition, offset, Note { topic_id, start: Some(offset), ..Note::default() })
    };
    let fresh: Vec<Noted> = fresh.into_iter().map(note).collect();
    if let Some(group) = &clients.group
        && !fresh.is_empty()
    {
        if request.withdrawn.load(Relaxed) {
            let reason = "another process is to have a part of it: what is left is looked at anew";
            return Err(Fault::new(FaultClass::System, reason));
        }
        request.lasting.commit(request.index, group, &fresh, COMMIT_LONGEST)?;
    }
    let is_fresh: HashSet<TopicPartition> = fresh.iter().map(|(partition, ..)| partition.clone()).collect();
    for (partition, offset, note) in fresh {
        starts.entry(partition).or_insert((offset, note));
    }
    let resume = |(partition, (from, note)): (TopicPartition, (i64, Note))| {
        let end = request.lasting.progress.end(&partition, note.topic_id.clone());
        let (fresh, in_group) = (is_fresh.contains(&partition), in_group.contains(&partition));
        (partition, Resume { from, note, end, fresh, in_group })
    };
    let wanted =
        |partition: &TopicPartition| request.partitions.contains(partition) && !request.running.contains(partition);
    Ok((ids, starts.into_iter().filter(|(partition, _)| wanted(partition)).map(resume).collect()))
}

/// What the group has of these partitions; at the first start, of all.
fn committed(
    clients: &Clients,
    request: &Request,
    unknown: &[TopicPartition],
) -> Result<HashMap<TopicPartition, (i64, Note)>, Fault> {
    let asked = if request.first { partitions_of(&request.all) } else { unknown.to_vec() };
    clients.group.as_ref().map_or_else(|| Ok(HashMap::new()), |group| group.committed_with_notes(&asked))
}

/// Adds what is committed, or was known formerly, to the starts; returns where the others begin, which nobody has begun with. Where
/// a target starts for the first time, all of it has to be known; later those can wait that the source says nothing of.
fn unknown_starts(
    clients: &Clients,
    request: &Request,
    (unknown, ids): (&[TopicPartition], &TopicIds),
    committed: HashMap<TopicPartition, (i64, Note)>,
    starts: &mut HashMap<TopicPartition, (i64, Note)>,
) -> Result<SomeOffsets, Fault> {
    let first_ever = request.first && committed.is_empty() && starts.is_empty() && request.former.is_empty();
    starts.extend(committed);
    if first_ever {
        if !request.leads {
            let reason = "another process that shares this route has not said yet where it starts";
            return Err(Fault::new(FaultClass::System, reason));
        }
        let begun = starting_offsets(&clients.source, &request.route.start, &partitions_of(&request.all))?;
        return Ok((begun, BTreeMap::new()));
    }
    // the commits of a topic that is deleted are deleted with it: what was known of it here is all that is left
    for partition in unknown {
        if let Some(former) = request.former.get(partition) {
            starts.entry(partition.clone()).or_insert_with(|| former.clone());
        }
    }
    let is_newborn = |tp: &&TopicPartition| !starts.contains_key(*tp) && ids.contains_key(&*tp.topic);
    let newborn: Vec<TopicPartition> = unknown.iter().filter(is_newborn).cloned().collect();
    clients.source.offsets_of_some(&newborn, OffsetAt::Earliest)
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
