//! Metrics: the instruments of the table, through OpenTelemetry, as text for Prometheus.
//!
//! The engine counts for itself, and is read when somebody asks: its way is no longer for it. Nothing here is global, so
//! several may live in one process.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Instrument as Described, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use super::instruments::{INSTRUMENTS, Instrument, Kind, LATENCIES, LATENCY, Values};
use super::reading::Reading;
use crate::engine::board::{Board, Posted};

/// How many series an instrument may have: the SDK's own 2,000 are few, and what is beyond the bound is put together in one
/// series that says so (`otel_metric_overflow`).
const MOST_SERIES: usize = 20_000;
/// The same where there is one for each partition.
const MOST_PARTITIONS: usize = 100_000;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct MetricsOptions {
    /// Whether each partition's lag has a series of its own; else there is one for each topic.
    pub per_partition: bool,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self { per_partition: true }
    }
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// They can't be set up.
    #[error("metrics can't be set up: {0}")]
    Setup(#[from] OTelSdkError),
    /// They can't be written as text.
    #[error("metrics can't be written as text: {0}")]
    Text(#[from] prometheus::Error),
    /// There is nothing, not even what is always there.
    #[error("metrics could not be collected: an earlier attempt has failed for good")]
    Nothing,
}

/// The metrics of an engine, for as long as this lives.
pub struct Metrics {
    registry: Registry,
    /// Without it there is nothing to collect.
    _provider: SdkMeterProvider,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// What the text is, for who asks over HTTP.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Shows what stands on a board. Latencies are told to the first that is started for it.
    pub fn start(board: &Arc<Board>, options: MetricsOptions) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        // names are written out in the table
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .scope_info_enabled(false)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name("anabranch")
            .with_attributes([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))])
            .build();
        let provider =
            SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).with_view(bounds).build();
        let meter = provider.meter("anabranch");
        let latest = Arc::new(Latest { board: board.clone(), options, reading: Mutex::default() });
        for (at, instrument) in INSTRUMENTS.iter().enumerate() {
            show(instrument, &meter, &latest, at == 0);
        }
        let latency =
            INSTRUMENTS.iter().find(|instrument| instrument.name == LATENCY).map(|row| histogram(row, &meter));
        if let Some(latency) = latency {
            board.watch(move |posted| listen(posted, &latency));
        }
        Ok(Self { registry, _provider: provider })
    }

    /// All metrics as they are now, as text for Prometheus. Takes some milliseconds where there are thousands of partitions.
    pub fn scrape(&self) -> Result<String, MetricsError> {
        let families = self.registry.gather();
        if families.is_empty() {
            return Err(MetricsError::Nothing);
        }
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}

/// The last look at the board.
struct Latest {
    board: Arc<Board>,
    options: MetricsOptions,
    reading: Mutex<Arc<Reading>>,
}

impl Latest {
    /// What was seen; `anew`: looks again before.
    fn reading(&self, anew: bool) -> Arc<Reading> {
        let seen = anew.then(|| Arc::new(Reading::take(&self.board, self.options.per_partition)));
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen {
            *reading = seen;
        }
        reading.clone()
    }
}

/// Has an instrument read when somebody asks. Instruments are read in the order of the table: `first` looks at the board,
/// and the others show what it has seen. None of this may panic: nothing would be collected any more.
fn show(instrument: &'static Instrument, meter: &Meter, latest: &Arc<Latest>, first: bool) {
    let (name, unit, meaning) = (instrument.name, instrument.unit.ucum(), instrument.meaning);
    let latest = latest.clone();
    match (instrument.values, instrument.kind) {
        (Values::Told, _) | (_, Kind::Histogram) => {}
        (Values::Whole(read), kind) => {
            let callback = move |observer: &dyn AsyncInstrument<u64>| {
                read(&latest.reading(first), &mut |values, number| {
                    observer.observe(number, &labels(instrument, values));
                });
            };
            if kind == Kind::Counter {
                let builder = meter.u64_observable_counter(name).with_unit(unit).with_description(meaning);
                builder.with_callback(callback).build();
            } else {
                let builder = meter.u64_observable_gauge(name).with_unit(unit).with_description(meaning);
                builder.with_callback(callback).build();
            }
        }
        (Values::Real(read), kind) => {
            let callback = move |observer: &dyn AsyncInstrument<f64>| {
                read(&latest.reading(first), &mut |values, number| {
                    observer.observe(number, &labels(instrument, values));
                });
            };
            if kind == Kind::Counter {
                let builder = meter.f64_observable_counter(name).with_unit(unit).with_description(meaning);
                builder.with_callback(callback).build();
            } else {
                let builder = meter.f64_observable_gauge(name).with_unit(unit).with_description(meaning);
                builder.with_callback(callback).build();
            }
        }
    }
}

fn histogram(instrument: &Instrument, meter: &Meter) -> Histogram<f64> {
    let builder = meter.f64_histogram(instrument.name).with_unit(instrument.unit.ucum());
    builder.with_description(instrument.meaning).with_boundaries(LATENCIES.to_vec()).build()
}

/// Has the targets of a route tell how long records take.
fn listen(posted: &Posted, latency: &Histogram<f64>) {
    let route = &posted.configured;
    for (index, target) in route.seated() {
        let Some(stats) = posted.lasting.progress.targets.get(index) else { continue };
        let labels = [KeyValue::new("route", route.name.clone()), KeyValue::new("target", target.name().to_owned())];
        let latency = latency.clone();
        stats.listen(move |age| latency.record(age.as_secs_f64(), &labels));
    }
}

fn labels(instrument: &Instrument, values: &[&str]) -> Vec<KeyValue> {
    instrument.labels.iter().zip(values).map(|(label, value)| KeyValue::new(*label, (*value).to_owned())).collect()
}

/// How many series an instrument may have.
fn bounds(described: &Described) -> Option<Stream> {
    let row = INSTRUMENTS.iter().find(|instrument| instrument.name == described.name())?;
    let most = if row.labels.contains(&"partition") { MOST_PARTITIONS } else { MOST_SERIES };
    Stream::builder().with_cardinality_limit(most).build().ok()
}
