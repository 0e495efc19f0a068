//! Questions that a broker refuses for a moment's reason are asked again at once, before anybody counts attempts: a partition whose
//! leader has just moved, a group whose coordinator has.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::fault::{Fault, FaultClass};

/// For how long a question is asked again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a broker is left alone in between.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// Asks again what was refused and may be answered soon. `rest` waits for so long.
pub(super) fn patiently<T>(rest: impl Fn(Duration), mut ask: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(fault) if fault.class == FaultClass::System && Instant::now() + PAUSE < deadline => rest(PAUSE),
            done => return done,
        }
    }
}
