//! Faults, classified by what has to happen next and not by their text.

use std::fmt;

/// What a fault asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The record itself is refused: too large, invalid. Holds that partition of that target.
    Record,
    /// The target, or a quota, says: too fast. Holds that target.
    Overrun,
    /// Broker down, no leader, network, coordinator. Holds that target; worth trying again.
    System,
    /// Authentication, authorisation, a topic that is missing. Holds that target until somebody changes something.
    Config,
    /// A panic or a hang in an actor: a new generation is made.
    Crash,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Record, Self::Overrun, Self::System, Self::Config, Self::Crash];

    /// The name used in logs, states and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Overrun => "overrun",
            Self::System => "system",
            Self::Config => "config",
            Self::Crash => "crash",
        }
    }
}

/// A fault, with its class and a text that says where it happened and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What has to happen next.
    pub class: FaultClass,
    /// One line for people: the cluster, the topic and partition where known, and the cause. Never a secret.
    pub reason: String,
}

impl Fault {
    /// A fault of `class` with a reason for people.
    pub fn new(class: FaultClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fault {}
