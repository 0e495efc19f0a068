//! Who has to be told if a reader's thread panics: its own list is lost then, and so is what is in its inbox.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ReadEvent, ReadSink, StreamId};
use crate::domain::fault::Fault;

/// The sinks of all streams of a reader.
#[derive(Default)]
pub(crate) struct Sinks(Mutex<State>);

#[derive(Default)]
struct State {
    open: HashMap<StreamId, ReadSink>,
    crashed: Option<Fault>,
}

impl Sinks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream's sink, or says why there can't be one any more.
    pub(crate) fn add(&self, stream: StreamId, sink: &ReadSink) -> Result<(), Fault> {
        let mut state = self.state();
        match &state.crashed {
            Some(fault) => Err(fault.clone()),
            None => {
                state.open.insert(stream, sink.clone());
                Ok(())
            }
        }
    }

    /// Forgets a stream.
    pub(crate) fn remove(&self, stream: StreamId) {
        self.state().open.remove(&stream);
    }

    /// Tells all of them, and those that are still to come.
    pub(crate) fn crashed(&self, fault: &Fault) {
        let mut state = self.state();
        state.crashed = Some(fault.clone());
        let open = std::mem::take(&mut state.open);
        drop(state);
        for (stream, sink) in open {
            sink(stream, ReadEvent::Failed(fault.clone()));
        }
    }
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sinks")
    }
}
