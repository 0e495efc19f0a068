//! `anabranch events`: what happened in a running engine, and what happens.

use std::time::Duration;

use super::reach::Reach;
use super::{Exit, Failure, Outcome, Output, print_on};
use crate::engine::events::{EventFilter, REMEMBERED};
use crate::engine::view::{Event, Level};

/// How often it is looked for new ones.
const TICK: Duration = Duration::from_millis(500);

/// The arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
    /// Those of this route alone.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// Those of this target alone.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// How many of the latest.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub last: u16,
    /// Show those to come as well, until interrupted.
    #[arg(long)]
    pub follow: bool,
    /// How they are written to standard output: JSON is a line each.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Shows events, the oldest first, as a log has them.
pub fn run(args: &Args) -> Outcome {
    let client = args.reach.client()?;
    let filter = EventFilter { route: args.route.clone(), target: args.target.clone() };
    let mut seen: Option<u64> = None;
    loop {
        let most = if seen.is_some() { REMEMBERED } else { usize::from(args.last) };
        let mut events = client.events(&filter, most)?;
        // another process counts from the beginning
        if events.first().is_some_and(|newest| seen.is_some_and(|seen| newest.id < seen)) {
            seen = Some(0);
        }
        events.retain(|event| seen.is_none_or(|seen| event.id > seen));
        seen = events.first().map(|newest| newest.id).or(seen).or(Some(0));
        let lines: Result<Vec<String>, Failure> = events.iter().rev().map(|event| line(event, args.output)).collect();
        if !print_on(&lines?.concat())? || !args.follow {
            return Ok(Exit::Done);
        }
        std::thread::park_timeout(TICK);
    }
}

fn line(event: &Event, output: Output) -> Result<String, Failure> {
    if output == Output::Json {
        let text = serde_json::to_string(event).map(|text| text + "\n");
        return text.map_err(|error| Failure::at_run_time(format!("an event can't be written: {error}")));
    }
    let level = match event.level {
        Level::Info => "info   ",
        Level::Warning => "warning",
        Level::Error => "error  ",
    };
    let place = [&event.route, &event.target].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/");
    Ok(format!("{} {level} {place}: {}\n", event.at, event.text))
}
