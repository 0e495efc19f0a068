//! What a reader's or a writer's thread runs: one runtime of its own, whose tasks take turns.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

type Panic = Box<dyn Any + Send>;

thread_local! {
    /// Where a task's panic is told, on a thread that has tasks.
    static PANICS: RefCell<Option<UnboundedSender<Panic>>> = const { RefCell::new(None) };
}

/// Runs until `main` is done; whatever else was begun ends then. A task that panics ends all of it, with its panic.
pub(super) fn run(main: impl Future<Output = ()>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let (tell, mut told) = unbounded_channel();
            PANICS.set(Some(tell));
            let all = async {
                tokio::select! {
                    () = main => {}
                    Some(panic) = told.recv() => resume_unwind(panic),
                }
            };
            LocalSet::new().block_on(&runtime, all);
            // a name that is being looked up is not waited for
            runtime.shutdown_background();
        }
        Err(error) => panic!("no runtime: {error}"),
    }
}

/// Begins a task beside the others.
pub(super) fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(async move {
        // nothing that it owned is looked at again: all of the thread's tasks end
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            PANICS.with_borrow(|tell| tell.as_ref().map(|tell| tell.send(panic)));
        }
    })
}

/// The runtime's clock ticks this often: whoever rests for less may rest for as long.
pub(super) const TICK: Duration = Duration::from_millis(1);

/// Rests until then.
pub(super) async fn until(due: Instant) {
    tokio::time::sleep_until(due).await;
}

/// Rests for so long.
pub(super) async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}
