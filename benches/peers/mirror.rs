//! `MirrorMaker` 2: its config, its process, and what it leaves behind.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::common::measure::{Taken, sync};
use super::common::support::cluster::Cluster;
use super::common::support::java::LASTING;
use super::common::support::process::{Tethered, cpu_time};
use super::common::support::{seconds, within_at};
use super::contender::Contender;
use super::copies::Copied;
use super::job::Job;
use super::watch;

/// The heap that `connect-mirror-maker.sh` gives Java.
const HEAP: [&str; 2] = ["-Xms256M", "-Xmx2G"];

/// The least that clusters of one broker ask for.
const ONE_BROKER: &str = "
replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
config.storage.replication.factor=1
";

/// The same of a topic that must not be spoken of where it is not used.
const ONE_BROKER_SYNCS: &str = "
offset-syncs.topic.replication.factor=1
";

/// No more than the copy, as all others do.
const COPY_ALONE: &str = "
replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy
emit.heartbeats.enabled=false
emit.checkpoints.enabled=false
emit.offset-syncs.enabled=false
sync.group.offsets.enabled=false
sync.topic.acls.enabled=false
sync.topic.configs.enabled=false
refresh.groups.enabled=false
";

/// Few large requests to the source.
const CONSUMER: &[(&str, &str)] = &[
    ("max.poll.records", "10000"),
    ("max.partition.fetch.bytes", "4194304"),
    ("fetch.max.bytes", "52428800"),
    ("receive.buffer.bytes", "1048576"),
];

/// Large batches, several requests under way, and as safe as the others: Connect's own setting is one request at a time, and
/// not idempotent.
const PRODUCER: &[(&str, &str)] = &[
    ("batch.size", "524288"),
    ("buffer.memory", "134217728"),
    ("max.request.size", "8388608"),
    ("max.in.flight.requests.per.connection", "5"),
    ("enable.idempotence", "true"),
    ("send.buffer.bytes", "1048576"),
];

/// How long it may take to start, and to copy.
const PATIENCE: Duration = seconds(300);

/// A running one.
pub(crate) struct Mirror {
    /// Its Java.
    pub(crate) process: Tethered,
}

/// How far it was at a time, and what it had taken.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: Duration,
    records: i64,
}

impl Mirror {
    /// What it calls the source: its progress goes by that, so each job has one of its own.
    pub(crate) fn alias(number: u32) -> String {
        format!("source{number}")
    }

    /// Starts it; its producers wait so long for larger batches, where it is tuned.
    pub(crate) fn start(job: &Job<'_>, linger_ms: u32) -> Self {
        sync();
        let file = job.file("properties");
        std::fs::write(&file, properties(job, linger_ms)).unwrap();
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mirror");
        assert!(jars.join("complete").exists(), "no jars in {}: benches/peers/run fetches them", jars.display());
        let mut command = Command::new("java");
        command.args(HEAP).args(LASTING).arg("-cp").arg(format!("{}/*", jars.display()));
        command.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(&file);
        Self { process: Tethered::spawn(&command, &job.file("out"), &job.file("log")) }
    }

    /// Waits until all is copied: what it took from the first records that were seen to the last, and how many were copied
    /// meanwhile, per target. Where it is not sure what belongs to that, it does not count: as it suits `MirrorMaker` best.
    pub(crate) fn measure(mut self, who: &str, job: &Job<'_>, records: u32) -> Copied {
        let all = i64::from(records) * i64::try_from(job.copies.len()).unwrap();
        let mut empty = None;
        let first = self.poll(job, "copies nothing", |before, after| {
            if after.records == 0 {
                empty = Some(before);
            }
            // where all was there at once, there is nothing later to count from
            let first = if after.records == all { empty } else { Some(after) };
            first.filter(|_| after.records > 0)
        });
        let last = self.poll(job, "does not get to the end", |before, after| {
            (after.records == all).then_some(Sample { records: all, ..before })
        });
        let wall = (last.at - first.at).max(Duration::from_millis(1));
        let taken = Taken { wall, cpu: last.cpu.saturating_sub(first.cpu), peak_memory: self.process.peak_memory() };
        taken.tell(who);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let copied = (all - first.records) as f64 / job.copies.len() as f64;
        Copied { taken, records: copied, whole: (last.cpu, f64::from(records)), source_bytes: 0 }
    }

    /// Looks again and again how far it is, until `pick` has what it looks for in the samples before and after a look.
    fn poll(&mut self, job: &Job<'_>, what: &str, mut pick: impl FnMut(Sample, Sample) -> Option<Sample>) -> Sample {
        let log = job.file("log");
        let log = || std::fs::read_to_string(&log).unwrap();
        let found = within_at(watch::EVERY, PATIENCE, || {
            assert!(self.process.ended().is_none(), "MirrorMaker 2 has ended; its log:\n{}", log());
            let sample = |records| Sample { at: Instant::now(), cpu: cpu_time(self.process.pid()), records };
            let before = sample(0);
            let records = watch::records(&job.copies)?;
            pick(before, sample(records))
        });
        found.unwrap_or_else(|| panic!("MirrorMaker 2 {what}; its log:\n{}", log()))
    }

    /// Deletes what it keeps in topics of its own.
    pub(crate) fn sweep(cluster: &Cluster) {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create().unwrap();
        let metadata = client.fetch_metadata(None, seconds(10)).unwrap();
        for topic in metadata.topics() {
            let name = topic.name();
            let own = [name.starts_with("mm2-"), name.ends_with("heartbeats"), name.ends_with(".checkpoints.internal")];
            if own.contains(&true) {
                cluster.topic(name).delete();
            }
        }
    }
}

fn properties(job: &Job<'_>, linger_ms: u32) -> String {
    let source = Mirror::alias(job.number);
    let tuned = job.contender == Contender::Mm2Tuned;
    let targets: Vec<&str> = job.targets.iter().map(Cluster::name).collect();
    let mut text = format!("clusters={source},{}\n", targets.join(","));
    text += ONE_BROKER;
    let mut set = |key: &str, value: &str| writeln!(text, "{key}={value}").unwrap();
    set(&format!("{source}.bootstrap.servers"), &job.topic.bootstrap);
    for target in job.targets {
        let name = target.name();
        set(&format!("{name}.bootstrap.servers"), &target.bootstrap());
        set(&format!("{source}->{name}.enabled"), "true");
        set(&format!("{source}->{name}.topics"), &job.topic.name);
        if tuned {
            for (key, value) in PRODUCER {
                set(&format!("{name}.producer.{key}"), value);
            }
            set(&format!("{name}.producer.linger.ms"), &linger_ms.to_string());
            set(&format!("{name}.producer.compression.type"), job.codec);
        }
    }
    if tuned {
        for (key, value) in CONSUMER {
            set(&format!("{source}.consumer.{key}"), value);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        set("tasks.max", &cores.to_string());
        text += COPY_ALONE;
    } else {
        text += ONE_BROKER_SYNCS;
    }
    text
}
