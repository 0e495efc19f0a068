//! What stands between the process and who takes its telemetry: bounds, and one word when something is wrong.
//!
//! Whoever takes nothing, or takes it slowly, costs neither time nor memory: what does not fit into a queue of a fixed size is
//! dropped and counted, and each request ends after its time, whatever the other side does.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// What was lost is told no more often than this.
const TELL: Duration = Duration::from_secs(60);
/// How much longer than its own time-out a request may take.
const GRACE: Duration = Duration::from_secs(1);

/// One signal's way out.
pub(super) struct Outlet {
    /// `metrics`, `logs` or `traces`.
    signal: &'static str,
    endpoint: String,
    /// How long a request may take.
    limit: Duration,
    /// Whose clock it is.
    runtime: Handle,
    /// What waits, or is on its way.
    waiting: AtomicUsize,
    /// What was lost, and nobody was told of yet.
    lost: AtomicU64,
    said: Mutex<Said>,
}

/// What the log was told.
#[derive(Default)]
struct Said {
    /// Whether the last request failed.
    failing: bool,
    /// When it was told last that something was lost.
    lost_at: Option<Instant>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl Outlet {
    /// A way out to an endpoint whose answers may take so long.
    pub(super) fn new(signal: &'static str, endpoint: String, timeout: Duration, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            signal,
            endpoint,
            limit: timeout + GRACE,
            runtime,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            said: Mutex::default(),
        })
    }

    /// Whether there is room for one more among `most`; if not, it is counted as lost.
    fn enter(&self, most: usize) -> bool {
        let enters = |waiting: usize| (waiting < most).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Relaxed, Relaxed, enters).is_ok();
        if !entered {
            self.lost.fetch_add(1, Relaxed);
        }
        entered
    }

    /// Waits for an export, but not for ever, and says what is to be said of it. `items`: what it takes along from the queue.
    async fn watch(&self, items: usize, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let export = {
            // the thread is the SDK's, and knows no clock
            let _entered = self.runtime.enter();
            tokio::time::timeout(self.limit, export)
        };
        let result = export.await.unwrap_or(Err(OTelSdkError::Timeout(self.limit)));
        self.waiting.fetch_sub(items, Relaxed);
        if result.is_err() {
            self.lost.fetch_add(items as u64, Relaxed);
        }
        self.say(&result);
        result
    }

    /// One line when it begins to fail, one when it works again, and one a minute while something is lost.
    fn say(&self, result: &OTelSdkResult) {
        let (signal, endpoint) = (self.signal, &self.endpoint);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err(error) if !said.failing => {
                tracing::warn!(signal, %endpoint, "telemetry does not arrive, and is dropped meanwhile: {error}");
            }
            Ok(()) if said.failing => tracing::info!(signal, %endpoint, "telemetry arrives again"),
            _ => {}
        }
        said.failing = result.is_err();
        if said.lost_at.is_none_or(|at| at.elapsed() >= TELL) && self.tell_lost() {
            said.lost_at = Some(Instant::now());
        }
    }

    /// Tells what was lost since this was told last; says whether there was anything.
    pub(super) fn tell_lost(&self) -> bool {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
            tracing::warn!(signal = self.signal, lost, "telemetry was dropped");
        }
        lost > 0
    }
}

/// An exporter of any signal that is watched.
#[derive(Debug)]
pub(super) struct Watched<E> {
    pub(super) exporter: E,
    pub(super) outlet: Arc<Outlet>,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.outlet.watch(batch.len(), self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.outlet.watch(items, self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    /// Metrics are sums: what one request does not bring, the next one does.
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.outlet.watch(0, self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// A processor that is given no more than it has room for. Its own queue would drop what is too much as well, and tell nobody.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    pub(super) processor: P,
    pub(super) outlet: Arc<Outlet>,
    /// How much may wait.
    pub(super) most: usize,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.outlet.enter(self.most) {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Bounded<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.outlet.enter(self.most) {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_lost_and_who_never_answers_is_not_waited_for() {
        let timeout = Duration::from_secs(10);
        let outlet = Outlet::new("traces", "http://h:1".to_owned(), timeout, Handle::current());
        let entered = (0..5).filter(|_| outlet.enter(3)).count();
        assert_eq!((entered, outlet.lost.load(Relaxed)), (3, 2));

        let begun = Instant::now();
        let result = outlet.watch(3, pending()).await;
        assert!(matches!(result, Err(OTelSdkError::Timeout(_))), "{result:?}");
        assert_eq!(begun.elapsed(), timeout + GRACE);
        assert!(!outlet.tell_lost(), "it was told when the request failed");

        assert!((0..3).all(|_| outlet.enter(3)), "there is room again");
        assert!(outlet.watch(3, ready(Ok(()))).await.is_ok());
        assert_eq!((outlet.waiting.load(Relaxed), outlet.lost.load(Relaxed)), (0, 0));

        // not told again so soon
        assert!(outlet.enter(3) && outlet.watch(1, pending()).await.is_err());
        assert_eq!(outlet.lost.load(Relaxed), 1);
        tokio::time::advance(TELL).await;
        assert!(outlet.watch(0, ready(Ok(()))).await.is_ok());
        assert_eq!(outlet.lost.load(Relaxed), 0);
    }
}
