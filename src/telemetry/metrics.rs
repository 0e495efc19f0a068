//! Metrics: the instruments of the table, through OpenTelemetry, as text for Prometheus.
//!
//! The engine counts for itself, and is read when somebody asks: its way is no longer for it. Nothing here is global, so
//! several may live in one process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{ThreadId, current};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter, MeterProvider};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{Instrument as Described, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::{Gauge, Opts, Registry, TextEncoder};

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
    /// What the text says of the process.
    about: Registry,
    provider: SdkMeterProvider,
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
        let resource = Resource::builder_empty().build();
        Self::start_with(board, options, &resource, None::<PeriodicReader<MetricExporter>>)
    }

    /// The same, and a reader that pushes them, each time as they are then.
    pub(super) fn start_with<E: PushMetricExporter>(
        board: &Arc<Board>,
        options: MetricsOptions,
        resource: &Resource,
        pusher: Option<PeriodicReader<E>>,
    ) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        // names are written out in the table
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .scope_info_enabled(false)
            // what is pushed says more of the process, and none of that is of use in a text that says where it is from
            .without_target_info()
            .build()?;
        let builder =
            SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(exporter).with_view(bounds);
        let provider = match pusher {
            Some(pusher) => builder.with_reader(pusher).build(),
            None => builder.build(),
        };
        let meter = provider.meter("anabranch");
        let latest = Arc::new(Latest { board: board.clone(), options, readings: Mutex::default() });
        for (at, instrument) in INSTRUMENTS.iter().enumerate() {
            show(instrument, &meter, &latest, at);
        }
        let latency =
            INSTRUMENTS.iter().find(|instrument| instrument.name == LATENCY).map(|row| histogram(row, &meter));
        if let Some(latency) = latency {
            board.watch(move |posted| listen(posted, &latency));
        }
        Ok(Self { registry, about: about()?, provider })
    }

    /// Pushes them once more, if they are pushed, and never again.
    pub(super) fn shutdown(&self) -> OTelSdkResult {
        self.provider.shutdown()
    }

    /// All metrics as they are now, as text for Prometheus. Takes some milliseconds where there are thousands of partitions.
    pub fn scrape(&self) -> Result<String, MetricsError> {
        let mut families = self.registry.gather();
        if families.is_empty() {
            return Err(MetricsError::Nothing);
        }
        families.extend(self.about.gather());
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}

/// Which service this is, as OpenTelemetry has it.
fn about() -> Result<Registry, MetricsError> {
    let registry = Registry::new();
    let labels = [("service_name", "anabranch"), ("service_version", env!("CARGO_PKG_VERSION"))];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let info = Gauge::with_opts(Opts::new("target_info", "Target metadata").const_labels(labels.into()))?;
    info.set(1.0);
    registry.register(Box::new(info))?;
    Ok(registry)
}

/// The last looks at the board: one who asks and one who pushes may look at the same time, each on a thread of its own.
struct Latest {
    board: Arc<Board>,
    options: MetricsOptions,
    readings: Mutex<HashMap<ThreadId, Arc<Reading>>>,
}

impl Latest {
    /// What was seen, for the row at this place of the table. The first one looks again before, and nothing is kept after the last.
    fn reading(&self, at: usize) -> Arc<Reading> {
        let seen = (at == 0).then(|| Arc::new(Reading::take(&self.board, self.options.per_partition)));
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let me = current().id();
        if let Some(seen) = seen {
            readings.insert(me, seen);
        }
        let is_last = INSTRUMENTS.iter().rposition(|row| !matches!(row.values, Values::Told)) == Some(at);
        let reading = if is_last { readings.remove(&me) } else { readings.get(&me).cloned() };
        reading.unwrap_or_default()
    }
}

/// Has an instrument read when somebody asks. Instruments are read in the order of the table, in which it stands `at`: the
/// first one looks at the board, and the others show what it has seen. None of this may panic: nothing would be collected any more.
fn show(instrument: &'static Instrument, meter: &Meter, latest: &Arc<Latest>, at: usize) {
    let (name, unit, meaning) = (instrument.name, instrument.unit.ucum(), instrument.meaning);
    let latest = latest.clone();
    match (instrument.values, instrument.kind) {
        (Values::Told, _) | (_, Kind::Histogram) => {}
        (Values::Whole(read), kind) => {
            let callback = move |observer: &dyn AsyncInstrument<u64>| {
                read(&latest.reading(at), &mut |values, number| {
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
                read(&latest.reading(at), &mut |values, number| {
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
