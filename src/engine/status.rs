//! The states of all routes and targets: kept here alone. Whoever knows something new changes a fact; the state follows
//! from the facts, and each change of it is logged from here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::now;
use super::progress::TargetIndex;
use crate::domain::fault::FaultClass;
use crate::domain::state::{RouteFacts, RouteState, TargetCondition, TargetFacts, Trouble};
use crate::domain::topic_partition::TopicPartition;
use crate::plan::RoutePlan;

/// The states of a process, by route.
pub type Status = BTreeMap<String, Arc<RouteStatus>>;

/// The state of a route and of its targets.
#[derive(Debug)]
pub struct RouteStatus {
    route: String,
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
    facts: TargetFacts,
    condition: TargetCondition,
    since: Duration,
}

/// What is shown of a route.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its state.
    pub state: RouteState,
    /// Why, for people.
    pub reason: String,
    /// For how long.
    pub lasts: Duration,
    /// Its targets by name.
    pub targets: Vec<(String, TargetView)>,
}

/// What is shown of a target.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// Its state, the reason, and what is tried again.
    pub condition: TargetCondition,
    /// For how long.
    pub lasts: Duration,
}

impl RouteStatus {
    /// A route that is starting.
    pub fn new(plan: &RoutePlan) -> Arc<Self> {
        let target = |name: &str| TargetStatus {
            name: name.to_owned(),
            facts: TargetFacts::default(),
            condition: TargetCondition::default(),
            since: now(),
        };
        let inner = Inner {
            facts: RouteFacts::default(),
            state: RouteState::default(),
            reason: String::new(),
            since: now(),
            targets: plan.targets.iter().map(|plan| target(plan.name())).collect(),
        };
        Arc::new(Self { route: plan.name.clone(), inner: Mutex::new(inner) })
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
            self.tell(status, &was);
            self.follow(&mut inner);
        }
    }

    /// The route's next life begins: what was known is no longer so. `failing`: why it is called failed all the same.
    pub fn begin_again(&self, failing: Option<String>) {
        let targets = self.inner().targets.len(); // not in the loop's head: the lock would be held to its end
        for target in 0..targets {
            self.change_target(target, |facts| *facts = TargetFacts { paused: facts.paused, ..TargetFacts::default() });
        }
        self.change(|facts| *facts = RouteFacts { failing, ..RouteFacts::default() });
    }

    fn follow(&self, inner: &mut Inner) {
        let targets = inner.targets.iter().map(|target| (target.name.as_str(), &target.condition));
        let (state, reason) = inner.facts.state(targets);
        if state != inner.state {
            let was = std::mem::replace(&mut inner.state, state);
            inner.since = now();
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
        if state.is_well() || *state == crate::domain::state::TargetState::Starting {
            tracing::info!(%route, %target, state = state_name, was, %reason, "target state");
        } else {
            tracing::warn!(%route, %target, state = state_name, was, class, attempt, next_attempt_ms, %reason, "target state");
        }
    }

    /// The partitions of a target that wait until somebody changes something, and why.
    pub fn stuck(&self, target: TargetIndex) -> BTreeMap<TopicPartition, String> {
        let inner = self.inner();
        let Some(TargetStatus { facts, .. }) = inner.targets.get(target) else { return BTreeMap::new() };
        let config = facts.held.iter().filter(|(_, trouble)| trouble.class == FaultClass::Config);
        let all = facts.blocked.iter().chain(config);
        all.map(|(partition, trouble)| (partition.clone(), trouble.reason.clone())).collect()
    }

    /// What there is to show.
    pub fn view(&self) -> RouteView {
        let inner = self.inner();
        let lasts = |since: Duration| now().saturating_sub(since);
        let target = |status: &TargetStatus| {
            (status.name.clone(), TargetView { condition: status.condition.clone(), lasts: lasts(status.since) })
        };
        RouteView {
            state: inner.state,
            reason: inner.reason.clone(),
            lasts: lasts(inner.since),
            targets: inner.targets.iter().map(target).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::routing::{Partitioning, TopicTemplate};
    use crate::domain::start::Start;
    use crate::domain::state::TargetState;
    use crate::plan::{BatchLimits, ClusterSpec, Security, TargetPlan, TopicSelection};

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
        let status = RouteStatus::new(&plan());
        let trouble =
            Trouble { class: FaultClass::Record, attempt: 3, next_attempt_at: None, reason: "too large".to_owned() };
        let partition = TopicPartition::new("orders", 1);
        status.change(|facts| facts.discovered = true);
        status.change_target(0, |facts| {
            facts.alive = true;
            facts.blocked.insert(partition.clone(), trouble);
        });
        status.change_target(1, |facts| facts.alive = true);
        assert_eq!(status.view().state, RouteState::Degraded);
        assert_eq!(status.stuck(0).len(), 1);
        status.begin_again(None);
        let view = status.view();
        assert_eq!(view.state, RouteState::Starting);
        assert!(view.targets.iter().all(|(_, target)| target.condition.state == TargetState::Starting));
        assert!(status.stuck(0).is_empty());
        status.begin_again(Some("it keeps failing".to_owned()));
        assert_eq!(status.view().state, RouteState::Failed);
    }
}
