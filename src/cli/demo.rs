//! `anabranch demo`: the engine at work on in-process clusters.

use super::{Failure, Outcome};

/// The arguments of `demo`: none, it needs nothing.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the demo.
pub fn run(_args: &Args) -> Outcome {
    Err(Failure::at_run_time("`demo` is not built yet"))
}
