//! What is shown of a running engine: the shapes that the API answers with, that the console draws and `status` prints.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All routes, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutesView {
    /// The routes of the config, switched-off ones included.
    pub routes: Vec<RouteView>,
}

/// A route as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Its name in the config.
    pub name: String,
    /// The cluster that is read, by its alias.
    pub from: String,
    /// How it is: off, starting, running, degraded, draining, stopped or failed.
    #[schema(example = "running")]
    pub state: String,
    /// Why, for people; empty where all is well.
    pub reason: String,
    /// Since when, RFC 3339 in UTC.
    #[schema(example = "2026-11-01T12:00:00.000Z")]
    pub since: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether the config says so; where that differs from `enabled`, somebody has switched it.
    pub enabled_in_config: bool,
    /// How many of its partitions are copied by this process.
    pub partitions: u64,
    /// Records read from the source, also what a target that catches up has read once more, since this process started.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes read and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// The most that these may be.
    pub in_flight_limit_bytes: u64,
    /// Its targets, in the order of their names.
    pub targets: Vec<TargetView>,
}

/// A target of a route as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetView {
    /// The cluster that is written to, by its alias.
    pub name: String,
    /// How it is: starting, running, throttled, retrying, detached, blocked, paused or failed.
    #[schema(example = "running")]
    pub state: String,
    /// Why, for people; empty where all is well.
    pub reason: String,
    /// Since when, RFC 3339 in UTC.
    #[schema(example = "2026-11-01T12:00:00.000Z")]
    pub since: String,
    /// What is tried again, while something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrying: Option<RetryView>,
    /// Whether somebody has paused it.
    pub paused: bool,
    /// The most bytes per second that this route writes to it, such as `20MiB/s`, or `unlimited`.
    #[schema(example = "20MiB/s")]
    pub bandwidth: String,
    /// What the config says; where that differs from `bandwidth`, somebody has changed it.
    #[schema(example = "unlimited")]
    pub bandwidth_in_config: String,
    /// How it gets what was read: `passthrough`, in the source's batches as they are, or `records`, one by one.
    #[schema(example = "passthrough")]
    pub transfer: String,
    /// Source records that it does not have yet, over the partitions that are copied by this process; at most, as offsets may hold no
    /// record. Nothing where it is not known.
    pub lag_records: Option<u64>,
    /// For how long the oldest of them has been at the source, as far as this process has seen.
    pub lag_seconds: Option<f64>,
    /// Records that it has acknowledged, since this process started.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions that have left the shared read and catch up by a read of their own.
    pub detached_partitions: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Records written as dead letters.
    pub dead_letter_records: u64,
    /// Records dropped by policy.
    pub dropped_records: u64,
    /// Records kept as envelopes.
    pub kept_records: u64,
    /// Gaps found.
    pub gaps: u64,
    /// Seconds spent waiting for a limit, or for a broker that throttles.
    pub throttled_seconds: f64,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RetryView {
    /// What has to happen next: record, overrun, system, config or crash.
    #[schema(example = "system")]
    pub class: String,
    /// Which attempt failed last, counted from 1.
    pub attempt: u32,
    /// When the next one is made, RFC 3339 in UTC; nothing where nobody knows.
    pub next_attempt_at: Option<String>,
}

/// A route with its partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteDetail {
    /// The route.
    #[serde(flatten)]
    pub route: RouteView,
    /// The partitions that are copied by this process, by topic and number.
    pub positions: Vec<PartitionView>,
}

/// A source partition, and how far each target has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartitionView {
    /// The source topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Where the source ends, as far as was seen: the offset of its next committed record.
    pub end: Option<i64>,
    /// Each target's place, in the order of the route's targets.
    pub targets: Vec<PositionView>,
}

/// How far a target has a partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PositionView {
    /// The target.
    pub target: String,
    /// Every source record below this offset is acknowledged; nothing where it has not begun with the partition.
    pub watermark: Option<i64>,
    /// Source records from the watermark to the end.
    pub lag: Option<u64>,
}

/// What a config that was read again changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangesView {
    /// Each with the path of its key, in the order of the config; empty where nothing has changed.
    #[schema(example = json!(["routes.orders.to.beijing.bandwidth: 20MiB/s instead of unlimited"]))]
    pub changes: Vec<String>,
}

/// Events, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventsView {
    /// Those that were asked for.
    pub events: Vec<Event>,
}

/// Something that happened, and that somebody may want to know of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, which grows by one with each event of this process.
    pub id: u64,
    /// When, RFC 3339 in UTC.
    #[schema(example = "2026-11-01T12:00:00.000Z")]
    pub at: String,
    /// What kind it is of.
    pub kind: EventKind,
    /// How grave it is.
    pub level: Level,
    /// The route that it concerns, if one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The target that it concerns, if one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What happened, for people.
    pub text: String,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A route or a target has another state.
    State,
    /// The source does not have what a target needs.
    Gap,
    /// An actor was made anew.
    Restart,
    /// Partitions were given to this process, or taken from it.
    Share,
    /// Somebody has switched, paused or throttled something.
    Order,
    /// The config was read again.
    Reload,
}

/// How grave something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing has to be done.
    Info,
    /// Something is not as it should be, and is seen to.
    Warning,
    /// Somebody has to do something.
    Error,
}
