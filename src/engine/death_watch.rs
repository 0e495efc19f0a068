//! How a supervisor learns that an actor is gone.
//!
//! actix neither restarts an actor that panicked nor tells anybody: its `stopped` is called as if all were well, and
//! only the thread knows that it is unwinding. So every actor owns a guard, and the guard speaks when it is dropped.

/// How an actor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It stopped by itself.
    Stopped,
    /// It panicked.
    Panicked,
}

/// Tells of its owner's end when it is dropped.
pub struct DeathWatch(Option<Box<dyn FnOnce(Death)>>);

impl DeathWatch {
    /// Calls `tell` when dropped, on the thread that drops it.
    pub fn new(tell: impl FnOnce(Death) + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(if std::thread::panicking() { Death::Panicked } else { Death::Stopped });
        }
    }
}

impl std::fmt::Debug for DeathWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeathWatch")
    }
}
