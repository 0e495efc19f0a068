//! Faults that tests inject, in builds with the feature `failpoints` alone: elsewhere there is nothing of them.
//!
//! The variable `FAILPOINTS` has actions by the actors' names, such as `router=50*off->1*panic->off`. The action `return`
//! makes the actor hang: it handles nothing any more, as if it waited for something that never comes.

/// A place where an actor, which has just got a message, may be made to panic or to hang.
macro_rules! failpoint {
    ($name:literal, $ctx:expr) => {
        let _ = &$ctx;
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name, |_| {
            actix::AsyncContext::wait($ctx, actix::fut::wrap_future::<_, Self>(std::future::pending::<()>()));
        });
    };
}

pub(super) use failpoint;

/// Arms what the environment asks for, for the rest of the process.
pub(super) fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
