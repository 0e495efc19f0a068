//! What a contender is to do, and how each is told.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::common::bare_pipe;
use super::common::measure::{Taken, Timed, measure};
use super::common::support::cluster::Cluster;
use super::common::support::config::Config;
use super::common::support::process::Tethered;
use super::common::support::topic::Topic;
use super::common::unique;
use super::contender::Contender;
use super::copies::Copied;
use super::mirror::Mirror;
use super::stage::{Shape, Stage, create};
use super::watch::Watch;

/// Between records, and between a key and its value, where kcat tells them by what stands there. 512 random bytes have the
/// former somewhere in a million of them with a probability of 10⁻¹⁰; JSON has neither.
const DELIMITERS: [&str; 2] = [r"\xF5\x01\xE9\x0A\xC0\xDE\xFE\x0B", r"\xF6\x02\xEA\x0B\xC1\xDF\xFF\x0C"];

/// A topic that is copied once by one contender.
pub(crate) struct Job<'a> {
    /// Who does it.
    pub(crate) contender: Contender,
    /// What is copied.
    pub(crate) topic: &'a Topic,
    /// How its batches are compressed, and those of the copies have to be.
    pub(crate) codec: &'static str,
    /// Whether its records have keys.
    pub(crate) keys: bool,
    /// Where it goes.
    pub(crate) targets: &'a [Cluster],
    /// Where the source is.
    pub(crate) source: &'a Cluster,
    /// Its number in this run.
    pub(crate) number: u32,
    /// The copies.
    pub(crate) copies: Vec<Topic>,
    folder: &'a Path,
}

impl<'a> Job<'a> {
    /// Makes the topics that the copies go to.
    pub(crate) fn new(contender: Contender, stage: &'a Stage, topic: &'a Topic, targets: usize, shape: &Shape) -> Self {
        let number = unique();
        let name = match contender {
            Contender::Mm2 => format!("{}.{}", Mirror::alias(number), topic.name),
            Contender::Mm2Tuned => topic.name.clone(),
            _ => format!("{}.{number}", topic.name),
        };
        let targets = &stage.targets[..targets];
        let copies = targets.iter().map(|target| create(target.topic(&name), shape)).collect();
        Self {
            contender,
            topic,
            codec: "none",
            keys: false,
            targets,
            source: &stage.source,
            number,
            copies,
            folder: &stage.folder,
        }
    }

    /// Copies all that is there; what it took, of time from the first records to the last. What the source sent is not known here.
    pub(crate) fn copy(&self, records: u32) -> Copied {
        let who = format!("{}, {} target(s)", self.contender.name(), self.targets.len());
        let commands = match self.contender {
            Contender::Mm2 | Contender::Mm2Tuned => return Mirror::start(self, 20).measure(&who, self, records),
            Contender::Pipe => self.copies.iter().map(|copy| timed(&self.pipe(copy, false))).collect(),
            Contender::Kcat => self.kcat(),
            Contender::Records | Contender::Passthrough => vec![timed(&self.anabranch(true))],
        };
        let all = i64::from(records) * i64::try_from(self.copies.len()).unwrap();
        let watch = Watch::start(&self.copies, all);
        let taken = measure(&who, commands, &self.folder.join("contender.log"));
        let records = f64::from(records);
        let whole = (taken.cpu, records);
        Copied { taken: Taken { wall: watch.took(), ..taken }, records, whole, source_bytes: 0 }
    }

    /// Has the contender copy what is there and what comes, with no time lost to wait for larger batches where that can be
    /// said, until it is dropped.
    pub(crate) fn follow(&self) -> Tethered {
        let command = match self.contender {
            Contender::Mm2 | Contender::Mm2Tuned => return Mirror::start(self, 0).process,
            Contender::Pipe => self.pipe(&self.copies[0], true),
            Contender::Records | Contender::Passthrough => self.anabranch(false),
            Contender::Kcat => panic!("kcat is not asked to"),
        };
        Tethered::spawn(&command, &self.file("out"), &self.file("log"))
    }

    /// Panics unless the copies have as many records as the source, in every partition where the contender keeps those.
    pub(crate) fn count(&self) {
        let ends = |topic: &Topic| -> Vec<i64> {
            let offsets = topic.offsets();
            let ends = offsets.values().map(|(_, end)| *end);
            if self.contender.keeps_partitions() { ends.collect() } else { vec![ends.sum()] }
        };
        let source = ends(self.topic);
        for copy in &self.copies {
            let found = ends(copy);
            let at = source.iter().zip(&found).position(|(source, copy)| source != copy);
            let differ = at.map(|at| format!("{} instead of {} records, first of all in {at}", found[at], source[at]));
            assert_eq!(differ, None, "{} on {} is no copy by {}", copy.name, copy.bootstrap, self.contender.name());
            assert_eq!(found.len(), source.len(), "{} on {} has other partitions", copy.name, copy.bootstrap);
        }
    }

    /// Deletes the copies, and what the contender has left.
    pub(crate) fn clear(self) {
        self.copies.iter().for_each(Topic::delete);
        if matches!(self.contender, Contender::Mm2 | Contender::Mm2Tuned) {
            self.targets.iter().chain([self.source]).for_each(Mirror::sweep);
        }
    }

    /// A file of this job's own.
    pub(crate) fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{}.{ending}", self.topic.name, self.number))
    }

    fn pipe(&self, copy: &Topic, follow: bool) -> Command {
        let arguments = bare_pipe::Arguments {
            from: self.topic.bootstrap.clone(),
            topic: self.topic.name.clone(),
            to: copy.bootstrap.clone(),
            to_topic: copy.name.clone(),
            codec: self.codec.to_owned(),
            linger_ms: if follow { 0 } else { bare_pipe::LINGER },
            follow,
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments.words());
        command
    }

    fn kcat(&self) -> Vec<Timed> {
        let [records, keys] = DELIMITERS;
        let kcat = |mode: &[&str], topic: &Topic| {
            let mut timed = Timed::new("kcat");
            timed.command.args(mode).args(["-b", &topic.bootstrap, "-t", &topic.name, "-D", records]);
            if self.keys {
                timed.command.args(["-K", keys]);
            }
            // cargo puts the engine's librdkafka on the library path; kcat has its own
            timed.command.env_remove("LD_LIBRARY_PATH");
            timed
        };
        let (reader, writer) = std::io::pipe().unwrap();
        let mut consumer = kcat(&["-C", "-q", "-e", "-o", "beginning"], self.topic);
        consumer.command.stdin(Stdio::null()).stdout(writer);
        let mut producer = kcat(&["-P", "-z", self.codec], &self.copies[0]);
        producer.command.stdin(reader).stdout(Stdio::null());
        vec![consumer, producer]
    }

    /// With its defaults, but for the transfer, and the codec where the copies are to have another than its own.
    fn anabranch(&self, until_caught_up: bool) -> Command {
        let passthrough = self.contender == Contender::Passthrough;
        let mut config = Config::new().cluster("source", self.source);
        let mut to = json!({});
        for (cluster, copy) in self.targets.iter().zip(&self.copies) {
            config = config.cluster(cluster.name(), cluster);
            if !passthrough && self.codec != "lz4" {
                let cluster = format!("/clusters/{}", cluster.name());
                config = config.set(&cluster, "client", json!({ "compression.codec": self.codec }));
            }
            to[cluster.name()] = json!({ "topic": copy.name });
        }
        let transfer = if passthrough { "passthrough" } else { "records" };
        let topics = json!({ "include": [regex::escape(&self.topic.name)] });
        let route = json!({ "from": "source", "topics": topics, "transfer": transfer, "to": to });
        let file = self.file("yaml");
        config.route(&format!("copy-{}", self.number), route).write(&file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
        command.arg("run").args(until_caught_up.then_some("--until-caught-up")).arg("--config").arg(&file);
        command.env_remove("RUST_LOG");
        command
    }
}

/// The same command, with its times taken.
fn timed(command: &Command) -> Timed {
    let mut timed = Timed::new(command.get_program());
    timed.command.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.command.env(name, value),
            None => timed.command.env_remove(name),
        };
    }
    timed
}
