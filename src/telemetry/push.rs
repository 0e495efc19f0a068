//! Pushing: the SDK's providers with their exporters, from the start of a process to its end.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder as Threads;
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope, global};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::exporters::{self, TelemetryError};
use super::outlet::{Bounded, Outlet, Watched};
use super::{Metrics, MetricsError, MetricsOptions, logging, resource};
use crate::engine;
use crate::engine::board::Board;
use crate::plan::telemetry::{Push, Telemetry as Plan};

/// What may wait of spans and of log records, and how many of them are sent at once.
const QUEUE: usize = 1_024;
const BATCH: usize = 256;
/// How long they wait for others to be sent with.
const DELAY: Duration = Duration::from_secs(1);
/// How long the end of a process waits for what is not sent yet.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a process tells about itself, for as long as this lives.
pub struct Telemetry {
    per_partition: bool,
    interval: Duration,
    resource: Resource,
    /// What metrics are pushed with, until they are there.
    pusher: Option<Watched<MetricExporter>>,
    metrics: Option<Arc<Metrics>>,
    logs: Option<SdkLoggerProvider>,
    traces: Option<SdkTracerProvider>,
    outlets: Vec<Arc<Outlet>>,
    /// How long its end waits.
    goodbye: Duration,
    /// Connections live on a thread of their own; `None` where nothing is pushed.
    background: Option<Background>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("outlets", &self.outlets).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Begins to push logs and traces, as planned. Nobody is waited for: whether anything arrives is seen later, and told in the log.
    pub fn start(plan: &Plan) -> Result<Self, TelemetryError> {
        for ignored in &plan.ignored {
            tracing::warn!("{ignored}");
        }
        let mut telemetry = Self {
            per_partition: plan.per_partition,
            interval: plan.interval,
            resource: resource::resource(&plan.resource),
            pusher: None,
            metrics: None,
            logs: None,
            traces: None,
            outlets: Vec::new(),
            goodbye: GOODBYE,
            background: None,
        };
        if plan.is_pushed() {
            let background = Background::start()?;
            let runtime = background.handle.clone();
            // it has to outlive whatever was opened, also where the rest can't be
            telemetry.background = Some(background);
            telemetry.open(plan, &runtime)?;
        }
        Ok(telemetry)
    }

    fn open(&mut self, plan: &Plan, runtime: &Handle) -> Result<(), TelemetryError> {
        if let Some(push) = &plan.metrics {
            let exporter = exporters::metrics(push, runtime)?;
            let outlet = self.outlet("metrics", push, runtime);
            self.pusher = Some(Watched { exporter, outlet });
        }
        if let Some(push) = &plan.logs {
            let exporter = exporters::logs(push, runtime)?;
            let outlet = self.outlet("logs", push, runtime);
            let provider = log_provider(Watched { exporter, outlet: outlet.clone() }, outlet, self.resource.clone());
            logging::push_to(&provider);
            self.logs = Some(provider);
        }
        if let Some(push) = plan.traces.as_ref().filter(|_| plan.sample > 0.0) {
            let exporter = exporters::spans(push, runtime)?;
            let outlet = self.outlet("traces", push, runtime);
            let provider = trace_provider(Watched { exporter, outlet: outlet.clone() }, outlet, self.resource.clone());
            global::set_tracer_provider(provider.clone());
            let scope = InstrumentationScope::builder("anabranch").with_version(env!("CARGO_PKG_VERSION")).build();
            engine::trace::start(global::tracer_with_scope(scope), plan.sample);
            self.traces = Some(provider);
        }
        Ok(())
    }

    fn outlet(&mut self, signal: &'static str, push: &Push, runtime: &Handle) -> Arc<Outlet> {
        let outlet = Outlet::new(signal, push.endpoint.clone(), push.timeout, runtime.clone());
        self.outlets.push(outlet.clone());
        tracing::info!(signal, endpoint = %push.endpoint, protocol = ?push.protocol, "telemetry is pushed");
        outlet
    }

    /// The metrics of what stands on a board. From now on they are pushed, if they are to be. To be called once.
    pub fn show(&mut self, board: &Arc<Board>) -> Result<Arc<Metrics>, MetricsError> {
        let options = MetricsOptions { per_partition: self.per_partition };
        let interval = self.interval;
        let reader = self.pusher.take().map(|pusher| PeriodicReader::builder(pusher).with_interval(interval).build());
        let metrics = Arc::new(Metrics::start_with(board, options, &self.resource, reader)?);
        self.metrics = Some(metrics.clone());
        Ok(metrics)
    }

    /// Its end waits for nobody: somebody is in a hurry.
    pub fn hurry(&mut self) {
        self.goodbye = Duration::ZERO;
    }

    /// Sends what is not sent yet, if that can be done within some seconds.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.outlets.is_empty() {
            return;
        }
        let (done, all_done) = channel();
        let mut begun = 0;
        let mut end = |name: &str, shutdown: Box<dyn FnOnce() -> OTelSdkResult + Send>| {
            let done = done.clone();
            // each of them may wait for somebody who does not answer, and they wait together
            let thread = Threads::new().name(format!("end-{name}")).spawn(move || {
                let _quiet = Context::enter_telemetry_suppressed_scope();
                // what is wrong was told by its outlet
                let _ = shutdown();
                let _ = done.send(());
            });
            begun += usize::from(thread.is_ok());
        };
        if let Some(provider) = self.traces.take() {
            end("traces", Box::new(move || provider.shutdown_with_timeout(GOODBYE)));
        }
        if let Some(metrics) = self.metrics.take() {
            end("metrics", Box::new(move || metrics.shutdown()));
        }
        if let Some(provider) = self.logs.take() {
            end("logs", Box::new(move || provider.shutdown_with_timeout(GOODBYE)));
        }
        let deadline = Instant::now() + self.goodbye;
        for _ in 0..begun {
            let left = deadline.saturating_duration_since(Instant::now());
            if all_done.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("the end does not wait for the rest of the telemetry: it is not taken in time");
                // who is still at it has its clock there
                std::mem::forget(self.background.take());
                break;
            }
        }
        for outlet in &self.outlets {
            outlet.tell_lost();
        }
    }
}

fn log_provider<E>(exporter: Watched<E>, outlet: Arc<Outlet>, resource: Resource) -> SdkLoggerProvider
where
    Watched<E>: opentelemetry_sdk::logs::LogExporter + 'static,
{
    let config = logs::BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    let processor = Bounded { processor, outlet, most: QUEUE };
    SdkLoggerProvider::builder().with_resource(resource).with_log_processor(processor).build()
}

/// What is a span at all was sampled before.
fn trace_provider<E>(exporter: Watched<E>, outlet: Arc<Outlet>, resource: Resource) -> SdkTracerProvider
where
    Watched<E>: opentelemetry_sdk::trace::SpanExporter + 'static,
{
    let config = trace::BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let processor = Bounded { processor, outlet, most: QUEUE };
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(processor)
        .build()
}

/// A thread with a runtime of its own, so that no connection of an exporter ever shares a thread with the engine. What is done there
/// is not logged to where it is pushed.
struct Background {
    handle: Handle,
    /// Its end is the thread's.
    _stop: oneshot::Sender<()>,
}

impl Background {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        Threads::new().name("telemetry".to_owned()).spawn(move || {
            let _quiet = Context::enter_telemetry_suppressed_scope();
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }
}
