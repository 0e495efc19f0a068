//! The states of all routes and targets: kept here alone. Whoever knows something new changes a fact; the state follows
//! from the facts, and each change of it is logged from here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now;
use super::events::Events;
use super::messages::End;
use super::progress::TargetIndex;
use super::view::{EventKind, Level};
use crate::domain::fault::FaultClass;
use crate::domain::state::{Rest, RouteFacts, RouteState, TargetCondition, TargetFacts, TargetState, Trouble};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::{RoutePlan, TargetPlan};

/// The state of a route and of its targets.
#[derive(Debug)]
pub struct RouteStatus {
    route: String,
    events: Arc<Events>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    facts: RouteFacts,
    state: RouteState,
    reason: String,
    since: Duration,
    targets: Vec<TargetStatus>,
}

#[derive(Debug)]
struct TargetStatus {
    name: String,
    /// Whether it is none of the route's any more.
    retired: bool,
    facts: TargetFacts,
    condition: TargetCondition,
    since: Duration,
}

/// How a route and its targets are.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The route's state.
    pub state: RouteState,
    /// Why, for people.
    pub reason: String,
    /// Since when, by the engine's clock.
    pub since: Duration,
    /// Its targets, in the order of the plan, without those that are none any more.
    pub targets: Vec<TargetSnapshot>,
}

/// How a target is.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// Its place in the plan.
    pub index: TargetIndex,
    /// Its name.
    pub name: String,
    /// Its state, the reason, and what is tried again.
    pub condition: TargetCondition,
    /// Whether somebody has paused it.
    pub paused: bool,
    /// Partitions that have left the shared read, and catch up.
    pub detached: usize,
    /// Since when, by the engine's clock.
    pub since: Duration,
}

impl TargetStatus {
    fn new(plan: &TargetPlan) -> Self {
        let facts = TargetFacts { paused: plan.paused, ..TargetFacts::default() };
        let (name, condition) = (plan.name().to_owned(), facts.condition());
        Self { name, retired: plan.retired, condition, facts, since: now() }
    }
}

impl RouteStatus {
    /// A route that is starting.
    pub fn new(plan: &RoutePlan, events: Arc<Events>) -> Arc<Self> {
        let inner = Inner {
            facts: RouteFacts::default(),
            state: RouteState::default(),
            reason: String::new(),
            since: now(),
            targets: plan.targets.iter().map(TargetStatus::new).collect(),
        };
        Arc::new(Self { route: plan.name.clone(), events, inner: Mutex::new(inner) })
    }

    /// Follows a plan with other targets: those that come are starting, and those that went are not spoken of any more.
    pub fn seat(&self, plan: &RoutePlan) {
        let mut inner = self.inner();
        for (index, plan) in plan.targets.iter().enumerate() {
            match inner.targets.get_mut(index) {
                None => inner.targets.push(TargetStatus::new(plan)),
                Some(status) if status.retired && !plan.retired => *status = TargetStatus::new(plan),
                Some(status) => status.retired = plan.retired,
            }
        }
        self.follow(&mut inner);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of the route.
    pub fn change(&self, change: impl FnOnce(&mut RouteFacts)) {
        let mut inner = self.inner();
        change(&mut inner.facts);
        self.follow(&mut inner);
    }

    /// Changes what is known of a target.
    pub fn change_target(&self, target: TargetIndex, change: impl FnOnce(&mut TargetFacts)) {
        let mut inner = self.inner();
        let Some(status) = inner.targets.get_mut(target) else { return };
        change(&mut status.facts);
        let condition = status.facts.condition();
        if condition != status.condition {
            let was = std::mem::replace(&mut status.condition, condition);
            if status.condition.state != was.state {
                status.since = now();
            }
            if !status.retired {
                self.tell(status, &was);
            }
            self.follow(&mut inner);
        }
    }

    /// The route's next life begins: what was known is no longer so. `failing`: why it is called failed all the same.
    pub fn begin_again(&self, failing: Option<String>) {
        self.forget_targets(Rest::Whole);
        self.change(|facts| *facts = RouteFacts { failing, ..RouteFacts::default() });
    }

    /// The route is switched off: nothing else is known of it, and its targets rest.
    pub fn switch_off(&self, how: &str) {
        self.change(|facts| *facts = RouteFacts { off: Some(how.to_owned()), ..RouteFacts::default() });
        self.forget_targets(Rest::RouteOff);
    }

    fn forget_targets(&self, rest: Rest) {
        let targets = self.inner().targets.len(); // not in the loop's head: the lock would be held to its end
        for target in 0..targets {
            self.change_target(target, |facts| *facts = TargetFacts { rest, ..facts.forgotten() });
        }
    }

    fn follow(&self, inner: &mut Inner) {
        let targets = inner.targets.iter().filter(|target| !target.retired);
        let targets = targets.map(|target| (target.name.as_str(), &target.condition));
        let (state, reason) = inner.facts.state(targets);
        if state != inner.state {
            let was = std::mem::replace(&mut inner.state, state);
            inner.since = now();
            self.tell_event(None, state.name(), &reason, level_of_route(state));
            if matches!(state, RouteState::Degraded | RouteState::Failed) {
                tracing::warn!(route = %self.route, state = state.name(), was = was.name(), %reason, "route state");
            } else {
                tracing::info!(route = %self.route, state = state.name(), was = was.name(), %reason, "route state");
            }
        }
        inner.reason = reason;
    }

    /// A change of state, or another attempt, is worth a line; a reason that is worded anew is not.
    fn tell(&self, status: &TargetStatus, was: &TargetCondition) {
        let TargetCondition { state, reason, trouble } = &status.condition;
        let attempt = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| (trouble.class, trouble.attempt));
        if *state == was.state && attempt(trouble) == attempt(&was.trouble) {
            return;
        }
        let (route, target, was) = (&self.route, &status.name, was.state.name());
        let class = trouble.as_ref().map(|trouble| trouble.class.name());
        let attempt = trouble.as_ref().map(|trouble| trouble.attempt);
        let next = trouble.as_ref().and_then(|trouble| trouble.next_attempt_at);
        let next_attempt_ms = next.map(|at| u64::try_from(at.saturating_sub(now()).as_millis()).unwrap_or(u64::MAX));
        let state_name = state.name();
        if state_name != was {
            self.tell_event(Some(target), state_name, reason, level_of_target(*state));
        }
        if state.is_well() || *state == TargetState::Starting {
            tracing::info!(%route, %target, state = state_name, was, %reason, "target state");
        } else {
            tracing::warn!(%route, %target, state = state_name, was, class, attempt, next_attempt_ms, %reason, "target state");
        }
    }

    fn tell_event(&self, target: Option<&str>, state: &str, reason: &str, level: Level) {
        let text = if reason.is_empty() { state.to_owned() } else { format!("{state}: {reason}") };
        self.events.tell(EventKind::State, level, (Some(&self.route), target), text);
    }

    /// Notes an event of the route, or of one of its targets.
    pub fn tell_of(&self, kind: EventKind, level: Level, target: Option<&str>, text: impl Into<String>) {
        self.events.tell(kind, level, (Some(&self.route), target), text);
    }

    /// An actor of the route, or the route itself, is made anew.
    pub fn restarted(&self, actor: &'static str, end: End) {
        self.events.count_restart(actor, end);
    }

    /// The partitions of a target that wait until somebody changes something, and why.
    pub fn stuck(&self, target: TargetIndex) -> BTreeMap<TopicPartition, String> {
        let inner = self.inner();
        let Some(TargetStatus { facts, .. }) = inner.targets.get(target) else { return BTreeMap::new() };
        let config = facts.held.iter().filter(|(_, trouble)| trouble.class == FaultClass::Config);
        let all = facts.blocked.iter().chain(config);
        all.map(|(partition, trouble)| (partition.clone(), trouble.reason.clone())).collect()
    }

    /// Whether somebody has paused a target.
    pub fn is_paused(&self, target: TargetIndex) -> bool {
        self.inner().targets.get(target).is_some_and(|target| target.facts.paused)
    }

    /// What there is to show.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        let target = |(index, status): (TargetIndex, &TargetStatus)| TargetSnapshot {
            index,
            name: status.name.clone(),
            condition: status.condition.clone(),
            paused: status.facts.paused,
            detached: status.facts.detached,
            since: status.since,
        };
        Snapshot {
            state: inner.state,
            reason: inner.reason.clone(),
            since: inner.since,
            targets: inner.targets.iter().enumerate().filter(|(_, status)| !status.retired).map(target).collect(),
        }
    }
}

/// How grave it is that a route is in a state.
fn level_of_route(state: RouteState) -> Level {
    match state {
        RouteState::Failed => Level::Error,
        RouteState::Degraded => Level::Warning,
        RouteState::Off | RouteState::Starting | RouteState::Running | RouteState::Draining | RouteState::Stopped => {
            Level::Info
        }
    }
}

/// How grave it is that a target is in a state.
fn level_of_target(state: TargetState) -> Level {
    match state {
        TargetState::Failed | TargetState::Blocked => Level::Error,
        TargetState::Retrying | TargetState::Detached => Level::Warning,
        TargetState::Starting | TargetState::Running | TargetState::Throttled | TargetState::Paused => Level::Info,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::routing::{Partitioning, TopicTemplate};
    use crate::domain::start::Start;
    use crate::plan::{BatchLimits, ClusterSpec, Security, TopicSelection};

    fn plan() -> RoutePlan {
        let cluster = |alias: &str| {
            Arc::new(ClusterSpec {
                alias: alias.to_owned(),
                bootstrap: vec!["a:1".to_owned()],
                region: None,
                security: Security::default(),
                client: BTreeMap::new(),
                write_bandwidth: None,
                read_bandwidth: None,
            })
        };
        RoutePlan {
            name: "orders".to_owned(),
            enabled: true,
            source: cluster("here"),
            topics: TopicSelection { include: Vec::new(), exclude: Vec::new() },
            start: Start::Earliest,
            partitioning: Partitioning::Keep,
            create_topics: true,
            on_gap: crate::domain::gap::OnGap::Fail,
            batch: BatchLimits { max_messages: 1, max_wait: Duration::ZERO, max_bytes: 1 },
            in_flight: 1,
            keeping: crate::plan::Keeping::Nothing,
            bandwidth: None,
            retry: crate::domain::retry::Policies::default(),
            targets: ["a", "b"].map(|alias| TargetPlan::plain(cluster(alias), TopicTemplate::same())).into(),
        }
    }

    #[test]
    fn the_next_life_of_a_route_knows_nothing_of_the_last_one() {
        let status = RouteStatus::new(&plan(), Events::new());
        let trouble =
            Trouble { class: FaultClass::Record, attempt: 3, next_attempt_at: None, reason: "too large".to_owned() };
        let partition = TopicPartition::new("orders", 1);
        status.change(|facts| facts.discovered = true);
        status.change_target(0, |facts| {
            facts.alive = true;
            facts.blocked.insert(partition.clone(), trouble);
        });
        status.change_target(1, |facts| facts.alive = true);
        assert_eq!(status.snapshot().state, RouteState::Degraded);
        assert_eq!(status.stuck(0).len(), 1);
        status.begin_again(None);
        let view = status.snapshot();
        assert_eq!(view.state, RouteState::Starting);
        assert!(view.targets.iter().all(|target| target.condition.state == TargetState::Starting));
        assert!(status.stuck(0).is_empty());
        status.begin_again(Some("it keeps failing".to_owned()));
        assert_eq!(status.snapshot().state, RouteState::Failed);
        status.switch_off("by hand");
        let off = status.snapshot();
        assert_eq!((off.state, off.reason.as_str()), (RouteState::Off, "by hand"));
        assert!(off.targets.iter().all(|target| target.condition.state == TargetState::Paused));
    }
}
