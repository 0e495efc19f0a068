//! Java: the jars of Kafka, and the agent compiled against them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// It logs what is wrong.
const LOG: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";

/// Quick to start and light on a shared machine, rather than fast after a while.
const BRIEF: &[&str] = &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", LOG];

/// As Kafka's own scripts start Java.
pub const LASTING: &[&str] = &[
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    LOG,
];

static AGENT_CLASSES: LazyLock<PathBuf> = LazyLock::new(compile_agent);

/// How a Java process is started.
#[derive(Clone, Copy, Debug)]
pub struct Jvm {
    /// So much at most, such as `300m`.
    heap: &'static str,
    /// Whether it has all of that from the start, as by Kafka's own scripts: Java's garbage is collected far more often else.
    has_all: bool,
    flags: &'static [&'static str],
}

impl Jvm {
    /// One that is ready soon.
    pub const fn brief(heap: &'static str) -> Self {
        Self { heap, has_all: false, flags: BRIEF }
    }

    /// One that is measured: it takes longer to start, and its code is fast after a while, as in production.
    pub const fn lasting(heap: &'static str) -> Self {
        Self { heap, has_all: true, flags: LASTING }
    }

    /// A command with Kafka on its class path; the main class and its arguments are to be added.
    pub fn command(self) -> Command {
        let mut command = Command::new("java");
        command.args(self.has_all.then(|| format!("-Xms{}", self.heap)));
        command.arg(format!("-Xmx{}", self.heap)).args(self.flags);
        command.arg("-cp").arg(format!("{}:{}/*", AGENT_CLASSES.display(), jars().display()));
        command
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn jars() -> PathBuf {
    let jars = root().join("target/kafka");
    assert!(jars.join("complete").exists(), "the jars of Kafka are not in {}: tests/run fetches them", jars.display());
    jars
}

/// Compiles the agent once for every state of its sources.
fn compile_agent() -> PathBuf {
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(root().join("tests/support/java")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    let mut hasher = DefaultHasher::new();
    for source in &sources {
        std::fs::read(source).unwrap().hash(&mut hasher);
    }
    let classes = root().join("target").join(format!("kafka-agent-{:016x}", hasher.finish()));
    if !classes.exists() {
        let fresh = tempfile::tempdir_in(root().join("target")).unwrap();
        let class_path = format!("{}/*", jars().display());
        let javac =
            Command::new("javac").arg("-d").arg(fresh.path()).args(["-cp", &class_path]).args(&sources).output();
        let javac = javac.expect("javac can be started");
        assert!(javac.status.success(), "javac: {}", String::from_utf8_lossy(&javac.stderr));
        // Another test process may have been faster; its classes are as good.
        std::fs::rename(fresh.keep(), &classes).ok();
    }
    classes
}
