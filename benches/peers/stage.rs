//! The brokers, and where the contenders' files go.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::support::agent::try_ask;
use super::common::support::cluster::{Cluster, Options};
use super::common::support::topic::Topic;
use super::common::support::{run_folder, seconds, within_at};

/// How long a broker may take to have a leader for each of many partitions.
const PATIENCE: Duration = seconds(180);

/// One source, and some targets.
pub(crate) struct Stage {
    /// What is read.
    pub(crate) source: Cluster,
    /// What is written to.
    pub(crate) targets: Vec<Cluster>,
    /// Configs and logs.
    pub(crate) folder: PathBuf,
}

impl Stage {
    /// Starts the brokers.
    pub(crate) fn set(targets: usize) -> Self {
        eprintln!("starting {} brokers", targets + 1);
        let mut clusters = std::thread::scope(|scope| {
            let names = ["source", "first", "second", "third"].into_iter().take(targets + 1);
            let starting: Vec<_> = names.map(|name| scope.spawn(move || start(name))).collect();
            starting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        Self { source: clusters.remove(0), targets: clusters, folder: run_folder() }
    }
}

fn start(name: &str) -> Cluster {
    // topics that were deleted leave the disk soon: at once would mean that the broker looks a thousand times a second; and a
    // broker that is busy is no reason to put members out of their groups, so they have Kafka's own time
    let settings = [("log.segment.delete.delay.ms", "1000"), ("group.consumer.session.timeout.ms", "45000")];
    let properties = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Cluster::start_with(name, &Options { properties, is_measured: true, ..Options::default() })
}

/// How topics are made.
pub(crate) struct Shape {
    pub(crate) partitions: i32,
    /// Settings by name.
    pub(crate) configs: Value,
}

impl Shape {
    /// With the brokers' settings.
    pub(crate) fn of(partitions: i32) -> Self {
        Self { partitions, configs: json!({}) }
    }
}

/// Makes a topic, and waits until all of it can be asked; a busy broker takes its time for many partitions.
pub(crate) fn create(topic: Topic, shape: &Shape) -> Topic {
    let named = json!({ "bootstrap": topic.bootstrap, "topic": topic.name });
    let mut order = named.clone();
    (order["partitions"], order["configs"]) = (json!(shape.partitions), shape.configs.clone());
    if let Err(error) = try_ask("create_topic", order) {
        let all = usize::try_from(shape.partitions).unwrap();
        let ready = within_at(seconds(1), PATIENCE, || {
            let offsets = try_ask("offsets", named.clone()).ok();
            offsets.as_ref().and_then(Value::as_object).filter(|offsets| offsets.len() == all).map(|_| ())
        });
        assert!(ready.is_some(), "{} was not created: {error}", topic.name);
    }
    topic
}
