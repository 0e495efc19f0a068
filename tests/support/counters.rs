//! What a broker counts by itself: bytes, connections, refused passwords, requests.

use serde_json::json;

use super::agent::ask;
use super::cluster::Cluster;

impl Cluster {
    /// The bytes of a topic that clients have sent, as they came: compressed, if they were.
    pub fn bytes_in(&self, topic: &str) -> i64 {
        self.count(&topic_metric("BytesInPerSec", topic), "Count")
    }

    /// The bytes of a topic that clients have been sent.
    pub fn bytes_out(&self, topic: &str) -> i64 {
        self.count(&topic_metric("BytesOutPerSec", topic), "Count")
    }

    /// Connections that were made to it since it started.
    pub fn connections(&self) -> i64 {
        self.count(SOCKETS, "connection-creation-total")
    }

    /// Clients that were not let in since it started.
    pub fn failed_authentications(&self) -> i64 {
        self.count(SOCKETS, "failed-authentication-total")
    }

    /// Requests of a kind, such as `Produce`, since it started.
    pub fn requests(&self, kind: &str) -> i64 {
        self.count(&format!("kafka.network:type=RequestMetrics,name=RequestsPerSec,request={kind},*"), "Count")
    }

    fn count(&self, bean: &str, attribute: &str) -> i64 {
        count(self.pid(), bean, attribute)
    }
}

/// How far a node of a quorum knows what has been decided.
pub fn decided(pid: u32) -> i64 {
    count(pid, "kafka.controller:type=KafkaController,name=LastCommittedRecordOffset", "Value")
}

/// How far a broker acts on it.
pub fn heeded(pid: u32) -> i64 {
    count(pid, "kafka.server:type=broker-metadata-metrics", "last-applied-record-offset")
}

fn count(pid: u32, bean: &str, attribute: &str) -> i64 {
    ask("jmx", json!({ "pid": pid, "bean": bean, "attribute": attribute })).as_i64().unwrap()
}

const SOCKETS: &str = "kafka.server:type=socket-server-metrics,listener=*,networkProcessor=*";

fn topic_metric(name: &str, topic: &str) -> String {
    format!("kafka.server:type=BrokerTopicMetrics,name={name},topic={topic}")
}
