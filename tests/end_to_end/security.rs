//! Real listeners with SASL and TLS; who may not get in is told why in one line, and no secret is told to anybody.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Options, Regions, regions};
use crate::support::config::Config;
use crate::support::engine::{Engine, Finished};
use crate::support::ledger::Ledger;
use crate::support::listeners::{Listener, PLAIN_PASSWORD, SCRAM_256_PASSWORD, SCRAM_512_PASSWORD, WayIn, ways_in};
use crate::support::records::Bulk;

const WRONG_PASSWORD: &str = "wrong-Secret-4714";

static SECURE: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::start_with("secure", &Options { listeners: Listener::SECURE.into(), ..Options::default() })
});

fn assert_no_secret(finished: &Finished) {
    for secret in [PLAIN_PASSWORD, SCRAM_256_PASSWORD, SCRAM_512_PASSWORD, WRONG_PASSWORD, "PRIVATE KEY"] {
        assert!(!finished.output().contains(secret), "{secret} is in the output");
    }
}

/// A way in, with one part of its security changed.
fn changed(name: &str, key: &str, value: Value) -> WayIn {
    let mut way = ways_in(SECURE.certificates()).into_iter().find(|way| way.name == name).unwrap();
    way.security[key] = value;
    way
}

/// Guangzhou to the secure cluster and from there to Shanghai.
fn there_and_back(regions: &Regions, way: &WayIn) -> Config {
    let topic = format!("security.{}", way.name);
    Config::new()
        .cluster("guangzhou", regions.guangzhou)
        .cluster("shanghai", regions.shanghai)
        .cluster_as("hongkong", &SECURE.bootstrap_of(way.listener), Some(way.security.clone()))
        .route("there", json!({ "from": "guangzhou", "topics": { "include": [topic] }, "to": { "hongkong": {} } }))
        .route("back", json!({ "from": "hongkong", "topics": { "include": [topic] }, "to": { "shanghai": {} } }))
}

fn assert_copies_through(way: &str) {
    let regions = regions();
    let way = ways_in(SECURE.certificates()).into_iter().find(|known| known.name == way).unwrap();
    let topic = format!("security.{}", way.name);
    let source = regions.guangzhou.topic(&topic).create(2);
    let (there, back) = (SECURE.topic(&topic).create(2), regions.shanghai.topic(&topic));
    source.fill(2_000, Bulk { mixed: true, ..Bulk::over(2) });

    // The second run copies back what the first has brought there after "back" had seen its end.
    for _ in 0..2 {
        assert_no_secret(&Engine::run_until_caught_up(&there_and_back(&regions, &way)).assert_bounded());
    }
    assert_no_secret(&Engine::plan(&there_and_back(&regions, &way)).assert_code(0));

    let written = source.committed_rows();
    Ledger::compare(&written, &there.all_rows()).assert_exact();
    Ledger::compare(&written, &back.all_rows()).assert_exact();
}

#[test]
fn sasl_plain_with_instance_and_user() {
    assert_copies_through("plain");
}

#[test]
fn scram_sha_256() {
    assert_copies_through("scram_256");
}

#[test]
fn scram_sha_512() {
    assert_copies_through("scram_512");
}

#[test]
fn tls() {
    assert_copies_through("tls");
}

#[test]
fn mutual_tls() {
    assert_copies_through("mutual_tls");
}

#[test]
fn sasl_plain_over_tls() {
    assert_copies_through("plain_tls");
}

#[test]
fn scram_over_tls() {
    assert_copies_through("scram_tls");
}

/// `plan` ends 1 with one line on standard error, which names the cluster and has one of the words for the cause.
fn assert_refused(way: &WayIn, causes: &[&str]) {
    let finished = Engine::plan(&there_and_back(&regions(), way)).assert_code(1);
    assert_no_secret(&finished);
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "not one clear line:\n{}", finished.stderr);
    let line = lines[0].to_lowercase();
    assert!(line.contains("hongkong"), "the cluster is not named: {line}");
    assert!(causes.iter().any(|cause| line.contains(cause)), "the cause is not named: {line}");
}

#[test]
fn a_wrong_password_is_told_in_one_line() {
    for name in ["plain", "scram_256", "scram_512"] {
        assert_refused(&changed(name, "password", json!(WRONG_PASSWORD)), &["authentication", "password"]);
    }
}

#[test]
fn a_certificate_of_a_stranger_is_told_in_one_line() {
    let stranger = json!(SECURE.certificates().stranger);
    for name in ["tls", "scram_tls"] {
        assert_refused(&changed(name, "ca", stranger.clone()), &["certificate"]);
    }
}

#[test]
fn every_listener_lets_java_in_and_nobody_with_a_wrong_password() {
    let _regions = regions();
    let stranger = SECURE.certificates().stranger.display().to_string();
    for mut way in ways_in(SECURE.certificates()) {
        let bootstrap = SECURE.bootstrap_of(way.listener);
        assert_eq!(way.admits_java(&bootstrap), Ok(()), "{}", way.name);
        for (key, value) in [("password", WRONG_PASSWORD), ("ca", &stranger)] {
            let right = way.security[key].take();
            if !right.is_null() {
                way.security[key] = json!(value);
                let error = way.admits_java(&bootstrap).unwrap_err();
                assert!(
                    error.contains("Authentication") || error.contains("SSL"),
                    "{} with a wrong {key}: {error}",
                    way.name
                );
                way.security[key] = right;
            }
        }
    }
    let stranger = changed("mutual_tls", "cert", Value::Null);
    let bootstrap = SECURE.bootstrap_of(stranger.listener);
    assert!(stranger.admits_java(&bootstrap).is_err(), "mutual TLS without a certificate");
}
