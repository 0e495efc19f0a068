//! What the process tells about itself: logs, metrics and traces; for who asks, and pushed by OTLP.

mod exporters;
pub mod instruments;
pub mod logging;
mod metrics;
mod outlet;
mod push;
mod reading;
mod resource;

pub use exporters::TelemetryError;
pub use metrics::{Metrics, MetricsError, MetricsOptions};
pub use push::Telemetry;
