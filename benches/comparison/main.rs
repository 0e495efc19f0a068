//! anabranch beside a bare librdkafka pipe: the same records, brokers and machine, in turns.
//!
//! `benches/run` fetches what this needs and starts it. Each contender is a process of its own that copies a topic once,
//! from its start to its end; what is measured is the whole process. Every copy is counted, so that a broken run can't
//! look fast. The pipe is this program too, started again with the argument `pipe`.
#![allow(clippy::unwrap_used, reason = "a comparison that can't be made ends with a panic")]
#![allow(clippy::disallowed_methods, reason = "clocks are what this is about")]

mod contest;
mod report;

#[path = "../common/mod.rs"]
mod common;

use std::process::ExitCode;

use clap::Parser;

use common::bare_pipe;
use common::data::DataSet;

/// Compares anabranch with a bare librdkafka pipe on real Kafka brokers.
#[derive(Debug, Parser)]
#[command(name = "benches/run", bin_name = "benches/run")]
struct Arguments {
    /// Records per data set.
    #[arg(long, env = "BENCH_RECORDS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// Rounds; each contender copies once per round, and the medians count.
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Data sets.
    #[arg(long, env = "BENCH_DATA", value_delimiter = ',', default_value = "random,json")]
    data: Vec<DataSet>,
    /// Also fail when a figure misses the project's own bounds.
    #[arg(long)]
    strict: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// The bare pipe itself: one of the two contenders.
    #[command(hide = true)]
    Pipe(bare_pipe::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Role::Pipe(pipe)) = &arguments.role {
        bare_pipe::run(pipe);
        return ExitCode::SUCCESS;
    }
    let report = contest::run(&arguments);
    println!("{report}");
    let file = report.save();
    let shown = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&file);
    println!("written to {}", shown.display());
    if arguments.strict && !report.within_bounds() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
