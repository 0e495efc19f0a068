//! Real Kafka clusters of one `KRaft` broker each.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::json;

use super::agent::try_ask;
use super::broker::{Blueprint, Broker, broker_folder, cluster_id, free_ports, start_on_free_ports};
use super::certificates::Certificates;
use super::java::Jvm;
use super::listeners::Listener;
use super::topic::Topic;
use super::turns::{PLACES, Turn};

/// For a lone broker.
const PROPERTIES: &str = "
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";

/// A cluster of one broker.
pub struct Cluster {
    name: String,
    id: String,
    certificates: Certificates,
    broker: Broker,
}

/// What a cluster has besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub listeners: Vec<Listener>,
    pub properties: Vec<(String, String)>,
    /// It is for figures: Java is started as in production.
    pub is_measured: bool,
}

impl Cluster {
    /// Starts a broker with one listener, without security.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &Options::default())
    }

    /// Starts a broker.
    pub fn start_with(name: &str, options: &Options) -> Self {
        start_on_free_ports(name, || Self::try_start(name, options))
    }

    fn try_start(name: &str, options: &Options) -> Result<Self, String> {
        let listeners =
            [Listener::Controller, Listener::Plaintext].into_iter().chain(options.listeners.iter().copied());
        let ports: BTreeMap<_, _> = listeners.zip(free_ports()).collect();
        let folder = broker_folder(name);
        let certificates = Certificates::make(&folder);
        let id = cluster_id(ports[&Listener::Plaintext]);
        let blueprint = Blueprint {
            name: name.to_owned(),
            cluster_id: id.clone(),
            node_id: 1,
            voters: format!("1@127.0.0.1:{}", ports[&Listener::Controller]),
            ports,
            advertised: BTreeMap::new(),
            jvm: if options.is_measured { Jvm::lasting("3g") } else { Jvm::brief("384m") },
        };
        let broker = Broker::launch(blueprint, folder, &options.properties(&certificates));
        let cluster = Self { name: name.to_owned(), id, certificates, broker };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address without security.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of(Listener::Plaintext)
    }

    /// The address of a listener.
    pub fn bootstrap_of(&self, listener: Listener) -> String {
        self.broker.address(listener)
    }

    /// A topic by its name, whether it exists or not.
    pub fn topic(&self, name: &str) -> Topic {
        Topic { bootstrap: self.bootstrap(), name: name.to_owned() }
    }

    pub const fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&self) {
        self.broker.stop();
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&self) {
        self.broker.kill();
    }

    /// The file in which a partition begins. It may be written while the broker does not run.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn first_segment(&self, topic: &str, partition: i32) -> PathBuf {
        self.broker.folder().join(format!("data/{topic}-{partition}/{:020}.log", 0))
    }

    /// Starts it again, with the same ports and data.
    pub fn restart(&self) {
        self.broker.launch_again();
        self.wait_until_ready().unwrap_or_else(|log| panic!("the broker {} does not start again:\n{log}", self.name));
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.broker.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.broker.thaw();
    }

    /// Whatever the last test did to it: it runs again.
    pub fn heal(&self) {
        if self.broker.has_ended() {
            self.restart();
        } else {
            self.thaw();
        }
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.broker.pid()
    }

    /// The log, when it has ended or does not answer in time.
    fn wait_until_ready(&self) -> Result<(), String> {
        let bootstrap = self.bootstrap();
        self.broker.wait_until(|| try_ask("ping", json!({ "bootstrap": bootstrap })).is_ok_and(|id| id == self.id))
    }
}

impl Options {
    fn properties(&self, certificates: &Certificates) -> String {
        let mut text = PROPERTIES.to_owned();
        for (key, value) in &self.properties {
            writeln!(text, "{key}={value}").unwrap();
        }
        for listener in &self.listeners {
            text.push_str(&listener.properties(certificates));
        }
        text
    }
}

/// The clusters of a test, which others have after it; topics are named after the test.
pub struct Regions {
    turn: Option<Turn>,
    /// The source.
    pub guangzhou: &'static Cluster,
    pub shanghai: &'static Cluster,
    pub beijing: &'static Cluster,
    /// The one that is stopped, killed and frozen; whole again whenever a test begins.
    pub chengdu: &'static Cluster,
}

impl Regions {
    fn of(turn: Turn) -> Self {
        let [guangzhou, shanghai, beijing, chengdu] = &*REGIONS[turn.place()];
        chengdu.heal();
        Self { turn: Some(turn), guangzhou, shanghai, beijing, chengdu }
    }

    /// Lets other tests have the clusters while this one waits for long and asks little of them; takes the turn again then.
    /// They may stop Chengdu meanwhile.
    pub fn give_way<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let waited = Turn::give_way(&mut self.turn, wait);
        self.chengdu.heal();
        waited
    }
}

static REGIONS: [LazyLock<[Cluster; 4]>; PLACES] = [const { LazyLock::new(start_regions) }; PLACES];

fn start_regions() -> [Cluster; 4] {
    std::thread::scope(|scope| {
        ["guangzhou", "shanghai", "beijing", "chengdu"]
            .map(|name| scope.spawn(move || Cluster::start(name)))
            .map(|start| start.join().unwrap())
    })
}

/// Waits for clusters that nobody uses.
pub fn regions() -> Regions {
    Regions::of(Turn::beside())
}

/// The same for what measures, or has more than the clusters for itself: no other test is under way.
pub fn regions_alone() -> Regions {
    Regions::of(Turn::alone())
}
