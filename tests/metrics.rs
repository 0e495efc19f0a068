//! Metrics, as Prometheus gets them: from a board with made-up progress, without a broker.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anabranch::config::load_str;
use anabranch::domain::fault::FaultClass;
use anabranch::domain::note::Note;
use anabranch::domain::state::Trouble;
use anabranch::domain::topic_partition::TopicPartition;
use anabranch::engine::board::{Board, Posted};
use anabranch::engine::clock::now;
use anabranch::engine::counts::{Brake, GivenUp};
use anabranch::engine::events::Events;
use anabranch::engine::flow::{Flow, Lane, Urgency};
use anabranch::engine::lasting::{Lasting, SharedLimits};
use anabranch::engine::messages::End;
use anabranch::engine::retries::spread;
use anabranch::telemetry::instruments::INSTRUMENTS;
use anabranch::telemetry::{Metrics, MetricsOptions};

/// The names as users know them, with their labels: dashboards and alerts have them, so a change here breaks those.
const PUBLIC: &[(&str, &[&str])] = &[
    ("source_records_total", &["route", "topic"]),
    ("source_bytes_total", &["route", "topic"]),
    ("target_records_total", &["route", "target", "topic"]),
    ("target_bytes_total", &["route", "target", "topic"]),
    ("lag_records", &["route", "target", "topic", "partition"]),
    ("source_end_offset", &["route", "topic", "partition"]),
    ("lag_seconds", &["route", "target"]),
    ("replication_latency_seconds", &["route", "target"]),
    ("in_flight_bytes", &["route"]),
    ("throttled_seconds_total", &["route", "target", "reason"]),
    ("retries_total", &["route", "target", "class"]),
    ("dead_letter_records_total", &["route", "target", "topic"]),
    ("dropped_records_total", &["route", "target", "topic"]),
    ("kept_records_total", &["route", "target", "topic"]),
    ("detached_partitions", &["route", "target"]),
    ("target_state", &["route", "target", "state"]),
    ("route_state", &["route", "state"]),
    ("restarts_total", &["actor", "reason"]),
    ("gaps_total", &["route", "topic"]),
    ("fallbacks_total", &["route", "reason"]),
    ("build_info", &["version"]),
    ("start_time_seconds", &[]),
];

type Labels = BTreeMap<String, String>;

/// A scrape, taken apart.
#[derive(Default)]
struct Text {
    help: BTreeMap<String, String>,
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Text {
    fn of(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(parsed.help.insert(name.to_owned(), help.to_owned()).is_none(), "{name} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(parsed.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            } else {
                let (series, number) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
                let pair = |pair: &str| {
                    let (label, value) = pair.split_once("=\"").unwrap();
                    (label.to_owned(), value.trim_end_matches('"').to_owned())
                };
                let key = (name.to_owned(), pairs.map(pair).collect());
                assert!(parsed.samples.insert(key, number.parse().unwrap()).is_none(), "{series} comes twice");
            }
        }
        parsed
    }

    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(format!("anabranch_{name}"), labels)).copied()
    }

    /// The label names of a family's samples.
    fn labels_of(&self, family: &str) -> BTreeSet<BTreeSet<String>> {
        let of = |name: &str| {
            name == family || ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{family}{end}"))
        };
        let names = |labels: &Labels| labels.keys().filter(|label| *label != "le").cloned().collect();
        self.samples.keys().filter(|(name, _)| of(name)).map(|(_, labels)| names(labels)).collect()
    }
}

/// A process with a route to two targets, of which nothing is known yet.
struct Process {
    board: Arc<Board>,
    route: Lasting,
}

fn post(board: &Board, name: &str) -> Lasting {
    let config = format!(
        "{{ clusters: {{ here: {{ bootstrap: [\"a:1\"] }}, shanghai: {{ bootstrap: [\"b:1\"] }}, beijing: {{ bootstrap: [\"c:1\"] }} }},
           routes: {{ {name}: {{ from: here, topics: {{ include: [orders] }}, to: {{ beijing: {{}}, shanghai: {{}} }} }} }} }}"
    );
    let plan = load_str(&config, Path::new(""), &BTreeMap::new()).unwrap();
    let limits = SharedLimits::new(&plan);
    let plan = Arc::new(plan.routes[0].clone());
    let lasting = Lasting::new(&plan, &limits, spread(), board.events.clone());
    board.post(Posted { configured: plan, enabled: true, lasting: lasting.clone() });
    lasting
}

impl Process {
    fn new() -> Self {
        let board = Board::new(Events::new());
        let route = post(&board, "orders");
        Self { board, route }
    }

    fn metrics(&self, per_partition: bool) -> Metrics {
        Metrics::start(&self.board, MetricsOptions { per_partition }).unwrap()
    }

    /// Two partitions of a topic, of which one target has more than the other, and something of everything else.
    fn advance(&self) {
        let progress = &self.route.progress;
        let topic: Arc<str> = "orders".into();
        let partitions = [0, 1].map(|number| TopicPartition::new(topic.clone(), number));
        for (partition, marks) in partitions.iter().zip([[70, 100], [40, 50]]) {
            for (target, mark) in marks.into_iter().enumerate() {
                progress.begin(target, partition, mark, Note::default());
            }
        }
        let [first, second] = partitions;
        let seen = now().checked_sub(Duration::from_secs(9)).unwrap();
        progress.look_at_heads(&HashMap::from([(first.clone(), 100), (second, 50)]), seen);
        progress.count_read(&topic, 150, 1_500);
        progress.count_gap(1, &first);
        let beijing = &progress.targets[0];
        beijing.wrote(&topic, 110, 1_100);
        beijing.gave_up(&topic, GivenUp::DeadLettered, 3);
        beijing.gave_up(&topic, GivenUp::Dropped, 2);
        beijing.gave_up(&topic, GivenUp::Kept, 1);
        beijing.tally.throttled.count(Brake::Broker, Duration::from_millis(1_500));
        beijing.tally.retries.count(FaultClass::System);
        beijing.took(|| Some(Duration::from_millis(70)));
        progress.targets[1].wrote(&topic, 150, 1_500);
        self.route.status.restarted("catch-up", End::Panicked);
        let trouble = |class| Trouble { class, attempt: 1, next_attempt_at: None, reason: "down".to_owned() };
        self.route.status.change(|facts| facts.discovered = true);
        self.route.status.change_target(0, |facts| {
            (facts.alive, facts.detached, facts.trouble) = (true, 2, Some(trouble(FaultClass::System)));
        });
        self.route.status.change_target(1, |facts| facts.alive = true);
    }
}

fn scrape(metrics: &Metrics) -> Text {
    Text::of(&metrics.scrape().unwrap())
}

#[test]
fn names_and_labels_are_those_that_users_know() {
    let name = |name: &str| name.strip_prefix("anabranch_").unwrap().to_owned();
    let table: BTreeMap<String, _> = INSTRUMENTS.iter().map(|row| (name(row.name), row.labels)).collect();
    assert_eq!(table.len(), INSTRUMENTS.len(), "a name stands in the table twice");
    let known = PUBLIC.iter().map(|(name, labels)| ((*name).to_owned(), *labels)).collect();
    assert_eq!(table, known);
}

#[test]
fn the_text_has_every_row_of_the_table_and_nothing_else() {
    for per_partition in [true, false] {
        let process = Process::new();
        let metrics = process.metrics(per_partition);
        process.advance();
        let text = scrape(&metrics);
        for row in INSTRUMENTS {
            assert_eq!(text.help.get(row.name).map(String::as_str), Some(row.meaning), "{}", row.name);
            assert_eq!(text.kinds.get(row.name).map(String::as_str), Some(row.kind.name()), "{}", row.name);
            let left_out = |label: &&&str| !per_partition && **label == "partition";
            let labels = row.labels.iter().filter(|label| !left_out(label)).map(|label| (*label).to_owned()).collect();
            assert_eq!(text.labels_of(row.name), BTreeSet::from([labels]), "{}", row.name);
        }
        let mut families: BTreeSet<&str> = INSTRUMENTS.iter().map(|row| row.name).collect();
        families.insert("target_info");
        assert_eq!(text.kinds.keys().map(String::as_str).collect::<BTreeSet<_>>(), families);
        let of_a_family = |name: &str| {
            let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            families.contains(name) || stem.is_some_and(|stem| text.kinds[stem] == "histogram")
        };
        assert!(text.samples.keys().all(|(name, _)| of_a_family(name)));
        let version = env!("CARGO_PKG_VERSION");
        let about = [("service_name", "anabranch"), ("service_version", version)];
        let about = about.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
        assert_eq!(text.samples.get(&("target_info".to_owned(), about)), Some(&1.0));
        assert_eq!(text.get("build_info", &[("version", version)]), Some(1.0));
    }
}

#[test]
fn what_is_shown_is_what_was_counted() {
    let process = Process::new();
    let metrics = process.metrics(true);
    process.advance();
    let text = scrape(&metrics);
    let (route, topic) = (("route", "orders"), ("topic", "orders"));
    let (beijing, shanghai) = (("target", "beijing"), ("target", "shanghai"));
    assert_eq!(text.get("source_records_total", &[route, topic]), Some(150.0));
    assert_eq!(text.get("source_bytes_total", &[route, topic]), Some(1_500.0));
    assert_eq!(text.get("gaps_total", &[route, topic]), Some(1.0));
    for (name, [one, other]) in [
        ("target_records_total", [110.0, 150.0]),
        ("target_bytes_total", [1_100.0, 1_500.0]),
        ("dead_letter_records_total", [3.0, 0.0]),
        ("dropped_records_total", [2.0, 0.0]),
        ("kept_records_total", [1.0, 0.0]),
    ] {
        assert_eq!(text.get(name, &[route, beijing, topic]), Some(one), "{name}");
        assert_eq!(text.get(name, &[route, shanghai, topic]), Some(other), "{name}");
    }
    let lag = |target, partition| text.get("lag_records", &[route, target, topic, ("partition", partition)]);
    assert_eq!([lag(beijing, "0"), lag(beijing, "1"), lag(shanghai, "0")], [Some(30.0), Some(10.0), Some(0.0)]);
    let end = |partition| text.get("source_end_offset", &[route, topic, ("partition", partition)]);
    assert_eq!([end("0"), end("1")], [Some(100.0), Some(50.0)]);
    let began = text.get("start_time_seconds", &[]).unwrap();
    let wall = Duration::from_millis(anabranch::engine::clock::wall_ms()).as_secs_f64();
    assert!((wall - 60.0..=wall).contains(&began), "{began}, and it is {wall}");
    let late = text.get("lag_seconds", &[route, beijing]).unwrap();
    assert!((9.0..60.0).contains(&late), "{late}");
    assert_eq!(text.get("lag_seconds", &[route, shanghai]), Some(0.0));
    assert_eq!(text.get("throttled_seconds_total", &[route, beijing, ("reason", "broker")]), Some(1.5));
    assert_eq!(text.get("throttled_seconds_total", &[route, beijing, ("reason", "limit")]), Some(0.0));
    assert_eq!(text.get("retries_total", &[route, beijing, ("class", "system")]), Some(1.0));
    assert_eq!(text.get("retries_total", &[route, beijing, ("class", "record")]), Some(0.0));
    assert_eq!(text.get("detached_partitions", &[route, beijing]), Some(2.0));
    assert_eq!(text.get("restarts_total", &[("actor", "catch-up"), ("reason", "panicked")]), Some(1.0));
    assert_eq!(text.get("restarts_total", &[("actor", "route"), ("reason", "hung")]), Some(0.0));
    let bucket = |most| text.get("replication_latency_seconds_bucket", &[route, beijing, ("le", most)]);
    assert_eq!(
        [bucket("0.005"), bucket("0.05"), bucket("0.1"), bucket("3600")],
        [Some(0.0), Some(0.0), Some(1.0), Some(1.0)]
    );
    assert_eq!(text.get("replication_latency_seconds_sum", &[route, beijing]), Some(0.07));
}

#[test]
fn one_state_at_a_time_is_1() {
    let process = Process::new();
    let metrics = process.metrics(true);
    let states = |family: &str, of: &str| -> Vec<String> {
        let text = scrape(&metrics);
        let of_it = |labels: &Labels| labels.get("target").map_or("", String::as_str) == of;
        let samples = text.samples.iter().filter(|((name, labels), _)| name == family && of_it(labels));
        let samples: Vec<_> = samples.map(|((_, labels), number)| (labels["state"].clone(), *number)).collect();
        assert!(
            samples.len() == if of.is_empty() { 7 } else { 8 }
                && samples.iter().all(|(_, number)| [0.0, 1.0].contains(number))
        );
        samples.into_iter().filter(|(_, number)| *number > 0.5).map(|(state, _)| state).collect()
    };
    assert_eq!(states("anabranch_route_state", ""), ["starting"]);
    process.advance();
    assert_eq!(states("anabranch_target_state", "beijing"), ["retrying"]);
    assert_eq!(states("anabranch_target_state", "shanghai"), ["running"]);
    assert_eq!(states("anabranch_route_state", ""), ["degraded"]);
}

#[test]
fn a_scrape_shows_the_present_and_counters_never_fall() {
    let process = Process::new();
    let metrics = process.metrics(true);
    let mut before = scrape(&metrics);
    for round in 1..=4_u32 {
        process.advance();
        let text = scrape(&metrics);
        let written =
            text.get("target_records_total", &[("route", "orders"), ("target", "shanghai"), ("topic", "orders")]);
        assert_eq!(written, Some(f64::from(150 * round)), "not one scrape late");
        for ((name, labels), number) in &before.samples {
            if text.kinds.get(name).is_some_and(|kind| kind == "counter") {
                let now = text.samples.get(&(name.clone(), labels.clone()));
                assert!(now.is_some_and(|now| now >= number), "{name} {labels:?}: {number}, then {now:?}");
            }
        }
        before = text;
    }
}

#[test]
fn lag_is_summed_per_topic_where_partitions_are_left_out_and_unknown_where_a_part_of_it_is() {
    let process = Process::new();
    let metrics = process.metrics(false);
    process.advance();
    let lag =
        |target| scrape(&metrics).get("lag_records", &[("route", "orders"), ("target", target), ("topic", "orders")]);
    let end = || scrape(&metrics).get("source_end_offset", &[("route", "orders"), ("topic", "orders")]);
    assert_eq!((lag("beijing"), lag("shanghai"), end()), (Some(40.0), Some(0.0), Some(150.0)));
    let other = TopicPartition::new("orders", 2);
    process.route.progress.look_at_heads(&HashMap::from([(other.clone(), 5)]), now());
    process.route.progress.begin(1, &other, 3, Note::default());
    assert_eq!((lag("beijing"), lag("shanghai"), end()), (None, Some(2.0), Some(155.0)));
    process.route.progress.begin(0, &TopicPartition::new("orders", 3), 3, Note::default());
    assert_eq!(end(), None, "where a partition ends was not looked at yet");
}

#[test]
fn what_is_not_here_any_more_is_not_shown() {
    let process = Process::new();
    let metrics = process.metrics(true);
    process.advance();
    let series = |number: &str| {
        let text = scrape(&metrics);
        text.samples.keys().filter(|(_, labels)| labels.get("partition").is_some_and(|is| is == number)).count()
    };
    assert_eq!((series("0"), series("1")), (3, 3));
    process.route.progress.taken(&TopicPartition::new("orders", 1));
    assert_eq!((series("0"), series("1")), (3, 0), "another process has it, and shows it");
}

#[test]
fn bytes_in_flight_are_those_of_the_permits() {
    let process = Process::new();
    let metrics = process.metrics(true);
    let in_flight = || scrape(&metrics).get("in_flight_bytes", &[("route", "orders")]);
    let lane = Lane::new(&Arc::<Flow>::default(), [process.route.gate.clone()], Urgency::Live);
    let permit = lane.acquire(4096).try_recv().unwrap();
    assert_eq!(in_flight(), Some(4096.0));
    drop(permit);
    assert_eq!(in_flight(), Some(0.0));
}

#[test]
fn several_of_them_and_routes_that_are_posted_later_do_not_clash() {
    let [one, other] = [Process::new(), Process::new()];
    let [metrics, others, again] = [one.metrics(true), other.metrics(true), one.metrics(true)];
    one.advance();
    let written = |metrics: &Metrics| {
        let text = scrape(metrics);
        text.get("target_records_total", &[("route", "orders"), ("target", "shanghai"), ("topic", "orders")])
    };
    assert_eq!([written(&metrics), written(&again), written(&others)], [Some(150.0), Some(150.0), None]);
    drop(again);
    let late = post(&other.board, "payments");
    late.progress.targets[0].took(|| Some(Duration::from_secs(7_200)));
    let text = scrape(&others);
    let labels = [("route", "payments"), ("target", "beijing")];
    assert_eq!(text.get("replication_latency_seconds_count", &labels), Some(1.0));
    assert_eq!(text.get("replication_latency_seconds_bucket", &[labels[0], labels[1], ("le", "3600")]), Some(0.0));
    assert_eq!(written(&metrics), Some(150.0));
}

#[test]
fn thousands_of_partitions_have_a_series_each() {
    const PARTITIONS: i32 = 6_000;
    let process = Process::new();
    let metrics = process.metrics(true);
    let partitions: Vec<_> = (0..PARTITIONS).map(|number| TopicPartition::new("orders", number)).collect();
    process.route.progress.look_at_heads(&partitions.iter().map(|partition| (partition.clone(), 10)).collect(), now());
    for partition in &partitions {
        process.route.progress.begin(0, partition, 5, Note::default());
        process.route.progress.begin(1, partition, 10, Note::default());
    }
    let began = now();
    let text = metrics.scrape().unwrap();
    println!("{} bytes in {:?}", text.len(), now().saturating_sub(began));
    assert!(!text.contains("overflow"), "the SDK's own limit is 2,000");
    let text = Text::of(&text);
    let lags = text.samples.iter().filter(|((name, _), _)| name == "anabranch_lag_records");
    assert_eq!(lags.filter(|(_, lag)| **lag > 4.5).count(), usize::try_from(PARTITIONS).unwrap());
}

/// Where Prometheus's own tool is installed, it has nothing to find fault with.
#[test]
fn promtool_finds_no_fault() {
    let process = Process::new();
    let metrics = process.metrics(true);
    process.advance();
    let text = metrics.scrape().unwrap();
    let (input, output) = (Stdio::piped(), Stdio::piped());
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(input).stdout(output).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        return println!("promtool is not installed: this is not looked at");
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.is_empty(), "{words}\n{text}");
}

#[test]
fn odd_names_are_escaped() {
    let process = Process::new();
    let metrics = process.metrics(true);
    // Kafka allows no such topic; whatever a broker says, the text stays one that can be read
    process.route.progress.count_read(&"a\"b\\c\nd".into(), 1, 1);
    let text = metrics.scrape().unwrap();
    let expected = r#"anabranch_source_records_total{route="orders",topic="a\"b\\c\nd"} 1"#;
    assert!(text.lines().any(|line| line == expected), "{text}");
}
