//! What the documents repeat from the code is so.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use anabranch::domain::retry::{Backoff, OnExhausted, Policies, Policy, Profile};
use humantime::format_duration;
use regex::Regex;

use super::{read, root, rust_files, sources};

/// The rows of the table that begins with these headings: their cells.
fn table(document: &str, headings: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let bar = '\u{0}';
        let line = line.replace("\\|", &bar.to_string());
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(|cell| cell.trim().replace(bar, "|")).collect()
    };
    let rows: Vec<_> = document
        .lines()
        .skip_while(|line| !line.starts_with('|') || cells(line)[..] != *headings)
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(cells)
        .collect();
    assert!(!rows.is_empty(), "there is no table of {headings:?}");
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    let quoted = Regex::new("`([^`\n]+)`").unwrap();
    quoted.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn the_file_map_has_every_file() {
    let rows = table(&read("ARCHITECTURE.md"), &["file", "what it does", "key types"]);
    let mapped: Vec<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    let written: BTreeSet<String> = sources().into_iter().map(|source| source.path).collect();
    assert_eq!(mapped.iter().cloned().collect::<BTreeSet<_>>(), written, "the file map and src/ differ");
    assert_eq!(mapped.len(), written.len(), "a file stands in the map twice");
    for row in rows {
        let text = read(&quoted(&row[0])[0]);
        for name in quoted(&row[2]) {
            let declared = Regex::new(&format!(r"\b(?:struct|enum|trait|type|fn) {name}\b")).unwrap();
            assert!(declared.is_match(&text), "{}: there is no {name}", row[0]);
        }
    }
}

#[test]
fn every_guarantee_names_files_and_tests_that_exist() {
    let every = |folder: &str| rust_files(folder).into_iter().map(|source| source.code).collect::<String>();
    let code = every("src") + &every("tests");
    for row in table(&read("ARCHITECTURE.md"), &["guarantee", "enforced in", "shown by"]) {
        for path in quoted(&row[1]).iter().filter(|name| name.contains('/')) {
            assert!(root().join(path).exists(), "{}: {path} does not exist", row[0]);
        }
        for test in quoted(&row[2]) {
            assert!(code.contains(&format!("fn {test}(")), "{}: there is no test {test}", row[0]);
        }
    }
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:\s]+)(?:#([\w-]+))?\)").unwrap();
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        for found in link.captures_iter(&read(document)) {
            let path = root().join(&found[1]);
            assert!(path.exists(), "{document}: {} does not exist", &found[1]);
            if let Some(anchor) = found.get(2) {
                let heading = format!("\n## {}\n", anchor.as_str().replace('-', " "));
                let text = read(&found[1]).to_lowercase();
                assert!(text.contains(&heading), "{document}: {} has no heading {}", &found[1], anchor.as_str());
            }
        }
    }
}

fn anabranch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anabranch")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn help(arguments: &[&str]) -> String {
    String::from_utf8(anabranch(arguments).stdout).unwrap()
}

#[test]
fn the_readme_has_every_command_and_flag() {
    let listed = help(&["--help"]);
    let listed = listed.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let commands: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let flag = Regex::new(r"--[a-z-]+").unwrap();
    let mut documented = BTreeSet::from(["help".to_owned()]);
    for row in table(&read("README.md"), &["command", "does"]) {
        let usage = &quoted(&row[0])[0];
        let command = usage.split_whitespace().nth(1).unwrap();
        documented.insert(command.to_owned());
        let help = help(&[command, "--help"]);
        let told: BTreeSet<&str> = flag.find_iter(&help).map(|hit| hit.as_str()).collect();
        let mut written: BTreeSet<&str> = flag.find_iter(usage).map(|hit| hit.as_str()).collect();
        assert!(written.is_subset(&told), "{usage}: {written:?} are not all in\n{help}");
        written.extend(["--help", "--log-format", "--log-level"]);
        assert_eq!(written, told, "{command}: the README and --help differ");
    }
    assert_eq!(
        documented,
        commands.into_iter().map(str::to_owned).collect(),
        "the README's commands and --help's differ"
    );
}

#[test]
fn the_readme_tells_the_exit_codes() {
    let codes: Vec<String> =
        table(&read("README.md"), &["exit code", "means"]).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(codes, ["0", "1", "2"]);
    let good = root().join("config/fan-out.yaml");
    assert_eq!(anabranch(&["check", "--config", good.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(anabranch(&["check", "--config", "no-such-file.yaml"]).status.code(), Some(2));
    assert_eq!(anabranch(&["frobnicate"]).status.code(), Some(2));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut failing = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    let status = failing.args(["completions", "bash"]).stdout(full).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn the_readme_repeats_the_defaults() {
    let defaults = config::File::from_str(&read("config/default.yaml"), config::FileFormat::Yaml);
    let defaults = config::Config::builder().add_source(defaults).build().unwrap();
    for row in table(&read("README.md"), &["key", "default", ""]) {
        let (key, default) = (quoted(&row[0]).remove(0), quoted(&row[1]).remove(0));
        let value = defaults.get_string(&key.replace("<name>", "example"));
        assert_eq!(value.unwrap_or_else(|error| panic!("{key}: {error}")), default, "{key}");
    }
}

/// A policy as the README's table has it.
fn in_words(policy: &Policy) -> String {
    let delay = match policy.backoff {
        Backoff::Fixed(delay) => format!("{} apart", format_duration(delay)),
        Backoff::Exponential { initial, factor, max, jitter } => {
            assert_eq!((factor.to_string(), jitter.to_string()), ("2".to_owned(), "0.2".to_owned()));
            format!("{} doubling to {}", format_duration(initial), format_duration(max))
        }
    };
    match (policy.attempts, policy.max_age) {
        (Some(10_000), None) => format!("10,000 attempts, {delay}"),
        (Some(attempts), None) => format!("{attempts} attempts, {delay}"),
        (None, Some(age)) => format!("{delay}, for {}", format_duration(age)),
        (None, None) => format!("without end, {delay}"),
        (Some(_), Some(_)) => panic!("the table has no words for this"),
    }
}

#[test]
fn the_readme_has_the_profiles_as_they_are() {
    let expected = [
        ("durable", Profile::Durable),
        ("ckafka-2020", Profile::Ckafka2020),
        ("ckafka-2025", Profile::Ckafka2025),
        ("scf-async", Profile::ScfAsync),
    ]
    .map(|(name, profile)| {
        let Policies { record, overrun, system, .. } = Policies::of_profile(profile);
        let then = match record.on_exhausted {
            OnExhausted::Block => "block",
            OnExhausted::DeadLetter => "dead_letter",
            other => panic!("the table has no word for {other:?}"),
        };
        assert!([overrun, system].iter().all(|policy| policy.on_exhausted == record.on_exhausted));
        let cells = [format!("`{name}`"), in_words(&record), in_words(&overrun), in_words(&system), then.to_owned()];
        cells.to_vec()
    });
    let written = table(&read("README.md"), &["profile", "record", "overrun", "system", "when used up"]);
    // italics say whose choice it is
    let written: Vec<Vec<String>> =
        written.iter().map(|row| row.iter().map(|cell| cell.replace('*', "")).collect()).collect();
    assert_eq!(written, expected);
}

/// What a document repeats from the code: the document, its words, the file, and its words.
const REPEATED: &[(&str, &str, &str, &str)] = &[
    (
        "README.md",
        "commits are made every second",
        "src/engine/route.rs",
        "const COMMIT: Duration = Duration::from_secs(1);",
    ),
    (
        "README.md",
        "`anabranch.orders.shanghai`",
        "src/engine/preparation.rs",
        r#"format!("anabranch.{route}.{target}")"#,
    ),
    (
        "ARCHITECTURE.md",
        "`anabranch.<route>.<target>`",
        "src/engine/preparation.rs",
        r#"format!("anabranch.{route}.{target}")"#,
    ),
    (
        "README.md",
        "after 2 s if it acknowledges nothing",
        "src/domain/detach.rs",
        "FROZEN_GRACE: Duration = Duration::from_secs(2);",
    ),
    (
        "README.md",
        "after 4 s if it is merely slow",
        "src/domain/detach.rs",
        "SLOW_GRACE: Duration = Duration::from_secs(4);",
    ),
    ("README.md", "kafka_address=", "src/cli/copy.rs", r#"env = "kafka_address""#),
    ("README.md", "kafka_topic_name=", "src/cli/copy.rs", r#"env = "kafka_topic_name""#),
    (
        "README.md",
        "a timestamp of exactly 0, written as 1 ms",
        "src/kafka/ffi/write.rs",
        "if record.timestamp == 0 { 1 }",
    ),
    (
        "README.md",
        "with a warning in the log",
        "src/kafka/writer.rs",
        "tracing::warn!(cluster = %self.alias, \"records stamped 0",
    ),
    (
        "README.md",
        "with backoff, up to a minute apart",
        "src/domain/retry.rs",
        "Backoff::new(Duration::from_millis(500), Duration::from_secs(60)",
    ),
    (
        "ARCHITECTURE.md",
        "The Route commits every second",
        "src/engine/route.rs",
        "const COMMIT: Duration = Duration::from_secs(1);",
    ),
    ("ARCHITECTURE.md", "committed again every 10 minutes", "src/engine/route.rs", "const COMMIT_ALL: u64 = 600;"),
    (
        "ARCHITECTURE.md",
        "Every 100 ms the Route compares",
        "src/engine/route.rs",
        "const SAMPLE: Duration = Duration::from_millis(100);",
    ),
    (
        "ARCHITECTURE.md",
        "asked for its topics every 5 s",
        "src/engine/route.rs",
        "const DISCOVERY: Duration = Duration::from_secs(5);",
    ),
    (
        "ARCHITECTURE.md",
        "waits up to 3 s for all targets",
        "src/engine/router.rs",
        "const GATHER: Duration = Duration::from_secs(3);",
    ),
    (
        "ARCHITECTURE.md",
        "After 2 s of this without an acknowledgement",
        "src/domain/detach.rs",
        "FROZEN_GRACE: Duration = Duration::from_secs(2);",
    ),
    (
        "ARCHITECTURE.md",
        "or 4 s with some (slow)",
        "src/domain/detach.rs",
        "SLOW_GRACE: Duration = Duration::from_secs(4);",
    ),
    ("ARCHITECTURE.md", "`JOIN_WITHIN` (20,000 records)", "src/domain/detach.rs", "JOIN_WITHIN: i64 = 20_000;"),
    ("ARCHITECTURE.md", "at least a quarter of the shared read's budget", "src/domain/detach.rs", "share: budget / 4"),
    (
        "ARCHITECTURE.md",
        "a quarter of the shared read's budget",
        "src/engine/route.rs",
        "Judge::new(params.plan.targets.len(), shared)",
    ),
    (
        "ARCHITECTURE.md",
        "With several targets, half of the route's `in_flight` is the shared read's",
        "src/engine/route.rs",
        "if params.plan.targets.len() > 1 { params.plan.in_flight / 2 } else { params.plan.in_flight }",
    ),
    (
        "README.md",
        "half for the shared read, half for the targets' own in equal parts",
        "src/engine/target_slot.rs",
        "plan.in_flight / (2 * plan.targets.len() as u64)",
    ),
    ("ARCHITECTURE.md", "which is their window too", "src/engine/target_slot.rs", "let window = own_share(&plan);"),
    (
        "ARCHITECTURE.md",
        "reads smaller batches than `batch.max_bytes` where its share is smaller",
        "src/engine/target_slot.rs",
        "batch_bytes: self.params.plan.batch.max_bytes.min(window)",
    ),
    (
        "ARCHITECTURE.md",
        "with a backoff of 0.5 s to 60 s",
        "src/domain/retry.rs",
        "Backoff::new(Duration::from_millis(500), Duration::from_secs(60)",
    ),
    (
        "ARCHITECTURE.md",
        "then halves of what is refused again",
        "src/engine/refused.rs",
        "self.chunk = (tried / 2).max(1)",
    ),
    (
        "ARCHITECTURE.md",
        "without a wait, down to single records",
        "src/engine/refused.rs",
        "if tried > 1 { return Duration::ZERO; }",
    ),
    (
        "ARCHITECTURE.md",
        "Again after an hour's rest",
        "src/engine/feed.rs",
        "const FORGOTTEN: Duration = Duration::from_secs(3600);",
    ),
    (
        "ARCHITECTURE.md",
        "`generation << 32`",
        "src/engine/target_producer.rs",
        "let turn = self.params.generation << 32;",
    ),
    (
        "ARCHITECTURE.md",
        "Both together have 10 s",
        "src/engine/route.rs",
        "const CLOSING: Duration = Duration::from_secs(10);",
    ),
    ("ARCHITECTURE.md", "less than a quarter of that backlog", "src/domain/detach.rs", "load.backlog < backlog / 4"),
    (
        "ARCHITECTURE.md",
        "`in_flight / (2 × targets)` bytes",
        "src/engine/target_slot.rs",
        "plan.in_flight / (2 * plan.targets.len() as u64)",
    ),
    (
        "ARCHITECTURE.md",
        "and 100,000 records",
        "src/engine/target_producer.rs",
        "const WINDOW_RECORDS: usize = 100_000;",
    ),
    (
        "ARCHITECTURE.md",
        "none of several takes more than half",
        "src/engine/target_producer.rs",
        "self.params.window / 2",
    ),
    ("ARCHITECTURE.md", "`fetch.queue.backoff.ms` is 5", "src/kafka/client.rs", r#""fetch.queue.backoff.ms", "5""#),
    ("ARCHITECTURE.md", "`fetch.wait.max.ms` is 50", "src/kafka/client.rs", r#""fetch.wait.max.ms", "50""#),
    (
        "ARCHITECTURE.md",
        "a quarter of the route's `in_flight`",
        "src/engine/source.rs",
        "let share = ready / partitions",
    ),
    (
        "ARCHITECTURE.md",
        "64 KiB to 1 MiB each",
        "src/engine/source.rs",
        "const LEAST: u64 = 64 << 10; const MOST: u64 = 1 << 20;",
    ),
    (
        "ARCHITECTURE.md",
        "A fetch asks for half of a partition's share",
        "src/kafka/client.rs",
        "(prefetch_kib / 2).clamp(64, 1024) * 1024",
    ),
    ("README.md", "topics of 8 partitions", "benches/comparison/data.rs", "PARTITIONS: i32 = 8;"),
    ("README.md", "frozen for 3 s", "benches/comparison/contest.rs", r#""2 targets, one frozen for 3 s""#),
    ("ARCHITECTURE.md", "`message.timeout.ms` is 0", "src/kafka/client.rs", r#".set("message.timeout.ms", "0")"#),
    ("ARCHITECTURE.md", "EOF events are on", "src/kafka/client.rs", r#".set("enable.partition.eof", "true")"#),
    ("ARCHITECTURE.md", "Timestamp 0 is written as 1 ms", "src/kafka/ffi/write.rs", "if record.timestamp == 0 { 1 }"),
    (
        "ARCHITECTURE.md",
        "librdkafka never stores an offset",
        "src/kafka/client.rs",
        r#".set("enable.auto.offset.store", "false")"#,
    ),
];

#[test]
fn documents_repeat_the_code_as_it_is() {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (document, claim, file, code) in REPEATED {
        assert!(flat(&read(document)).contains(claim), "{document} does not say {claim:?} any more: drop it here too");
        assert!(flat(&read(file)).contains(code), "{document} says {claim:?}, but {file} has no {code:?} any more");
    }
    // every backoff that the architecture speaks of at once
    let backoff = Regex::new(r"Backoff::new\(([^;]*?)\)[,;]?\n").unwrap();
    let said = "Duration::from_millis(500), Duration::from_secs(60), Duration::from_secs(60)";
    let mut backoffs = 0;
    for source in sources().iter().filter(|source| source.module() == "engine" || source.path == "src/domain/retry.rs")
    {
        for found in backoff.captures_iter(source.production()) {
            assert_eq!(flat(&found[1]), said, "{}: ARCHITECTURE.md says 500 ms to 60 s", source.path);
            backoffs += 1;
        }
    }
    assert!(backoffs > 0, "no backoff was found");
}
