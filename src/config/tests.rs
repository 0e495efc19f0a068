//! The shipped configs, the defaults, and what only the plan can show; bad configs stand in `tests/check.rs`.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::tree::{Map, Node, join};
use super::*;
use crate::domain::retry::{Backoff, OnExhausted, Policies, Policy, Profile};
use crate::domain::routing::Partitioning;
use crate::plan::{SaslMechanism, TargetPlan};

const DEFAULT: &str = include_str!("../../config/default.yaml");

/// Default.yaml with what the default profile says in the place of what is left to the profile.
fn spelled_out() -> String {
    let empty = Regex::new(r"(?m)^( +\w+:) +# durable: ([^;\n]+);").unwrap();
    assert_eq!(empty.find_iter(DEFAULT).count(), 14, "one for each key that a profile has");
    empty.replace_all(DEFAULT, "$1 $2 #").into_owned()
}

/// Default.yaml without what has a default.
const MINIMAL: &str = r#"
clusters:
  source: { bootstrap: "127.0.0.1:9092" }
  target: { bootstrap: "127.0.0.1:9093" }
routes:
  example: { from: source, topics: { include: "orders\\..*" }, to: { target: } }
"#;

fn plan(text: &str) -> Plan {
    plan_with(text, &[])
}

fn plan_with(text: &str, env: &[(&str, &str)]) -> Plan {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load_str(text, Path::new("/etc/anabranch"), &env).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn default_yaml_has_the_keys_that_the_reader_accepts() {
    const EXPONENTIAL: &[&str] = &["initial", "factor", "max", "jitter"];
    assert_eq!(["fixed"].iter().chain(EXPONENTIAL).collect::<Vec<_>>(), keys::BACKOFF.iter().collect::<Vec<_>>());
    let mut written = BTreeSet::new();
    collect_keys(&tree::parse(&spelled_out()).unwrap(), "", &mut written);
    let tables = [
        ("", keys::ROOT),
        ("admin", keys::ADMIN),
        ("limits", keys::LIMITS),
        ("telemetry", keys::TELEMETRY),
        ("telemetry.otlp", keys::OTLP),
        ("telemetry.traces", keys::TRACES),
        ("clusters.*", keys::CLUSTER),
        ("clusters.*.security", keys::SECURITY),
        ("routes.*", keys::ROUTE),
        ("routes.*.topics", keys::TOPICS),
        ("routes.*.batch", keys::BATCH),
        ("routes.*.to.*", keys::TARGET),
        ("retry", keys::RETRY),
        ("retry.record", keys::POLICY),
        ("retry.record.backoff", &["fixed"]),
        ("retry.overrun", keys::POLICY),
        ("retry.overrun.backoff", EXPONENTIAL),
        ("retry.system", keys::POLICY),
        ("retry.system.backoff", EXPONENTIAL),
        ("retry.crash", keys::CRASH),
        ("retry.crash.backoff", EXPONENTIAL),
        ("retry.dead_letter", keys::DEAD_LETTER),
    ];
    let accepted: BTreeSet<_> =
        tables.iter().flat_map(|(parent, known)| known.iter().map(|key| join(parent, key))).collect();
    assert_eq!(written, accepted);
    // a key has one value, so the other forms of `start` stand in its comment
    assert!(keys::START.iter().all(|form| DEFAULT.contains(&format!("{{ {form}: "))));
}

/// The keys below `map`, with `*` for those that are the user's own.
fn collect_keys(map: &Map, path: &str, keys: &mut BTreeSet<String>) {
    for (key, node) in map {
        let own = matches!(path, "clusters" | "routes" | "routes.*.to");
        let path = join(path, if own { "*" } else { key });
        if let Node::Map(map) = node {
            collect_keys(map, &path, keys);
        }
        if !own {
            keys.insert(path);
        }
    }
}

#[test]
fn default_yaml_has_the_defaults() {
    let minimal = format!("{:?}", plan(MINIMAL));
    assert_eq!(format!("{:?}", plan(DEFAULT)), minimal);
    assert_eq!(format!("{:?}", plan(&spelled_out())), minimal);
    // what is empty goes with the profile, so that a copy of the file follows it
    let other = plan(&DEFAULT.replace("profile: durable", "profile: ckafka-2025"));
    assert_eq!(other.routes[0].targets[0].retry, Policies::of_profile(Profile::Ckafka2025));
}

#[test]
fn every_key_of_default_yaml_has_its_meaning_beside_it() {
    for line in DEFAULT.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let opens_a_block = line.trim_end().ends_with(':') || line.trim().is_empty();
        let again = line.contains("127.0.0.1:9093");
        assert!(opens_a_block || again || line.contains(" # ") || line.contains(" | "), "{line}");
    }
}

#[test]
fn the_fan_out_example_is_what_it_says() {
    let plan = plan(include_str!("../../config/fan-out.yaml"));
    let route = &plan.routes[0];
    assert!(route.enabled && route.create_topics && route.keeping.is_shared());
    assert_eq!(route.source.alias, "guangzhou");
    let targets: Vec<_> = route.targets.iter().map(|t| (t.name(), t.topic.apply("orders.eu").unwrap())).collect();
    assert_eq!(targets, [("beijing", "gz.orders.eu".to_owned()), ("shanghai", "orders.eu".to_owned())]);
    let bandwidths: Vec<_> = route.targets.iter().map(|target| target.bandwidth).collect();
    assert_eq!(bandwidths, [Some(20 << 20), None]);
}

#[test]
fn the_ckafka_example_joins_instance_and_user() {
    let env = [("GZ_PASSWORD", "hunter2"), ("SH_PASSWORD", "hunter3")];
    let plan = plan_with(include_str!("../../config/ckafka.yaml"), &env);
    let gz = &plan.clusters["guangzhou"];
    let sasl = gz.security.sasl.as_ref().unwrap();
    assert_eq!(sasl.username, "ckafka-80o10xxx#relay");
    assert_eq!(sasl.password.expose_secret(), "hunter2");
    assert_eq!(sasl.mechanism, SaslMechanism::Plain);
    assert_eq!(gz.client["socket.keepalive.enable"], "true");
    assert!(!format!("{plan:?}").contains("hunter"));
    assert_eq!(gz.read_bandwidth, Some(20 << 20));
    assert_eq!(plan.clusters["shanghai"].write_bandwidth, Some(20 << 20));
    let target = &plan.routes[0].targets[0];
    assert_eq!((target.bandwidth, target.retry), (Some(16 << 20), Policies::of_profile(Profile::Ckafka2025)));
}

#[test]
fn every_form_of_every_key_reaches_the_plan() {
    let plan = plan(
        r#"
limits: { in_flight: 128MiB, bandwidth: 1GiB/s, drain: 5s, stall: 2m }
clusters:
  Guang-Zhou.1:
    bootstrap: ["a:1", "b:2,c:3"]
    security: { protocol: sasl_ssl, mechanism: scram-sha-512, username: u, password: p, ca: ca.pem, cert: /c.pem, key: k.pem }
    client: { linger.ms: 5, socket.keepalive.enable: true, compression.codec: lz4 }
  sh: { bootstrap: "d:4", security: { protocol: ssl } }
routes:
  Or-ders.EU:
    from: Guang-Zhou.1
    topics: { include: [orders.eu, "a|b"], exclude: b }
    start: { offsets: { orders.eu: { 0: 42, 1: 7 }, a: {} } }
    partitioning: by_key
    create_topics: false
    batch: { max_messages: 5, max_wait: 0s, max_bytes: 2048 }
    in_flight: 64MiB
    to: { sh: { topic: all } }
  since: { from: sh, topics: { include: x }, start: { timestamp: 1970-01-01T00:00:02Z }, to: { Guang-Zhou.1: {} } }
  within: { from: sh, topics: { include: x }, start: latest, to: { sh: { topic: "copy.{topic}" } } }
"#,
    );
    assert_eq!((plan.limits.in_flight, plan.limits.drain), (128 << 20, Duration::from_secs(5)));
    assert_eq!((plan.limits.bandwidth, plan.limits.stall), (Some(1 << 30), Duration::from_secs(120)));
    let gz = &plan.clusters["Guang-Zhou.1"];
    assert_eq!(gz.bootstrap, ["a:1", "b:2", "c:3"]);
    let tls = gz.security.tls.as_ref().unwrap();
    assert_eq!(tls.ca.as_deref(), Some(Path::new("/etc/anabranch/ca.pem")));
    let identity = tls.identity.as_ref().unwrap();
    assert_eq!((identity.cert.to_str(), identity.key.to_str()), (Some("/c.pem"), Some("/etc/anabranch/k.pem")));
    let client: Vec<_> = gz.client.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(client, [("compression.codec", "lz4"), ("linger.ms", "5"), ("socket.keepalive.enable", "true")]);

    let names: Vec<_> = plan.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["Or-ders.EU", "since", "within"]);
    let route = &plan.routes[0];
    let offsets = [("a", vec![]), ("orders.eu", vec![(0, 42), (1, 7)])];
    let offsets = offsets.map(|(topic, list)| (topic.to_owned(), list.into_iter().collect()));
    assert_eq!(route.start, Start::Offsets(offsets.into_iter().collect()));
    assert_eq!(route.partitioning, Partitioning::ByKey);
    assert_eq!((route.batch.max_messages, route.batch.max_wait, route.batch.max_bytes), (5, Duration::ZERO, 2048));
    assert!(!route.enabled && !route.create_topics);
    assert_eq!(plan.routes[1].start, Start::Timestamp(2000));
    assert_eq!(plan.routes[2].start, Start::Latest);
}

#[test]
fn the_environment_overrides_and_variables_have_every_type() {
    let text = r#"
clusters:
  source: { bootstrap: "${HOSTS}", region: "$${x}" }
  target: { bootstrap: "t:1" }
routes:
  Orders: { enabled: "${ON}", from: source, topics: { include: ["${TOPICS}"] }, to: { target: }, batch: { max_messages: "${N}" } }
"#;
    let plan = plan_with(
        text,
        &[
            ("HOSTS", "a:1,b:2"),
            ("ON", "true"),
            ("TOPICS", "a\\..*"),
            ("N", "7"),
            ("ANABRANCH__LIMITS__DRAIN", "7s"),
            ("ANABRANCH__ROUTES__ORDERS__CREATE_TOPICS", "false"),
            ("ANABRANCH__ROUTES__ORDERS__TO__TARGET__TOPIC", "x.{topic}"),
            ("ANABRANCH_LIMITS__DRAIN", "not ours"),
        ],
    );
    assert_eq!(plan.clusters["source"].bootstrap, ["a:1", "b:2"]);
    assert_eq!(plan.clusters["source"].region.as_deref(), Some("${x}"));
    assert_eq!(plan.limits.drain, Duration::from_secs(7));
    let route = &plan.routes[0];
    assert_eq!((route.name.as_str(), route.enabled, route.create_topics), ("Orders", true, false));
    assert_eq!(route.batch.max_messages, 7);
    assert_eq!(route.topics.include[0].as_str(), "^(?:a\\..*)$");
    assert_eq!(route.targets[0].topic.to_string(), "x.{topic}");
}

/// The one target of the minimal config, with the `retry` of each of the three levels.
fn target_of(root: &str, route: &str, target: &str) -> (Policies, TargetPlan) {
    let text = MINIMAL
        .replace("to: { target: }", &format!("retry: {route}, to: {{ target: {{ retry: {target} }} }}"))
        .replace("clusters:", &format!("retry: {root}\nclusters:"));
    let mut plan = plan(&text);
    (plan.routes[0].retry, plan.routes[0].targets.remove(0))
}

#[test]
fn deeper_policies_go_before_shallower_ones_key_by_key() {
    let minute = Backoff::Fixed(Duration::from_secs(60));
    let (route, target) = target_of(
        "{ record: { attempts: 7, max_age: 1h }, system: { backoff: { fixed: 60s } } }",
        "{ record: { on_exhausted: drop, max_age: unlimited }, crash: { backoff: { fixed: 60s } } }",
        "{ record: { attempts: unlimited }, on_exhausted: keep, overrun: { on_exhausted: dead_letter, max_age: 6h } }",
    );
    let default = Policies::default();
    let record = Policy { attempts: Some(7), on_exhausted: OnExhausted::Drop, ..default.record };
    let expected = Policies {
        record,
        system: Policy { backoff: minute, ..default.system },
        crash: Policy { backoff: minute, ..default.crash },
        ..default
    };
    assert_eq!(route, expected);
    let overrun =
        Policy { max_age: Some(Duration::from_hours(6)), on_exhausted: OnExhausted::DeadLetter, ..expected.overrun };
    let expected = Policies {
        record: Policy { attempts: None, on_exhausted: OnExhausted::Keep, ..record },
        overrun,
        system: Policy { on_exhausted: OnExhausted::Keep, ..expected.system },
        ..expected
    };
    assert_eq!(target.retry, expected);
}

#[test]
fn a_deeper_profile_replaces_what_was_said_of_the_classes() {
    let root = "{ record: { attempts: 7 }, on_exhausted: drop, dead_letter: { topic: bad } }";
    let (route, target) = target_of(root, "{ profile: scf-async, system: { attempts: 5 } }", "{ profile: durable }");
    let scf = Policies::of_profile(Profile::ScfAsync);
    assert_eq!(route, Policies { system: Policy { attempts: Some(5), ..scf.system }, ..scf });
    assert_eq!(target.retry, Policies::default());
    assert_eq!(target.dead_letter.topic.to_string(), "bad", "where dead letters go is not the profile's to say");
}

#[test]
fn a_backoff_is_written_whole() {
    let (route, target) = target_of(
        "{ system: { backoff: { initial: 1s, factor: 3, max: 5m, jitter: 0 } } }",
        "{ system: { backoff: { fixed: 2s } } }",
        "{ system: { backoff: { initial: 500ms, max: 60s } } }",
    );
    assert_eq!(route.system.backoff, Backoff::Fixed(Duration::from_secs(2)));
    assert_eq!(target.retry.system.backoff, Policies::default().system.backoff, "factor and jitter are the profiles'");
    let (route, _) = target_of("{ crash: { backoff: { initial: 1s, factor: 1.5, max: 5m, jitter: 1 } } }", "{}", "{}");
    let (initial, max) = (Duration::from_secs(1), Duration::from_secs(300));
    assert_eq!(route.crash.backoff, Backoff::Exponential { initial, factor: 1.5, max, jitter: 1.0 });
}

#[test]
fn dead_letters_stay_at_the_target_unless_a_level_says_otherwise() {
    let dead_letter = |root, target| {
        let (_, target) = target_of(root, "{}", target);
        (target.dead_letter.cluster.alias.clone(), target.dead_letter.topic.to_string())
    };
    let own = |cluster: &str, topic: &str| (cluster.to_owned(), topic.to_owned());
    assert_eq!(dead_letter("{}", "{}"), own("target", "{topic}.dead-letter"));
    assert_eq!(dead_letter("{ dead_letter: { topic: dead } }", "{}"), own("target", "dead"));
    let root = "{ dead_letter: { cluster: source, topic: \"dead.{topic}\" } }";
    assert_eq!(dead_letter(root, "{}"), own("source", "dead.{topic}"));
    assert_eq!(dead_letter(root, "{ dead_letter: { cluster: target } }"), own("target", "dead.{topic}"));
}

#[test]
fn a_target_has_its_clusters_budget_unless_it_says_otherwise() {
    let bandwidth = |cluster: &str, target: &str| {
        let text = MINIMAL
            .replace("\"127.0.0.1:9093\"", &format!("\"127.0.0.1:9093\", {cluster}"))
            .replace("to: { target: }", &format!("bandwidth: 5MiB/s, to: {{ target: {{ bandwidth: {target} }} }}"));
        let plan = plan(&text);
        assert_eq!(plan.routes[0].bandwidth, Some(5 << 20));
        (plan.clusters["target"].write_bandwidth, plan.routes[0].targets[0].bandwidth)
    };
    let peak = "peak_bandwidth: 40MiB/s";
    let (half, third) = (Some(20 << 20), Some((40 << 20) / 3));
    for (cluster, target, expected) in [
        ("region: x", "", (None, None)),
        ("region: x", "7MiB/s", (None, Some(7 << 20))),
        (peak, "", (Some(40 << 20), Some(40 << 20))),
        (peak, "unlimited", (Some(40 << 20), None)),
        ("peak_bandwidth: 40MiB/s, replicas: 2", "", (half, half)),
        ("peak_bandwidth: 40MiB/s, replicas: 2", "80%", (half, Some(16 << 20))),
        ("peak_bandwidth: 40MiB/s, replicas: 2", "30MiB/s", (half, Some(30 << 20))),
        ("peak_bandwidth: 40MiB/s, replicas: 3", "100%", (third, third)),
        ("peak_bandwidth: 1KiB/s, replicas: 10", "1%", (Some(102), Some(1))),
    ] {
        assert_eq!(bandwidth(cluster, target), expected, "{cluster}, {target}");
    }
}

#[test]
fn a_value_that_the_environment_gave_is_never_repeated() {
    let secret = |edit: &str, value: &str, paths: &[&str]| {
        let text = MINIMAL.replace("from: source,", edit);
        let env = [("MIXED_UP".to_owned(), value.to_owned())].into_iter().collect();
        let error = load_str(&text, Path::new(""), &env).unwrap_err().to_string();
        assert!(paths.iter().all(|path| error.contains(&format!("routes.example.{path}: "))), "{error}");
        assert!(!error.contains(value), "{error}");
    };
    let edit = "from: \"${MIXED_UP}\", in_flight: \"${MIXED_UP}\", bandwidth: \"${MIXED_UP}\",
        retry: { profile: \"${MIXED_UP}\", record: { attempts: \"${MIXED_UP}\", max_age: \"${MIXED_UP}\" },
        crash: { backoff: { initial: 1s, max: 2s, factor: \"${MIXED_UP}\" } },
        dead_letter: { cluster: \"${MIXED_UP}\", topic: \"${MIXED_UP}\" } },";
    let dead_letter = ["retry.dead_letter.cluster", "retry.dead_letter.topic"];
    let others = ["from", "in_flight", "bandwidth", "retry.profile", "retry.record.attempts", "retry.record.max_age"];
    let all = [&others[..], &dead_letter, &["retry.crash.backoff.factor"]].concat();
    secret(edit, "hunter/2", &all);
    let numbers = "from: source, in_flight: \"${MIXED_UP}\", batch: { max_messages: \"${MIXED_UP}\" },
        retry: { record: { attempts: \"${MIXED_UP}\" }, crash: { backoff: { initial: 1s, max: 2s, jitter: \"${MIXED_UP}\" } } },";
    let all = ["in_flight", "batch.max_messages", "retry.record.attempts", "retry.crash.backoff.jitter"];
    secret(numbers, "777777777777777777", &all);
    secret("from: source, retry: { record: { max_age: \"${MIXED_UP}\" } },", "777d", &["retry.record.max_age"]);
    secret("from: source, in_flight: \"${MIXED_UP}\",", "77777KiB", &["in_flight"]);
}
