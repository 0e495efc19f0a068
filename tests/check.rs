//! `anabranch check`: bad configs are refused, each with the path of every mistake and what to do; good ones pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A good config; the cases below break it by replacing one piece.
const GOOD: &str = r#"
limits: { in_flight: 64MiB, bandwidth: 100MiB/s, drain: 30s, stall: 60s }
clusters:
  guangzhou:
    bootstrap: ["10.0.0.1:9092"]
    security: { protocol: sasl_ssl, mechanism: plain, username: relay, password: "hunter2-is-secret" }
    client: { socket.keepalive.enable: true }
  shanghai:
    bootstrap: "10.1.0.1:9092"
    peak_bandwidth: 40MiB/s
    replicas: 2
    read_bandwidth: unlimited
  beijing:
    bootstrap: "10.2.0.1:9092"
routes:
  orders:
    enabled: true
    from: guangzhou
    topics: { include: ["orders\\..*"], exclude: [] }
    start: earliest
    partitioning: keep
    batch: { max_messages: 100, max_wait: 10ms, max_bytes: 1MiB }
    in_flight: 32MiB
    bandwidth: unlimited
    to:
      shanghai: { topic: "{topic}", bandwidth: 80% }
retry:
  profile: ckafka-2025
  record: { attempts: 5, backoff: { fixed: 10s }, max_age: 6h, on_exhausted: dead_letter }
  system: { attempts: unlimited, backoff: { initial: 500ms, factor: 1.5, max: 60s, jitter: 0.2 } }
  dead_letter: { cluster: beijing, topic: "{topic}.dead" }
"#;

const SECRET: &str = "hunter2-is-secret";

#[derive(Clone)]
struct Case {
    /// What is replaced, and by what.
    edit: (&'static str, &'static str),
    path: &'static str,
    fragment: &'static str,
}

const fn case(old: &'static str, new: &'static str, path: &'static str, fragment: &'static str) -> Case {
    Case { edit: (old, new), path, fragment }
}

const SECURITY: &str =
    r#"security: { protocol: sasl_ssl, mechanism: plain, username: relay, password: "hunter2-is-secret" }"#;

/// Unknown keys, and names that nobody has.
const UNKNOWN: &[Case] = &[
    case("limits:", "limit:", "limit", "did you mean `limits`?"),
    case("in_flight: 64MiB", "inflight: 64MiB", "limits.inflight", "did you mean `in_flight`?"),
    case("bootstrap: [", "boostrap: [", "clusters.guangzhou.boostrap", "did you mean `bootstrap`?"),
    case("username:", "user_name:", "clusters.guangzhou.security.user_name", "did you mean `username`?"),
    case("password: \"", "pasword: \"", "clusters.guangzhou.security.pasword", "did you mean `password`?"),
    case("topics: {", "topic: {", "routes.orders.topic", "did you mean `topics`?"),
    case("include:", "includes:", "routes.orders.topics.includes", "did you mean `include`?"),
    case("max_wait:", "maxWait:", "routes.orders.batch.maxWait", "did you mean `max_wait`?"),
    case("topic: \"{", "name: \"{", "routes.orders.to.shanghai.name", "known here: topic"),
    case("start: earliest", "verify: true", "routes.orders.verify", "known here: enabled, from"),
    case("from: guangzhou", "from: guangzhu", "routes.orders.from", "did you mean `guangzhou`?"),
    case("shanghai: {", "shangai: {", "routes.orders.to.shangai", "did you mean `shanghai`?"),
    case("bandwidth: 100MiB/s", "bandwith: 1MiB/s", "limits.bandwith", "did you mean `bandwidth`?"),
    case("peak_bandwidth", "peak-bandwith", "clusters.shanghai.peak-bandwith", "did you mean `peak_bandwidth`?"),
    case("bandwidth: 80%", "bandwith: 80%", "routes.orders.to.shanghai.bandwith", "did you mean `bandwidth`?"),
    case("retry:\n", "retries:\n", "retries", "did you mean `retry`?"),
    case("profile:", "profiles:", "retry.profiles", "did you mean `profile`?"),
    case("  record: {", "  records: {", "retry.records", "did you mean `record`?"),
    case("attempts: 5", "attempt: 5", "retry.record.attempt", "did you mean `attempts`?"),
    case("factor: 1.5", "multiplier: 2", "retry.system.backoff.multiplier", "known here: fixed, initial"),
    case("  system: {", "  crash: { attempts: 5 }\n  system: {", "retry.crash.attempts", "known here: backoff"),
    case("cluster: beijing", "clusters: beijing", "retry.dead_letter.clusters", "did you mean `cluster`?"),
    case("cluster: beijing", "cluster: bejing", "retry.dead_letter.cluster", "did you mean `beijing`?"),
    case("start: earliest", "retry: { profil: durable }", "routes.orders.retry.profil", "did you mean `profile`?"),
    case("bandwidth: 80%", "retry: { max_age: 1h }", "routes.orders.to.shanghai.retry.max_age", "known here: profile"),
];

/// Values that make no sense by themselves.
const VALUES: &[Case] = &[
    case("in_flight: 64MiB", "in_flight: 64 parsecs", "limits.in_flight", "a number and a unit"),
    case("in_flight: 64MiB", "in_flight: -5", "limits.in_flight", "write a size from 2KiB"),
    case("in_flight: 64MiB", "in_flight: 0", "limits.in_flight", "out of range"),
    case("in_flight: 64MiB", "in_flight: 1.5", "limits.in_flight", "is not a size"),
    case("drain: 30s", "drain: 30", "limits.drain", "with its unit"),
    case("drain: 30s", "drain: soon", "limits.drain", "such as 20ms, 60s or 7d"),
    case("drain: 30s", "drain: 3years", "limits.drain", "is out of range"),
    case("\"10.1.0.1:9092\"", "10.1.0.1", "clusters.shanghai.bootstrap", "add the port"),
    case("\"10.1.0.1:9092\"", "\"SSL://a:1\"", "clusters.shanghai.bootstrap", "`security.protocol`"),
    case("\"10.1.0.1:9092\"", "[\"a:1\", \"b:99999\"]", "clusters.shanghai.bootstrap[1]", "from 1 to 65535"),
    case("\"10.1.0.1:9092\"", "[]", "clusters.shanghai.bootstrap", "give the addresses"),
    case("bootstrap: \"10.1.0.1:9092\"", "region: x", "clusters.shanghai.bootstrap", "is missing"),
    case("  beijing:", "  bei/jing:", "clusters.bei/jing", "use letters, digits"),
    case("  orders:", "  my orders:", "routes.my orders", "use letters, digits"),
    case("enabled: true", "enabled: yes", "routes.orders.enabled", "write true or false"),
    case("[\"orders\\\\..*\"]", "[]", "routes.orders.topics.include", "regular expressions"),
    case("[\"orders\\\\..*\"]", "\"*\"", "routes.orders.topics.include", "write `.*` for any characters"),
    case("exclude: []", "exclude: [ok, \"a(\"]", "routes.orders.topics.exclude[1]", "unclosed group"),
    case("start: earliest", "start: ealiest", "routes.orders.start", "write earliest, latest"),
    case("start: earliest", "start: { timestamp: 2026-11-01 }", "routes.orders.start.timestamp", "in UTC"),
    case(
        "start: earliest",
        "start: { offsets: { orders.x: { a: 1 } } }",
        "routes.orders.start.offsets.orders.x.a",
        "partition",
    ),
    case(
        "start: earliest",
        "start: { offsets: { orders.x: { 0: -1 } } }",
        "routes.orders.start.offsets.orders.x.0",
        "whole number",
    ),
    case("partitioning: keep", "partitioning: by-key", "routes.orders.partitioning", "did you mean `by_key`?"),
    case("max_messages: 100", "max_messages: 0", "routes.orders.batch.max_messages", "from 1 to 1000000"),
    case("max_wait: 10ms", "max_wait: 2m", "routes.orders.batch.max_wait", "from 0s to 1m"),
    case("max_bytes: 1MiB", "max_bytes: 1GiB", "routes.orders.batch.max_bytes", "from 1KiB to 64MiB"),
    case("\"{topic}\"", "\"gz/{topic}\"", "routes.orders.to.shanghai.topic", "letters, digits"),
    case("\"{topic}\"", "\"{name}\"", "routes.orders.to.shanghai.topic", "placeholder other than {topic}"),
    case("drain: 30s", "drain: \"${NOT_SET_ANYWHERE}\"", "limits.drain", "`NOT_SET_ANYWHERE` is not set"),
    case("drain: 30s", "drain: \"${30s\"", "limits.drain", "close it"),
    case("stall: 60s", "stall: 2h", "limits.stall", "from 1s to 1h"),
    case("stall: 60s", "stall: unlimited", "limits.stall", "write a number and a unit"),
    case("100MiB/s", "100", "limits.bandwidth", "add the unit and `/s`"),
    case("100MiB/s", "100MiB", "limits.bandwidth", "add the unit and `/s`"),
    case("100MiB/s", "100MiB/m", "limits.bandwidth", "such as 20MiB/s, or write unlimited"),
    case("100MiB/s", "1000B/s", "limits.bandwidth", "from 1KiB/s to 1TiB/s"),
    case("100MiB/s", "80%", "limits.bandwidth", "is not a rate"),
    case("40MiB/s", "unlimited", "clusters.shanghai.peak_bandwidth", "is not a rate"),
    case("40MiB/s", "2TiB/s", "clusters.shanghai.peak_bandwidth", "is out of range"),
    case("replicas: 2", "replicas: 0", "clusters.shanghai.replicas", "from 1 to 10"),
    case("read_bandwidth: unlimited", "read_bandwidth: max", "clusters.shanghai.read_bandwidth", "or write unlimited"),
    case("bandwidth: unlimited\n    to", "bandwidth: 1.5\n    to", "routes.orders.bandwidth", "add the unit and `/s`"),
    case("80%", "101%", "routes.orders.to.shanghai.bandwidth", "from 1% to 100%"),
    case("80%", "80", "routes.orders.to.shanghai.bandwidth", "such as 80%"),
    case("ckafka-2025", "ckafka2025", "retry.profile", "did you mean `ckafka-2025`?"),
    case("profile: ckafka-2025", "on_exhausted: skip", "retry.on_exhausted", "block, dead_letter, drop, keep"),
    case("on_exhausted: dead_letter", "on_exhausted: dlq", "retry.record.on_exhausted", "write one of"),
    case("attempts: 5", "attempts: 0", "retry.record.attempts", "from 1 to 10000, or write unlimited"),
    case("attempts: 5", "attempts: forever", "retry.record.attempts", "or write unlimited"),
    case("max_age: 6h", "max_age: 31d", "retry.record.max_age", "is out of range"),
    case("max_age: 6h", "max_age: 6", "retry.record.max_age", "with its unit"),
    case("fixed: 10s", "fixed: 0s", "retry.record.backoff.fixed", "from 1ms to 1day"),
    case("{ fixed: 10s }", "10s", "retry.record.backoff", "write a mapping with: fixed"),
    case("factor: 1.5", "factor: 0.5", "retry.system.backoff.factor", "from 1 to 10"),
    case("factor: 1.5", "factor: fast", "retry.system.backoff.factor", "is not a number"),
    case("jitter: 0.2", "jitter: 2", "retry.system.backoff.jitter", "from 0 to 1"),
    case("max: 60s", "max: 2d", "retry.system.backoff.max", "from 1ms to 1day"),
    case("\"{topic}.dead\"", "\"{name}\"", "retry.dead_letter.topic", "placeholder other than {topic}"),
];

/// Values that do not go together.
const TOGETHER: &[Case] = &[
    case("10.1.0.1:9092", "10.0.0.1:9092", "routes.orders.to.shanghai", "the source cluster is the target"),
    case("shanghai: { topic", "guangzhou: { topic", "routes.orders.to.guangzhou", "would copy a topic onto itself"),
    case(
        "shanghai: { topic: \"{topic}\"",
        "guangzhou: { topic: \"orders.{topic}\"",
        "routes.orders.to.guangzhou",
        "`topics.exclude`",
    ),
    case("in_flight: 32MiB", "in_flight: 1MiB", "routes.orders.in_flight", "at least 2MiB"),
    case("in_flight: 32MiB", "in_flight: 128MiB", "routes.orders.in_flight", "or raise `limits.in_flight`"),
    case("username: relay, ", "", "clusters.guangzhou.security.username", "is missing"),
    case(", password: \"hunter2-is-secret\"", "", "clusters.guangzhou.security.password", "through the environment"),
    case("\"hunter2-is-secret\"", "123456", "clusters.guangzhou.security.password", "put it in quotes"),
    case("\"hunter2-is-secret\"", "\"\"", "clusters.guangzhou.security.password", "is empty"),
    case("protocol: sasl_ssl", "protocol: plaintext", "clusters.guangzhou.security.username", "sasl_plaintext"),
    case("protocol: sasl_ssl", "protocol: ssl", "clusters.guangzhou.security.password", "`protocol: sasl_ssl`"),
    case("protocol: sasl_ssl", "protocol: sasl", "clusters.guangzhou.security.protocol", "sasl_plaintext, sasl_ssl"),
    case("mechanism: plain", "mechanism: scram", "clusters.guangzhou.security.mechanism", "did you mean `scram-sha-"),
    case("username: relay", "username: \"i#relay\", instance: i", "clusters.guangzhou.security.username", "'#'"),
    case("username: relay", "username: relay, cert: c.pem", "clusters.guangzhou.security.key", "private `key`"),
    case(SECURITY, "security: { ca: ca.pem }", "clusters.guangzhou.security.ca", "`protocol: ssl`"),
    case(SECURITY, "security: { instance: i }", "clusters.guangzhou.security.instance", "no use with this protocol"),
    case("socket.keepalive.enable", "acks", "clusters.guangzhou.client.acks", "every replica acknowledges"),
    case("socket.keepalive.enable", "group.id", "clusters.guangzhou.client.group.id", "progress is kept"),
    case(
        "socket.keepalive.enable: true",
        "sasl.password: hunter2-is-secret",
        "clusters.guangzhou.client.sasl.password",
        "use the cluster's `security`",
    ),
    case(
        "start: earliest",
        "start: { offsets: { ordres.x: { 0: 1 } } }",
        "routes.orders.start.offsets.ordres.x",
        "does not select this topic",
    ),
    case("    peak_bandwidth: 40MiB/s\n", "", "clusters.shanghai.replicas", "has no use without `peak_bandwidth`"),
    case(
        "    peak_bandwidth: 40MiB/s\n    replicas: 2\n",
        "",
        "routes.orders.to.shanghai.bandwidth",
        "set `clusters.shanghai.peak_bandwidth`",
    ),
    case("fixed: 10s", "fixed: 10s, max: 60s", "retry.record.backoff", "has both forms"),
    case("{ fixed: 10s }", "{}", "retry.record.backoff", "has neither form"),
    case("initial: 500ms, ", "", "retry.system.backoff.initial", "is missing"),
    case("max: 60s, ", "", "retry.system.backoff.max", "is missing"),
    case("initial: 500ms", "initial: 2m", "retry.system.backoff.initial", "is more than `max`"),
    case(
        "cluster: beijing, topic: \"{topic}.dead\"",
        "topic: \"{topic}\"",
        "routes.orders.to.shanghai",
        "would go to the target topic itself",
    ),
    case("cluster: beijing", "cluster: guangzhou", "routes.orders.to.shanghai", "would copy its own dead letters"),
    case(
        "shanghai: { topic: \"{topic}\"",
        "guangzhou: { topic: \"{topic}.copy\"",
        "routes.orders.to.guangzhou",
        "would copy its own copies",
    ),
    case("routes:\n  orders:", "routes:\n  a: 7\n  orders:", "routes.a", "write a mapping with"),
    case(
        "  beijing:\n    bootstrap: \"10.2.0.1:9092\"\n",
        "  beijing: [x]\n",
        "clusters.beijing",
        "write a mapping with",
    ),
];

fn check(file: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.arg("check").arg("--config").arg(file);
    command.env_remove("RUST_LOG").envs(env.iter().copied());
    command.output().expect("the binary was built for this test")
}

fn written(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().expect("the system has a folder for temporary files");
    let file = dir.path().join("config.yaml");
    fs::write(&file, text).expect("a new folder is writable");
    (dir, file)
}

/// The lines of mistakes on standard error. No output may hold a secret.
fn refused(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let (_dir, file) = written(text);
    let output = check(&file, env);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{text}\n{out}{error}");
    assert!(out.is_empty(), "{out}");
    assert!(!error.contains(SECRET), "a secret is shown:\n{error}");
    assert!(error.lines().next().is_some_and(|first| first.contains("config.yaml")), "{error}");
    error.lines().skip(1).map(str::to_owned).collect()
}

fn edited(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "`{old}` is not in the good config");
    GOOD.replacen(old, new, 1)
}

#[test]
fn every_bad_config_is_refused_with_its_path_and_a_hint() {
    let cases: Vec<_> = [UNKNOWN, VALUES, TOGETHER].concat();
    assert!(cases.len() >= 30);
    let wrong: Vec<_> = cases.iter().filter_map(|case| complaint(case).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether the case's mistake is reported as it should be, or what is there instead.
fn complaint(case: &Case) -> Result<(), String> {
    let lines = refused(&edited(case.edit.0, case.edit.1), &[]);
    let line = lines.iter().find(|line| line.starts_with(&format!("{}: ", case.path)));
    let line = line.ok_or_else(|| format!("no mistake at {}: {lines:#?}", case.path))?;
    // a problem and a hint, with a semicolon between
    if line.contains(case.fragment) && line.contains("; ") {
        Ok(())
    } else {
        Err(format!("`{}` or a hint is not in: {line}", case.fragment))
    }
}

#[test]
fn one_mistake_is_one_line() {
    // what depends on a value that is wrong must not be blamed for it
    for (old, new) in [
        ("in_flight: 64MiB", "in_flight: x"),
        ("max_bytes: 1MiB", "max_bytes: x"),
        ("peak_bandwidth: 40MiB/s", "peak_bandwidth: x"),
        ("cluster: beijing", "cluster: x"),
        ("topic: \"{topic}.dead\"", "topic: \"{x}\""),
        ("profile: ckafka-2025", "profile: x"),
        ("  record: {", "  crash: 5\n  record: {"),
        ("bootstrap: [\"10.0.0.1:9092\"]", "bootstrap: x"),
        ("protocol: sasl_ssl", "protocol: x"),
        ("drain: 30s", "drain: \"${NOT_SET_ANYWHERE}\""),
        ("include: [\"orders", "include: [\"(orders"),
    ] {
        let lines = refused(&edited(old, new), &[]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = GOOD
        .replace("drain: 30s", "drian: 30s")
        .replace("10.1.0.1:9092", "10.1.0.1")
        .replace("from: guangzhou", "from: guangzho")
        .replace("partitioning: keep", "partitioning: kep")
        .replace("max_messages: 100", "max_messages: many")
        .replace("\"{topic}\", bandwidth: 80%", "\"{topics}\", bandwidth: 80")
        .replace("replicas: 2", "replicas: two")
        .replace("attempts: 5", "attempts: none")
        .replace("factor: 1.5, max: 60s", "factor: 0, max: 60");
    let lines = refused(&text, &[]);
    let paths: Vec<_> = lines.iter().filter_map(|line| line.split_once(": ")).map(|(path, _)| path).collect();
    let expected = [
        "limits.drian",
        "clusters.shanghai.bootstrap",
        "clusters.shanghai.replicas",
        "retry.record.attempts",
        "retry.system.backoff.max",
        "retry.system.backoff.factor",
        "routes.orders.from",
        "routes.orders.partitioning",
        "routes.orders.batch.max_messages",
        "routes.orders.to.shanghai.topic",
        "routes.orders.to.shanghai.bandwidth",
    ];
    assert_eq!(paths, expected, "{lines:#?}");
}

#[test]
fn two_routes_cannot_share_a_consumer_group() {
    let text = r#"
clusters: { s: { bootstrap: "a:1" }, t: { bootstrap: "b:1" }, x.t: { bootstrap: "c:1" } }
routes:
  r: { from: s, topics: { include: a }, to: { x.t: {} } }
  r.x: { from: s, topics: { include: b }, to: { t: {} } }
"#;
    let lines = refused(text, &[]);
    assert!(lines[0].starts_with("routes.r.x.to.t: ") && lines[0].contains("consumer group"), "{lines:#?}");

    let text = r#"
clusters: { s: { bootstrap: "a:1" }, t: { bootstrap: "b:1" } }
routes:
  r: { from: s, topics: { include: a }, to: { t: {} } }
  r.t: { from: s, topics: { include: b }, to: { t: {} } }
"#;
    let lines = refused(text, &[]);
    assert!(lines[0].starts_with("routes.r.t: ") && lines[0].contains("routes.r.to.t"), "{lines:#?}");
}

#[test]
fn a_file_that_is_no_config_is_one_clear_line() {
    for (text, fragment) in [
        ("a: [1, 2", "line "),
        ("- a\n- b\n", "is not a mapping"),
        ("limits: {}\nlimits: {}\n", "the key `limits` stands twice"),
    ] {
        let (_dir, file) = written(text);
        let output = check(&file, &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().count() == 1 && error.contains("config.yaml") && error.contains(fragment), "{error}");
    }
    let output = check(Path::new("no/such/file.yaml"), &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("no/such/file.yaml") && error.contains("--config"), "{error}");
    assert_eq!(refused("", &[]).len(), 2, "an empty file lacks clusters and routes");
}

#[test]
fn good_configs_pass() {
    let shipped = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let passwords = [("GZ_PASSWORD", SECRET), ("SH_PASSWORD", SECRET)];
    let (_dir, good) = written(GOOD);
    for (file, fragment) in [
        (shipped("default.yaml"), "nothing would be copied"),
        (shipped("fan-out.yaml"), "orders [enabled]: guangzhou -> beijing (gz.{topic}), shanghai ({topic})"),
        (shipped("ckafka.yaml"), "clusters: guangzhou, shanghai"),
        (good, "routes: 1, 1 enabled"),
    ] {
        let output = check(&file, &passwords);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert!(out.contains(fragment), "{out}");
        assert!(!out.contains(SECRET) && error.is_empty(), "{out}{error}");
    }
}

#[test]
fn the_environment_fills_in_and_overrides() {
    let text = GOOD.replace("10.1.0.1:9092", "${SHANGHAI}").replace("hunter2-is-secret", "${PASSWORD}");
    let (_dir, file) = written(&text);
    let env = [("SHANGHAI", "sh:9092"), ("PASSWORD", SECRET), ("ANABRANCH__ROUTES__ORDERS__ENABLED", "false")];
    let output = check(&file, &env);
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("orders [off]"), "{out}");

    let lines = refused(&text, &[("SHANGHAI", "sh:9092")]);
    assert!(lines[0].contains("security.password: ") && lines[0].contains("`PASSWORD` is not set"), "{lines:#?}");

    let wrong = [("ANABRANCH__LIMITS__DRIAN", SECRET), ("ANABRANCH__ROUTES__ORDERS__FROM", SECRET)];
    let lines = refused(GOOD, &wrong);
    assert!(lines[0].contains("limits.drian") && lines[0].contains("set by ANABRANCH__LIMITS__DRIAN"), "{lines:#?}");
    assert!(lines[1].contains("routes.orders.from"), "{lines:#?}");
}

#[test]
fn wrong_arguments_and_help_have_their_exit_codes() {
    for (args, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["completions", "bash"], 0),
        (&["chek"], 2),
        (&["check"], 2),
        (&["check", "--config", "x", "--log-format", "xml"], 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_anabranch")).args(args).output();
        let output = output.expect("the binary was built for this test");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}
