//! The checked plan: what `config` becomes once every value is known to make sense. No I/O happens here.
//!
//! Nothing after this module reads raw configuration; a plan that exists can be run.

pub mod changes;
pub mod seats;
pub mod switches;
pub mod telemetry;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

use self::telemetry::Telemetry;
use crate::domain::gap::OnGap;
use crate::domain::retry::{OnExhausted, Policies};
use crate::domain::routing::{Partitioning, TopicTemplate, is_internal_topic};
use crate::domain::start::Start;

/// Everything that a process was asked to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How people reach it while it runs.
    pub admin: Admin,
    /// Limits for the whole process.
    pub limits: Limits,
    /// What it tells about itself.
    pub telemetry: Telemetry,
    /// The clusters by alias.
    pub clusters: BTreeMap<String, Arc<ClusterSpec>>,
    /// The routes in the order of their names, switched-off ones included.
    pub routes: Vec<RoutePlan>,
    /// When the config is read again.
    pub reload: Reload,
}

/// When the config is read again while the process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reload {
    /// When somebody asks for it.
    #[default]
    OnRequest,
    /// When its file is another one, too.
    Watch,
}

impl Reload {
    /// As the config has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnRequest => "on_request",
            Self::Watch => "watch",
        }
    }
}

/// How people reach a running process.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// Where the API and the console listen; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What a request has to carry as its bearer token; there is one wherever others than this machine can reach it.
    pub token: Option<SecretString>,
    /// The file that keeps what is switched by hand; `None`: it is not kept.
    pub state: Option<PathBuf>,
}

/// Limits for the whole process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes read and not yet acknowledged, over all routes.
    pub in_flight: u64,
    /// How long a drain may take before what is unfinished is left for the next start.
    pub drain: Duration,
    /// Bytes per second that may be written, over all routes; `None` is without limit.
    pub bandwidth: Option<u64>,
    /// How long an actor that has work may make no progress before a new one takes its place.
    pub stall: Duration,
}

/// A Kafka cluster and how to reach it.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Its alias in the config.
    pub alias: String,
    /// `host:port` of some of its brokers; at least one.
    pub bootstrap: Vec<String>,
    /// The region it stands in; for people.
    pub region: Option<String>,
    /// How to authenticate, and whether to encrypt.
    pub security: Security,
    /// Raw librdkafka properties; none of them is one that the engine owns.
    pub client: BTreeMap<String, String>,
    /// Bytes per second that may be written to it, over all routes: its peak bandwidth divided by its replicas, all of
    /// which count. `None` is without limit.
    pub write_bandwidth: Option<u64>,
    /// Bytes per second that may be read from it, over all routes; `None` is without limit.
    pub read_bandwidth: Option<u64>,
}

impl ClusterSpec {
    /// Whether it is the same cluster, reached in the same way; limits and labels may differ.
    pub fn is_reached_as(&self, other: &Self) -> bool {
        self.alias == other.alias
            && self.bootstrap == other.bootstrap
            && self.security == other.security
            && self.client == other.client
    }
}

/// How a client proves who it is, and how it knows the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// User and password; absent for `plaintext` and `ssl`.
    pub sasl: Option<Sasl>,
    /// Encryption; absent for `plaintext` and `sasl_plaintext`.
    pub tls: Option<Tls>,
}

/// User and password.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// The user name as the broker expects it: for CKafka `instance#user`.
    pub username: String,
    /// The password; its type keeps it out of logs.
    pub password: SecretString,
}

impl PartialEq for Sasl {
    fn eq(&self, other: &Self) -> bool {
        let same_password = self.password.expose_secret() == other.password.expose_secret();
        self.mechanism == other.mechanism && self.username == other.username && same_password
    }
}

impl Eq for Sasl {}

/// The SASL mechanisms that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password is sent as it is.
    Plain,
    /// Challenge and response with SHA-256.
    ScramSha256,
    /// Challenge and response with SHA-512.
    ScramSha512,
}

/// Encryption, and the certificates for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the authorities to trust; the system's own where absent.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate and private key, for mutual TLS.
    pub identity: Option<TlsIdentity>,
}

/// The client's own certificate, for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// PEM file of the certificate.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// One source cluster, a selection of its topics, and the targets they go to.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// The route's name in the config.
    pub name: String,
    /// Whether it runs; a route is created switched off.
    pub enabled: bool,
    /// The cluster that is read.
    pub source: Arc<ClusterSpec>,
    /// Which of its topics.
    pub topics: TopicSelection,
    /// Where a target begins when it has no watermark yet.
    pub start: Start,
    /// Which target partition a record goes to.
    pub partitioning: Partitioning,
    /// What is done where the source does not have what a target needs.
    pub on_gap: OnGap,
    /// Whether missing target topics are created and grown.
    pub create_topics: bool,
    /// Where batches are cut.
    pub batch: BatchLimits,
    /// Bytes read and not yet acknowledged, over all targets of the route.
    pub in_flight: u64,
    /// Whether its watermarks are kept, and whether other processes copy a part of its partitions.
    pub keeping: Keeping,
    /// Bytes per second that may be written, over all targets of the route; `None` is without limit.
    pub bandwidth: Option<u64>,
    /// How faults of its source and of its actors are met.
    pub retry: Policies,
    /// The clusters that are written to; at least one, none twice.
    pub targets: Vec<TargetPlan>,
}

/// What outlives the process that runs a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Nothing: it begins anew each time.
    Nothing,
    /// Its watermarks, in consumer groups on the source. One process copies all of it.
    Progress,
    /// The same; and any number of processes with the same config share its partitions by Kafka's group protocol.
    ProgressAndShare,
}

impl Keeping {
    /// Whether watermarks are kept.
    pub fn keeps_progress(self) -> bool {
        self != Self::Nothing
    }

    /// Whether its partitions are shared out.
    pub fn is_shared(self) -> bool {
        self == Self::ProgressAndShare
    }
}

/// A batch is cut at the first of these that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records in a batch.
    pub max_messages: u32,
    /// Longest time that a batch waits for more records.
    pub max_wait: Duration,
    /// Most bytes in a batch; a larger record makes a batch of its own.
    pub max_bytes: u64,
}

/// How a target gets what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfer {
    /// In the source's batches wherever nothing is asked for that speaks of single records.
    #[default]
    Auto,
    /// In the source's batches, still compressed.
    Passthrough,
    /// Record by record, in batches of the writer's own.
    Records,
}

impl Transfer {
    /// As the config has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Passthrough => "passthrough",
            Self::Records => "records",
        }
    }
}

/// How a route's source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBy {
    /// In the source's batches, as they are: some target is given those.
    Batches,
    /// In records, by a reader of our own: it knows a topic from another one of the same name.
    Records,
    /// In records, by librdkafka: the config has client properties that only that knows what to do with.
    Librdkafka,
}

/// Properties of a client that those who pass batches on heed, or need not.
const HEEDED: [&str; 6] = [
    "client.id",
    "heartbeat.interval.ms",
    "reconnect.backoff.max.ms",
    "session.timeout.ms",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
];

impl ClusterSpec {
    /// A property that only librdkafka knows what to do with.
    pub fn foreign_property(&self) -> Option<&str> {
        self.client.keys().map(String::as_str).find(|key| !HEEDED.contains(key))
    }
}

impl RoutePlan {
    /// Whether a target is given the source's batches.
    pub fn passes_on(&self, target: &TargetPlan) -> bool {
        self.opened_because(target).is_none()
    }

    /// How a target gets what was read, once that is decided: never `auto`.
    pub fn transfer_to(&self, target: &TargetPlan) -> Transfer {
        if self.passes_on(target) { Transfer::Passthrough } else { Transfer::Records }
    }

    /// Why the source's batches are opened for a target, for people; nothing where they are passed on.
    pub fn opened_because(&self, target: &TargetPlan) -> Option<String> {
        match target.transfer {
            Transfer::Records => Some("the config has `transfer: records`".to_owned()),
            Transfer::Passthrough => None,
            Transfer::Auto if self.partitioning == Partitioning::ByKey => {
                Some("`partitioning: by_key` looks at each record".to_owned())
            }
            Transfer::Auto => [&self.source, &target.cluster].into_iter().find_map(|cluster| {
                let property = cluster.foreign_property()?;
                Some(format!("`clusters.{}.client.{property}` is for a client that opens them", cluster.alias))
            }),
        }
    }

    /// How the source is read.
    pub fn read_by(&self) -> ReadBy {
        if self.targets.iter().any(|target| self.passes_on(target)) {
            ReadBy::Batches
        } else if self.source.foreign_property().is_none() {
            ReadBy::Records
        } else {
            ReadBy::Librdkafka
        }
    }
}

/// A cluster that a route writes to.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// The cluster; its alias is the target's name.
    pub cluster: Arc<ClusterSpec>,
    /// The target topic's name.
    pub topic: TopicTemplate,
    /// Bytes per second that may be written to it by this route; `None` is without limit but the cluster's own.
    pub bandwidth: Option<u64>,
    /// How it gets what was read.
    pub transfer: Transfer,
    /// Whether somebody has paused it. No config says so: it is kept beside it.
    pub paused: bool,
    /// Whether it was one of the route's while the process runs, and is none any more; see [`seats`].
    pub retired: bool,
    /// How its faults are met.
    pub retry: Policies,
    /// Where records go that it does not take, if its policies say so.
    pub dead_letter: DeadLetterPlan,
}

/// Where records go that a target does not take.
#[derive(Clone, Debug)]
pub struct DeadLetterPlan {
    /// The cluster: the target itself, or another one.
    pub cluster: Arc<ClusterSpec>,
    /// The topic, in which `{topic}` stands for the target topic's name.
    pub topic: TopicTemplate,
}

impl DeadLetterPlan {
    /// Beside the target topic, in one of its own.
    pub fn beside(cluster: &Arc<ClusterSpec>) -> Self {
        Self { cluster: cluster.clone(), topic: TopicTemplate::dead_letter() }
    }
}

/// Whether any of these policies gives records up to where dead letters go.
pub fn make_dead_letters(policies: &Policies) -> bool {
    let classes = [&policies.record, &policies.overrun, &policies.system];
    classes.iter().any(|policy| policy.on_exhausted == OnExhausted::DeadLetter)
}

impl TargetPlan {
    /// A target without a limit of its own and with the default policies.
    pub fn plain(cluster: Arc<ClusterSpec>, topic: TopicTemplate) -> Self {
        let dead_letter = DeadLetterPlan::beside(&cluster);
        let (bandwidth, transfer, retry) = (None, Transfer::default(), Policies::default());
        Self { cluster, topic, bandwidth, transfer, paused: false, retired: false, retry, dead_letter }
    }

    /// The target's name: the alias of its cluster.
    pub fn name(&self) -> &str {
        &self.cluster.alias
    }

    /// The limit of its own, in bytes per second: one that takes all that its cluster is sold with has none beside the cluster's.
    pub fn own_bandwidth(&self) -> Option<u64> {
        self.bandwidth.filter(|rate| Some(*rate) != self.cluster.write_bandwidth)
    }
}

/// Whole-name regular expressions over topic names.
#[derive(Clone, Debug)]
pub struct TopicSelection {
    /// A topic has to match one of these.
    pub include: Vec<Regex>,
    /// And none of these.
    pub exclude: Vec<Regex>,
}

impl PartialEq for TopicSelection {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &[Regex], b: &[Regex]| a.iter().map(Regex::as_str).eq(b.iter().map(Regex::as_str));
        same(&self.include, &other.include) && same(&self.exclude, &other.exclude)
    }
}

/// Whether a topic is selected, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is copied.
    Yes,
    /// Kafka or its ecosystem keeps it for itself.
    Internal,
    /// No `include` matches the whole name.
    NotIncluded,
    /// This `exclude` matches the whole name.
    Excluded(String),
}

impl TopicSelection {
    /// Decides over one topic name.
    pub fn select(&self, topic: &str) -> Selected {
        if is_internal_topic(topic) {
            return Selected::Internal;
        }
        if !self.include.iter().any(|regex| matches_whole(regex, topic)) {
            return Selected::NotIncluded;
        }
        match self.exclude.iter().find(|regex| matches_whole(regex, topic)) {
            Some(regex) => Selected::Excluded(as_written(regex)),
            None => Selected::Yes,
        }
    }
}

/// The patterns are compiled as `^(?:…)$` by [`whole_name`].
fn matches_whole(regex: &Regex, topic: &str) -> bool {
    regex.is_match(topic)
}

/// The pattern as the user wrote it.
pub(crate) fn as_written(regex: &Regex) -> String {
    let text = regex.as_str();
    text.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(text).to_owned()
}

/// Compiles a pattern so that it has to match the whole name.
pub fn whole_name(pattern: &str) -> Result<Regex, regex::Error> {
    // compiled alone first: an error must speak of the pattern as the user wrote it
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}
