//! All that was measured: as tables, and as a file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::bounds::{self, Bound};
use super::common::data::{DataSet, PARTITIONS};
use super::common::median;
use super::contender::Contender;
use super::copies::Copied;
use super::latency::Way;
use super::probe::Latencies;
use super::wide;

/// What has no contender is called.
pub(crate) const ALONE: &str = "one broker by itself";
/// In one.
const MEBIBYTE: f64 = 1_048_576.0;

/// The copies that a contender made of a data set.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    /// What was copied.
    pub(crate) data: DataSet,
    /// By whom.
    pub(crate) contender: Contender,
    /// To how many targets.
    pub(crate) targets: usize,
    /// One per round.
    pub(crate) rounds: Vec<Copied>,
}

impl Copies {
    /// Records a second, to each target.
    pub(crate) fn speed(&self) -> f64 {
        median(self.rounds.iter().map(|copy| copy.records / copy.taken.wall.as_secs_f64()))
    }

    /// CPU seconds per million records of the source, from the start of the process to the last record.
    pub(crate) fn whole(&self) -> f64 {
        median(self.rounds.iter().map(|copy| copy.whole.0.as_secs_f64() / copy.whole.1 * 1e6))
    }

    /// The same, but of `MirrorMaker` 2 only from the first records on the targets on: its Java starts slowly.
    pub(crate) fn work(&self) -> f64 {
        median(self.rounds.iter().map(|copy| copy.taken.cpu.as_secs_f64() / copy.records * 1e6))
    }

    /// MiB at the peak: of all copies, as it is a bound.
    pub(crate) fn memory(&self) -> f64 {
        mebibytes(self.rounds.iter().map(|copy| copy.taken.peak_memory).max().unwrap_or(0))
    }

    /// The bytes that the source sent.
    pub(crate) fn source_bytes(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        median(self.rounds.iter().map(|copy| copy.source_bytes as f64))
    }

    fn to_json(&self) -> Value {
        let runs = self.rounds.iter().map(|copy| {
            let taken = copy.taken;
            json!({
                "records": copy.records, "wall_seconds": taken.wall.as_secs_f64(), "cpu_seconds": taken.cpu.as_secs_f64(),
                "peak_bytes": taken.peak_memory, "source_bytes": copy.source_bytes,
            })
        });
        json!({
            "data": self.data.name(), "contender": self.contender.name(), "targets": self.targets,
            "records_per_second": self.speed(), "cpu_seconds_per_million": self.work(),
            "whole_cpu_seconds_per_million": self.whole(), "peak_mebibytes": self.memory(),
            "source_bytes": self.source_bytes(), "runs": runs.collect::<Vec<_>>(),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}

/// How many partitions are looked after; a broker by itself where there is no contender.
#[derive(Clone, Debug)]
pub(crate) struct Wide {
    /// By whom.
    pub(crate) contender: Option<Contender>,
    /// The share of a core that it took with nothing to do.
    pub(crate) idle: Option<f64>,
    /// The most memory, in bytes.
    pub(crate) peak_memory: Option<u64>,
    /// Of one record in each partition.
    pub(crate) first: Latencies,
}

impl Wide {
    /// Its name.
    pub(crate) fn who(&self) -> &'static str {
        self.contender.map_or(ALONE, Contender::name)
    }

    /// MiB at the peak.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.peak_memory.map(mebibytes)
    }

    fn to_json(&self) -> Value {
        json!({
            "contender": self.who(), "idle_core_share": self.idle, "peak_mebibytes": self.memory(),
            "first_p99_ms": self.first.within(990), "first_max_ms": self.first.within(1000),
        })
    }
}

/// How long records take at a steady rate.
#[derive(Clone, Debug)]
pub(crate) struct Delay {
    /// On which way.
    pub(crate) way: Way,
    /// Per round.
    pub(crate) rounds: Vec<Latencies>,
}

impl Delay {
    /// The milliseconds within which so many of a thousand were there: the median of the rounds.
    pub(crate) fn within(&self, per_mille: usize) -> f64 {
        median(self.rounds.iter().map(|round| round.within(per_mille)))
    }

    fn to_json(&self) -> Value {
        let [p50, p99, p999] = [500, 990, 999].map(|per_mille| self.within(per_mille));
        let p99_of_rounds: Vec<f64> = self.rounds.iter().map(|round| round.within(990)).collect();
        json!({ "way": self.way.name(), "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "p99_ms_of_rounds": p99_of_rounds })
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Copies to one target and to several.
    pub(crate) copies: Vec<Copies>,
    /// Many partitions.
    pub(crate) wide: Vec<Wide>,
    /// Latency.
    pub(crate) delays: Vec<Delay>,
}

impl Report {
    /// The copies of a data set to so many targets.
    pub(crate) fn find(&self, data: DataSet, contender: Contender, targets: usize) -> Option<&Copies> {
        self.copies.iter().find(|copies| (copies.data, copies.contender, copies.targets) == (data, contender, targets))
    }

    fn to_json(&self) -> Value {
        let bounds = bounds::of(self);
        json!({
            "version": env!("CARGO_PKG_VERSION"), "librdkafka": anabranch::kafka::library_version(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "copies": self.copies.iter().map(Copies::to_json).collect::<Vec<_>>(),
            "wide": self.wide.iter().map(Wide::to_json).collect::<Vec<_>>(),
            "latency": self.delays.iter().map(Delay::to_json).collect::<Vec<_>>(),
            "bounds": bounds.iter().map(Bound::to_json).collect::<Vec<_>>(),
        })
    }

    /// Writes it to target/bench, and says where.
    pub(crate) fn save(&self) -> PathBuf {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("peers.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{:#}\n", self.to_json())).unwrap();
        file
    }

    fn copies_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Copies of topics of {PARTITIONS} partitions: speed and CPU are medians, memory is the largest")?;
        writeln!(
            f,
            "| data | targets | contender | records/s | CPU s per million | with its start | peak MiB | MiB sent by the source |"
        )?;
        writeln!(f, "|---|---:|---|---:|---:|---:|---:|---:|")?;
        for row in &self.copies {
            let (data, targets, who) = (row.data.name(), row.targets, row.contender.name());
            let (speed, work, memory, sent) = (row.speed(), row.work(), row.memory(), row.source_bytes() / MEBIBYTE);
            let whole = row.whole();
            writeln!(
                f,
                "| {data} | {targets} | {who} | {speed:.0} | {work:.3} | {whole:.3} | {memory:.0} | {sent:.1} |"
            )?;
        }
        writeln!(f)
    }

    fn wide_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} partitions: at rest, and when a record comes into each", wide::PARTITIONS)?;
        writeln!(f, "| | idle, % of a core | peak MiB | 99 % within ms | all within ms |\n|---|---:|---:|---:|---:|")?;
        for row in &self.wide {
            let idle = row.idle.map_or("–".to_owned(), |share| format!("{:.2}", share * 100.0));
            let memory = row.memory().map_or("–".to_owned(), |memory| format!("{memory:.0}"));
            let [p99, all] = [990, 1000].map(|per_mille| row.first.within(per_mille));
            writeln!(f, "| {} | {idle} | {memory} | {p99:.1} | {all:.1} |", row.who())?;
        }
        writeln!(f)
    }

    fn delays_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Latency from producer to consumer at 1,000 records a second")?;
        writeln!(f, "| | p50 ms | p99 ms | p99.9 ms |\n|---|---:|---:|---:|")?;
        for row in &self.delays {
            let [p50, p99, p999] = [500, 990, 999].map(|per_mille| row.within(per_mille));
            writeln!(f, "| {} | {p50:.2} | {p99:.2} | {p999:.2} |", row.way.name())?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.copies.is_empty() {
            self.copies_table(f)?;
        }
        if !self.wide.is_empty() {
            self.wide_table(f)?;
        }
        if !self.delays.is_empty() {
            self.delays_table(f)?;
        }
        writeln!(f, "| bound | | measured | |\n|---|---:|---:|---|")?;
        bounds::of(self).iter().try_for_each(|bound| writeln!(f, "{bound}"))
    }
}
