//! `anabranch plan`: what would be copied, created and skipped, and why. Asks the clusters, changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::{Exit, Failure, Outcome, Output, print};
use crate::domain::fault::Fault;
use crate::engine::preparation::{TopicAction, action_for};
use crate::kafka::admin::{Admin, TopicInfo};
use crate::plan::{ClusterSpec, Plan, RoutePlan, Selected, TargetPlan};

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

/// The report: each route with its topics.
#[derive(Debug, Serialize)]
struct Report {
    routes: Vec<RouteReport>,
}

#[derive(Debug, Serialize)]
struct RouteReport {
    route: String,
    enabled: bool,
    from: String,
    topics: Vec<TopicReport>,
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
}

/// What each cluster has.
type Found = HashMap<String, BTreeMap<String, TopicInfo>>;

/// Asks the clusters and prints the plan; changes nothing.
pub fn run(args: &Args) -> Outcome {
    let plan = crate::config::load(&args.config)?;
    let found = ask(&plan)?;
    let report = Report { routes: plan.routes.iter().map(|route| report(route, &found)).collect() };
    let text = match args.output {
        Output::Table => table(&report),
        Output::Json => serde_json::to_string_pretty(&report)
            .map(|text| text + "\n")
            .map_err(|error| Failure::at_run_time(format!("the plan can't be written: {error}")))?,
    };
    print(&text)?;
    let refused = report.routes.iter().flat_map(|route| &route.topics).any(|topic| topic.action == "refuse");
    Ok(if refused { Exit::Failed } else { Exit::Done })
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

fn report(route: &RoutePlan, found: &Found) -> RouteReport {
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
    RouteReport { route: route.name.clone(), enabled: route.enabled, from: route.source.alias.clone(), topics }
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
    for route in &report.routes {
        let state = if route.enabled { "enabled" } else { "off: set `enabled: true` to run it" };
        let _ = writeln!(text, "route {} from {} ({state})", route.route, route.from);
        if !route.topics.iter().any(|topic| topic.action != "skip") {
            let _ = writeln!(text, "  nothing would be copied: no topic of {} is selected", route.from);
        }
        let width = |field: fn(&TopicReport) -> usize| route.topics.iter().map(field).max().unwrap_or(0);
        let (action, topic) = (width(|t| t.action.len()), width(|t| t.topic.len()));
        let target = width(|t| t.target.len() + t.target_topic.len() + 1);
        for row in &route.topics {
            let to = if row.target.is_empty() { String::new() } else { format!("{}/{}", row.target, row.target_topic) };
            let _ = writeln!(text, "  {:<action$}  {:<topic$}  {to:<target$}  {}", row.action, row.topic, row.reason);
        }
    }
    text
}
