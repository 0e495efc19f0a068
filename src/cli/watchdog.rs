//! The last resort: all actors run on one thread, and if that does not turn any more, none of them could say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// So many looks in a row that found nothing moved are a stall. Looks are counted, and not the time: a process that was
/// stopped and continued has lost time, and nothing else.
const LOOKS: u32 = 10;

/// Ends the process when the thread that ought to feed it does not for too long.
pub(super) struct Watchdog {
    fed: Arc<AtomicU64>,
    dismissed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches from now on.
    pub(super) fn start(stall: Duration) -> std::io::Result<Self> {
        let (fed, dismissed) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (seen, over) = (fed.clone(), dismissed.clone());
        let watch = move || {
            let (mut last, mut looks) = (0, 0);
            while !over.load(Relaxed) {
                std::thread::park_timeout(stall / LOOKS);
                let now = seen.load(Relaxed);
                looks = if now == last { looks + 1 } else { 0 };
                last = now;
                if looks >= LOOKS && !over.load(Relaxed) {
                    tracing::error!(stall = ?stall, "the engine's thread is stuck: the process ends; start it again, it goes on where it was");
                    std::process::exit(1);
                }
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Self { fed, dismissed, thread: Some(thread) })
    }

    /// How often it wants to be fed, at least.
    pub(super) fn appetite(stall: Duration) -> Duration {
        stall / (2 * LOOKS)
    }

    /// The thread turns.
    pub(super) fn feed(&self) {
        self.fed.fetch_add(1, Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.dismissed.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}
