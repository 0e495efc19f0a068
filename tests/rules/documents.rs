//! What the documents repeat from the code is so.

mod repeated;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use anabranch::domain::retry::{Backoff, OnExhausted, Policies, Policy, Profile};
use anabranch::domain::state::TargetState as S;
use humantime::format_duration;
use regex::Regex;

use self::repeated::REPEATED;
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
    assert_eq!(codes, ["0", "1", "2", "3"]);
    assert_eq!(anabranch::cli::Exit::Different as u8, 3);
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

#[test]
fn documents_repeat_the_code_as_it_is() {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (document, claim, file, code) in REPEATED {
        assert!(flat(&read(document)).contains(claim), "{document} does not say {claim:?} any more: drop it here too");
        assert!(flat(&read(file)).contains(code), "{document} says {claim:?}, but {file} has no {code:?} any more");
    }
}

/// Where a backoff or a policy is made by hand: the profiles, what a user wrote, and a rest that is nobody's to set.
const BACKOFFS: &[&str] = &["src/config/retry.rs", "src/domain/detach.rs", "src/domain/retry.rs"];

#[test]
fn all_backoffs_come_from_policies() {
    let made = Regex::new(r"\bBackoff::\w+|[=(,]\s*Policy \{").unwrap();
    let makers: Vec<String> =
        sources().into_iter().filter(|source| made.is_match(source.production())).map(|source| source.path).collect();
    assert_eq!(makers.into_iter().collect::<BTreeSet<_>>(), BACKOFFS.iter().map(|path| (*path).to_owned()).collect());
}

#[test]
fn the_architecture_has_every_state_of_a_target() {
    let told =
        table(&read("ARCHITECTURE.md"), &["target", "when"]).iter().map(|row| quoted(&row[0]).remove(0)).collect();
    let states = [S::Starting, S::Running, S::Throttled, S::Retrying, S::Detached, S::Blocked, S::Failed];
    let states: BTreeSet<String> = states.iter().map(|state| state.name().to_owned()).collect();
    assert_eq!(states, told);
    let told = table(&read("README.md"), &["state", ""]).iter().map(|row| quoted(&row[0]).remove(0)).collect();
    assert_eq!(states, told);
}

#[test]
fn the_document_of_metrics_is_the_table_of_instruments() {
    let table = anabranch::telemetry::instruments::markdown();
    let document = read("docs/metrics.md");
    let heading = table.lines().next().unwrap();
    let written: String = document
        .lines()
        .skip_while(|line| *line != heading)
        .take_while(|line| line.starts_with('|'))
        .fold(String::new(), |written, line| written + line + "\n");
    assert!(written == table, "the table in docs/metrics.md ought to be\n\n{table}");
}

#[test]
fn the_readme_has_the_headers_of_dead_letters() {
    let told: Vec<String> = table(&read("README.md"), &["header", ""]).iter().flat_map(|row| quoted(&row[0])).collect();
    let header = Regex::new(r#""(anabranch\.[a-z.]+)""#).unwrap();
    let letters = read("src/domain/letters.rs");
    let written: Vec<String> = header.captures_iter(&letters).map(|found| found[1].to_owned()).collect();
    assert_eq!(told, written);
}
