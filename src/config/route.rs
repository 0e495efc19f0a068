//! `routes.<name>`: what is copied from where to where, and the rules that span several keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::cluster::{Clusters, check_name};
use super::keys;
use super::mistake::{Read, Refusal, Report, Reported, quoted, suggestion};
use super::reader::{Field, Section};
use super::tree::join;
use super::values::{self, show_size};
use crate::domain::routing::{Partitioning, TopicTemplate};
use crate::domain::start::Start;
use crate::plan::{BatchLimits, ClusterSpec, RoutePlan, Selected, TargetPlan, TopicSelection};

/// Reads all routes. `in_flight_limit` is the whole process's, if it could be read.
pub(super) fn read_all(field: &Field<'_>, clusters: &Clusters, in_flight_limit: Read<u64>) -> Vec<Read<RoutePlan>> {
    const HINT: &str = "name what is copied, such as `routes: { orders: { from: …, topics: …, to: … } }`";
    let entries = match field.required(HINT).and_then(|field| field.entries(HINT)) {
        Ok(entries) => entries,
        Err(Reported) => return Vec::new(),
    };
    if entries.is_empty() {
        let _ = field.wrong("is empty", HINT);
    }
    entries.into_iter().map(|(name, field)| read(name, &field, clusters, in_flight_limit)).collect()
}

fn read(name: &str, field: &Field<'_>, clusters: &Clusters, in_flight_limit: Read<u64>) -> Read<RoutePlan> {
    let checked_name = check_name(field, name);
    let section = field.section(keys::ROUTE)?;
    let enabled = section.field("enabled").flag();
    let source = read_source(&section.field("from"), clusters);
    let topics = read_topics(&section.field("topics"));
    let start = read_start(&section.field("start"), &topics);
    let partitioning = section.field("partitioning").choice(PARTITIONINGS);
    let create_topics = section.field("create_topics").flag();
    let batch = read_batch(&section.field("batch"));
    let in_flight = read_in_flight(&section.field("in_flight"), &batch, in_flight_limit);
    let targets = read_targets(&section.field("to"), clusters, &source, &topics);
    checked_name?;
    Ok(RoutePlan {
        name: name.to_owned(),
        enabled: enabled?.unwrap_or(false),
        source: source?,
        topics: topics?,
        start: start?,
        partitioning: partitioning?.unwrap_or_default(),
        create_topics: create_topics?.unwrap_or(true),
        batch: batch?,
        in_flight: in_flight?,
        keeps_progress: true,
        bandwidth: None,
        retry: crate::domain::retry::Policies::default(),
        targets: targets?,
    })
}

const PARTITIONINGS: &[(&str, Partitioning)] = &[("keep", Partitioning::Keep), ("by_key", Partitioning::ByKey)];

fn read_source(field: &Field<'_>, clusters: &Clusters) -> Read<Arc<ClusterSpec>> {
    const HINT: &str = "name the cluster that is read";
    let field = field.required(HINT)?;
    let alias = field.text(HINT)?.unwrap_or_default();
    match clusters.get(alias) {
        Some(cluster) => cluster.clone(),
        None => {
            let hint = suggestion(alias, clusters.keys().map(String::as_str));
            Err(field.wrong(format!("{} is not one of the clusters", field.shown()), hint))
        }
    }
}

fn read_topics(field: &Field<'_>) -> Read<TopicSelection> {
    const HINT: &str = "give regular expressions for whole topic names, such as [\"orders\\\\..*\"]";
    let section = field.section(keys::TOPICS)?;
    let include = section.field("include").required(HINT).and_then(|field| match read_patterns(field, HINT)? {
        patterns if patterns.is_empty() => Err(field.wrong("is empty", HINT)),
        patterns => Ok(patterns),
    });
    let exclude = read_patterns(&section.field("exclude"), HINT);
    Ok(TopicSelection { include: include?, exclude: exclude? })
}

fn read_patterns(field: &Field<'_>, hint: &str) -> Read<Vec<Regex>> {
    let read: Vec<_> = field.list_or_one().iter().map(|one| one.parsed(hint, values::pattern)).collect();
    read.into_iter().filter_map(Result::transpose).collect()
}

fn read_start(field: &Field<'_>, topics: &Read<TopicSelection>) -> Read<Start> {
    const HINT: &str =
        "write earliest, latest, { timestamp: 2026-11-01T00:00:00Z } or { offsets: { a-topic: { 0: 42 } } }";
    if !field.is_mapping() {
        let start = field.parsed(HINT, |text| match text {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            _ => Err(Refusal::new(format!("{} is not a start", quoted(text)), HINT)),
        });
        return start.map(Option::unwrap_or_default);
    }
    let section = field.section(keys::START)?;
    let (timestamp, offsets) = (section.field("timestamp"), section.field("offsets"));
    match (timestamp.is_set(), offsets.is_set()) {
        (true, false) => {
            let hint = "write a time in UTC, such as 2026-11-01T00:00:00Z";
            timestamp.parsed(hint, values::timestamp)?.map(Start::Timestamp).ok_or(Reported)
        }
        (false, true) => read_offsets(&offsets, topics).map(Start::Offsets),
        (true, true) => Err(field.wrong("has both a timestamp and offsets", "keep one of them")),
        (false, false) => Err(field.wrong("has neither a timestamp nor offsets", HINT)),
    }
}

type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

fn read_offsets(field: &Field<'_>, topics: &Read<TopicSelection>) -> Read<Offsets> {
    const HINT: &str = "write topic, partition and offset, such as { orders.eu: { 0: 42 } }";
    let read: Vec<_> = field
        .entries(HINT)?
        .into_iter()
        .map(|(topic, field)| {
            // a misspelt topic would start at the earliest without a word
            if let Ok(topics) = topics
                && topics.select(topic) != Selected::Yes
            {
                let hint = "spell the topic as the source does, or take it into `topics.include`";
                return Err(field.wrong("the route does not select this topic", hint));
            }
            Ok((topic.to_owned(), read_partitions(&field, HINT)?))
        })
        .collect();
    read.into_iter().collect()
}

fn read_partitions(field: &Field<'_>, hint: &str) -> Read<BTreeMap<i32, i64>> {
    let read: Vec<_> = field
        .entries(hint)?
        .into_iter()
        .map(|(partition, field)| {
            let offset = field.required(hint).and_then(|field| field.integer(0..=i64::MAX));
            let number = partition.parse::<i32>().ok().filter(|number| *number >= 0);
            let number = number.ok_or_else(|| field.wrong("its key is not a partition's number", hint));
            Ok((number?, offset?.ok_or(Reported)?))
        })
        .collect();
    read.into_iter().collect()
}

fn read_batch(field: &Field<'_>) -> Read<BatchLimits> {
    const LONGEST_WAIT: Duration = Duration::from_mins(1);
    let section = field.section(keys::BATCH)?;
    let max_messages = section.field("max_messages").integer(1..=1_000_000);
    let max_wait = section.field("max_wait").duration(Duration::ZERO..=LONGEST_WAIT);
    let max_bytes = section.field("max_bytes").size(1 << 10..=64 << 20);
    let max_messages = max_messages?.and_then(|number| u32::try_from(number).ok());
    Ok(BatchLimits {
        max_messages: max_messages.unwrap_or(keys::MAX_MESSAGES),
        max_wait: max_wait?.unwrap_or(keys::MAX_WAIT),
        max_bytes: max_bytes?.unwrap_or(keys::MAX_BYTES),
    })
}

/// Two batches have to fit, so that one can be read while the other is written.
fn read_in_flight(field: &Field<'_>, batch: &Read<BatchLimits>, limit: Read<u64>) -> Read<u64> {
    let in_flight = field.size(2 << 10..=1 << 40)?.unwrap_or(keys::IN_FLIGHT);
    let shown = show_size(in_flight);
    if let Ok(batch) = batch
        && in_flight < 2 * batch.max_bytes
    {
        let hint = format!("give at least {}, twice `batch.max_bytes`", show_size(2 * batch.max_bytes));
        return Err(field.wrong(format!("{shown} does not hold two batches"), hint));
    }
    if let Ok(limit) = limit
        && in_flight > limit
    {
        let hint = format!("give at most {}, or raise `limits.in_flight`", show_size(limit));
        return Err(field.wrong(format!("{shown} is more than `limits.in_flight`"), hint));
    }
    Ok(in_flight)
}

fn read_targets(
    field: &Field<'_>,
    clusters: &Clusters,
    source: &Read<Arc<ClusterSpec>>,
    topics: &Read<TopicSelection>,
) -> Read<Vec<TargetPlan>> {
    const HINT: &str = "name the clusters that are written to, such as `to: { shanghai: {} }`";
    let entries = field.required(HINT)?.entries(HINT)?;
    if entries.is_empty() {
        return Err(field.wrong("is empty", HINT));
    }
    let read: Vec<_> = entries
        .into_iter()
        .map(|(alias, field)| {
            let section = field.section(keys::TARGET);
            let topic = section.and_then(|section| read_template(&section));
            let Some(cluster) = clusters.get(alias) else {
                let hint = suggestion(alias, clusters.keys().map(String::as_str));
                return Err(field.wrong("is not one of the clusters", hint));
            };
            let (topic, cluster) = (topic?, cluster.clone()?);
            if let (Ok(source), Ok(topics)) = (source, topics)
                && is_same_cluster(source, &cluster)
            {
                check_own_copies(&field, &topic, topics)?;
            }
            let dead_letter = crate::plan::DeadLetterPlan::beside(&cluster);
            let retry = crate::domain::retry::Policies::default();
            Ok(TargetPlan { cluster, topic, bandwidth: None, retry, dead_letter })
        })
        .collect();
    read.into_iter().collect()
}

fn read_template(section: &Section<'_>) -> Read<TopicTemplate> {
    const HINT: &str = "write a topic's name in which {topic} stands for the source's, such as gz.{topic}";
    let parse = |text: &str| TopicTemplate::parse(text).map_err(|error| Refusal::new(error.to_string(), HINT));
    Ok(section.field("topic").parsed(HINT, parse)?.unwrap_or_else(TopicTemplate::same))
}

/// Two aliases may stand for one cluster; a shared address gives that away.
fn is_same_cluster(source: &ClusterSpec, target: &ClusterSpec) -> bool {
    source.alias == target.alias || source.bootstrap.iter().any(|address| target.bootstrap.contains(address))
}

/// A route may copy within its source cluster, under other names that it does not select itself.
fn check_own_copies(field: &Field<'_>, template: &TopicTemplate, topics: &TopicSelection) -> Read<()> {
    if *template == TopicTemplate::same() {
        let hint = "name another cluster, or give `topic` another name, such as copy.{topic}";
        return Err(field.wrong("would copy a topic onto itself: the source cluster is the target", hint));
    }
    // any name will do: whether patterns select what this template makes rarely hangs on the rest of the name
    let copy = template.apply("anabranch");
    if copy.is_ok_and(|copy| topics.select(&copy) == Selected::Yes) {
        let hint = "name another cluster, or add the copies' names to `topics.exclude`";
        return Err(field.wrong("would copy its own copies without end: the source cluster is the target", hint));
    }
    Ok(())
}

/// Two routes must not share a consumer group, which holds a target's watermarks.
pub(super) fn check_groups(routes: &[RoutePlan], report: &Report) {
    let mut groups = BTreeMap::new();
    for route in routes {
        for target in &route.targets {
            let path = join(&join("routes", &route.name), &join("to", target.name()));
            if let Some(other) = groups.insert(format!("{}.{}", route.name, target.name()), path.clone()) {
                let problem = format!("its consumer group would be the same as that of {other}");
                let _ = report.add(&path, problem, "rename the route");
            }
        }
    }
}
