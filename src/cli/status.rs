//! `anabranch status`: the routes and targets of a running engine, once or again and again.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::reach::Reach;
use super::{Exit, Failure, Outcome, Output, print_on};
use crate::engine::view::{RouteView, RoutesView, TargetView};

/// How often it is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Clears a terminal, and goes to its first place.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// The arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is.
    #[command(flatten)]
    pub reach: Reach,
    /// Show it again each second, until interrupted.
    #[arg(long)]
    pub watch: bool,
    /// How it is written to standard output: with --watch, JSON is one line each time.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Shows how all routes are. The exit code is 0 as long as the engine answers, however they are.
pub fn run(args: &Args) -> Outcome {
    let client = args.reach.client()?;
    let clears = args.watch && args.output == Output::Table && std::io::stdout().is_terminal();
    loop {
        let text = match (client.routes(), args.output) {
            // who watches wants to see it come back
            (Err(error), _) if args.watch => format!("{error}\n"),
            (routes, Output::Table) => table(&routes?),
            (routes, Output::Json) => json(&routes?, args.watch)?,
        };
        if !print_on(&format!("{}{text}", if clears { CLEAR } else { "" }))? || !args.watch {
            return Ok(Exit::Done);
        }
        std::thread::park_timeout(TICK);
    }
}

fn json(routes: &RoutesView, in_a_line: bool) -> Result<String, Failure> {
    let text = if in_a_line { serde_json::to_string(routes) } else { serde_json::to_string_pretty(routes) };
    text.map(|text| text + "\n").map_err(|error| Failure::at_run_time(format!("it can't be written: {error}")))
}

/// The columns of a target, with their heads.
const COLUMNS: [&str; 6] = ["target", "state", "lag", "late", "records", "bandwidth"];

fn table(view: &RoutesView) -> String {
    let mut text = String::new();
    for route in &view.routes {
        text.push_str(&route_table(route));
    }
    text
}

/// A route as a table of its targets; what is not well says why below it.
pub(super) fn route_table(route: &RouteView) -> String {
    let mut text = format!("route {} from {}: {}", route.name, route.from, route.state);
    if !route.reason.is_empty() {
        let _ = write!(text, " ({})", route.reason);
    }
    if route.enabled != route.enabled_in_config {
        text.push_str(if route.enabled { " [switched on by hand]" } else { " [switched off by hand]" });
    }
    text.push('\n');
    let rows: Vec<[String; 6]> = route.targets.iter().map(cells).collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: [&str; 6]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "  {}", padded.join("  ").trim_end());
    };
    line(COLUMNS);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
    for target in route.targets.iter().filter(|target| !target.reason.is_empty()) {
        let _ = writeln!(text, "  {}: {}", target.name, target.reason);
    }
    text
}

fn cells(target: &TargetView) -> [String; 6] {
    let lag = target.lag_records.map_or_else(|| "?".to_owned(), |lag| HumanCount(lag).to_string());
    let late = target.lag_seconds.map_or_else(|| "?".to_owned(), |late| format!("{late:.1} s"));
    let records = format!("{} ({})", HumanCount(target.records), HumanBytes(target.bytes));
    let by_hand = if target.bandwidth == target.bandwidth_in_config { "" } else { " [by hand]" };
    let bandwidth = format!("{}{by_hand}", target.bandwidth);
    [target.name.clone(), target.state.clone(), lag, late, records, bandwidth]
}
