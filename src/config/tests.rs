//! The shipped configs, the defaults, and what only the plan can show; bad configs stand in `tests/check.rs`.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::tree::{Map, Node, join};
use super::*;
use crate::domain::routing::Partitioning;
use crate::plan::SaslMechanism;

const DEFAULT: &str = include_str!("../../config/default.yaml");

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
    let mut written = BTreeSet::new();
    collect_keys(&tree::parse(DEFAULT).unwrap(), "", &mut written);
    let tables = [
        ("", keys::ROOT),
        ("limits", keys::LIMITS),
        ("clusters.*", keys::CLUSTER),
        ("clusters.*.security", keys::SECURITY),
        ("routes.*", keys::ROUTE),
        ("routes.*.topics", keys::TOPICS),
        ("routes.*.batch", keys::BATCH),
        ("routes.*.to.*", keys::TARGET),
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
    assert_eq!(format!("{:?}", plan(DEFAULT)), format!("{:?}", plan(MINIMAL)));
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
    assert!(route.enabled && route.create_topics && route.keeps_progress);
    assert_eq!(route.source.alias, "guangzhou");
    let targets: Vec<_> = route.targets.iter().map(|t| (t.name(), t.topic.apply("orders.eu").unwrap())).collect();
    assert_eq!(targets, [("beijing", "gz.orders.eu".to_owned()), ("shanghai", "orders.eu".to_owned())]);
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
}

#[test]
fn every_form_of_every_key_reaches_the_plan() {
    let plan = plan(
        r#"
limits: { in_flight: 128MiB, drain: 5s }
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

#[test]
fn a_value_that_the_environment_gave_is_never_repeated() {
    let text = MINIMAL.replace("from: source", "from: \"${MIXED_UP}\", in_flight: \"${MIXED_UP}\"");
    let env = [("MIXED_UP".to_owned(), "hunter2".to_owned())].into_iter().collect();
    let error = load_str(&text, Path::new(""), &env).unwrap_err().to_string();
    assert!(error.contains("routes.example.from: ") && error.contains("routes.example.in_flight: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}
