//! The report of a soak, in Markdown.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use super::load::Millis;
use super::run::Stretch;
use super::world::{RATE, Summary, WELL};

const WORDS: &str = "\
A fault begins and is undone; when it is over, all that was down runs again. **Recovery** is the time from then until every
target has acknowledged, of every partition, a record that the source took after the fault was over, and is as close behind as
when all is well. **Duplicates** are counted over all targets; what is allowed is what an engine that dies may repeat, and
nothing where none dies. **Behind** is the most that a target was behind, from the begin of a fault until all had recovered:
the age of the oldest record that it had not acknowledged. Shanghai is the target that is hurt, Beijing the one that nobody
hurts. Times are in seconds, by a monotonic clock.
";

/// A soak that went well.
pub struct Report {
    pub seed: u64,
    pub minutes: Millis,
    pub stretches: Vec<Stretch>,
    pub summary: Summary,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Chaos: {} minutes with seed {}\n\n{WORDS}", self.minutes, self.seed)?;
        self.totals(f)?;
        writeln!(f, "\n## Faults\n\n{HEAD}")?;
        let (singles, several): (Vec<_>, Vec<_>) = self.stretches.iter().partition(|stretch| stretch.faults.len() == 1);
        let mut by_name: BTreeMap<&str, Vec<&Stretch>> = BTreeMap::new();
        for stretch in &singles {
            by_name.entry(stretch.faults[0]).or_default().push(stretch);
        }
        for (name, stretches) in &by_name {
            row(f, name, stretches)?;
        }
        row(f, "*one at a time*", &singles)?;
        row(f, "*two or three at once*", &several)?;
        writeln!(
            f,
            "\n## One after the other\n\n| | where | lasted | recovery | duplicates |\n|---|---|---:|---:|---:|"
        )?;
        for stretch in &self.stretches {
            let Stretch { faults, what, lasted, recovery, duplicates, .. } = stretch;
            let (lasted, recovery) = (seconds(*lasted), seconds(*recovery));
            writeln!(f, "| {} | {what} | {lasted} | {recovery} | {duplicates} |", faults.join(", "))?;
        }
        Ok(())
    }
}

const HEAD: &str = "\
| | times | recovery, median | max | duplicates | allowed | Shanghai behind, max | Beijing |
|---|---:|---:|---:|---:|---:|---:|---:|";

impl Report {
    fn totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { acknowledged, source, targets, peak_memory } = &self.summary;
        let faults: usize = self.stretches.iter().map(|stretch| stretch.faults.len()).sum();
        writeln!(f, "- {faults} faults in {} stretches", self.stretches.len())?;
        writeln!(f, "- {RATE} records a second; {acknowledged} were acknowledged, {source} are at the source")?;
        for (name, found) in targets {
            write!(f, "- {name}: {} records, {} missing, {} altered, ", found.records, found.missing, found.altered)?;
            write!(f, "{} reordered, {} that nobody wrote, ", found.reordered, found.extra)?;
            writeln!(f, "{} duplicates; {} watermarks ahead of it", found.duplicated, found.ahead)?;
        }
        writeln!(
            f,
            "- all is well while the oldest record is less than {} s old; watermarks are committed every second",
            seconds(WELL)
        )?;
        writeln!(f, "- peak memory of an engine: {} MiB", peak_memory >> 20)
    }
}

fn row(f: &mut dyn Write, name: &str, stretches: &[&Stretch]) -> fmt::Result {
    let mut recoveries: Vec<Millis> = stretches.iter().map(|stretch| stretch.recovery).collect();
    recoveries.sort_unstable();
    let Some(max) = recoveries.last() else { return Ok(()) };
    // of an even number the mean of the two in the middle
    let median = Millis::midpoint(recoveries[(recoveries.len() - 1) / 2], recoveries[recoveries.len() / 2]);
    let duplicates: usize = stretches.iter().map(|stretch| stretch.duplicates).sum();
    let allowed: usize = stretches.iter().map(|stretch| stretch.duplicates_allowed).sum();
    let hurt = stretches.iter().map(|stretch| stretch.hurt_behind).max().unwrap_or(0);
    let others = stretches.iter().map(|stretch| stretch.others_behind).max().unwrap_or(0);
    writeln!(
        f,
        "| {name} | {} | {} | {} | {duplicates} | {allowed} | {} | {} |",
        stretches.len(),
        seconds(median),
        seconds(*max),
        seconds(hurt),
        seconds(others)
    )
}

fn seconds(time: Millis) -> String {
    format!("{}.{}", time / 1000, time % 1000 / 100)
}
