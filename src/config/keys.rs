//! Every key that the config has. A key that is not built is not here, and so is refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const ROOT: &[&str] = &["admin", "reload", "limits", "telemetry", "clusters", "routes", "retry"];
pub(super) const ADMIN: &[&str] = &["listen", "token", "state"];
pub(super) const LIMITS: &[&str] = &["in_flight", "bandwidth", "drain", "stall"];
pub(super) const TELEMETRY: &[&str] = &["per_partition", "resource", "otlp", "traces"];
pub(super) const OTLP: &[&str] = &["endpoint", "protocol", "headers", "ca", "signals", "interval", "timeout"];
pub(super) const TRACES: &[&str] = &["sample"];
pub(super) const CLUSTER: &[&str] =
    &["bootstrap", "region", "security", "peak_bandwidth", "replicas", "read_bandwidth", "client"];
pub(super) const SECURITY: &[&str] =
    &["protocol", "mechanism", "instance", "username", "password", "ca", "cert", "key"];
pub(super) const ROUTE: &[&str] = &[
    "enabled",
    "from",
    "topics",
    "start",
    "partitioning",
    "create_topics",
    "on_gap",
    "batch",
    "in_flight",
    "bandwidth",
    "retry",
    "transfer",
    "to",
];
pub(super) const TOPICS: &[&str] = &["include", "exclude"];
pub(super) const BATCH: &[&str] = &["max_messages", "max_wait", "max_bytes"];
pub(super) const TARGET: &[&str] = &["topic", "bandwidth", "retry", "transfer"];
pub(super) const RETRY: &[&str] = &["profile", "on_exhausted", "record", "overrun", "system", "crash", "dead_letter"];
/// What a class of faults is met with.
pub(super) const POLICY: &[&str] = &["attempts", "backoff", "max_age", "on_exhausted"];
/// Crashes have no other: an actor is always made anew.
pub(super) const CRASH: &[&str] = &["backoff"];
pub(super) const BACKOFF: &[&str] = &["fixed", "initial", "factor", "max", "jitter"];
pub(super) const DEAD_LETTER: &[&str] = &["cluster", "topic"];
/// The forms of `start` that are a mapping.
pub(super) const START: &[&str] = &["timestamp", "offsets"];

// the defaults; a command without a config file has the same
pub(crate) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8686);
pub(crate) const IN_FLIGHT_LIMIT: u64 = 64 << 20;
pub(crate) const DRAIN: Duration = Duration::from_secs(30);
pub(crate) const IN_FLIGHT: u64 = 32 << 20;
pub(crate) const MAX_MESSAGES: u32 = 10_000;
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(10);
pub(crate) const MAX_BYTES: u64 = 1 << 20;
pub(crate) const STALL: Duration = Duration::from_secs(30);
