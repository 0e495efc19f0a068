//! What the demo shows: a live table on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::proof::Proof;
use super::regions::{RENAMED, SOURCE, TARGETS, TOPIC, Weather};
use crate::engine::progress::Progress;

/// Where the show goes.
pub struct Screen {
    terminal: bool,
    lines: usize,
    last: Option<Duration>,
    weather: Weather,
}

/// How often plain lines are written.
const PLAIN: Duration = Duration::from_secs(2);

impl Screen {
    /// Standard output.
    pub fn open() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let screen = Self { terminal, lines: 0, last: None, weather: Weather::Fine };
        say(&format!("anabranch demo: one read of {SOURCE}, fanned out to {}\n", TARGETS.join(" and ")));
        say(&format!(
            "three clusters in this process; topic {TOPIC} is written as {}\n\n",
            RENAMED.replace("{topic}", TOPIC)
        ));
        screen
    }

    /// Shows where everything is.
    pub fn show(&mut self, since: Duration, weather: Weather, written: u64, progress: &Progress) {
        let broken = TARGETS[TARGETS.len() - 1];
        if weather != self.weather {
            self.weather = weather;
            self.lines = 0;
            match weather {
                Weather::Broken => say(&format!("  {:>4.1} s  {broken} goes down\n", since.as_secs_f32())),
                Weather::Healed => say(&format!("  {:>4.1} s  {broken} is back\n", since.as_secs_f32())),
                Weather::Fine => {}
            }
        }
        if self.terminal {
            let table = table(since, weather, written, progress);
            let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
            self.lines = table.lines().count();
            say(&format!("{up}\x1b[J{table}"));
        } else if self.last.is_none_or(|last| since.saturating_sub(last) >= PLAIN) {
            self.last = Some(since);
            say(&plain(since, weather, written, progress));
        }
    }

    /// Shows the proof of each region; says whether it holds everywhere.
    pub fn prove(&self, proofs: &[(&str, Proof)]) -> bool {
        let mut text = String::from("\nproof, every record read back and compared:\n");
        for (region, proof) in proofs {
            let Proof { expected, missing, altered, duplicated, reordered, .. } = proof;
            let order = if *reordered == 0 { "kept".to_owned() } else { format!("broken {reordered} times") };
            let _ = writeln!(
                text,
                "  {region:<10} {expected:>7} records  missing {missing}  altered {altered}  order {order}  duplicates {duplicated}"
            );
        }
        let holds = proofs.iter().all(|(_, proof)| proof.holds());
        text.push_str(if holds {
            "all of it arrived, everywhere\n"
        } else {
            "NOT all of it arrived as it was written\n"
        });
        say(&text);
        holds
    }
}

/// A closed pipe is no reason to fail: the show simply has no audience.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn state(target: usize, weather: Weather, lag: u64, progress: &Progress) -> &'static str {
    let down = weather == Weather::Broken && target + 1 == TARGETS.len();
    let detached = progress.targets[target].life().detached.load(Relaxed) > 0;
    match (down, detached) {
        (true, true) => "down, detached",
        (true, false) => "down",
        (false, true) => "catching up",
        (false, false) if lag > 10_000 => "behind",
        (false, false) => "running",
    }
}

fn table(since: Duration, weather: Weather, written: u64, progress: &Progress) -> String {
    let mut text = format!("  {:>4.1} s\n", since.as_secs_f32());
    let _ = writeln!(text, "  {:<12} {:>10} {:>9} {:>12}  state", "region", "records", "lag", "held");
    let _ = writeln!(text, "  {SOURCE:<12} {written:>10} {:>9} {:>12}  source, read once", "", "");
    for (at, region) in TARGETS.iter().enumerate() {
        let stats = &progress.targets[at];
        let lag = written.saturating_sub(stats.written.records());
        let held = stats.life().backlog.load(Relaxed) / 1024;
        let shown = state(at, weather, lag, progress);
        let _ = writeln!(text, "  {region:<12} {:>10} {lag:>9} {held:>8} KiB  {shown}", stats.written.records());
    }
    text
}

fn plain(since: Duration, weather: Weather, written: u64, progress: &Progress) -> String {
    let mut text = format!("  {:>4.1} s  {SOURCE} {written} written", since.as_secs_f32());
    for (at, region) in TARGETS.iter().enumerate() {
        let lag = written.saturating_sub(progress.targets[at].written.records());
        let _ = write!(text, "; {region} lag {lag}, {}", state(at, weather, lag, progress));
    }
    text.push('\n');
    text
}
