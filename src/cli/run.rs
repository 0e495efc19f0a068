//! `anabranch run`: the engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::host::host;
use super::reloading::Reloading;
use super::{Exit, Failure, Outcome};
use crate::config::state_file;
use crate::engine::{Ended, Options, Standing};
use crate::plan::Plan;
use crate::plan::switches::Switches;

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
    let reloading = Reloading::new(args.config.clone());
    let plan = crate::config::load(&args.config)?;
    let switches = switched(&plan)?;
    if !plan.routes.iter().any(|route| switches.is_enabled(route)) {
        let file = args.config.display();
        let hint = "set `enabled: true` for those that are to run";
        if plan.admin.listen.is_none() || args.until_caught_up {
            return Err(Failure::usage(format!("{file}: no route is enabled; {hint}")));
        }
        tracing::warn!(
            "no route is enabled, and nothing is copied: {hint}, or switch one on with `anabranch route start`"
        );
    }
    let options = Options { until_caught_up: args.until_caught_up };
    let standing = standing(&plan, switches, args.config.clone());
    let ended = host(&plan, options, Some((standing, reloading)), Duration::from_secs(1), &mut |_| false)?;
    outcome(&ended)
}

/// What was switched by hand before.
pub(super) fn switched(plan: &Plan) -> Result<Switches, Failure> {
    let Some(path) = &plan.admin.state else { return Ok(Switches::default()) };
    state_file::load(path).map_err(|error| Failure::at_run_time(error.to_string()))
}

fn standing(plan: &Plan, switches: Switches, config: PathBuf) -> Standing {
    let path = plan.admin.state.clone();
    let keep = move |switches: &Switches| path.as_ref().map_or(Ok(()), |path| state_file::store(path, switches));
    let load = move || crate::config::load(&config).map_err(|error| error.to_string());
    Standing { switches, keep: Arc::new(keep), load: Arc::new(load) }
}

/// The exit of a command that ran the engine: what was left undone is a failure, and is named.
pub fn outcome(ended: &Ended) -> Outcome {
    if ended.undone.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::at_run_time(ended.undone.join("\nanabranch: ")))
}
