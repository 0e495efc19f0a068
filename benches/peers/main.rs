//! anabranch beside its peers: the same records, brokers and machine, in turns.
//!
//! `benches/peers/run` fetches what this needs and starts it. Each contender is a process of its own, or several, and is
//! measured from outside. Every copy is counted, so that a broken run can't look fast. `MirrorMaker` 2 runs until it is killed,
//! and its Java takes long to start. So speed is that from the first records that are seen on the targets to the last ones, for all;
//! CPU is told of that time for `MirrorMaker` 2, and also from the start of its process on, as it is for all others.
#![allow(clippy::unwrap_used, reason = "a comparison that can't be made ends with a panic")]
#![allow(clippy::disallowed_methods, reason = "clocks are what this is about")]

mod bounds;
mod chart;
mod contender;
mod copies;
mod job;
mod latency;
mod mirror;
mod probe;
mod report;
mod stage;
mod watch;
mod wide;

#[path = "../common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use common::bare_pipe;
use common::data::DataSet;
use contender::Contender;
use report::Report;
use stage::Stage;

/// Compares anabranch with its peers on real Kafka brokers.
#[derive(Debug, Parser)]
#[command(name = "benches/peers/run", bin_name = "benches/peers/run")]
struct Arguments {
    /// Records per data set; `json` and `json-zstd` have twice as many, `small` has a fifth of them.
    #[arg(
        long, env = "BENCH_RECORDS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000)
    )]
    records: u32,
    /// Rounds; each contender copies once per round, and the medians count.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Data sets.
    #[arg(long, env = "BENCH_DATA", value_delimiter = ',', default_value = "random,json,json-zstd,small")]
    data: Vec<DataSet>,
    /// Who takes part.
    #[arg(long, value_delimiter = ',', default_value = "mm2,mm2-tuned,pipe,kcat,records,passthrough")]
    contenders: Vec<Contender>,
    /// What is done.
    #[arg(long, value_delimiter = ',', default_value = "one,three,latency,wide")]
    scenarios: Vec<Scenario>,
    /// How long latency is measured, and how long those with nothing to do are watched.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Draws the copies to one target as a bar chart (SVG).
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Also fail when a figure misses the project's own bounds.
    #[arg(long)]
    strict: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// A topic is copied to one target.
    One,
    /// A topic is copied to three targets.
    Three,
    /// 1,000 records a second, from the producer to the target's consumer.
    Latency,
    /// A topic of 1,000 partitions: at rest, and when a record comes into each.
    Wide,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// The bare pipe itself: one of the contenders.
    #[command(hide = true)]
    Pipe(bare_pipe::Arguments),
}

impl Arguments {
    fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.contains(&scenario)
    }

    /// Those of these that take part.
    fn among(&self, able: &[Contender]) -> Vec<Contender> {
        able.iter().copied().filter(|contender| self.contenders.contains(contender)).collect()
    }
}

fn compare(arguments: &Arguments) -> Report {
    let stage = Stage::set(if arguments.wants(Scenario::Three) { 3 } else { 1 });
    let mut report = Report::default();
    if arguments.wants(Scenario::One) || arguments.wants(Scenario::Three) {
        copies::run(&stage, arguments, &mut report);
    }
    if arguments.wants(Scenario::Latency) {
        latency::run(&stage, arguments, &mut report);
    }
    // last, as it leaves its topics to the brokers
    if arguments.wants(Scenario::Wide) {
        wide::run(&stage, arguments, &mut report);
    }
    report
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Role::Pipe(pipe)) = &arguments.role {
        bare_pipe::run(pipe);
        return ExitCode::SUCCESS;
    }
    let report = compare(&arguments);
    println!("{report}");
    let file = report.save();
    let shown = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&file);
    println!("written to {}", shown.display());
    if let Some(chart) = &arguments.chart {
        std::fs::write(chart, chart::draw(&report)).unwrap();
        println!("drawn to {}", chart.display());
    }
    if arguments.strict && bounds::any_missed(&report) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
