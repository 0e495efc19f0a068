//! `anabranch copy`: copies topics up to their end, without a config file.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use regex::Regex;
use tokio::time::Instant;

use super::host::{Routes, host};
use super::run::outcome;
use super::{Outcome, print};
use crate::config::{keys, parse_bootstrap, parse_pattern, parse_start};
use crate::domain::gap::OnGap;
use crate::domain::retry::Policies;
use crate::domain::routing::{Partitioning, TopicTemplate};
use crate::domain::start::Start;
use crate::engine::Options;
use crate::engine::progress::Progress;
use crate::plan::telemetry::Telemetry;
use crate::plan::{
    Admin, BatchLimits, ClusterSpec, Keeping, Limits, Plan, Reload, RoutePlan, Security, TargetPlan, TopicSelection,
};

/// The addresses of one cluster: `host:port`, or several with commas between.
#[derive(Clone, Debug)]
pub struct Bootstrap(pub Vec<String>);

/// The arguments of `copy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source cluster, as `host:port[,host:port]`.
    #[arg(long, value_name = "BOOTSTRAP", value_parser = bootstrap)]
    pub from: Bootstrap,
    /// A target cluster; may be given several times.
    #[arg(long, value_name = "BOOTSTRAP", value_parser = bootstrap, env = "kafka_address", required = true)]
    pub to: Vec<Bootstrap>,
    /// Which topics: a regular expression for the whole name.
    #[arg(long, value_name = "REGEX", value_parser = parse_pattern)]
    pub topics: Regex,
    /// The target topic's name; `{topic}` stands for the source's [default: {topic}].
    #[arg(long, value_name = "TOPIC", value_parser = TopicTemplate::parse, env = "kafka_topic_name")]
    pub to_topic: Option<TopicTemplate>,
    /// Where to begin: earliest, latest, or a time such as 2026-11-01T00:00:00Z.
    #[arg(long, value_parser = parse_start, default_value = "earliest")]
    pub start: Start,
    /// Go on with what is written later, until stopped.
    #[arg(long)]
    pub follow: bool,
}

const ROUTE: &str = "copy";
const BAR_TICK: Duration = Duration::from_millis(200);
const LINE_TICK: Duration = Duration::from_secs(5);

fn bootstrap(text: &str) -> Result<Bootstrap, String> {
    parse_bootstrap(text).map(Bootstrap)
}

/// Copies, with a progress bar on a terminal. It keeps no progress on the source: each call starts at `--start`.
pub fn run(args: &Args) -> Outcome {
    let mut view = View::new();
    let options = Options { until_caught_up: !args.follow };
    let tick = if view.bar.is_some() { BAR_TICK } else { LINE_TICK };
    let ended = host(&plan(args), options, None, tick, &mut |routes| {
        view.show(routes);
        false
    })?;
    let summary = view.summary();
    let exit = outcome(&ended)?;
    print(&summary)?;
    Ok(exit)
}

/// The plan that a config of one route would make.
fn plan(args: &Args) -> Plan {
    let cluster = |alias: String, bootstrap: &Bootstrap| {
        Arc::new(ClusterSpec {
            alias,
            bootstrap: bootstrap.0.clone(),
            region: None,
            security: Security::default(),
            client: BTreeMap::new(),
            write_bandwidth: None,
            read_bandwidth: None,
        })
    };
    let source = cluster("source".to_owned(), &args.from);
    let targets = args.to.iter().enumerate().map(|(at, to)| {
        let alias = if args.to.len() == 1 { "target".to_owned() } else { format!("target-{}", at + 1) };
        TargetPlan::plain(cluster(alias, to), args.to_topic.clone().unwrap_or_else(TopicTemplate::same))
    });
    let targets: Vec<TargetPlan> = targets.collect();
    let all = targets.iter().map(|target| &target.cluster).chain([&source]);
    let clusters = all.map(|cluster| (cluster.alias.clone(), cluster.clone())).collect();
    let route = RoutePlan {
        name: ROUTE.to_owned(),
        enabled: true,
        source: source.clone(),
        topics: TopicSelection { include: vec![args.topics.clone()], exclude: Vec::new() },
        start: args.start.clone(),
        partitioning: Partitioning::Keep,
        create_topics: true,
        on_gap: OnGap::Fail,
        batch: BatchLimits { max_messages: keys::MAX_MESSAGES, max_wait: keys::MAX_WAIT, max_bytes: keys::MAX_BYTES },
        in_flight: keys::IN_FLIGHT,
        keeping: Keeping::Nothing,
        bandwidth: None,
        retry: Policies::default(),
        targets,
    };
    let limits = Limits { in_flight: keys::IN_FLIGHT_LIMIT, drain: keys::DRAIN, bandwidth: None, stall: keys::STALL };
    Plan {
        admin: Admin::default(),
        limits,
        telemetry: Telemetry::default(),
        clusters,
        routes: vec![route],
        reload: Reload::default(),
    }
}

/// What the user sees: a bar on a terminal, plain lines elsewhere.
struct View {
    began: Instant,
    bar: Option<ProgressBar>,
    records: u64,
    bytes: u64,
}

impl View {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { began: Instant::now(), bar, records: 0, bytes: 0 }
    }

    fn show(&mut self, routes: &Routes) {
        let Some(progress) = routes.get(ROUTE) else { return };
        self.records = progress.targets.iter().map(|(_, target)| target.written.records()).sum();
        self.bytes = progress.targets.iter().map(|(_, target)| target.written.bytes()).sum();
        let remaining = progress.remaining();
        let line = self.line(progress, remaining);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.records + remaining);
                bar.set_position(self.records);
                bar.set_message(line);
            }
            // logs go to standard error, and so do these
            None => eprintln!("{line}"),
        }
    }

    fn line(&self, progress: &Progress, remaining: u64) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let left = match (self.records, remaining) {
            (_, 0) => "level".to_owned(),
            (0, _) => "waiting".to_owned(),
            #[allow(clippy::cast_precision_loss)] // an estimate
            (records, remaining) => {
                let left = seconds * remaining as f64 / records as f64;
                format!("{} left", HumanDuration(Duration::from_secs_f64(left)))
            }
        };
        let targets = progress.targets.count();
        let to = if targets == 1 { String::new() } else { format!(" to {targets} targets") };
        format!("{} records{to}, {}, {left}", self.records, self.rate(seconds))
    }

    fn rate(&self, seconds: f64) -> String {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // for people
        let (records, bytes) = (self.records as f64 / seconds, (self.bytes as f64 / seconds) as u64);
        format!("{records:.0} records/s, {}/s", HumanBytes(bytes))
    }

    fn summary(&self) -> String {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let elapsed = self.began.elapsed();
        format!(
            "copied {} records in {:.1} s ({})\n",
            self.records,
            elapsed.as_secs_f64(),
            self.rate(elapsed.as_secs_f64())
        )
    }
}
