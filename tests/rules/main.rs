//! The house rules, read from the source: which module may use which, sizes, clocks, and that the documents tell the truth.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const MOST_LINES: usize = 500;
const MOST_FUNCTION_LINES: usize = 60;
const USUAL_FUNCTION_LINES: usize = 40;

/// A source file: as it is, and with comments, strings and characters blanked, so that only code is left.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The code before its tests.
    fn production(&self) -> &str {
        if self.path.ends_with("tests.rs") {
            return "";
        }
        self.code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
    }

    fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split(['/', '.']).next().unwrap_or_default()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                let text = read(&path);
                found.push(Source { code: only_code(&text), path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn sources() -> Vec<Source> {
    let sources = rust_files("src");
    assert!(sources.len() > 50, "the source is not where it was");
    sources
}

/// Blanks comments and literals; lines stay where they are.
fn only_code(text: &str) -> String {
    let literal = Regex::new(
        r##"(?s)//[^\n]*|/\*.*?\*/|r#".*?"#|r"[^"]*"|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\(?:u\{[0-9a-f]+\}|x..|.))'"##,
    )
    .unwrap();
    let blank =
        |found: &regex::Captures<'_>| found[0].chars().map(|c| if c == '\n' { c } else { ' ' }).collect::<String>();
    literal.replace_all(text, blank).into_owned()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every match of a pattern in some code, as `path:line: match`.
fn hits(path: &str, code: &str, pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.find_iter(code).map(|hit| format!("{path}:{}: {}", line_of(code, hit.start()), hit.as_str())).collect()
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

#[test]
fn dependencies_point_one_way() {
    let allowed = BTreeMap::from([
        ("format", &["format"][..]),
        ("domain", &["domain", "format"]),
        ("plan", &["domain", "plan"]),
        ("config", &["domain", "plan", "config"]),
        ("kafka", &["domain", "format", "plan", "kafka"]),
        ("wire", &["domain", "format", "kafka", "plan", "wire"]),
        ("engine", &["domain", "format", "plan", "kafka", "wire", "engine"]),
        ("verify", &["domain", "plan", "kafka", "verify"]),
        ("telemetry", &["domain", "plan", "engine", "telemetry"]),
        ("demo", &["domain", "plan", "kafka", "engine", "demo"]),
        ("admin", &["domain", "plan", "config", "engine", "telemetry", "admin"]),
    ]);
    let used = Regex::new(r"\bcrate::(\w+|\{)").unwrap();
    let mut broken = Vec::new();
    for source in sources() {
        let Some(allowed) = allowed.get(source.module()) else { continue };
        for found in used.captures_iter(&source.code) {
            if !allowed.contains(&&found[1]) {
                let line = line_of(&source.code, found.get(0).unwrap().start());
                broken.push(format!("{}:{line}: {}", source.path, &found[0]));
            }
        }
        // the other ways up: a module's own tests may use `super::super`
        broken.extend(hits(&source.path, source.production(), r"\bsuper::super\b|\banabranch::"));
    }
    assert_none(&broken, "a module uses one that it may not");
    for path in ["src/plan.rs", "src/config.rs"] {
        assert_none(&hits(path, &only_code(&read(path)), r"\bsuper::"), "a root module has nothing above it");
    }
}

#[test]
fn clients_and_runtimes_stay_where_they_belong() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let names: Vec<String> = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name.trim().replace('-', "_")))
        .filter(|name| name != "serde")
        .collect();
    assert!(names.iter().any(|name| name == "rdkafka"), "{names:?}");
    let any_dependency = format!(r"\b(?:{})::", names.join("|"));
    let mut broken = Vec::new();
    for source in sources() {
        let (path, module) = (&source.path, source.module());
        if module == "domain" {
            broken.extend(hits(path, source.production(), &any_dependency));
        }
        if module != "kafka" {
            broken.extend(hits(path, &source.code, r"\brdkafka(?:_sys)?\b"));
        }
        if !path.starts_with("src/kafka/ffi") {
            broken.extend(hits(path, &source.code, r"\bunsafe\b|\ballow\(unsafe_code"));
        }
    }
    assert_none(&broken, "domain uses std and serde, kafka alone knows rdkafka, and only its ffi is unsafe");
}

/// What the module's own files share may carry them: `ffi`, `client` and `fault_map` have nothing that is public.
#[test]
fn public_items_of_kafka_carry_no_type_of_rdkafka() {
    let imports = Regex::new(r"(?s)\buse (?:rdkafka|rdkafka_sys|sys)\b([^;]*);").unwrap();
    let name = Regex::new(r"\b[A-Z]\w*").unwrap();
    // a signature, a field, or a whole enum or trait
    let public = Regex::new(
        r"(?ms)^ *pub (?:const |async |unsafe )*fn [^{;]*|^ *pub (?:enum|trait) .*?^\}|^ *pub (?:struct|type|const|static) [^{;]*|^ +pub \w+: [^\n]*",
    )
    .unwrap();
    let mut broken = Vec::new();
    let mut items = 0;
    for source in sources().iter().filter(|source| source.module() == "kafka") {
        if ["ffi", "client", "fault_map"].iter().any(|name| source.path.starts_with(&format!("src/kafka/{name}"))) {
            continue;
        }
        let code = source.production();
        let imported: BTreeSet<&str> = imports
            .captures_iter(code)
            .flat_map(|found| name.find_iter(found.get(1).unwrap().as_str()).map(|hit| hit.as_str()))
            .collect();
        for item in public.find_iter(code) {
            items += 1;
            let foreign = name.find_iter(item.as_str()).any(|hit| imported.contains(hit.as_str()));
            if foreign || item.as_str().contains("rdkafka") {
                broken.push(format!("{}:{}: {}", source.path, line_of(code, item.start()), item.as_str().trim()));
            }
        }
    }
    assert!(items > 30, "only {items} public items were found");
    assert_none(&broken, "a public item of kafka carries a type of rdkafka");
}

/// Messages that stand beside their actor, and why.
const MESSAGES_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "src/engine/target_producer.rs",
        "Equipment",
        "made only by who starts the actor, of what needs its address first",
    ),
    ("src/engine/route.rs", "RouteEnded", "the route's last word, to an owner that it does not know"),
    ("src/engine/supervisor.rs", "RouteGone", "from the supervisor to itself"),
];

#[test]
fn an_actor_has_a_file_and_messages_have_theirs() {
    let actor = Regex::new(r"\bimpl(?:<[^>]*>)? Actor for (\w+)").unwrap();
    let message = Regex::new(r"(?s)#\[rtype[^\]]*\]\s*(?:pub )?(?:struct|enum) (\w+)").unwrap();
    let mut broken = Vec::new();
    let (mut actors, mut elsewhere) = (0, BTreeSet::new());
    for source in sources() {
        for (at, found) in actor.captures_iter(&source.code).enumerate() {
            actors += 1;
            let file = format!("{}.rs", snake_case(&found[1]));
            if at > 0 || Path::new(&source.path).file_name().is_none_or(|name| name != file.as_str()) {
                broken.push(format!("{}: {} belongs into {file}", source.path, &found[1]));
            }
        }
        if source.path == "src/engine/messages.rs" {
            continue;
        }
        for found in message.captures_iter(&source.code) {
            elsewhere.insert((source.path.clone(), found[1].to_owned()));
        }
        let declared = source.code.matches("#[rtype").count();
        let read = message.captures_iter(&source.code).count();
        assert_eq!(declared, read, "{}: a message is written in another way", source.path);
    }
    assert!(actors >= 6, "only {actors} actors were found");
    assert_none(&broken, "one actor, one file, named after it");
    let known: BTreeSet<_> =
        MESSAGES_ELSEWHERE.iter().map(|(path, name, _)| ((*path).to_owned(), (*name).to_owned())).collect();
    assert_eq!(elsewhere, known, "messages stand in engine/messages.rs, but for those listed with a reason");
}

fn snake_case(name: &str) -> String {
    let word = Regex::new(r"\B([A-Z])").unwrap();
    word.replace_all(name, "_$1").to_lowercase()
}

/// Where real time is what it is about.
const REAL_TIME: &[(&str, &str)] = &[
    ("src/wire/runtime.rs", "rests and deadlines of tasks on tokio's own clock are written here, once"),
    ("src/engine/clock.rs", "what people's clocks say is looked up here alone, to be shown"),
    ("tests/support/mod.rs", "waiting for a condition with a deadline is written here, once"),
    ("tests/support/meter.rs", "rates per second are what it tells"),
    ("tests/support/broker.rs", "where the search for free ports begins, another place in each run"),
    ("tests/support/standstill.rs", "how long a partition stands still is what it tells"),
    ("tests/support/watermarks.rs", "how long a watermark stands still is what it tells"),
    ("tests/end_to_end/outages.rs", "how long a broker stays down"),
    ("tests/telemetry/absent.rs", "how long the end of a process takes is what it tells"),
    ("tests/wire/broker.rs", "an answer that takes its time is what it plays"),
    ("tests/chaos/load.rs", "how old its records are, which brokers look at"),
];

#[test]
fn nobody_reads_a_clock_or_sleeps() {
    const CLOCKS: &str = r"\bstd::time::(?:Instant|SystemTime)\b|\bstd::time::\{[^}]*\b(?:Instant|SystemTime)\b|\bSystemTime::now\b|\b(?:thread|time)::sleep(?:_ms|_until)?\b|\bUNIX_EPOCH\.elapsed\b";
    let tests = rust_files("tests");
    let mut broken = Vec::new();
    for source in sources().iter().chain(&tests) {
        if REAL_TIME.iter().all(|(path, _)| *path != source.path) {
            broken.extend(hits(&source.path, &source.code, CLOCKS));
        }
    }
    assert_none(&broken, "time is passed in or tokio's; wait for a condition with a deadline");
}

/// Files that may be longer, how long, and why.
const LONGER: &[(&str, usize, &str)] = &[];

#[test]
fn files_say_what_they_are_and_stay_small() {
    let mut broken = Vec::new();
    let tests = rust_files("tests");
    for source in sources().iter().chain(&tests) {
        if !source.text.starts_with("//! ") {
            broken.push(format!("{}: begins without `//!`", source.path));
        }
        let lines = match source.production() {
            "" => source.code.lines().count(),
            production => production.lines().count(),
        };
        let most = LONGER.iter().find(|(path, ..)| *path == source.path).map_or(MOST_LINES, |(_, most, _)| *most);
        if lines > most {
            broken.push(format!("{}: {lines} lines before its tests", source.path));
        }
    }
    assert_none(&broken, "a file says what it is, in at most 500 lines");
}

#[test]
fn functions_stay_small() {
    let (mut broken, mut long, mut all) = (Vec::new(), Vec::new(), 0);
    for source in sources() {
        for (name, line, lines) in functions(source.production()) {
            all += 1;
            let shown = format!("{}:{line}: {name} has {lines} lines", source.path);
            if lines > MOST_FUNCTION_LINES {
                broken.push(shown);
            } else if lines > USUAL_FUNCTION_LINES {
                long.push(shown);
            }
        }
    }
    assert!(all > 300, "only {all} functions were found");
    assert_none(&broken, "a function has at most 60 lines");
    assert!(long.len() * 20 <= all, "95 % have at most 40 lines, but of {all}:\n  {}", long.join("\n  "));
}

/// Each function with a body: its name, its first line, and how many lines it has.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let head = Regex::new(r"\bfn (\w+)").unwrap();
    let length = |found: &regex::Captures<'_>| {
        let start = found.get(0)?.start();
        let (mut depth, mut inside) = (0_i32, 0_i32);
        for (at, c) in code[start..].char_indices() {
            match c {
                ';' if depth == 0 && inside == 0 => return None,
                '(' | '[' if depth == 0 => inside += 1,
                ')' | ']' if depth == 0 => inside -= 1,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => continue,
            }
            if depth == 0 && c == '}' {
                let lines = code[start..start + at].matches('\n').count() + 1;
                return Some((found[1].to_owned(), line_of(code, start), lines));
            }
        }
        None
    };
    head.captures_iter(code).filter_map(|found| length(&found)).collect()
}

#[test]
fn nothing_is_unwrapped_and_panics_unwind() {
    let mut broken = Vec::new();
    for source in sources() {
        broken.extend(hits(&source.path, source.production(), r"\.unwrap\(\)|\bunwrap_unchecked\b"));
    }
    assert_none(&broken, "no `unwrap` outside tests");
    assert!(read("Cargo.toml").contains("\npanic = \"unwind\"\n"), "the death watch hears of a panic while it unwinds");
}

/// The variable that failpoints are set by, and what they say when they panic.
const FAILPOINTS: [&str; 2] = ["FAILPOINTS", "failpoint "];

#[test]
fn only_a_build_that_asks_for_them_has_failpoints() {
    let binary = fs::read(env!("CARGO_BIN_EXE_anabranch")).unwrap();
    let has = |words: &str| binary.windows(words.len()).any(|bytes| bytes == words.as_bytes());
    let found: Vec<&str> = FAILPOINTS.into_iter().filter(|words| has(words)).collect();
    let expected: &[&str] = if cfg!(feature = "failpoints") { &FAILPOINTS } else { &[] };
    assert_eq!(found, expected);
    let default = Regex::new(r"(?m)^default = .*failpoints").unwrap();
    assert!(!default.is_match(&read("Cargo.toml")), "failpoints are nobody's default");
}
