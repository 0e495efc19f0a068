//! A client's own thread: it has a name, and does not die in silence.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use crate::domain::fault::{Fault, FaultClass};

/// Starts a thread that `does` something for a cluster. If it panics, all that it owned is dropped, and after that
/// `crashed` is called.
pub(crate) fn spawn(
    does: &str,
    alias: &str,
    run: impl FnOnce() + Send + 'static,
    crashed: impl FnOnce(Fault) + Send + 'static,
) -> Result<JoinHandle<()>, Fault> {
    let name = format!("{does} {alias}");
    let place = format!("cluster {alias}: the thread `{name}`");
    let failed = format!("{place} can't be started");
    // nothing that `run` owns is looked at again
    let guarded = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            crashed(Fault::new(FaultClass::Crash, format!("{place} panicked: {}", said(panic.as_ref()))));
        }
    };
    Builder::new()
        .name(name)
        .spawn(guarded)
        .map_err(|error| Fault::new(FaultClass::System, format!("{failed}: {error}")))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
