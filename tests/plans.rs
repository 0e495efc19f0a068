//! What another plan changes of the one that runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use anabranch::config::load_str;
use anabranch::plan::changes::changes;
use anabranch::plan::{Plan, RoutePlan};

const CONFIG: &str = r#"
admin: { token: "a-token-of-some-length" }
clusters:
  here: { bootstrap: "a:1", security: { protocol: sasl_plaintext, username: me, password: a-secret } }
  there: { bootstrap: "b:1" }
  yonder: { bootstrap: "c:1" }
routes:
  orders: { enabled: true, from: here, topics: { include: [orders, "paid.*"] }, to: { there: {}, yonder: { bandwidth: 1MiB/s } } }
  audit: { from: here, topics: { include: [audit] }, to: { there: {} } }
"#;

fn plan(text: &str) -> Plan {
    load_str(text, Path::new(""), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// What is told where `from` is `to`.
fn told(from: &str, to: &str) -> Vec<String> {
    assert!(CONFIG.contains(from), "{from}");
    changes(&plan(CONFIG), &plan(&CONFIG.replacen(from, to, 1)))
}

#[test]
fn each_change_is_told_by_its_key() {
    assert!(changes(&plan(CONFIG), &plan(CONFIG)).is_empty());
    for (from, to, line) in [
        ("enabled: true", "enabled: false", "routes.orders.enabled: false instead of true"),
        (", \"paid.*\"", "", "routes.orders.topics.include: orders instead of orders, paid.*"),
        ("1MiB/s", "1.5MiB/s", "routes.orders.to.yonder.bandwidth: 1.5MiB/s instead of 1MiB/s"),
        (
            "to: { there: {}, ",
            "to: { there: { topic: \"x.{topic}\" }, ",
            "routes.orders.to.there.topic: x.{topic} instead of {topic}",
        ),
        (
            "from: here, topics: { include: [audit]",
            "start: latest, from: here, topics: { include: [audit]",
            "routes.audit.start: latest instead of earliest",
        ),
        ("admin:", "limits: { drain: 1m }\nadmin:", "limits.drain: 1m instead of 30s"),
        ("admin:", "limits: { stall: 1m }\nadmin:", "limits.stall: takes effect when the process starts anew"),
        (
            "admin:",
            "telemetry: { per_partition: false }\nadmin:",
            "telemetry.per_partition: takes effect when the process starts anew",
        ),
        (
            "admin:",
            "telemetry: { resource: { a: b } }\nadmin:",
            "telemetry.resource: takes effect when the process starts anew",
        ),
        (
            "admin:",
            "telemetry: { otlp: { endpoint: \"http://h:1\" } }\nadmin:",
            "telemetry.otlp: takes effect when the process starts anew",
        ),
        (
            "admin:",
            "telemetry: { traces: { sample: 1 } }\nadmin:",
            "telemetry.traces.sample: takes effect when the process starts anew",
        ),
        ("admin:", "reload: watch\nadmin:", "reload: watch instead of on_request"),
        ("of-some-length", "of-another-length", "admin.token: takes effect when the process starts anew"),
        ("a-secret", "another-secret", "clusters.here: is reached in another way: what reads or writes it begins anew"),
        ("\"c:1\"", "\"c:1\", read_bandwidth: 2MiB/s", "clusters.yonder.read_bandwidth: 2MiB/s instead of unlimited"),
    ] {
        assert_eq!(told(from, to), [line], "{from} → {to}");
    }
    let renamed = told("audit:", "audited:");
    assert_eq!(renamed.len(), 2, "{renamed:?}");
    assert_eq!(renamed[0], "routes.audited: is new, and switched off");
    let secrets = ["a-secret", "another-secret", "of-some-length", "of-another-length"];
    let all = [told("a-secret", "another-secret"), told("of-some-length", "of-another-length")].concat().join(" ");
    assert!(secrets.iter().all(|secret| !all.contains(secret)), "{all}");
}

#[test]
fn what_begins_anew_is_what_cannot_go_on() {
    let begins = |from: &str, to: &str| {
        let (old, new) = (plan(CONFIG), plan(&CONFIG.replacen(from, to, 1)));
        let of = |plan: &Plan| plan.routes.iter().find(|route| route.name == "orders").unwrap().clone();
        let (old, new) = (of(&old), of(&new));
        let targets =
            old.targets.iter().zip(&new.targets).map(|(old, new)| old.begins_anew_for(new)).collect::<Vec<_>>();
        (old.begins_anew_for(&new), targets)
    };
    assert!(begins("enabled: true", "enabled: true, batch: { max_messages: 5 }").0);
    assert_eq!(begins("a-secret", "another-secret"), (true, vec![false, false]));
    assert_eq!(begins("\"c:1\"", "\"c:2\""), (false, vec![false, true]));
    assert_eq!(begins("1MiB/s", "2MiB/s, retry: { profile: scf-async }"), (false, vec![false, true]));
    assert_eq!(begins("1MiB/s", "2MiB/s"), (false, vec![false, false]));
    assert_eq!(begins("[orders, ", "[orders, more, "), (false, vec![false, false]));
}

fn route(targets: &[&str]) -> RoutePlan {
    let cluster = |alias: &&str| format!("{alias}: {{ bootstrap: \"{alias}:1\" }}");
    let clusters: Vec<String> = ["here", "a", "b", "c"].iter().map(cluster).collect();
    let to: Vec<String> = targets.iter().map(|alias| format!("{alias}: {{}}")).collect();
    let text = format!(
        "{{ clusters: {{ {} }}, routes: {{ r: {{ from: here, topics: {{ include: [x] }}, in_flight: 24MiB, to: {{ {} }} }} }} }}",
        clusters.join(", "),
        to.join(", ")
    );
    load_str(&text, Path::new(""), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")).routes.remove(0)
}

fn seats(route: &RoutePlan) -> Vec<(usize, &str)> {
    route.seated().map(|(seat, target)| (seat, target.name())).collect()
}

#[test]
fn targets_keep_their_places_whoever_comes_and_goes() {
    const MIB: u64 = 1 << 20;
    let first = route(&["b", "c"]);
    assert_eq!(seats(&first), [(0, "b"), (1, "c")]);
    let second = first.followed_by(&route(&["a", "c"]));
    assert_eq!(seats(&second), [(1, "c"), (2, "a")]);
    assert_eq!((second.seat_of("b"), second.seat_of("a")), (None, Some(2)));
    assert_eq!(second.shares(), (12 * MIB, 6 * MIB));
    let alone = second.followed_by(&route(&["c"]));
    assert_eq!((seats(&alone), alone.shares()), (vec![(1, "c")], (24 * MIB, 12 * MIB)));
    let all = alone.followed_by(&route(&["a", "b", "c"]));
    assert_eq!(seats(&all), [(0, "b"), (1, "c"), (2, "a")]);
    assert_eq!(all.shares(), (12 * MIB, 4 * MIB));
}
