//! `anabranch plan`: what would be copied, created and skipped, and why. Asks the clusters, changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::HumanBytes;
use serde::Serialize;

use super::run::switched;
use super::{Exit, Failure, Outcome, Output, print};
use crate::domain::fault::Fault;
use crate::domain::gap::OnGap;
use crate::engine::gaps;
use crate::engine::preparation::{TopicAction, action_for};
use crate::kafka::admin::{Admin, TopicInfo};
use crate::plan::{ClusterSpec, Plan, RoutePlan, Selected, TargetPlan, make_dead_letters};

/// The arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How the plan is written to standard output.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// The report: each route with its topics, as it would run now.
#[derive(Debug, Serialize)]
struct Report {
    routes: Vec<RouteReport>,
    /// What was switched by hand, and so differs from the config.
    by_hand: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RouteReport {
    route: String,
    enabled: bool,
    from: String,
    targets: Vec<TargetReport>,
    topics: Vec<TopicReport>,
}

/// How a target is written to.
#[derive(Debug, Serialize)]
struct TargetReport {
    target: String,
    /// Bytes per second: the least of what bounds it.
    bandwidth: Option<u64>,
    /// `passthrough` or `records`: how it gets what was read.
    transfer: &'static str,
    /// Why batches are opened for it; nothing where they are passed on.
    opened_because: Option<String>,
    /// Where its dead letters go, if its policies make any.
    dead_letter: Option<DeadLetterReport>,
}

#[derive(Debug, Serialize)]
struct DeadLetterReport {
    cluster: String,
    topic: String,
}

/// One source topic, for one target; `target` is empty for a topic that goes nowhere.
#[derive(Debug, Serialize)]
struct TopicReport {
    topic: String,
    partitions: i32,
    target: String,
    target_topic: String,
    /// `copy`, `create`, `grow`, `skip` or `refuse`.
    action: &'static str,
    reason: String,
    /// What the source does not have any more of what the target needs, by partition.
    gaps: BTreeMap<i32, String>,
}

/// What each cluster has.
type Found = HashMap<String, BTreeMap<String, TopicInfo>>;

/// Asks the clusters and prints the plan; changes nothing.
pub fn run(args: &Args) -> Outcome {
    let mut plan = crate::config::load(&args.config)?;
    let switches = switched(&plan)?;
    let ignored = switches.apply(&mut plan);
    let by_hand = switches.lines().into_iter().chain(ignored).collect();
    let found = ask(&plan)?;
    let routes = plan.routes.iter().map(|route| report(&plan, route, &found)).collect();
    let mut report = Report { routes, by_hand };
    let mut stops = false;
    for (route, report) in plan.routes.iter().zip(&mut report.routes) {
        stops |= look_for_gaps(route, report) && route.on_gap == OnGap::Fail;
    }
    let text = match args.output {
        Output::Table => table(&report),
        Output::Json => serde_json::to_string_pretty(&report)
            .map(|text| text + "\n")
            .map_err(|error| Failure::at_run_time(format!("the plan can't be written: {error}")))?,
    };
    print(&text)?;
    let refused = report.routes.iter().flat_map(|route| &route.topics).any(|topic| topic.action == "refuse");
    Ok(if refused || stops { Exit::Failed } else { Exit::Done })
}

/// Notes the gaps that the targets of a route would meet; says whether there are any.
fn look_for_gaps(route: &RoutePlan, report: &mut RouteReport) -> bool {
    let mut any = false;
    for target in &route.targets {
        let rows = || report.topics.iter().filter(|row| row.target == target.name());
        let topics = rows().map(|row| (row.topic.clone(), row.partitions)).collect();
        let gaps = gaps::ahead_of(route, target, &topics).unwrap_or_else(|fault| {
            tracing::warn!(route = %route.name, target = target.name(), "whether there are gaps can't be told: {fault}");
            BTreeMap::new()
        });
        any |= !gaps.is_empty();
        for (partition, gap) in gaps {
            let mut rows = report.topics.iter_mut();
            let row = rows.find(|row| row.target == target.name() && *row.topic == *partition.topic);
            if let Some(row) = row {
                row.gaps.insert(partition.partition, format!("{gap}; on_gap: {}", route.on_gap.name()));
            }
        }
    }
    any
}

/// Asks every cluster that a route uses, all at the same time: a dead one costs its time-out once.
fn ask(plan: &Plan) -> Result<Found, Failure> {
    let mut used: BTreeMap<&str, &Arc<ClusterSpec>> = BTreeMap::new();
    for route in &plan.routes {
        used.insert(&route.source.alias, &route.source);
        used.extend(route.targets.iter().map(|target| (target.name(), &target.cluster)));
    }
    let answers: Vec<(String, Result<_, Fault>)> = std::thread::scope(|scope| {
        let asked: Vec<_> = used
            .iter()
            .map(|(alias, cluster)| (*alias, scope.spawn(|| Admin::open(cluster).and_then(|admin| admin.topics()))))
            .collect();
        let panicked = || Fault::new(crate::domain::fault::FaultClass::Crash, "asking a cluster panicked");
        asked
            .into_iter()
            .map(|(alias, answer)| (alias.to_owned(), answer.join().unwrap_or_else(|_| Err(panicked()))))
            .collect()
    });
    let mut faults = Vec::new();
    let mut found = Found::new();
    for (alias, answer) in answers {
        match answer {
            Ok(topics) => drop(found.insert(alias, topics)),
            Err(fault) => faults.push(fault.reason),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(Failure::at_run_time(faults.join("\nanabranch: "))) }
}

fn report(plan: &Plan, route: &RoutePlan, found: &Found) -> RouteReport {
    let none = BTreeMap::new();
    let source = found.get(&route.source.alias).unwrap_or(&none);
    let mut topics = Vec::new();
    for (name, info) in source {
        let row = |target: &str, target_topic: String, action, reason| TopicReport {
            topic: name.clone(),
            partitions: info.partitions,
            target: target.to_owned(),
            target_topic,
            action,
            reason,
            gaps: BTreeMap::new(),
        };
        if let Some(reason) = skipped(&route.topics.select(name)) {
            topics.push(row("", String::new(), "skip", reason));
        } else if let Some(fault) = &info.fault {
            topics.push(row("", String::new(), "refuse", fault.reason.clone()));
        } else {
            topics.extend(route.targets.iter().map(|target| {
                let (target_topic, action, reason) = decide(route, target, name, info, found);
                row(target.name(), target_topic, action, reason)
            }));
        }
    }
    let targets = route.targets.iter().map(|target| report_target(plan, route, target)).collect();
    RouteReport { route: route.name.clone(), enabled: route.enabled, from: route.source.alias.clone(), targets, topics }
}

fn report_target(plan: &Plan, route: &RoutePlan, target: &TargetPlan) -> TargetReport {
    let bounds = [plan.limits.bandwidth, route.bandwidth, target.cluster.write_bandwidth, target.bandwidth];
    let dead_letter = make_dead_letters(&target.retry).then(|| DeadLetterReport {
        cluster: target.dead_letter.cluster.alias.clone(),
        topic: target.dead_letter.topic.to_string(),
    });
    TargetReport {
        target: target.name().to_owned(),
        bandwidth: bounds.into_iter().flatten().min(),
        transfer: route.transfer_to(target).name(),
        opened_because: route.opened_because(target),
        dead_letter,
    }
}

fn skipped(selected: &Selected) -> Option<String> {
    match selected {
        Selected::Yes => None,
        Selected::Internal => Some("internal: Kafka keeps it for itself".to_owned()),
        Selected::NotIncluded => Some("no `include` pattern matches the whole name".to_owned()),
        Selected::Excluded(pattern) => Some(format!("`exclude` has {pattern}")),
    }
}

fn decide(
    route: &RoutePlan,
    target: &TargetPlan,
    topic: &str,
    info: &TopicInfo,
    found: &Found,
) -> (String, &'static str, String) {
    let name = match target.topic.apply(topic) {
        Ok(name) => name,
        Err(error) => return (String::new(), "refuse", error.to_string()),
    };
    let existing = found.get(target.name()).and_then(|topics| topics.get(&name));
    let (action, reason) = match action_for(route, target.name(), &name, info.partitions, existing) {
        TopicAction::Use { partitions } => ("copy", format!("it has {partitions} partitions")),
        TopicAction::Create { partitions } => ("create", format!("missing; with {partitions} partitions")),
        TopicAction::Grow { from, to } => ("grow", format!("from {from} to {to} partitions")),
        TopicAction::Refuse(reason) => ("refuse", reason),
    };
    (name, action, reason)
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.by_hand {
        let _ = writeln!(text, "not as the config says: {line}");
    }
    for route in &report.routes {
        let state = if route.enabled { "enabled" } else { "off: set `enabled: true`, or switch it on, to run it" };
        let _ = writeln!(text, "route {} from {} ({state})", route.route, route.from);
        if !route.topics.iter().any(|topic| topic.action != "skip") {
            let _ = writeln!(text, "  nothing would be copied: no topic of {} is selected", route.from);
        }
        for target in &route.targets {
            let _ = match &target.opened_because {
                Some(why) => writeln!(text, "  {} gets records one by one: {why}", target.target),
                None => writeln!(text, "  {} gets the source's batches as they are", target.target),
            };
            if let Some(rate) = target.bandwidth {
                let _ = writeln!(text, "  {} is written with at most {}/s", target.target, HumanBytes(rate));
            }
            if let Some(DeadLetterReport { cluster, topic }) = &target.dead_letter {
                let _ = writeln!(text, "  dead letters of {} go to {cluster}/{topic}", target.target);
            }
        }
        let width = |field: fn(&TopicReport) -> usize| route.topics.iter().map(field).max().unwrap_or(0);
        let (action, topic) = (width(|t| t.action.len()), width(|t| t.topic.len()));
        let target = width(|t| t.target.len() + t.target_topic.len() + 1);
        for row in &route.topics {
            let to = if row.target.is_empty() { String::new() } else { format!("{}/{}", row.target, row.target_topic) };
            let _ = writeln!(text, "  {:<action$}  {:<topic$}  {to:<target$}  {}", row.action, row.topic, row.reason);
            for (partition, gap) in &row.gaps {
                let _ = writeln!(text, "  {:<action$}  {}/{partition}  {gap}", "gap", row.topic);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_bandwidth_is_the_least_of_what_bounds_it() {
        let text = r#"
limits: { bandwidth: 30MiB/s }
clusters:
  s: { bootstrap: "a:1" }
  small: { bootstrap: "b:1", peak_bandwidth: 20MiB/s, replicas: 2, client: { linger.ms: 5 } }
  large: { bootstrap: "c:1" }
routes:
  r:
    from: s
    topics: { include: x }
    transfer: auto
    to: { small: { bandwidth: unlimited }, large: { retry: { profile: scf-async } } }
"#;
        let plan = crate::config::load_str(text, std::path::Path::new(""), &BTreeMap::new()).unwrap();
        let report = Report { routes: vec![report(&plan, &plan.routes[0], &Found::new())], by_hand: Vec::new() };
        let expected = serde_json::json!([
            {
                "target": "large", "bandwidth": 30 << 20, "transfer": "passthrough", "opened_because": null,
                "dead_letter": { "cluster": "large", "topic": "{topic}.dead-letter" },
            },
            {
                "target": "small", "bandwidth": 10 << 20, "transfer": "records",
                "opened_because": "`clusters.small.client.linger.ms` is for a client that opens them", "dead_letter": null,
            },
        ]);
        assert_eq!(serde_json::to_value(&report.routes[0].targets).unwrap(), expected);
        let table = table(&report);
        assert!(table.contains("\n  small is written with at most 10.00 MiB/s\n"), "{table}");
        assert!(table.contains("\n  large gets the source's batches as they are\n"), "{table}");
        assert!(table.contains("\n  small gets records one by one: `clusters.small.client.linger.ms` is"), "{table}");
        assert!(table.contains("\n  dead letters of large go to large/{topic}.dead-letter\n"), "{table}");
    }
}
