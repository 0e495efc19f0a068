//! The contest: the brokers, the rounds, and the counting of what arrived.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;

use super::Arguments;
use super::common::data::{DataSet, PARTITIONS};
use super::common::measure::{Taken, Timed, measure};
use super::common::support::cluster::{Cluster, Options};
use super::common::support::config::Config;
use super::common::support::topic::Topic;
use super::common::support::{run_folder, seconds};
use super::common::{bare_pipe, unique};
use super::report::{Fan, Figures, Report};

/// The brokers, and where the contenders' output goes.
struct Field {
    source: Cluster,
    targets: [Cluster; 2],
    folder: PathBuf,
}

/// Runs everything.
pub(crate) fn run(arguments: &Arguments) -> Report {
    eprintln!("starting three brokers");
    // topics that were deleted leave the disk soon
    let options =
        Options { properties: vec![("log.segment.delete.delay.ms".into(), "1000".into())], ..Options::default() };
    let start = |name| Cluster::start_with(name, &options);
    let field = Field { source: start("source"), targets: [start("target"), start("second")], folder: run_folder() };
    let records = arguments.records;
    let mut report = Report::new(records);
    for data in &arguments.data {
        eprintln!("{}: filling {records} records", data.name());
        let topic = data.fill(&field.source, records);
        field.warm_up(*data, &topic);
        let (mut pipe, mut ours) = (Vec::new(), Vec::new());
        for round in 1..=arguments.rounds {
            // whoever goes first changes, as the one who goes second finds warmer brokers
            if round % 2 == 1 {
                pipe.push(field.bare_pipe(*data, &topic, &field.targets[0], round));
                ours.push(field.anabranch(*data, &topic, 1));
            } else {
                ours.push(field.anabranch(*data, &topic, 1));
                pipe.push(field.bare_pipe(*data, &topic, &field.targets[0], round));
            }
        }
        report.pairs.push((*data, Figures::of(&pipe), Figures::of(&ours)));
        let taken: Vec<Taken> = (1..=arguments.rounds).map(|_| field.anabranch(*data, &topic, 2)).collect();
        report.fans.push(Fan { data: *data, how: "2 targets", figures: Figures::of(&taken) });
        let taken = field.with_one_frozen(|| field.anabranch(*data, &topic, 2));
        report.fans.push(Fan { data: *data, how: "2 targets, one frozen for 3 s", figures: Figures::of(&[taken]) });
        topic.delete();
    }
    report
}

impl Field {
    /// The brokers' Java is slow at first, and that is nobody's fault.
    fn warm_up(&self, data: DataSet, topic: &Topic) {
        for target in &self.targets {
            eprint!("warm-up ");
            self.bare_pipe(data, topic, target, 0);
        }
    }

    fn bare_pipe(&self, data: DataSet, topic: &Topic, target: &Cluster, round: u32) -> Taken {
        let target = target.topic(&format!("{}.pipe.{round}", topic.name)).create(PARTITIONS);
        let arguments = bare_pipe::Arguments {
            from: topic.bootstrap.clone(),
            topic: topic.name.clone(),
            to: target.bootstrap.clone(),
            to_topic: target.name.clone(),
            codec: data.codec().to_owned(),
            linger_ms: bare_pipe::LINGER,
            follow: false,
        };
        let mut timed = Timed::new(std::env::current_exe().unwrap());
        timed.command.args(arguments.words());
        let taken = self.measure("bare pipe", timed);
        count(topic, &target);
        taken
    }

    /// `anabranch run --until-caught-up`, record by record as the pipe does; else with its defaults, but for the codec where the
    /// pipe has another.
    fn anabranch(&self, data: DataSet, topic: &Topic, targets: usize) -> Taken {
        let route = format!("{}-{}", topic.name, unique());
        let targets = &self.targets[..targets];
        let mut config = Config::new().cluster("source", &self.source);
        let mut to = json!({});
        for cluster in targets {
            config = config.cluster(cluster.name(), cluster);
            if data.codec() == "none" {
                config = config.set(
                    &format!("/clusters/{}", cluster.name()),
                    "client",
                    json!({ "compression.codec": "none" }),
                );
            }
            to[cluster.name()] = json!({ "topic": format!("{{topic}}.{route}") });
        }
        let copies: Vec<Topic> = targets
            .iter()
            .map(|cluster| cluster.topic(&format!("{}.{route}", topic.name)).create(PARTITIONS))
            .collect();
        let topics = json!({ "include": [topic.name] });
        config = config.route(&route, json!({ "from": "source", "topics": topics, "transfer": "records", "to": to }));
        let file = self.folder.join(format!("{route}.yaml"));
        config.write(&file);
        let mut timed = Timed::new(env!("CARGO_BIN_EXE_anabranch"));
        timed.command.args(["run", "--until-caught-up", "--config"]).arg(&file).env_remove("RUST_LOG");
        let taken = self.measure(&format!("anabranch, {} target(s)", targets.len()), timed);
        for copy in &copies {
            count(topic, copy);
        }
        taken
    }

    /// Freezes the second target for a while, so that it leaves the shared read and catches up by its own.
    fn with_one_frozen(&self, copy: impl FnOnce() -> Taken) -> Taken {
        let second = &self.targets[1];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(seconds(1));
                second.freeze();
                std::thread::sleep(seconds(3));
                second.thaw();
            });
            copy()
        })
    }

    fn measure(&self, who: &str, mut timed: Timed) -> Taken {
        timed.command.stdin(Stdio::null()).stdout(Stdio::null());
        measure(who, vec![timed], &self.folder.join("contender.log"))
    }
}

/// Panics unless the copy has as many records as its source in every partition; deletes it.
fn count(source: &Topic, copy: &Topic) {
    assert_eq!(copy.offsets(), source.offsets(), "{} is not what {} is", copy.name, source.name);
    copy.delete();
}
