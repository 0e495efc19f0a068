//! The engine's time, as the pure rules want it: counted from a fixed moment of this process; and its dice.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// The present, on tokio's clock.
pub fn now() -> Duration {
    // before the process began nothing happened; a margin, so that "a minute ago" can be told
    const MARGIN: Duration = Duration::from_hours(1);
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    MARGIN + BEGAN.get_or_init(Instant::now).elapsed()
}

/// A random number from -1 to 1, for jitter.
pub fn dice() -> f64 {
    fastrand::f64().mul_add(2.0, -1.0)
}
