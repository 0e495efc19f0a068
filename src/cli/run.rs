//! `anabranch run`: the engine.

use std::path::PathBuf;
use std::time::Duration;

use super::host::host;
use super::{Exit, Failure, Outcome};
use crate::engine::{Ended, Options};

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
    let plan = crate::config::load(&args.config)?;
    if !plan.routes.iter().any(|route| route.enabled) {
        let file = args.config.display();
        return Err(Failure::usage(format!(
            "{file}: no route is enabled; set `enabled: true` for those that are to run"
        )));
    }
    let options = Options { until_caught_up: args.until_caught_up };
    let ended = host(&plan, options, Duration::from_secs(1), &mut |_| false)?;
    outcome(&ended)
}

/// The exit of a command that ran the engine: what was left undone is a failure, and is named.
pub fn outcome(ended: &Ended) -> Outcome {
    if ended.undone.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::at_run_time(ended.undone.join("\nanabranch: ")))
}
