//! A broker of Kafka as a process of its own, which can be stopped, killed, frozen and restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::json;

use super::agent::ask;
use super::java::Jvm;
use super::listeners::{Listener, scram_users};
use super::process::Tethered;
use super::{run_folder, seconds, within};

/// For brokers that start quickly, take little, and forget nothing however old its records are. Groups notice within seconds
/// that a member is gone.
const PROPERTIES: &str = "
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=1000
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=1
";

/// What a broker is started with.
pub struct Blueprint {
    /// For messages and the name of its folder.
    pub name: String,
    pub cluster_id: String,
    pub node_id: u16,
    /// The nodes of its cluster as `controller.quorum.voters` has them.
    pub voters: String,
    /// Where it listens.
    pub ports: BTreeMap<Listener, u16>,
    /// The listeners that clients are to reach at another port.
    pub advertised: BTreeMap<Listener, u16>,
    pub jvm: Jvm,
}

/// A broker.
pub struct Broker {
    blueprint: Blueprint,
    folder: PathBuf,
    process: Mutex<Tethered>,
}

/// An empty folder for a broker.
pub fn broker_folder(name: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(run_folder()).unwrap().keep()
}

impl Broker {
    /// Formats its storage and starts it; it does not answer yet. `more` is appended to its properties.
    pub fn launch(blueprint: Blueprint, folder: PathBuf, more: &str) -> Self {
        let properties = folder.join("server.properties");
        std::fs::write(&properties, blueprint.properties(&folder) + more).unwrap();
        let mut arguments = ["format", "--cluster-id", &blueprint.cluster_id, "--config"].map(str::to_owned).to_vec();
        arguments.push(properties.display().to_string());
        arguments.extend(scram_users());
        ask("format_storage", json!({ "arguments": arguments }));
        let process = Mutex::new(launch(&folder, blueprint.jvm));
        Self { blueprint, folder, process }
    }

    /// Its number in its cluster.
    #[allow(dead_code, reason = "a lone broker is known by its cluster")]
    pub const fn id(&self) -> u16 {
        self.blueprint.node_id
    }

    /// The address of a listener, past any proxy.
    pub fn address(&self, listener: Listener) -> String {
        format!("127.0.0.1:{}", self.blueprint.ports[&listener])
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&self) {
        self.end_by("TERM");
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&self) {
        self.end_by("KILL");
    }

    /// Starts it again, with the same ports and data; it does not answer yet.
    pub fn launch_again(&self) {
        let mut earlier = OpenOptions::new().create(true).append(true).open(self.folder.join("earlier.log")).unwrap();
        earlier.write_all(self.log().as_bytes()).unwrap();
        *self.process() = launch(&self.folder, self.blueprint.jvm);
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process().signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process().signal("CONT");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Whether its process has ended.
    pub fn has_ended(&self) -> bool {
        self.process().ended().is_some()
    }

    /// Waits until it listens, which it does last of all, and `answers` says yes; its log, if it has ended or does not get
    /// there in time.
    pub fn wait_until(&self, mut answers: impl FnMut() -> bool) -> Result<(), String> {
        let ready = within(seconds(60), || {
            if self.has_ended() {
                return Some(false);
            }
            TcpStream::connect(self.address(Listener::Plaintext)).ok()?;
            answers().then_some(true)
        });
        if ready == Some(true) { Ok(()) } else { Err(self.log()) }
    }

    /// Where its records, its metadata and its files are.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn end_by(&self, signal: &str) {
        let mut process = self.process();
        process.signal(signal);
        let ended = process.wait(seconds(60)).is_some();
        assert!(ended, "the broker {} does not end by SIG{signal}", self.blueprint.name);
    }

    fn process(&self) -> MutexGuard<'_, Tethered> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> String {
        ["broker.out", "broker.err"].map(|file| std::fs::read_to_string(self.folder.join(file)).unwrap()).concat()
    }
}

fn launch(folder: &Path, jvm: Jvm) -> Tethered {
    let mut command = jvm.command();
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    Tethered::spawn(&command, &folder.join("broker.out"), &folder.join("broker.err"))
}

impl Blueprint {
    fn properties(&self, folder: &Path) -> String {
        let join = |ports: &mut dyn Iterator<Item = (&Listener, &u16)>| {
            let listeners = ports.map(|(listener, port)| format!("{}://127.0.0.1:{port}", listener.name()));
            listeners.collect::<Vec<_>>().join(",")
        };
        let protocols = self.ports.keys().map(|listener| format!("{}:{}", listener.name(), listener.protocol()));
        let mut text = PROPERTIES.to_owned();
        let mut set = |key: &str, value: &str| writeln!(text, "{key}={value}").unwrap();
        set("node.id", &self.node_id.to_string());
        set("log.dirs", &folder.join("data").display().to_string());
        set("controller.quorum.voters", &self.voters);
        set("listeners", &join(&mut self.ports.iter()));
        set("listener.security.protocol.map", &protocols.collect::<Vec<_>>().join(","));
        let public = self.ports.iter().filter(|(listener, _)| **listener != Listener::Controller);
        set(
            "advertised.listeners",
            &join(&mut public.map(|(listener, port)| (listener, self.advertised.get(listener).unwrap_or(port)))),
        );
        text
    }
}

/// An id of its own, by which a cluster is told from another that was faster to take its ports: 16 bytes in base64.
pub fn cluster_id(port: u16) -> String {
    format!("{:08x}{port:04x}{:08x}AQ", std::process::id(), nanoseconds())
}

fn nanoseconds() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos()
}

/// Free ports below the range from which the system takes the ports of outgoing connections, and each only once: so a broker that
/// was stopped finds its ports free when it is started again, and no other test's broker on them meanwhile.
pub fn free_ports() -> impl Iterator<Item = u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let first = u16::try_from(nanoseconds() / 1000 % 16_000).unwrap();
    let candidates = (0..16_000).map(move |step| 12_000 + (first + step) % 16_000);
    candidates.filter(|port| {
        let is_new = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(*port);
        is_new && TcpListener::bind(("127.0.0.1", *port)).is_ok()
    })
}

/// Starts a cluster, again with other ports where somebody else was faster to take these.
pub fn start_on_free_ports<T>(name: &str, mut start: impl FnMut() -> Result<T, String>) -> T {
    for _ in 0..5 {
        match start() {
            Ok(cluster) => return cluster,
            Err(log) if log.contains("Address already in use") => {}
            Err(log) => panic!("{name} does not start:\n{log}"),
        }
    }
    panic!("{name} found no free ports")
}
