//! From a cluster of the plan to a configured librdkafka client, and its errors to faults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::fault_map::class_of_error;
use super::lease::Heartbeats;
use super::wire::Wire;
use crate::domain::fault::{Fault, FaultClass};
use crate::plan::{ClusterSpec, SaslMechanism};

/// How long a client is given to hand over all that it has to say.
pub(super) const SERVE: Duration = Duration::from_millis(5);

/// New partitions have to be known within 10 s. Clients that only ask questions have no need for it, and would connect
/// for it again and again to a cluster that does not let them in.
const REFRESH: &str = "5000";

/// An error older than this explains nothing any more.
const RECENT: Duration = Duration::from_secs(15);

/// The version of the librdkafka that is linked in.
pub fn library_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// Where a client's asynchronous errors go.
pub(super) type FaultSink = Arc<dyn Fn(Fault) + Send + Sync>;

/// The context of every client: it names the cluster in logs, and keeps the last error for those who run into a
/// time-out and have to say why.
pub(super) struct Context {
    cluster: String,
    sink: Option<FaultSink>,
    last: Mutex<Option<(Instant, Fault)>>,
    wire: Arc<Wire>,
    throttles: Mutex<Vec<Duration>>,
}

impl Context {
    /// A context for a client of `cluster`; each error is passed to `sink` as well.
    pub(super) fn new(cluster: &ClusterSpec, sink: Option<FaultSink>) -> Self {
        let (last, wire, throttles) = (Mutex::default(), Arc::default(), Mutex::default());
        Self { cluster: cluster.alias.clone(), sink, last, wire, throttles }
    }

    /// A context for a member of a group, whose heartbeats prolong its lease.
    pub(super) fn in_group(cluster: &ClusterSpec, heartbeats: Heartbeats) -> Self {
        Self { wire: Arc::new(Wire::in_group(heartbeats)), ..Self::new(cluster, None) }
    }

    /// What the client counts on its threads.
    pub(super) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Notes a throttle time. Called from C, so it is only noted.
    pub(super) fn throttled(&self, throttle: Duration) {
        self.wire.throttled(throttle);
        self.throttles.lock().unwrap_or_else(PoisonError::into_inner).push(throttle);
    }

    /// Takes the throttle times that were noted since the last time, in order.
    pub(super) fn take_throttles(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.throttles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Turns an error of a call into a fault that names the cluster. A time-out is explained by the last error that
    /// the client reported by itself, because that is its cause.
    pub(super) fn fault(&self, doing: &str, error: &KafkaError) -> Fault {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.filter(|(at, _)| at.elapsed() < RECENT).map(|(_, fault)| fault);
        let class = class_of_error(error);
        match last {
            Some(cause) if class == FaultClass::System => Fault::new(cause.class, format!("{doing}: {}", cause.reason)),
            _ => Fault::new(class, format!("cluster {}: {doing}: {error}", self.cluster)),
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = false;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka repeats what also arrives as an error, so nothing here is for the operator
        tracing::debug!(target: "librdkafka", cluster = %self.cluster, ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let class = class_of_error(&error);
        let fault = Fault::new(class, format!("cluster {}: {reason}", self.cluster));
        tracing::debug!(cluster = %self.cluster, class = class.name(), "{reason}");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // "all brokers are down" follows every cause and explains none
        if last.is_none() || !reason.contains("brokers are down") {
            *last = Some((Instant::now(), fault.clone()));
        }
        drop(last);
        if let Some(sink) = &self.sink {
            sink(fault);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Err("oauthbearer is not supported".into())
    }
}

impl ConsumerContext for Context {}

/// The properties that every client of a cluster shares. What the engine owns is set by the callers, after the user's.
pub(super) fn base_config(cluster: &ClusterSpec) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "anabranch");
    config.set("reconnect.backoff.max.ms", "5000");
    for (key, value) in &cluster.client {
        config.set(key, value);
    }
    config.set("bootstrap.servers", cluster.bootstrap.join(","));
    let security = &cluster.security;
    let protocol = match (&security.sasl, &security.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(sasl) = &security.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config.set("sasl.mechanism", mechanism);
        config.set("sasl.username", &sasl.username);
        config.set("sasl.password", sasl.password.expose_secret());
    }
    if let Some(tls) = &security.tls {
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.location", ca.to_string_lossy());
        }
        if let Some(identity) = &tls.identity {
            config.set("ssl.certificate.location", identity.cert.to_string_lossy());
            config.set("ssl.key.location", identity.key.to_string_lossy());
        }
    }
    config
}

/// For reading: committed records only, no resets behind our back, no offsets kept by the client.
///
/// `prefetch_kib` is what the client may hold ready per partition. It stops fetching a partition above that, so the last
/// response comes on top: compressed records grow when it is opened, and each message has a price besides its bytes.
pub(super) fn reader_config(cluster: &ClusterSpec, prefetch_kib: u64) -> ClientConfig {
    let mut config = base_config(cluster);
    set_default(&mut config, cluster, "topic.metadata.refresh.interval.ms", REFRESH);
    let fetch = (prefetch_kib / 2).clamp(64, 1024) * 1024;
    set_default(&mut config, cluster, "fetch.message.max.bytes", &fetch.to_string());
    // of all partitions together; by default that of one, which makes many small responses
    if !cluster.client.contains_key("message.max.bytes") {
        set_default(&mut config, cluster, "fetch.max.bytes", "8388608");
    }
    set_default(&mut config, cluster, "queued.max.messages.kbytes", &prefetch_kib.to_string());
    set_default(&mut config, cluster, "queued.min.messages", &(prefetch_kib * 4).to_string()); // small records
    // one request at a time: while it waits at partitions that are at their end, none fetches for the others
    set_default(&mut config, cluster, "fetch.wait.max.ms", "50");
    set_default(&mut config, cluster, "fetch.queue.backoff.ms", "5"); // the default of a second stalls a full queue
    config
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error") // a gap is never an automatic reset
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true") // says how far aborted records and markers reach
        .set("check.crcs", "true");
    config
}

/// For a look at single records, whatever became of their transactions.
pub(super) fn probe_config(cluster: &ClusterSpec) -> ClientConfig {
    let mut config = reader_config(cluster, 64);
    config.set("isolation.level", "read_uncommitted");
    config
}

/// For metadata, offsets and commits.
pub(super) fn control_config(cluster: &ClusterSpec) -> ClientConfig {
    let mut config = base_config(cluster);
    config
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false");
    config
}

/// For writing: idempotent, acknowledged by all replicas, never timed out: a delivery that "timed out" may be written.
pub(super) fn writer_config(cluster: &ClusterSpec) -> ClientConfig {
    let mut config = base_config(cluster);
    set_default(&mut config, cluster, "topic.metadata.refresh.interval.ms", REFRESH);
    set_default(&mut config, cluster, "compression.codec", "lz4");
    set_default(&mut config, cluster, "linger.ms", "5");
    set_default(&mut config, cluster, "batch.num.messages", "100000");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", "1000000000") // the broker's limit counts, not the client's
        .set("queue.buffering.max.messages", "0") // what is handed over is bounded by permits
        .set("queue.buffering.max.kbytes", "2147483647");
    config
}

/// Sets what the user did not, under either of the names that librdkafka knows it by.
fn set_default(config: &mut ClientConfig, cluster: &ClusterSpec, key: &str, value: &str) {
    const SYNONYMS: [(&str, &str); 3] = [
        ("compression.codec", "compression.type"),
        ("linger.ms", "queue.buffering.max.ms"),
        ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ];
    let synonym = SYNONYMS.iter().find(|(name, _)| *name == key).map_or(key, |(_, synonym)| synonym);
    if !cluster.client.contains_key(key) && !cluster.client.contains_key(synonym) {
        config.set(key, value);
    }
}
