//! What is known of all routes, in one place: the supervisor posts them here, and whoever shows them reads.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::clock::{now, wall_at, wall_ms};
use super::events::Events;
use super::lasting::Lasting;
use super::pacer::Limit;
use super::progress::{Place, TargetIndex};
use super::status::TargetSnapshot;
use super::view::{PartitionView, PositionView, RetryView, RouteDetail, RouteView, TargetView};
use crate::domain::bandwidth::show_limit;
use crate::domain::topic_partition::TopicPartition;
use crate::plan::{RoutePlan, TargetPlan};

/// Looks at a route that is posted.
type Watcher = Box<dyn Fn(&Posted) + Send + Sync>;

/// The routes of a process, and what happened to them.
pub struct Board {
    routes: RwLock<BTreeMap<String, Posted>>,
    watchers: Mutex<Vec<Watcher>>,
    /// What happened.
    pub events: Arc<Events>,
    /// When it began, in milliseconds since 1970; to be shown.
    pub began_ms: u64,
}

/// A route, as it is posted.
#[derive(Clone)]
pub struct Posted {
    /// What it was asked to do by the config; its targets have the places that they have in the engine.
    pub configured: Arc<RoutePlan>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Where its facts are.
    pub lasting: Lasting,
}

impl std::fmt::Debug for Posted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Posted").field("route", &self.configured.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("routes", &self.all()).finish_non_exhaustive()
    }
}

impl Board {
    /// Nothing is posted yet.
    pub fn new(events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self { routes: RwLock::default(), watchers: Mutex::default(), events, began_ms: wall_ms() })
    }

    /// Posts a route, in the place of what was posted of it.
    pub fn post(&self, posted: Posted) {
        let name = posted.configured.name.clone();
        // a watcher that comes now has to find it there, or here
        let watchers = self.watchers();
        watchers.iter().for_each(|watcher| watcher(&posted));
        self.routes.write().unwrap_or_else(PoisonError::into_inner).insert(name, posted);
    }

    /// Takes a route down.
    pub fn take_down(&self, route: &str) {
        self.routes.write().unwrap_or_else(PoisonError::into_inner).remove(route);
    }

    /// Has each route looked at that is posted, now or later; each as often as it is posted.
    pub fn watch(&self, watcher: impl Fn(&Posted) + Send + Sync + 'static) {
        let mut watchers = self.watchers();
        self.all().iter().for_each(&watcher);
        watchers.push(Box::new(watcher));
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> RwLockReadGuard<'_, BTreeMap<String, Posted>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A route by its name.
    pub fn find(&self, route: &str) -> Option<Posted> {
        self.routes().get(route).cloned()
    }

    /// All routes, in the order of their names.
    pub fn all(&self) -> Vec<Posted> {
        self.routes().values().cloned().collect()
    }
}

impl Posted {
    /// The place of a target by its name.
    pub fn target(&self, name: &str) -> Option<TargetIndex> {
        self.configured.seat_of(name)
    }

    /// The route as it is now.
    pub fn view(&self) -> RouteView {
        self.view_with(&self.lasting.progress.places(now()))
    }

    /// The same, with its partitions.
    pub fn detail(&self) -> RouteDetail {
        let places = self.lasting.progress.places(now());
        let mut names: Vec<(TargetIndex, &TargetPlan)> = self.configured.seated().collect();
        names.sort_by_key(|(_, target)| target.name());
        let position = |place: &Place, (index, target): (TargetIndex, &TargetPlan)| {
            let place = place.targets.get(index).copied().flatten();
            PositionView {
                target: target.name().to_owned(),
                watermark: place.map(|place| place.watermark),
                lag: place.and_then(|place| place.lag),
            }
        };
        let partition = |(at, place): (&TopicPartition, &Place)| PartitionView {
            topic: at.topic.to_string(),
            partition: at.partition,
            end: place.end,
            targets: names.iter().map(|seated| position(place, *seated)).collect(),
        };
        RouteDetail { route: self.view_with(&places), positions: places.iter().map(partition).collect() }
    }

    fn view_with(&self, places: &BTreeMap<TopicPartition, Place>) -> RouteView {
        let snapshot = self.lasting.status.snapshot();
        let (read, gate) = (&self.lasting.progress.read, &self.lasting.gate);
        let mut targets: Vec<TargetView> =
            snapshot.targets.iter().map(|target| self.target_view(target, places)).collect();
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        RouteView {
            name: self.configured.name.clone(),
            from: self.configured.source.alias.clone(),
            state: snapshot.state.name().to_owned(),
            reason: snapshot.reason,
            since: wall_at(snapshot.since),
            enabled: self.enabled,
            enabled_in_config: self.configured.enabled,
            partitions: places.len() as u64,
            records: read.records(),
            bytes: read.bytes(),
            in_flight_bytes: gate.used(),
            in_flight_limit_bytes: gate.capacity(),
            targets,
        }
    }

    fn target_view(&self, target: &TargetSnapshot, places: &BTreeMap<TopicPartition, Place>) -> TargetView {
        let (index, condition) = (target.index, &target.condition);
        let retrying = condition.trouble.as_ref().map(|trouble| RetryView {
            class: trouble.class.name().to_owned(),
            attempt: trouble.attempt,
            next_attempt_at: trouble.next_attempt_at.map(wall_at),
        });
        let stats = &self.lasting.progress.targets[index];
        let tally = &stats.tally;
        let (lag_records, late) = lag_of(index, places);
        let (limit, plan) = (self.lasting.own_limit(index).and_then(Limit::rate), &self.configured.targets[index]);
        let most = plan.cluster.write_bandwidth;
        TargetView {
            name: target.name.clone(),
            state: condition.state.name().to_owned(),
            reason: condition.reason.clone(),
            since: wall_at(target.since),
            retrying,
            paused: target.paused,
            bandwidth: show_limit(limit.or(most)),
            bandwidth_in_config: show_limit(plan.bandwidth.or(most)),
            transfer: self.configured.transfer_to(plan).name().to_owned(),
            lag_records,
            lag_seconds: late.map(|late| late.as_secs_f64()),
            records: stats.written.records(),
            bytes: stats.written.bytes(),
            detached_partitions: target.detached as u64,
            retries: tally.retries.total(),
            dead_letter_records: tally.dead_lettered.load(Relaxed),
            dropped_records: tally.dropped.load(Relaxed),
            kept_records: tally.kept.load(Relaxed),
            gaps: tally.gaps.load(Relaxed),
            throttled_seconds: tally.throttled.total().as_secs_f64(),
        }
    }
}

/// How many records a target lacks, and for how long; nothing where that is not known of some partition.
pub fn lag_of(index: TargetIndex, places: &BTreeMap<TopicPartition, Place>) -> (Option<u64>, Option<Duration>) {
    let of = |place: &Place| place.targets.get(index).copied().flatten();
    let lag = places.values().map(|place| of(place).and_then(|place| place.lag)).sum();
    let mut late = places.values().map(|place| of(place).map(|place| place.late));
    let late = late.try_fold(Duration::ZERO, |longest, late| Some(longest.max(late?)));
    if places.is_empty() { (None, None) } else { (lag, late) }
}
