//! `routes.<name>`: what is copied from where to where, and the rules that span several keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use super::bandwidth::read_share;
use super::cluster::{Clusters, check_name, find};
use super::mistake::{Read, Refusal, Report, Reported, quoted, suggestion};
use super::reader::Field;
use super::retry::Retry;
use super::tree::join;
use super::values::{self, show_size};
use super::{keys, loops};
use crate::domain::gap::OnGap;
use crate::domain::routing::{Partitioning, TopicTemplate};
use crate::domain::start::Start;
use crate::plan::{BatchLimits, ClusterSpec, Keeping, RoutePlan, Selected, TargetPlan, TopicSelection, Transfer};

/// What the routes have in common.
pub(super) struct Process<'a> {
    pub(super) clusters: &'a Clusters,
    /// `limits.in_flight`, if it could be read.
    pub(super) in_flight: Read<u64>,
    pub(super) retry: Retry,
}

/// Reads all routes.
pub(super) fn read_all(field: &Field<'_>, process: &Process<'_>) -> Vec<Read<RoutePlan>> {
    const HINT: &str = "name what is copied, such as `routes: { orders: { from: …, topics: …, to: … } }`";
    let entries = match field.required(HINT).and_then(|field| field.entries(HINT)) {
        Ok(entries) => entries,
        Err(Reported) => return Vec::new(),
    };
    if entries.is_empty() {
        let _ = field.wrong("is empty", HINT);
    }
    entries.into_iter().map(|(name, field)| read(name, &field, process)).collect()
}

fn read(name: &str, field: &Field<'_>, process: &Process<'_>) -> Read<RoutePlan> {
    let checked_name = check_name(field, name);
    let section = field.section(keys::ROUTE)?;
    let enabled = section.field("enabled").flag();
    let source = read_source(&section.field("from"), process.clusters);
    let topics = read_topics(&section.field("topics"));
    let start = read_start(&section.field("start"), &topics);
    let partitioning = section.field("partitioning").choice(PARTITIONINGS);
    let create_topics = section.field("create_topics").flag();
    let on_gap = section.field("on_gap").choice(ON_GAP);
    let batch = read_batch(&section.field("batch"));
    let in_flight = read_in_flight(&section.field("in_flight"), &batch, process.in_flight);
    let bandwidth = section.field("bandwidth").or_unlimited(None, Field::rate);
    let retry = process.retry.with(&section.field("retry"), process.clusters);
    let transfer = section.field("transfer").choice(TRANSFERS);
    let rules = (partitioning.as_ref().ok().copied().flatten(), transfer.as_ref().ok().copied().flatten());
    let route = Route {
        partitioning: rules.0.unwrap_or_default(),
        transfer: rules.1.unwrap_or_default(),
        clusters: process.clusters,
        source: &source,
        topics: &topics,
        retry: &retry,
    };
    let targets = read_targets(&section.field("to"), &route);
    checked_name?;
    Ok(RoutePlan {
        name: name.to_owned(),
        enabled: enabled?.unwrap_or(false),
        source: source?,
        topics: topics?,
        start: start?,
        partitioning: partitioning?.unwrap_or_default(),
        create_topics: create_topics?.unwrap_or(true),
        on_gap: on_gap?.unwrap_or_default(),
        batch: batch?,
        in_flight: in_flight?,
        keeping: Keeping::ProgressAndShare,
        bandwidth: bandwidth?,
        retry: retry.policies?,
        targets: targets?,
    })
}

const ON_GAP: &[(&str, OnGap)] = &[("fail", OnGap::Fail), ("skip", OnGap::Skip)];
const TRANSFERS: &[(&str, Transfer)] =
    &[("auto", Transfer::Auto), ("passthrough", Transfer::Passthrough), ("records", Transfer::Records)];
const PARTITIONINGS: &[(&str, Partitioning)] = &[("keep", Partitioning::Keep), ("by_key", Partitioning::ByKey)];

fn read_source(field: &Field<'_>, clusters: &Clusters) -> Read<Arc<ClusterSpec>> {
    const HINT: &str = "name the cluster that is read";
    find(field.required(HINT)?, HINT, clusters)?.ok_or(Reported)
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
    if let Ok(batch) = batch
        && in_flight < 2 * batch.max_bytes
    {
        let hint = format!("give at least {}, twice `batch.max_bytes`", show_size(2 * batch.max_bytes));
        return Err(field.wrong("does not hold two batches", hint));
    }
    if let Ok(limit) = limit
        && in_flight > limit
    {
        let hint = format!("give at most {}, or raise `limits.in_flight`", show_size(limit));
        return Err(field.wrong("is more than `limits.in_flight`", hint));
    }
    Ok(in_flight)
}

/// What the targets of a route have in common.
struct Route<'a> {
    clusters: &'a Clusters,
    source: &'a Read<Arc<ClusterSpec>>,
    topics: &'a Read<TopicSelection>,
    retry: &'a Retry,
    partitioning: Partitioning,
    transfer: Transfer,
}

fn read_targets(field: &Field<'_>, route: &Route<'_>) -> Read<Vec<TargetPlan>> {
    const HINT: &str = "name the clusters that are written to, such as `to: { shanghai: {} }`";
    let entries = field.required(HINT)?.entries(HINT)?;
    if entries.is_empty() {
        return Err(field.wrong("is empty", HINT));
    }
    let read: Vec<_> = entries.into_iter().map(|(alias, field)| read_target(alias, &field, route)).collect();
    read.into_iter().collect()
}

fn read_target(alias: &str, field: &Field<'_>, route: &Route<'_>) -> Read<TargetPlan> {
    let cluster = route.clusters.get(alias).cloned().unwrap_or_else(|| {
        let hint = suggestion(alias, route.clusters.keys().map(String::as_str));
        Err(field.wrong("is not one of the clusters", hint))
    });
    let section = field.section(keys::TARGET)?;
    let topic = read_template(&section.field("topic"));
    let bandwidth = read_share(&section.field("bandwidth"), &cluster);
    let retry = route.retry.with(&section.field("retry"), route.clusters);
    let transfer = section.field("transfer").choice(TRANSFERS);
    let (topic, cluster) = (topic?, cluster?);
    let transfer = transfer?.unwrap_or(route.transfer);
    check_passthrough(&section.field("transfer"), transfer, route, &cluster)?;
    let dead_letter = retry.dead_letter(&cluster);
    let source = route.source.as_ref().ok().zip(route.topics.as_ref().ok());
    let loops =
        source.map_or(Ok(()), |(source, topics)| loops::check_copies(field, (&cluster, &topic), (source, topics)));
    if let Ok(dead_letter) = &dead_letter
        && retry.speaks_of_dead_letters()
    {
        loops::check_dead_letters_apart(field, (&cluster, &topic), dead_letter)?;
        if let Some((source, topics)) = source {
            loops::check_dead_letters_not_selected(field, &topic, dead_letter, (source, topics))?;
        }
    }
    loops?;
    Ok(TargetPlan {
        cluster,
        topic,
        bandwidth: bandwidth?,
        transfer,
        paused: false,
        retired: false,
        retry: retry.policies?,
        dead_letter: dead_letter?,
    })
}

/// Batches can only be passed on where nothing is asked for that needs their records, or librdkafka.
fn check_passthrough(field: &Field<'_>, transfer: Transfer, route: &Route<'_>, target: &ClusterSpec) -> Read<()> {
    if transfer != Transfer::Passthrough {
        return Ok(());
    }
    if route.partitioning == Partitioning::ByKey {
        let hint = "write `transfer: auto`, or `partitioning: keep`";
        return Err(field.wrong("can't be `passthrough` with `partitioning: by_key`, which looks at each record", hint));
    }
    let clusters = route.source.as_ref().ok().map(|source| &**source).into_iter().chain([target]);
    for cluster in clusters {
        if let Some(property) = cluster.foreign_property() {
            let problem =
                format!("can't be `passthrough`: it has no use for `{property}` of cluster {}", cluster.alias);
            return Err(field.wrong(problem, "write `transfer: auto`, or leave the property out"));
        }
    }
    Ok(())
}

fn read_template(field: &Field<'_>) -> Read<TopicTemplate> {
    const HINT: &str = "write a topic's name in which {topic} stands for the source's, such as gz.{topic}";
    Ok(field.parsed(HINT, |text| values::template(text, HINT))?.unwrap_or_else(TopicTemplate::same))
}

/// Two routes must not share a consumer group: each holds a target's watermarks, or shares out a route's partitions.
pub(super) fn check_groups(routes: &[RoutePlan], report: &Report) {
    let mut groups = BTreeMap::new();
    let mut add = |group: String, path: String| {
        if let Some(other) = groups.insert(group, path.clone()) {
            let problem = format!("its consumer group would be the same as that of {other}");
            let _ = report.add(&path, problem, "rename the route");
        }
    };
    for route in routes {
        let path = join("routes", &route.name);
        add(route.name.clone(), path.clone());
        for target in &route.targets {
            add(format!("{}.{}", route.name, target.name()), join(&path, &join("to", target.name())));
        }
    }
}
