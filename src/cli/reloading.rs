//! When a running engine reads its config again: when SIGHUP says so; and, with `reload: watch`, when the file is another one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use twox_hash::XxHash3_128;

use crate::engine::handle::{Handle, Refusal};

/// How often the file is looked at. It has to be the same twice: an editor may still be writing it.
const LOOK: Duration = Duration::from_secs(1);

/// What a config file holds, in short: nothing where it can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contents(Option<u128>);

impl Contents {
    /// What a file holds now. Blocks.
    fn of(file: &Path) -> Self {
        Self(std::fs::read(file).ok().map(|bytes| XxHash3_128::oneshot(&bytes)))
    }
}

/// Has an engine read its config again, for as long as it runs.
#[derive(Debug)]
pub struct Reloading {
    file: PathBuf,
    /// What was read last, as far as that is known.
    read: Option<Contents>,
    /// What was there at the last look.
    seen: Contents,
}

impl Reloading {
    /// For an engine that is about to read this file, and finds there what is there now. Blocks.
    pub fn new(file: PathBuf) -> Self {
        let now = Contents::of(&file);
        Self { file, read: Some(now), seen: now }
    }

    /// Does so without end; `hangups` tells of SIGHUP.
    pub async fn serve(mut self, engine: Handle, mut hangups: Signal) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = hangups.recv() => true,
                _ = looks.tick() => false,
            };
            let watches = engine.watches().await;
            let now = if asked || watches { self.look().await } else { None };
            if asked || (watches && self.is_another(now)) {
                self.read = now;
                // what is wrong with the config the engine has said already
                if let Err(refusal @ Refusal::Draining) = engine.reload().await {
                    tracing::warn!("the config is not read again: {refusal}");
                }
            } else if !watches {
                // nobody has looked, and somebody may have read it meanwhile
                self.read = None;
            }
        }
    }

    async fn look(&self) -> Option<Contents> {
        let file = self.file.clone();
        spawn_blocking(move || Contents::of(&file)).await.ok()
    }

    /// Whether the file was the same at the last look, and is not what was read last.
    fn is_another(&mut self, now: Option<Contents>) -> bool {
        let Some(now) = now else { return false };
        let settled = std::mem::replace(&mut self.seen, now) == now;
        settled && *self.read.get_or_insert(now) != now
    }
}
