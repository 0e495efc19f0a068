//! Real Kafka clusters: one `KRaft` broker each, as a process of its own that can be stopped, killed, frozen and restarted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::json;

use super::agent::{ask, try_ask};
use super::certificates::Certificates;
use super::java::java;
use super::listeners::{Listener, scram_users};
use super::process::Tethered;
use super::topic::Topic;
use super::{run_folder, seconds, turn, within};

/// For a lone broker that starts quickly, takes little, and forgets nothing however old its records are.
const PROPERTIES: &str = "
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
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

/// A cluster of one broker.
pub struct Cluster {
    name: String,
    id: String,
    folder: PathBuf,
    ports: BTreeMap<Listener, u16>,
    certificates: Certificates,
    process: Mutex<Tethered>,
}

/// What a cluster has besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub listeners: Vec<Listener>,
    pub properties: Vec<(String, String)>,
}

impl Cluster {
    /// Starts a broker with one listener, without security.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &Options::default())
    }

    /// Starts a broker.
    pub fn start_with(name: &str, options: &Options) -> Self {
        for _ in 0..5 {
            match Self::try_start(name, options) {
                Ok(cluster) => return cluster,
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("the broker {name} does not start:\n{log}"),
            }
        }
        panic!("the broker {name} found no free ports")
    }

    fn try_start(name: &str, options: &Options) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(run_folder()).unwrap().keep();
        let listeners =
            [Listener::Controller, Listener::Plaintext].into_iter().chain(options.listeners.iter().copied());
        let ports: BTreeMap<_, _> = listeners.zip(free_ports()).collect();
        let certificates = Certificates::make(&folder);
        let properties = folder.join("server.properties");
        std::fs::write(&properties, server_properties(&folder, &ports, &certificates, options)).unwrap();
        let id = cluster_id(ports[&Listener::Plaintext]);
        let mut arguments = ["format", "--cluster-id", &id, "--config"].map(str::to_owned).to_vec();
        arguments.push(properties.display().to_string());
        arguments.extend(scram_users());
        ask("format_storage", json!({ "arguments": arguments }));
        let process = Mutex::new(launch(&folder));
        let cluster = Self { name: name.to_owned(), id, folder, ports, certificates, process };
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
        format!("127.0.0.1:{}", self.ports[&listener])
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
        self.end_by("TERM");
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&self) {
        self.end_by("KILL");
    }

    /// Starts it again, with the same ports and data.
    pub fn restart(&self) {
        *self.process() = launch(&self.folder);
        self.wait_until_ready().unwrap_or_else(|log| panic!("the broker {} does not start again:\n{log}", self.name));
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.process().signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process().signal("CONT");
    }

    /// Whatever the last test did to it: it runs again.
    pub fn heal(&self) {
        if self.process().ended().is_some() {
            self.restart();
        } else {
            self.thaw();
        }
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    fn end_by(&self, signal: &str) {
        let mut process = self.process();
        process.signal(signal);
        assert!(process.wait(seconds(60)).is_some(), "the broker {} does not end by SIG{signal}", self.name);
    }

    fn process(&self) -> MutexGuard<'_, Tethered> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, when it has ended or does not answer in time.
    fn wait_until_ready(&self) -> Result<(), String> {
        let ready = within(seconds(60), || {
            if self.process().ended().is_some() {
                return Some(false);
            }
            let port = self.ports[&Listener::Plaintext];
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            let id = try_ask("ping", json!({ "bootstrap": self.bootstrap() })).ok()?;
            (id == self.id).then_some(true)
        });
        if ready == Some(true) { Ok(()) } else { Err(self.log()) }
    }

    fn log(&self) -> String {
        ["broker.out", "broker.err"].map(|file| std::fs::read_to_string(self.folder.join(file)).unwrap()).concat()
    }
}

fn launch(folder: &Path) -> Tethered {
    let mut command = java("384m");
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    Tethered::spawn(&command, &folder.join("broker.out"), &folder.join("broker.err"))
}

fn server_properties(
    folder: &Path,
    ports: &BTreeMap<Listener, u16>,
    certificates: &Certificates,
    options: &Options,
) -> String {
    let join = |entry: fn(Listener, u16) -> String| {
        ports.iter().map(|(listener, port)| entry(*listener, *port)).collect::<Vec<_>>().join(",")
    };
    let mut text = PROPERTIES.to_owned();
    let mut set = |key: &str, value: &str| writeln!(text, "{key}={value}").unwrap();
    set("log.dirs", &folder.join("data").display().to_string());
    set("controller.quorum.voters", &format!("1@127.0.0.1:{}", ports[&Listener::Controller]));
    set("listeners", &join(|listener, port| format!("{}://127.0.0.1:{port}", listener.name())));
    set("listener.security.protocol.map", &join(|listener, _| format!("{}:{}", listener.name(), listener.protocol())));
    for (key, value) in &options.properties {
        set(key, value);
    }
    for listener in &options.listeners {
        text.push_str(&listener.properties(certificates));
    }
    text
}

/// An id of its own, by which a cluster is told from another that was faster to take its ports: 16 bytes in base64.
fn cluster_id(port: u16) -> String {
    format!("{:08x}{port:04x}{:08x}AQ", std::process::id(), nanoseconds())
}

fn nanoseconds() -> u32 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos()
}

/// Free ports below the range from which the system takes the ports of outgoing connections, so that a broker that was
/// stopped finds its ports free when it is started again.
fn free_ports() -> impl Iterator<Item = u16> {
    let first = u16::try_from(nanoseconds() / 1000 % 16_000).unwrap();
    let candidates = (0..16_000).map(move |step| 12_000 + (first + step) % 16_000);
    candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// The clusters that tests share, for one test at a time; topics are named after the test.
pub struct Regions {
    turn: Option<MutexGuard<'static, ()>>,
    /// The source.
    pub guangzhou: &'static Cluster,
    pub shanghai: &'static Cluster,
    pub beijing: &'static Cluster,
    /// The one that is stopped, killed and frozen; whole again whenever a test begins.
    pub chengdu: &'static Cluster,
}

impl Regions {
    /// Lets other tests have the clusters while this one waits for long and asks little of them; takes the turn again then.
    /// They may stop Chengdu meanwhile.
    pub fn give_way<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        self.turn.take();
        let waited = wait();
        self.turn = Some(turn());
        self.chengdu.heal();
        waited
    }
}

static REGIONS: LazyLock<[Cluster; 4]> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        ["guangzhou", "shanghai", "beijing", "chengdu"]
            .map(|name| scope.spawn(move || Cluster::start(name)))
            .map(|start| start.join().unwrap())
    })
});

/// Takes the turn, and the clusters with it.
pub fn regions() -> Regions {
    let turn = turn();
    let [guangzhou, shanghai, beijing, chengdu] = &*REGIONS;
    chengdu.heal();
    Regions { turn: Some(turn), guangzhou, shanghai, beijing, chengdu }
}
