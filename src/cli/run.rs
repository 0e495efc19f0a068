//! `anabranch run`: the engine.

use std::path::PathBuf;

use super::{Failure, Outcome};

/// The arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// End when every enabled route has reached the end offsets seen at the start.
    #[arg(long)]
    pub until_caught_up: bool,
}

/// Runs until a signal, or until the routes have caught up.
pub fn run(args: &Args) -> Outcome {
    let _plan = crate::config::load(&args.config)?;
    Err(Failure::at_run_time("`run` is not built yet"))
}
