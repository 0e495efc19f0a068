//! The demo's regions and their plan, the load, and the timetable of what breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::fault::Fault;
use crate::domain::gap::OnGap;
use crate::domain::retry::Policies;
use crate::domain::routing::{Partitioning, TopicTemplate};
use crate::domain::start::Start;
use crate::kafka::mock::{DemoRecord, DemoSource, MockRegion};
use crate::plan::telemetry::Telemetry;
use crate::plan::{
    Admin, BatchLimits, ClusterSpec, Keeping, Limits, Plan, Reload, RoutePlan, Security, TargetPlan, TopicSelection,
    whole_name,
};

/// The source topic; targets write it as `gz.orders`.
pub const TOPIC: &str = "orders";
/// Partitions of every topic.
pub const PARTITIONS: i32 = 6;
/// The source region.
pub const SOURCE: &str = "guangzhou";
/// The target regions; the last one breaks.
pub const TARGETS: [&str; 2] = ["shanghai", "singapore"];
/// How the target topic is named.
pub const RENAMED: &str = "gz.{topic}";

/// How long records are written, and how fast.
const LOAD: Duration = Duration::from_secs(20);
const PER_SECOND: u64 = 3_000;
/// When the last target breaks, and when it is back.
const BREAKS: Duration = Duration::from_secs(6);
const HEALS: Duration = Duration::from_secs(12);

/// The clusters of the demo.
pub struct Regions {
    /// The source.
    pub source: MockRegion,
    /// The targets, in the order of [`TARGETS`].
    pub targets: Vec<MockRegion>,
}

impl Regions {
    /// Starts three clusters, with their topics.
    pub fn start() -> Result<Self, Fault> {
        let source = MockRegion::start()?;
        source.create_topic(TOPIC, PARTITIONS)?;
        let targets: Vec<MockRegion> = TARGETS.iter().map(|_| MockRegion::start()).collect::<Result<_, _>>()?;
        for target in &targets {
            target.create_topic(&target_topic(), PARTITIONS)?;
        }
        Ok(Self { source, targets })
    }

    /// The plan that a config for these clusters would make.
    pub fn plan(&self) -> Result<Plan, Fault> {
        let cluster = |alias: &str, region: &MockRegion| {
            Arc::new(ClusterSpec {
                alias: alias.to_owned(),
                bootstrap: vec![region.bootstrap()],
                region: Some(alias.to_owned()),
                security: Security::default(),
                client: std::collections::BTreeMap::new(),
                write_bandwidth: None,
                read_bandwidth: None,
            })
        };
        let bad =
            |error: &dyn std::fmt::Display| Fault::new(crate::domain::fault::FaultClass::Config, error.to_string());
        let source = cluster(SOURCE, &self.source);
        let topic = TopicTemplate::parse(RENAMED).map_err(|error| bad(&error))?;
        let include = vec![whole_name(TOPIC).map_err(|error| bad(&error))?];
        let targets: Vec<TargetPlan> = TARGETS
            .iter()
            .zip(&self.targets)
            .map(|(alias, region)| TargetPlan::plain(cluster(alias, region), topic.clone()))
            .collect();
        let clusters = targets.iter().map(|target| target.cluster.clone()).chain([source.clone()]);
        let clusters = clusters.map(|cluster| (cluster.alias.clone(), cluster)).collect();
        let route = RoutePlan {
            name: "demo".to_owned(),
            enabled: true,
            source: source.clone(),
            topics: TopicSelection { include, exclude: Vec::new() },
            start: Start::Earliest,
            partitioning: Partitioning::Keep,
            create_topics: false, // the mock can't
            on_gap: OnGap::Fail,
            batch: BatchLimits { max_messages: 10_000, max_wait: Duration::from_millis(10), max_bytes: 64 << 10 },
            in_flight: 1 << 20, // small, so that the broken region leaves the shared read within the show
            keeping: Keeping::Progress,
            bandwidth: None,
            retry: Policies::default(),
            targets,
        };
        Ok(Plan {
            telemetry: Telemetry::default(),
            admin: Admin::default(),
            limits: Limits {
                in_flight: 64 << 20,
                drain: Duration::from_secs(30),
                bandwidth: None,
                stall: Duration::from_secs(30),
            },
            clusters,
            routes: vec![route],
            reload: Reload::default(),
        })
    }
}

/// The name that [`TOPIC`] has on the targets.
pub fn target_topic() -> String {
    RENAMED.replace("{topic}", TOPIC)
}

/// What the load has written so far.
#[derive(Debug, Default)]
pub struct Written {
    /// Records.
    pub records: AtomicU64,
    /// Whether it has written its last one.
    pub done: AtomicBool,
}

/// The `n`-th record of the demo: the ledger needs no memory of what was written.
pub fn record(n: u64, started: i64) -> DemoRecord {
    let partition = i32::try_from(n % u64::from(PARTITIONS.unsigned_abs())).unwrap_or(0);
    DemoRecord {
        partition,
        timestamp: started + i64::try_from(n / 3).unwrap_or(0),
        key: format!("customer-{}", n % 997).into_bytes(),
        value: format!("{{\"order\":{n},\"amount\":{}.50,\"currency\":\"CNY\"}}", n % 500).into_bytes(),
        header: n.to_be_bytes().to_vec(),
    }
}

/// Writes records at a steady rate for as long as the show goes on. Blocks.
pub fn load(bootstrap: &str, started: i64, written: &Written) -> Result<(), Fault> {
    let outcome = fill(bootstrap, started, written);
    written.done.store(true, Relaxed);
    outcome
}

fn fill(bootstrap: &str, started: i64, written: &Written) -> Result<(), Fault> {
    let source = DemoSource::connect(bootstrap)?;
    let began = Instant::now();
    let mut n = 0;
    while began.elapsed() < LOAD {
        let due = u64::try_from(began.elapsed().as_millis()).unwrap_or(0) * PER_SECOND / 1000;
        while n < due {
            source.write(TOPIC, &record(n, started))?;
            n += 1;
        }
        written.records.store(n, Relaxed);
        std::thread::park_timeout(Duration::from_millis(5));
    }
    source.flush()
}

/// What happens to the last target, by the time since the start of the show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// All is well.
    Fine,
    /// It is down.
    Broken,
    /// It is back.
    Healed,
}

impl Weather {
    /// The weather at this time of the show.
    pub fn at(since: Duration) -> Self {
        match since {
            since if since < BREAKS => Self::Fine,
            since if since < HEALS => Self::Broken,
            _ => Self::Healed,
        }
    }
}
