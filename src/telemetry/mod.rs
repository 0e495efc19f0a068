//! What the process tells about itself: logs, and metrics.

pub mod instruments;
pub mod logging;
mod metrics;
mod reading;

pub use metrics::{Metrics, MetricsError, MetricsOptions};
