//! `anabranch plan`: what would be copied, created and skipped, and why.

use std::path::PathBuf;

use super::{Failure, Outcome, Output};

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

/// Asks the clusters and prints the plan; changes nothing.
pub fn run(args: &Args) -> Outcome {
    let _plan = crate::config::load(&args.config)?;
    Err(Failure::at_run_time("`plan` is not built yet"))
}
