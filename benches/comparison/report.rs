//! Medians, ratios, the table and the file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::common::data::{DataSet, PARTITIONS};
use super::common::measure::Taken;
use super::common::median;

/// Records a second, of the pipe's: at least.
const SPEED: f64 = 0.8;
/// CPU per record, of the pipe's: at most.
const WORK: f64 = 1.3;
/// Peak memory with two targets and default settings, in MiB: at most.
const MEMORY: f64 = 192.0;

/// The copies that one contender made of one data set.
#[derive(Clone, Debug)]
pub(crate) struct Figures(Vec<Taken>);

impl Figures {
    /// Of these copies.
    pub(crate) fn of(taken: &[Taken]) -> Self {
        Self(taken.to_vec())
    }

    fn median(&self, figure: impl Fn(&Taken) -> f64) -> f64 {
        median(self.0.iter().map(figure))
    }

    /// Records a second.
    fn speed(&self, records: f64) -> f64 {
        records / self.median(|taken| taken.wall.as_secs_f64())
    }

    /// CPU seconds per million records.
    fn work(&self, records: f64) -> f64 {
        self.median(|taken| taken.cpu.as_secs_f64()) / records * 1e6
    }

    /// MiB at the peak: of all copies, as it is a bound.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn memory(&self) -> f64 {
        let peak = self.0.iter().map(|taken| taken.peak_memory).max().unwrap_or(0);
        peak as f64 / f64::from(1 << 20)
    }

    fn to_json(&self, records: f64) -> Value {
        let runs: Vec<Value> = self.0.iter().map(|taken| {
            json!({ "wall_seconds": taken.wall.as_secs_f64(), "cpu_seconds": taken.cpu.as_secs_f64(), "peak_bytes": taken.peak_memory })
        }).collect();
        json!({
            "records_per_second": self.speed(records), "cpu_seconds_per_million": self.work(records),
            "peak_mebibytes": self.memory(), "runs": runs,
        })
    }
}

/// anabranch with several targets.
#[derive(Debug)]
pub(crate) struct Fan {
    /// What was copied.
    pub(crate) data: DataSet,
    /// To how many, and what happened to them.
    pub(crate) how: &'static str,
    /// What it took.
    pub(crate) figures: Figures,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Report {
    records: f64,
    /// The pipe's figures and ours, of each data set.
    pub(crate) pairs: Vec<(DataSet, Figures, Figures)>,
    /// Fan-outs.
    pub(crate) fans: Vec<Fan>,
}

impl Report {
    /// Nothing yet, for data sets of that many records.
    pub(crate) fn new(records: u32) -> Self {
        Self { records: f64::from(records), pairs: Vec::new(), fans: Vec::new() }
    }

    /// Of a data set: our speed and our work per record, as parts of the pipe's.
    fn ratios(&self, pipe: &Figures, ours: &Figures) -> (f64, f64) {
        (ours.speed(self.records) / pipe.speed(self.records), ours.work(self.records) / pipe.work(self.records))
    }

    /// Whether all that the project promises holds.
    pub(crate) fn within_bounds(&self) -> bool {
        let ratios = self.pairs.iter().map(|(_, pipe, ours)| self.ratios(pipe, ours));
        ratios.into_iter().all(|(speed, work)| speed >= SPEED && work <= WORK)
            && self.fans.iter().all(|fan| fan.figures.memory() <= MEMORY)
    }

    fn to_json(&self) -> Value {
        let pairs = self.pairs.iter().map(|(data, pipe, ours)| {
            let (speed, work) = self.ratios(pipe, ours);
            json!({
                "data": data.name(), "pipe": pipe.to_json(self.records), "anabranch": ours.to_json(self.records),
                "speed_ratio": speed, "cpu_ratio": work,
            })
        });
        let fans = self.fans.iter().map(
            |fan| json!({ "data": fan.data.name(), "how": fan.how, "anabranch": fan.figures.to_json(self.records) }),
        );
        json!({
            "version": env!("CARGO_PKG_VERSION"), "librdkafka": anabranch::kafka::library_version(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from), "records": self.records,
            "bounds": { "speed_ratio": SPEED, "cpu_ratio": WORK, "peak_mebibytes": MEMORY },
            "within_bounds": self.within_bounds(),
            "copies": pairs.collect::<Vec<_>>(), "fan_out": fans.collect::<Vec<_>>(),
        })
    }

    /// Writes it to target/bench, and says where.
    pub(crate) fn save(&self) -> PathBuf {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("comparison.json");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{:#}\n", self.to_json())).unwrap();
        file
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} records per copy, {} partitions, medians", self.records, PARTITIONS)?;
        writeln!(f, "| data | contender | records/s | CPU s per million | peak MiB |\n|---|---|---:|---:|---:|")?;
        let row = |f: &mut fmt::Formatter<'_>, data: &str, who: &str, figures: &Figures| {
            let (speed, work) = (figures.speed(self.records), figures.work(self.records));
            writeln!(f, "| {data} | {who} | {speed:.0} | {work:.2} | {:.0} |", figures.memory())
        };
        for (data, pipe, ours) in &self.pairs {
            row(f, data.name(), "bare pipe", pipe)?;
            row(f, data.name(), "anabranch", ours)?;
            let (speed, work) = self.ratios(pipe, ours);
            let memory = ours.memory() / pipe.memory();
            writeln!(f, "| {} | anabranch / pipe | {speed:.2} | {work:.2} | {memory:.2} |", data.name())?;
        }
        for fan in &self.fans {
            row(f, fan.data.name(), &format!("anabranch, {}", fan.how), &fan.figures)?;
        }
        let verdict = if self.within_bounds() { "kept" } else { "missed" };
        write!(f, "bounds {verdict}: speed ≥ {SPEED} and CPU ≤ {WORK} of the pipe's, ≤ {MEMORY} MiB with two targets")
    }
}
