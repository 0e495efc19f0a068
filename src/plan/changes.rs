//! What a config that was read again changes of the one that runs: told key by key, and how far it reaches.

use std::fmt::Display;
use std::time::Duration;

use bytesize::ByteSize;

use super::telemetry::Telemetry;
use super::{Admin, ClusterSpec, Limits, Plan, RoutePlan, TargetPlan, as_written};
use crate::domain::bandwidth::show_limit;
use crate::domain::start::Start;

/// What takes effect later than the rest.
const AT_START: &str = "takes effect when the process starts anew";

/// What `new` changes of `old`, in the order of the config's keys, each with the key's path; nothing where they say the same. No value
/// that may be secret is told.
pub fn changes(old: &Plan, new: &Plan) -> Vec<String> {
    let mut told = Told::default();
    told.admin(&old.admin, &new.admin);
    told.value("reload", old.reload.name(), new.reload.name());
    told.limits(&old.limits, &new.limits);
    told.telemetry(&old.telemetry, &new.telemetry);
    for (alias, cluster) in &new.clusters {
        match old.clusters.get(alias) {
            Some(before) => told.cluster(before, cluster),
            None => told.line(format!("clusters.{alias}"), "is new"),
        }
    }
    for alias in old.clusters.keys().filter(|alias| !new.clusters.contains_key(*alias)) {
        told.line(format!("clusters.{alias}"), "is gone");
    }
    for route in &new.routes {
        match old.routes.iter().find(|before| before.name == route.name) {
            Some(before) => told.route(before, route),
            None if route.enabled => told.line(format!("routes.{}", route.name), "is new, and starts"),
            None => told.line(format!("routes.{}", route.name), "is new, and switched off"),
        }
    }
    for gone in old.routes.iter().filter(|before| new.routes.iter().all(|route| route.name != before.name)) {
        told.line(format!("routes.{}", gone.name), "is gone: it finishes what is in flight, and ends");
    }
    told.0
}

impl RoutePlan {
    /// Whether nothing of it can go on as it is, where `next` is to be done: it drains, and begins anew.
    pub fn begins_anew_for(&self, next: &Self) -> bool {
        !self.source.is_reached_as(&next.source)
            || self.partitioning != next.partitioning
            || self.keeping != next.keeping
            || self.batch != next.batch
            || self.read_by() != next.read_by()
    }
}

impl TargetPlan {
    /// Whether this target can't go on as it is, where `next` is to be done: it finishes what its writer has, and begins anew.
    pub fn begins_anew_for(&self, next: &Self) -> bool {
        let (letters, next_letters) = (&self.dead_letter, &next.dead_letter);
        !self.cluster.is_reached_as(&next.cluster)
            || self.topic != next.topic
            || self.retry != next.retry
            || self.transfer != next.transfer
            || letters.topic != next_letters.topic
            || !letters.cluster.is_reached_as(&next_letters.cluster)
    }
}

/// What is told so far.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn line(&mut self, path: impl Display, what: impl Display) {
        self.0.push(format!("{path}: {what}"));
    }

    fn value<T: PartialEq + Display + ?Sized>(&mut self, path: impl Display, old: &T, new: &T) {
        if old != new {
            self.line(path, format_args!("{new} instead of {old}"));
        }
    }

    fn rate(&mut self, path: impl Display, old: Option<u64>, new: Option<u64>) {
        self.value(path, &show_limit(old), &show_limit(new));
    }

    fn size(&mut self, path: impl Display, old: u64, new: u64) {
        self.value(path, &ByteSize::b(old), &ByteSize::b(new));
    }

    /// A key of which only that it has another value is told.
    fn other<T: PartialEq>(&mut self, path: impl Display, old: &T, new: &T, what: &str) {
        if old != new {
            self.line(path, what);
        }
    }

    fn admin(&mut self, old: &Admin, new: &Admin) {
        use secrecy::ExposeSecret;
        let token = |admin: &Admin| admin.token.as_ref().map(|token| token.expose_secret().to_owned());
        self.other("admin.listen", &old.listen, &new.listen, AT_START);
        self.other("admin.token", &token(old), &token(new), AT_START);
        self.other("admin.state", &old.state, &new.state, AT_START);
    }

    fn limits(&mut self, old: &Limits, new: &Limits) {
        self.size("limits.in_flight", old.in_flight, new.in_flight);
        self.rate("limits.bandwidth", old.bandwidth, new.bandwidth);
        self.value("limits.drain", &show_time(old.drain), &show_time(new.drain));
        self.other("limits.stall", &old.stall, &new.stall, AT_START);
    }

    fn telemetry(&mut self, old: &Telemetry, new: &Telemetry) {
        fn otlp(all: &Telemetry) -> impl PartialEq {
            (all.metrics.clone(), all.logs.clone(), all.traces.clone(), all.interval)
        }
        self.other("telemetry.per_partition", &old.per_partition, &new.per_partition, AT_START);
        self.other("telemetry.resource", &old.resource, &new.resource, AT_START);
        self.other("telemetry.otlp", &otlp(old), &otlp(new), AT_START);
        self.other("telemetry.traces.sample", &old.sample, &new.sample, AT_START);
    }

    fn cluster(&mut self, old: &ClusterSpec, new: &ClusterSpec) {
        let path = format!("clusters.{}", new.alias);
        if !old.is_reached_as(new) {
            self.line(&path, "is reached in another way: what reads or writes it begins anew");
        }
        self.rate(format_args!("{path}.peak_bandwidth over its replicas"), old.write_bandwidth, new.write_bandwidth);
        self.rate(format_args!("{path}.read_bandwidth"), old.read_bandwidth, new.read_bandwidth);
        let region = |cluster: &ClusterSpec| cluster.region.clone().unwrap_or_else(|| "none".to_owned());
        self.value(format_args!("{path}.region"), &region(old), &region(new));
    }

    fn route(&mut self, old: &RoutePlan, new: &RoutePlan) {
        const ANEW: &str = "has another value: the route finishes what is in flight, and begins anew";
        let path = format!("routes.{}", new.name);
        self.value(format_args!("{path}.enabled"), &old.enabled, &new.enabled);
        self.value(format_args!("{path}.from"), &old.source.alias, &new.source.alias);
        self.value(format_args!("{path}.topics.include"), &show(&old.topics.include), &show(&new.topics.include));
        self.value(format_args!("{path}.topics.exclude"), &show(&old.topics.exclude), &show(&new.topics.exclude));
        self.value(format_args!("{path}.start"), &show_start(&old.start), &show_start(&new.start));
        self.other(format_args!("{path}.partitioning"), &old.partitioning, &new.partitioning, ANEW);
        self.value(format_args!("{path}.create_topics"), &old.create_topics, &new.create_topics);
        self.value(format_args!("{path}.on_gap"), old.on_gap.name(), new.on_gap.name());
        self.other(format_args!("{path}.batch"), &old.batch, &new.batch, ANEW);
        self.size(format_args!("{path}.in_flight"), old.in_flight, new.in_flight);
        self.rate(format_args!("{path}.bandwidth"), old.bandwidth, new.bandwidth);
        self.other(format_args!("{path}.retry"), &old.retry, &new.retry, "has another value");
        for target in &new.targets {
            match old.targets.iter().find(|before| before.name() == target.name()) {
                Some(before) => self.target(&path, before, target),
                None => self.line(format_args!("{path}.to.{}", target.name()), "is new"),
            }
        }
        for gone in old.targets.iter().filter(|before| new.targets.iter().all(|target| target.name() != before.name()))
        {
            let what = "is gone: what its writer has is finished, and its watermarks are kept in its group";
            self.line(format_args!("{path}.to.{}", gone.name()), what);
        }
    }

    fn target(&mut self, route: &str, old: &TargetPlan, new: &TargetPlan) {
        let path = format!("{route}.to.{}", new.name());
        // without a limit of its own a target has its cluster's, and that is told there
        self.rate(format_args!("{path}.bandwidth"), old.own_bandwidth(), new.own_bandwidth());
        self.value(format_args!("{path}.topic"), &old.topic.to_string(), &new.topic.to_string());
        let letters =
            |target: &TargetPlan| (target.dead_letter.topic.clone(), target.dead_letter.cluster.alias.clone());
        let retry = |target: &TargetPlan| (target.retry, letters(target));
        self.other(format_args!("{path}.retry"), &retry(old), &retry(new), "has another value");
        self.value(format_args!("{path}.transfer"), old.transfer.name(), new.transfer.name());
    }
}

fn show(patterns: &[regex::Regex]) -> String {
    let patterns: Vec<String> = patterns.iter().map(as_written).collect();
    if patterns.is_empty() { "none".to_owned() } else { patterns.join(", ") }
}

fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn show_start(start: &Start) -> String {
    match start {
        Start::Earliest => "earliest".to_owned(),
        Start::Latest => "latest".to_owned(),
        Start::Timestamp(ms) => format!("timestamp {ms}"),
        Start::Offsets(offsets) => format!("offsets {offsets:?}"),
    }
}
