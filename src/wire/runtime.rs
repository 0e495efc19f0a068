//! What a reader's or a writer's thread runs: one runtime of its own, whose tasks take turns.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Runs until `main` is done; whatever else was begun ends then.
pub(super) fn run(main: impl Future<Output = ()>) {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            LocalSet::new().block_on(&runtime, main);
            // a name that is being looked up is not waited for
            runtime.shutdown_background();
        }
        Err(error) => panic!("no runtime: {error}"),
    }
}

/// Rests until then.
pub(super) async fn until(due: Instant) {
    tokio::time::sleep_until(due).await;
}

/// Rests for so long.
pub(super) async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}
