//! The engine's time, as the pure rules want it: counted from a fixed moment of this process; what people's clocks say of it;
//! and its dice.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// What the wall's clock says, in milliseconds since 1970: to be compared with what records say of themselves.
pub fn wall_ms() -> u64 {
    #[allow(clippy::disallowed_methods)] // what it tells is shown, and no rule reads it
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What the wall's clock says, RFC 3339 in UTC: to be shown, and nothing else.
pub fn wall() -> String {
    wall_at(now())
}

/// What the wall's clock said, or will say, at a moment of [`now`].
pub fn wall_at(moment: Duration) -> String {
    #[allow(clippy::disallowed_methods)] // no rule reads it
    let (wall, now) = (SystemTime::now(), now());
    let then = match moment.checked_sub(now) {
        Some(ahead) => wall.checked_add(ahead),
        None => wall.checked_sub(now.saturating_sub(moment)),
    };
    humantime::format_rfc3339_millis(then.unwrap_or(wall)).to_string()
}
