//! `anabranch verify`: compares what a route's targets have with its source, record by record.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use regex::Regex;
use tokio::time::Instant;

use super::host::peak_memory;
use super::{Exit, Failure, Outcome, Output, print};
use crate::config::{parse_pattern, parse_time, suggest};
use crate::domain::routing::Partitioning;
use crate::plan::{Plan, RoutePlan, TargetPlan};
use crate::verify::{Progress, Report, Request, Sample, compare};

/// The arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The route; it does not have to be enabled, and may be running.
    #[arg(long, value_name = "ROUTE")]
    pub route: String,
    /// One of its targets; may be given several times [default: all].
    #[arg(long, value_name = "TARGET")]
    pub target: Vec<String>,
    /// Which of its source topics: a regular expression for the whole name [default: all].
    #[arg(long, value_name = "REGEX", value_parser = parse_pattern)]
    pub topics: Option<Regex>,
    /// Only records from this time on, such as 2026-11-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<i64>,
    /// Only a part of each partition, as 1/20 or 5%: stretches of 10,000 offsets, other ones each time. For topics whose partitions
    /// are kept; what lies between the stretches is not looked at.
    #[arg(long, value_name = "PART")]
    pub sample: Option<Sample>,
    /// Take duplicates for what they are where delivery is at least once, and not for a difference.
    #[arg(long)]
    pub allow_duplicates: bool,
    /// How the report is written to standard output.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Compares the targets one after the other, with a progress bar on a terminal.
pub fn run(args: &Args) -> Outcome {
    let plan = crate::config::load(&args.config)?;
    let route = route(&plan, &args.route)?;
    let targets = targets(route, &args.target)?;
    if args.sample.is_some() && route.partitioning == Partitioning::ByKey {
        return Err(Failure::usage(format!(
            "route {} places records by key, so that a part of a partition can't be found on the target: leave --sample out, or narrow it \
             down with --since and --topics",
            route.name
        )));
    }
    let began = Instant::now();
    let mut report = Report {
        route: route.name.clone(),
        source: route.source.alias.clone(),
        duplicates_allowed: args.allow_duplicates,
        ..Report::default()
    };
    for target in targets {
        let request = Request { route, target, topics: args.topics.as_ref(), since: args.since, sample: args.sample };
        let mut view = View::new(target.name());
        compare(&request, &mut report, &mut |progress| view.show(progress)).map_err(|fault| {
            Failure::at_run_time(format!("route {} can't be compared with {}: {fault}", route.name, target.name()))
        })?;
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.peak_memory_bytes = peak_memory();
    let text = match args.output {
        Output::Table => report.table(),
        Output::Json => serde_json::to_string_pretty(&report)
            .map(|text| text + "\n")
            .map_err(|error| Failure::at_run_time(format!("the report can't be written: {error}")))?,
    };
    print(&text)?;
    Ok(if report.different { Exit::Different } else { Exit::Done })
}

fn route<'a>(plan: &'a Plan, name: &str) -> Result<&'a RoutePlan, Failure> {
    let names = plan.routes.iter().map(|route| route.name.as_str());
    let unknown = || Failure::usage(format!("`{name}` is not one of the routes; {}", suggest(name, names.clone())));
    plan.routes.iter().find(|route| route.name == name).ok_or_else(unknown)
}

fn targets<'a>(route: &'a RoutePlan, names: &[String]) -> Result<Vec<&'a TargetPlan>, Failure> {
    if names.is_empty() {
        return Ok(route.targets.iter().collect());
    }
    let find = |name: &String| {
        let all = route.targets.iter().map(TargetPlan::name);
        let unknown = || {
            Failure::usage(format!(
                "`{name}` is not one of the targets of route {}; {}",
                route.name,
                suggest(name, all)
            ))
        };
        route.targets.iter().find(|target| target.name() == name).ok_or_else(unknown)
    };
    names.iter().map(find).collect()
}

/// How far it is: a bar on a terminal, and nothing elsewhere.
struct View {
    began: Instant,
    shown: Option<Instant>,
    bar: Option<ProgressBar>,
    target: String,
}

impl View {
    const TICK: Duration = Duration::from_millis(200);

    fn new(target: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { began: Instant::now(), shown: None, bar, target: target.to_owned() }
    }

    fn show(&mut self, progress: Progress) {
        let Some(bar) = &self.bar else { return };
        if self.shown.is_some_and(|at| at.elapsed() < Self::TICK) {
            return;
        }
        self.shown = Some(Instant::now());
        bar.set_length(progress.all);
        bar.set_position(progress.passed);
        bar.set_message(self.line(progress));
    }

    fn line(&self, progress: Progress) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let left = progress.all.saturating_sub(progress.passed);
        #[allow(clippy::cast_precision_loss)] // for people
        let (rate, all) = (progress.passed as f64 / seconds, left as f64);
        let left = if rate > 0.0 { Duration::from_secs_f64(all / rate) } else { Duration::ZERO };
        format!("{}: {rate:.0} records/s, {} left", self.target, HumanDuration(left))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
