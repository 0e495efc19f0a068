//! `anabranch check`: whether a config makes sense, without asking any cluster.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Exit, Outcome, print};
use crate::config;
use crate::plan::{Plan, RoutePlan};

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Prints a summary of a good config; a bad one is a failure with all its mistakes.
pub fn run(args: &Args) -> Outcome {
    let plan = config::load(&args.config)?;
    print(&format!("{}: ok\n{}", args.config.display(), summary(&plan)))?;
    Ok(Exit::Done)
}

fn summary(plan: &Plan) -> String {
    let mut text = String::new();
    let enabled = plan.routes.iter().filter(|route| route.enabled).count();
    // writing into a String cannot fail
    let _ = writeln!(text, "clusters: {}", plan.clusters.keys().cloned().collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "routes: {}, {enabled} enabled", plan.routes.len());
    for route in &plan.routes {
        let _ = writeln!(text, "  {}", describe(route));
    }
    for ignored in &plan.telemetry.ignored {
        let _ = writeln!(text, "{ignored}");
    }
    if enabled == 0 {
        let _ = writeln!(text, "nothing would be copied: set a route's `enabled: true`");
    }
    text
}

fn describe(route: &RoutePlan) -> String {
    let targets: Vec<_> = route.targets.iter().map(|target| format!("{} ({})", target.name(), target.topic)).collect();
    let state = if route.enabled { "enabled" } else { "off" };
    format!("{} [{state}]: {} -> {}", route.name, route.source.alias, targets.join(", "))
}
