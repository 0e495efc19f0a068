//! The states of routes and targets, and how they follow from what is known. One place: logs, and whatever else tells
//! of states, say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::FaultClass;
use super::topic_partition::TopicPartition;

/// How a route is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteState {
    /// It is switched off.
    Off,
    /// It has not found its topics yet.
    #[default]
    Starting,
    /// Records move to all targets, or there are none to move.
    Running,
    /// A target, or some of its partitions, is not as it should be.
    Degraded,
    /// It finishes what is in flight.
    Draining,
    /// It has ended.
    Stopped,
    /// It can't go on until somebody changes something, or keeps failing.
    Failed,
}

impl RouteState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Off, Self::Starting, Self::Running, Self::Degraded, Self::Draining, Self::Stopped, Self::Failed];

    /// The name used in logs, the API and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// How a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetState {
    /// It is being prepared for the first time.
    #[default]
    Starting,
    /// Records move, or there are none to move.
    Running,
    /// It is written as fast as a limit, or its broker, allows.
    Throttled,
    /// Something failed, and is tried again.
    Retrying,
    /// Some of its partitions have left the shared read, and catch up.
    Detached,
    /// A record's attempts are used up: its partition waits.
    Blocked,
    /// Somebody paused it.
    Paused,
    /// It can't go on until somebody changes something.
    Failed,
}

impl TargetState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Starting,
        Self::Running,
        Self::Throttled,
        Self::Retrying,
        Self::Detached,
        Self::Blocked,
        Self::Paused,
        Self::Failed,
    ];

    /// The name used in logs, the API and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Throttled => "throttled",
            Self::Retrying => "retrying",
            Self::Detached => "detached",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }

    /// Whether records move as they should.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Running | Self::Throttled)
    }
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What has to happen next.
    pub class: FaultClass,
    /// Which attempt failed last, counted from 1.
    pub attempt: u32,
    /// When the next one is made, counted from any fixed moment; `None` if nobody knows.
    pub next_attempt_at: Option<Duration>,
    /// Why, for people.
    pub reason: String,
}

/// How a target rests that is not to be written now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// It has nothing to do with its writer any more, or does not rest.
    #[default]
    Whole,
    /// What is with its writer is still being finished.
    Finishing,
    /// Its route is switched off.
    RouteOff,
}

/// What is known of a target.
#[derive(Clone, Debug, Default)]
pub struct TargetFacts {
    /// Whether its actors run.
    pub alive: bool,
    /// Whether somebody paused it.
    pub paused: bool,
    /// How it rests.
    pub rest: Rest,
    /// What holds all of it.
    pub trouble: Option<Trouble>,
    /// What holds single partitions, and is tried again.
    pub held: BTreeMap<TopicPartition, Trouble>,
    /// Partitions that wait behind a record whose attempts are used up.
    pub blocked: BTreeMap<TopicPartition, Trouble>,
    /// Topics or partitions that are not copied until somebody changes something, and why.
    pub refused: BTreeMap<String, String>,
    /// Partitions that its own read can't read right now, and why.
    pub unreadable: BTreeMap<TopicPartition, String>,
    /// Partitions that have left the shared read.
    pub detached: usize,
    /// Why it is slowed down, if it is.
    pub throttled: Option<String>,
}

/// A target's state, with its reason; while it retries, also with what is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetCondition {
    /// The state.
    pub state: TargetState,
    /// Why, for people; empty where all is well.
    pub reason: String,
    /// What is tried again, and when.
    pub trouble: Option<Trouble>,
}

impl TargetFacts {
    /// What is left where nothing else is known any more: whether somebody has paused it.
    #[must_use]
    pub fn forgotten(&self) -> Self {
        Self { paused: self.paused, ..Self::default() }
    }

    /// The state that follows, the worst that is true.
    pub fn condition(&self) -> TargetCondition {
        let plain = |state, reason: &str| TargetCondition { state, reason: reason.to_owned(), trouble: None };
        let troubled = |state, trouble: &Trouble, more: usize| {
            let reason = if more > 0 { format!("{} ({more} more)", trouble.reason) } else { trouble.reason.clone() };
            TargetCondition { state, reason, trouble: Some(trouble.clone()) }
        };
        let config = |trouble: &&Trouble| trouble.class == FaultClass::Config;
        match (self.rest, self.paused) {
            (Rest::RouteOff, _) => return plain(TargetState::Paused, "its route is off"),
            (Rest::Finishing, true) => {
                return plain(TargetState::Paused, "somebody paused it; what is with its writer is finished");
            }
            (Rest::Whole, true) => return plain(TargetState::Paused, "somebody paused it"),
            (Rest::Finishing, false) => {
                return plain(
                    TargetState::Starting,
                    "its config has changed: what is with its writer is finished first",
                );
            }
            (Rest::Whole, false) => {}
        }
        if let Some(trouble) = self.trouble.iter().chain(self.held.values()).find(config) {
            return troubled(TargetState::Failed, trouble, 0);
        }
        if let Some(trouble) = self.blocked.values().next() {
            return troubled(TargetState::Blocked, trouble, self.blocked.len() - 1);
        }
        if let Some(trouble) = self.trouble.iter().chain(self.held.values()).next() {
            return troubled(TargetState::Retrying, trouble, 0);
        }
        if !self.alive {
            return plain(TargetState::Starting, "");
        }
        if let Some(reason) = self.unreadable.values().next() {
            return plain(TargetState::Retrying, reason);
        }
        if let Some(reason) = self.refused.values().next() {
            let more = self.refused.len() - 1;
            let reason = if more > 0 { format!("{reason} ({more} more)") } else { reason.clone() };
            return plain(TargetState::Failed, &reason);
        }
        match (&self.throttled, self.detached) {
            (Some(reason), _) => plain(TargetState::Throttled, reason),
            (None, 0) => plain(TargetState::Running, ""),
            (None, detached) => {
                plain(TargetState::Detached, &format!("{detached} partitions catch up by a read of their own"))
            }
        }
    }
}

/// A route's place among the processes that share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// It has been given its share, or shares with nobody.
    #[default]
    Settled,
    /// It waits for its first share.
    Waiting,
    /// It can't be a member of their group.
    Refused(Trouble),
}

/// What is known of a route, besides its targets.
#[derive(Clone, Debug, Default)]
pub struct RouteFacts {
    /// Whether it is switched off, and how.
    pub off: Option<String>,
    /// Whether its source has told its topics.
    pub discovered: bool,
    /// Whether it is draining.
    pub draining: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// What keeps its source from being read.
    pub trouble: Option<Trouble>,
    /// Its place among the processes that share it.
    pub place: Place,
    /// Partitions of the source that can't be read, and why.
    pub unreadable: BTreeMap<TopicPartition, String>,
    /// Whether it keeps failing.
    pub failing: Option<String>,
}

impl RouteFacts {
    /// The state that follows, with its reason; `targets` are the names and conditions of its targets.
    pub fn state<'a>(&self, targets: impl Iterator<Item = (&'a str, &'a TargetCondition)>) -> (RouteState, String) {
        if self.ended {
            return (RouteState::Stopped, String::new());
        }
        if let Some(how) = &self.off {
            return (RouteState::Off, how.clone());
        }
        if self.draining {
            return (RouteState::Draining, "finishing what is in flight".to_owned());
        }
        if let Some(reason) = &self.failing {
            return (RouteState::Failed, reason.clone());
        }
        let refused = if let Place::Refused(trouble) = &self.place { Some(trouble) } else { None };
        if let Some(trouble) = self.trouble.as_ref().or(refused) {
            let failed = trouble.class == FaultClass::Config;
            return (if failed { RouteState::Failed } else { RouteState::Degraded }, trouble.reason.clone());
        }
        if !self.discovered {
            return (RouteState::Starting, String::new());
        }
        if self.place == Place::Waiting {
            let reason =
                "no partition is its own yet: other processes have them, or the session of one that died has not ended";
            return (RouteState::Starting, reason.to_owned());
        }
        if let Some(reason) = self.unreadable.values().next() {
            return (RouteState::Degraded, reason.clone());
        }
        let mut starting = false;
        for (name, condition) in targets {
            if condition.state == TargetState::Starting {
                starting = true;
            } else if !condition.state.is_well() {
                return (RouteState::Degraded, format!("{name} is {}: {}", condition.state.name(), condition.reason));
            }
        }
        (if starting { RouteState::Starting } else { RouteState::Running }, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(class: FaultClass) -> Trouble {
        Trouble { class, attempt: 2, next_attempt_at: None, reason: class.name().to_owned() }
    }

    #[test]
    fn all_states_have_names_of_their_own() {
        let names: Vec<_> = TargetState::ALL.map(TargetState::name).into();
        assert_eq!(names, ["starting", "running", "throttled", "retrying", "detached", "blocked", "paused", "failed"]);
        let names: Vec<_> = RouteState::ALL.map(RouteState::name).into();
        assert_eq!(names, ["off", "starting", "running", "degraded", "draining", "stopped", "failed"]);
    }

    #[test]
    fn the_worst_that_is_true_is_the_state() {
        let mut facts = TargetFacts::default();
        let state = |facts: &TargetFacts| facts.condition().state;
        assert_eq!(state(&facts), TargetState::Starting);
        facts.alive = true;
        assert_eq!(state(&facts), TargetState::Running);
        facts.detached = 3;
        assert_eq!(state(&facts), TargetState::Detached);
        facts.throttled = Some("20MiB/s".to_owned());
        assert_eq!(state(&facts), TargetState::Throttled);
        facts.refused.insert("orders".to_owned(), "no such topic".to_owned());
        assert_eq!(state(&facts), TargetState::Failed);
        facts.held.insert(TopicPartition::new("orders", 0), trouble(FaultClass::Record));
        assert_eq!(state(&facts), TargetState::Retrying);
        facts.blocked.insert(TopicPartition::new("orders", 1), trouble(FaultClass::Record));
        assert_eq!(state(&facts), TargetState::Blocked);
        facts.trouble = Some(trouble(FaultClass::System));
        assert_eq!(state(&facts), TargetState::Blocked);
        facts.trouble = Some(trouble(FaultClass::Config));
        let condition = facts.condition();
        assert_eq!((condition.state, condition.trouble.map(|t| t.attempt)), (TargetState::Failed, Some(2)));
        facts.paused = true;
        assert_eq!(state(&facts), TargetState::Paused);
    }

    #[test]
    fn a_route_is_as_well_as_its_worst_target() {
        use TargetState::{Detached, Running, Starting, Throttled};
        let mut facts = RouteFacts::default();
        let condition = |state| TargetCondition { state, ..TargetCondition::default() };
        let state = |facts: &RouteFacts, states: &[TargetState]| {
            let conditions: Vec<_> = states.iter().map(|state| condition(*state)).collect();
            facts.state(conditions.iter().map(|condition| ("shanghai", condition))).0
        };
        assert_eq!(state(&facts, &[Running]), RouteState::Starting);
        facts.discovered = true;
        assert_eq!(state(&facts, &[Running, Throttled]), RouteState::Running);
        assert_eq!(state(&facts, &[Running, Starting]), RouteState::Starting);
        assert_eq!(state(&facts, &[Starting, Detached]), RouteState::Degraded);
        facts.place = Place::Waiting;
        assert_eq!(state(&facts, &[Running]), RouteState::Starting);
        facts.place = Place::Refused(trouble(FaultClass::Config));
        assert_eq!(state(&facts, &[Running]), RouteState::Failed);
        facts.place = Place::Settled;
        facts.trouble = Some(trouble(FaultClass::System));
        assert_eq!(state(&facts, &[Running]), RouteState::Degraded);
        facts.trouble = Some(trouble(FaultClass::Config));
        assert_eq!(state(&facts, &[Running]), RouteState::Failed);
        facts.draining = true;
        assert_eq!(state(&facts, &[Running]), RouteState::Draining);
        facts.ended = true;
        assert_eq!(state(&facts, &[Running]), RouteState::Stopped);
    }
}
