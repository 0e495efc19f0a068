//! Real Kafka clusters of three: each node broker and controller, each record in three places, and two have to have it.
//!
//! The other client and the brokers among themselves talk directly. Clients that are given `client_bootstrap` are led through
//! a proxy per broker, which can hurt them.
#![allow(dead_code, reason = "each of the tests that share this uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::agent::try_ask;
use super::broker::{Blueprint, Broker, broker_folder, cluster_id, free_ports, start_on_free_ports};
use super::counters::{decided, heeded};
use super::java::Jvm;
use super::listeners::Listener;
use super::proxy::Proxy;
use super::topic::Topic;
use super::{eventually, seconds, within};

/// For each of three brokers.
const PROPERTIES: &str = "
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=6000
auto.leader.rebalance.enable=false
";

const HEAP: &str = "300m";

/// A cluster of the brokers 1, 2 and 3.
pub struct Trio {
    name: String,
    id: String,
    nodes: [Node; 3],
}

/// A broker with its proxy.
pub struct Node {
    pub broker: Broker,
    pub proxy: Proxy,
}

/// Where a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// `None` while it has none.
    pub leader: Option<u16>,
    pub replicas: Vec<u16>,
    pub in_sync: Vec<u16>,
}

impl Trio {
    /// Starts three brokers, at the same time.
    pub fn start(name: &str) -> Self {
        Self::start_on(name, |_, _| {})
    }

    /// The same; each broker's folder is prepared before it is used.
    pub fn start_on(name: &str, mut prepare: impl FnMut(u16, &Path)) -> Self {
        start_on_free_ports(name, || Self::try_start(name, &mut prepare))
    }

    fn try_start(name: &str, prepare: &mut dyn FnMut(u16, &Path)) -> Result<Self, String> {
        let mut free = free_ports();
        let listeners = [Listener::Controller, Listener::Plaintext, Listener::Client];
        let ports: [BTreeMap<Listener, u16>; 3] =
            std::array::from_fn(|_| listeners.into_iter().zip(free.by_ref()).collect());
        let voters: Vec<String> =
            (1..).zip(&ports).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports[&Listener::Controller])).collect();
        let id = cluster_id(ports[0][&Listener::Plaintext]);
        let mut nodes = Vec::new();
        for (node_id, ports) in (1..).zip(ports) {
            let port = free.next().unwrap();
            let proxy = Proxy::start(port, ports[&Listener::Client]).map_err(|error| error.to_string())?;
            let blueprint = Blueprint {
                name: format!("{name}-{node_id}"),
                cluster_id: id.clone(),
                node_id,
                voters: voters.join(","),
                ports,
                advertised: BTreeMap::from([(Listener::Client, port)]),
                jvm: Jvm::brief(HEAP),
            };
            let folder = broker_folder(&blueprint.name);
            prepare(node_id, &folder);
            nodes.push(Node { broker: Broker::launch(blueprint, folder, PROPERTIES), proxy });
        }
        let nodes = nodes.try_into().unwrap_or_else(|_| unreachable!("three were made"));
        let cluster = Self { name: name.to_owned(), id, nodes };
        for id in 1..=3 {
            cluster.wait_until_ready(id)?;
        }
        Ok(cluster)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its brokers' addresses, past the proxies.
    pub fn bootstrap(&self) -> String {
        self.nodes.each_ref().map(|node| node.broker.address(Listener::Plaintext)).join(",")
    }

    /// Its brokers' addresses for clients that go through the proxies.
    pub fn client_bootstrap(&self) -> [String; 3] {
        self.nodes.each_ref().map(|node| node.proxy.address())
    }

    /// A topic by its name, whether it exists or not; the other client reaches it past the proxies.
    pub fn topic(&self, name: &str) -> Topic {
        Topic { bootstrap: self.bootstrap(), name: name.to_owned() }
    }

    /// A broker with its proxy, by its number: 1, 2 or 3.
    pub fn node(&self, id: u16) -> &Node {
        &self.nodes[usize::from(id) - 1]
    }

    /// All brokers with their proxies.
    pub const fn nodes(&self) -> &[Node; 3] {
        &self.nodes
    }

    /// Starts a broker that has ended, and waits until it takes part again.
    pub fn restart(&self, id: u16) {
        self.restart_all(&[id]);
    }

    /// Starts brokers that have ended, at the same time, and waits until they take part again.
    pub fn restart_all(&self, ids: &[u16]) {
        for id in ids {
            self.node(*id).broker.launch_again();
        }
        for id in ids {
            let ready = self.wait_until_ready(*id);
            ready.unwrap_or_else(|log| panic!("broker {id} of {} does not start again:\n{log}", self.name));
        }
    }

    /// Whatever was done to it: its brokers run, nothing hurts their connections, and every replica is in sync.
    pub fn heal(&self) {
        let ended: Vec<u16> =
            self.nodes.iter().filter(|node| node.broker.has_ended()).map(|node| node.broker.id()).collect();
        for node in &self.nodes {
            node.proxy.clear();
            if !node.broker.has_ended() {
                node.broker.thaw();
            }
        }
        self.restart_all(&ended);
        self.wait_until_whole();
    }

    /// Waits until every replica of every partition is in sync.
    pub fn wait_until_whole(&self) {
        eventually(seconds(60), &format!("all replicas of {} are in sync", self.name), || {
            try_ask("under_replicated", self.request(json!({}))).is_ok_and(|count| count == 0)
        });
    }

    /// Spreads the leaders over the brokers, as they were at first, and waits until every broker heeds it: one that does not know
    /// yet that it coordinates a group no longer answers with offsets of before.
    pub fn balance(&self) {
        self.ask("elect_preferred", json!({}));
        let pids = self.nodes.each_ref().map(|node| node.broker.pid());
        let decided = pids.map(decided).into_iter().max();
        assert!(decided > Some(0), "no node of {} says what was decided", self.name);
        eventually(seconds(20), &format!("the brokers of {} heed what was decided", self.name), || {
            pids.iter().all(|pid| Some(heeded(*pid)) >= decided)
        });
    }

    /// Where the partitions of a topic are.
    pub fn placements(&self, topic: &str) -> BTreeMap<i32, Placement> {
        let reply = self.ask("partitions", json!({ "topic": topic }));
        reply.as_object().unwrap().iter().map(|(partition, told)| (partition.parse().unwrap(), told.into())).collect()
    }

    /// The broker that leads a partition; `None` while none does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<u16> {
        self.placements(topic)[&partition].leader
    }

    /// The node that is the active controller.
    pub fn controller(&self) -> u16 {
        id(&self.ask("nodes", json!({}))["controller"]).expect("a quorum has a leader, or does not answer")
    }

    /// The broker that keeps the offsets of a group; `None` while none does.
    pub fn coordinator(&self, group: &str) -> Option<u16> {
        id(&self.ask("coordinator", json!({ "group": group })))
    }

    /// Has another replica lead a partition.
    pub fn move_leader(&self, topic: &str, partition: i32, to: u16) {
        self.ask("move_leader", json!({ "topic": topic, "partition": partition, "to": to }));
        eventually(seconds(20), &format!("{to} leads {topic}-{partition}"), || {
            self.leader(topic, partition) == Some(to)
        });
    }

    /// Has a partition led by a replica that is left, though it may not have all; the topic has to allow it with
    /// `unclean.leader.election.enable`.
    pub fn elect_unclean(&self, topic: &str, partition: i32) {
        self.ask("elect_unclean", json!({ "topic": topic, "partition": partition }));
    }

    fn wait_until_ready(&self, id: u16) -> Result<(), String> {
        self.node(id).broker.wait_until(|| {
            let nodes = try_ask("nodes", self.request(json!({}))).unwrap_or_default();
            nodes["id"] == self.id && nodes["brokers"].as_array().is_some_and(|brokers| brokers.contains(&json!(id)))
        })
    }

    /// Asks the agent until it has an answer: a broker may be down that it asked first.
    fn ask(&self, command: &str, request: Value) -> Value {
        let request = self.request(request);
        let mut error = String::new();
        let answer = within(seconds(60), || try_ask(command, request.clone()).map_err(|said| error = said).ok());
        answer.unwrap_or_else(|| panic!("{command}: {error}"))
    }

    /// A request to the agent about this cluster.
    pub fn request(&self, mut request: Value) -> Value {
        request["bootstrap"] = json!(self.bootstrap());
        request
    }
}

impl From<&Value> for Placement {
    fn from(told: &Value) -> Self {
        let ids = |ids: &Value| ids.as_array().unwrap().iter().filter_map(id).collect();
        Self { leader: id(&told["leader"]), replicas: ids(&told["replicas"]), in_sync: ids(&told["in_sync"]) }
    }
}

fn id(told: &Value) -> Option<u16> {
    u16::try_from(told.as_i64().unwrap()).ok()
}
