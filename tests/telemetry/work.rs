//! What the engine is given to do, and how it is told where to push.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::Regions;
use crate::support::config::{Config, route_name};
use crate::support::engine::Engine;
use crate::support::meter::Meter;
use crate::support::records::Exact;
use crate::support::topic::Topic;
use crate::support::{seconds, within_at};

/// A config with a route for a topic, and a section `telemetry`.
pub fn config(regions: &Regions, topic: &str, targets: &[&str], telemetry: Value) -> Config {
    Config::of(regions).fan_out("guangzhou", topic, targets).set("", "telemetry", telemetry)
}

/// Everything is pushed there, often, and all batches are traced.
pub fn all_to(endpoint: &str, protocol: &str) -> Value {
    json!({
        "otlp": { "endpoint": endpoint, "protocol": protocol, "interval": "1s" },
        "traces": { "sample": 1 },
    })
}

/// A trace that a record says it belongs to.
pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const SPAN: &str = "b7ad6b7169203331";

/// Records of which one belongs to a trace, and others have nonsense in the place of one.
pub fn write_traced(topic: &Topic) {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    topic.write(&[
        Exact::new(0, 1)
            .key(b"traced")
            .header("traceparent", Some(parent.as_bytes()))
            .header("tracestate", Some(b"a=b")),
        Exact::new(0, 2).header("traceparent", Some(b"nonsense")),
        Exact::new(0, 3).header("traceparent", None),
        Exact::new(0, 4).header("traceparent", Some(&[0xff, 0xfe])).value(b"v"),
        Exact::new(0, 5),
    ]);
}

/// An engine that has copied a topic, and still runs.
pub struct Copy<T> {
    pub engine: Engine,
    /// Processor time up to the last record.
    pub cpu: Duration,
    /// What went on beside it.
    pub beside: T,
}

/// Copies all records of a topic to another one, which is made for that, on a route of its own; what `beside` begins goes on as long.
pub fn copy<T>(
    (source, records): (&Topic, i64),
    target: Topic,
    telemetry: Value,
    beside: impl FnOnce(Api) -> T,
) -> Copy<T> {
    let target = target.create(4);
    let mut engine = begin(source, &target, telemetry);
    let beside = beside(Api::of(&mut engine));
    let all =
        within_at(Duration::from_millis(20), seconds(120), || (target.end() >= records).then(|| engine.cpu_time()));
    let cpu = all.unwrap_or_else(|| panic!("{} of {records} arrived:\n{:?}", target.end(), engine.log().lines()));
    source.wait_for_target_of(&route_name(&target.name), "shanghai");
    Copy { engine, cpu, beside }
}

/// An engine that copies a topic to another one, on a route of its own; record by record: what telemetry may cost is told as a part of
/// that work, of which there is hardly any where batches are passed on.
pub fn begin(source: &Topic, target: &Topic, telemetry: Value) -> Engine {
    let route = json!({
        "from": "guangzhou",
        "topics": { "include": [regex::escape(&source.name)] },
        "transfer": "records",
        "to": { "shanghai": { "topic": target.name } },
    });
    let config = Config::new().cluster_as("guangzhou", &source.bootstrap, None);
    let config = config.cluster_as("shanghai", &target.bootstrap, None);
    let config = config.route(&route_name(&target.name), route).set("", "telemetry", telemetry);
    Engine::run(&config)
}

/// Samples how many records the target has taken.
pub fn meter(api: Api) -> Meter {
    Meter::start(Duration::from_millis(50), move || acknowledged(&api.metrics()))
}

/// How many records the engine says the target has taken.
fn acknowledged(metrics: &str) -> i64 {
    let line = metrics.lines().find(|line| line.starts_with("anabranch_target_records_total{"));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The one in the middle.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
