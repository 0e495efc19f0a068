//! The last hour of each route: samples that are taken from the board every ten seconds, for the console's charts.
//!
//! Routes and targets are known by their names, as they come and go while the process runs. All series share one row of times, and
//! end with it; a series that is younger begins later. So memory is bounded by what is on the board, and one hour of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::ask::name;
use super::problem::Complaint;
use super::server::State;
use crate::engine::board::{Board, Posted};
use crate::engine::clock::{now, wall_ms};
use crate::engine::view::{RouteView, TargetView};

/// How often a sample is taken.
const STEP: Duration = Duration::from_secs(10);
/// Older ones are forgotten.
const KEPT: Duration = Duration::from_hours(1);
/// No more than these are kept, whatever the clock does.
const MOST: usize = 360;

/// A route's last hour. Each column has one value per sample, and null where nothing is known.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct HistoryView {
    /// The route.
    route: String,
    /// Seconds between two samples, unless the process was held up.
    #[schema(example = 10)]
    step_seconds: u64,
    /// When each sample was taken, in milliseconds since 1970, oldest first; 360 at most.
    at: Vec<u64>,
    /// What was read from the source.
    read: Rates,
    /// What became of it at each target, in the order of their names.
    targets: Vec<TargetHistory>,
}

/// Rates between each sample and the one before it; null for the first, and where counters began anew.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct Rates {
    /// Records per second.
    records_per_second: Vec<Option<f64>>,
    /// Bytes per second.
    bytes_per_second: Vec<Option<f64>>,
}

/// A target's last hour.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct TargetHistory {
    /// The target.
    name: String,
    /// Source records that it lacked.
    lag_records: Vec<Option<u64>>,
    /// For how long the oldest of them had been at the source, in seconds.
    lag_seconds: Vec<Option<f64>>,
    /// What was written to it.
    #[serde(flatten)]
    written: Rates,
}

/// The last hour of a route: lag and throughput, a sample every ten seconds.
#[utoipa::path(get, path = "/api/v1/routes/{route}/history", operation_id = "show_history", tag = "routes",
    params(("route" = String, Path, description = "Its name in the config.")),
    responses((status = 200, description = "As much of it as this process has seen.", body = HistoryView)))]
pub(super) async fn show(state: Data<State>, route: Path<String>) -> Result<Json<HistoryView>, Complaint> {
    let route = state.handle.route(&name(&route))?.route;
    Ok(Json(state.history.lock().view(&route)))
}

/// The history that requests are answered from while it is being kept.
#[derive(Default)]
pub(super) struct History(Mutex<Samples>);

impl History {
    /// Begins to keep one, as long as somebody has what is returned. Within an actix system.
    pub(super) fn kept(board: &Arc<Board>) -> Arc<Self> {
        let history = Arc::new(Self::default());
        actix_web::rt::spawn(keep(board.clone(), Arc::downgrade(&history)));
        history
    }

    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(board: Arc<Board>, history: Weak<History>) {
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(history) = history.upgrade() else { return };
        let routes: Vec<RouteView> = board.all().iter().map(Posted::view).collect();
        history.lock().take(&routes, now(), wall_ms());
    }
}

/// All samples there are.
#[derive(Default)]
struct Samples {
    /// When each was taken, by the engine's clock and by the wall's.
    times: VecDeque<(Duration, u64)>,
    routes: BTreeMap<String, RouteSeries>,
}

#[derive(Default)]
struct RouteSeries {
    read: Series,
    targets: BTreeMap<String, Series>,
}

/// The samples of one route's reading, or of one target. The last one belongs to the last time.
#[derive(Default)]
struct Series {
    samples: VecDeque<Sample>,
    /// What was counted last, and when.
    counted: Option<(Duration, Count)>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    records: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    lag_records: Option<u64>,
    lag_seconds: Option<f64>,
    rates: Option<(f64, f64)>,
}

impl Samples {
    /// Takes a sample of all routes; what is not among them any more is forgotten.
    fn take(&mut self, routes: &[RouteView], at: Duration, wall_ms: u64) {
        self.times.push_back((at, wall_ms));
        while self.times.len() > MOST || self.times.front().is_some_and(|(oldest, _)| at.saturating_sub(*oldest) > KEPT)
        {
            self.times.pop_front();
        }
        let most = self.times.len();
        self.routes.retain(|name, _| routes.iter().any(|route| route.name == *name));
        for route in routes {
            let series = self.routes.entry(route.name.clone()).or_default();
            series.targets.retain(|name, _| route.targets.iter().any(|target| target.name == *name));
            let read = Count { records: route.records, bytes: route.bytes };
            series.read.push(Sample::default(), read, at, most);
            for target in &route.targets {
                series.targets.entry(target.name.clone()).or_default().push_target(target, at, most);
            }
        }
    }

    /// What is known of a route's last hour; the targets are those that it has now.
    fn view(&self, route: &RouteView) -> HistoryView {
        let nothing = RouteSeries::default();
        let series = self.routes.get(&route.name).unwrap_or(&nothing);
        let length = self.times.len();
        let target = |target: &TargetView| match series.targets.get(&target.name) {
            Some(series) => series.of_target(&target.name, length),
            None => Series::default().of_target(&target.name, length),
        };
        HistoryView {
            route: route.name.clone(),
            step_seconds: STEP.as_secs(),
            at: self.times.iter().map(|(_, wall_ms)| *wall_ms).collect(),
            read: series.read.rates(length),
            targets: route.targets.iter().map(target).collect(),
        }
    }
}

impl Series {
    fn push_target(&mut self, target: &TargetView, at: Duration, most: usize) {
        let sample = Sample { lag_records: target.lag_records, lag_seconds: target.lag_seconds, rates: None };
        self.push(sample, Count { records: target.records, bytes: target.bytes }, at, most);
    }

    fn push(&mut self, sample: Sample, count: Count, at: Duration, most: usize) {
        let rates = self.counted.and_then(|(before, counted)| count.since(counted, at.saturating_sub(before)));
        self.counted = Some((at, count));
        self.samples.push_back(Sample { rates, ..sample });
        while self.samples.len() > most {
            self.samples.pop_front();
        }
    }

    /// A column as long as the times.
    fn column<T>(&self, length: usize, of: impl Fn(&Sample) -> Option<T>) -> Vec<Option<T>> {
        let younger = length.saturating_sub(self.samples.len());
        (0..younger).map(|_| None).chain(self.samples.iter().map(of)).collect()
    }

    fn rates(&self, length: usize) -> Rates {
        Rates {
            records_per_second: self.column(length, |sample| sample.rates.map(|(records, _)| records)),
            bytes_per_second: self.column(length, |sample| sample.rates.map(|(_, bytes)| bytes)),
        }
    }

    fn of_target(&self, name: &str, length: usize) -> TargetHistory {
        TargetHistory {
            name: name.to_owned(),
            lag_records: self.column(length, |sample| sample.lag_records),
            lag_seconds: self.column(length, |sample| sample.lag_seconds.map(tenths)),
            written: self.rates(length),
        }
    }
}

impl Count {
    /// Records and bytes per second since an earlier count; nothing where it has fallen, as it begins anew with a new target.
    fn since(self, earlier: Self, time: Duration) -> Option<(f64, f64)> {
        let (records, bytes) = (self.records.checked_sub(earlier.records)?, self.bytes.checked_sub(earlier.bytes)?);
        #[allow(clippy::cast_precision_loss, reason = "nobody counts as far within ten seconds")]
        let rate = |count: u64| tenths(count as f64 / time.as_secs_f64());
        (!time.is_zero()).then(|| (rate(records), rate(bytes)))
    }
}

/// Nobody draws more than tenths, and an answer is shorter without.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
