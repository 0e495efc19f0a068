//! Credentials that are revoked while the engine runs: it says so, does not storm, and goes on when they are put right.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::support::access::authorizer;
use crate::support::cluster::{Cluster, Options, Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::listeners::{Listener, SCRAM_256_PASSWORD, SCRAM_USER, WayIn, ways_in};
use crate::support::log::text;
use crate::support::meter::Meter;
use crate::support::records::Bulk;
use crate::support::topic::{Load, Topic};
use crate::support::{eventually, seconds};

const MECHANISM: &str = "scram-sha-256";
const ANOTHER_PASSWORD: &str = "another-Secret-4715";
/// For how long attempts are counted.
const WATCH: Duration = seconds(10);

/// It asks for a password, and lets a user write what a list allows.
static GUARDED: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::start_with(
        "guarded",
        &Options { listeners: vec![Listener::Sasl], properties: authorizer(), ..Options::default() },
    )
});

/// One test at a time has the guarded cluster.
fn turn() -> (MutexGuard<'static, ()>, Regions) {
    static GUARD: Mutex<()> = Mutex::new(());
    (GUARD.lock().unwrap_or_else(PoisonError::into_inner), regions())
}

fn way() -> WayIn {
    ways_in(GUARDED.certificates()).into_iter().find(|way| way.name == "scram_256").unwrap()
}

/// The user is there, with its password: whatever the last test did.
fn let_in() {
    GUARDED.set_scram_user(MECHANISM, SCRAM_USER, SCRAM_256_PASSWORD);
    eventually(seconds(5), "the user is let in", || way().admits_java(&GUARDED.bootstrap_of(Listener::Sasl)).is_ok());
}

/// A steady load that goes to the guarded cluster and to Shanghai.
struct Case {
    source: Topic,
    guarded: Topic,
    shanghai: Topic,
    load: Load,
    engine: Engine,
}

impl Case {
    fn start(regions: &Regions, name: &str) -> Self {
        let source = regions.guangzhou.topic(name).create(2);
        let [guarded, shanghai] = [&GUARDED, regions.shanghai].map(|cluster| cluster.topic(name).create(2));
        let_in();
        GUARDED.allow(SCRAM_USER, name);
        let config = Config::new()
            .cluster("guangzhou", regions.guangzhou)
            .cluster("shanghai", regions.shanghai)
            .cluster_as("guarded", &GUARDED.bootstrap_of(Listener::Sasl), Some(way().security))
            .fan_out("guangzhou", name, &["guarded", "shanghai"]);
        let load = source.load(500, Bulk::over(2));
        let mut engine = Engine::run(&config);
        eventually(seconds(30), "records arrive on both", || guarded.end() > 200 && shanghai.end() > 200);
        engine.wait_for_state(seconds(10), "guarded", "running");
        Self { source, guarded, shanghai, load, engine }
    }

    /// Checks that the guarded cluster is given up until somebody changes something, and that nobody else is.
    fn assert_failed(&mut self, causes: &[&str]) {
        let state = self.engine.wait_for_state(seconds(40), "guarded", "failed");
        assert_eq!(state["class"], "config", "{state}");
        let reason = text(&state, "reason").to_lowercase();
        assert!(causes.iter().any(|cause| reason.contains(cause)), "the cause is not named: {reason}");
        self.assert_the_other_runs();
    }

    fn assert_the_other_runs(&mut self) {
        let before = self.shanghai.end();
        eventually(seconds(5), "the other target's records keep arriving", || self.shanghai.end() >= before + 500);
        assert_eq!(self.engine.log().state_of("shanghai").unwrap()["state"], "running");
    }

    /// How often the count rises while nothing is put right.
    fn attempts(&mut self, count: impl Fn() -> i64 + Send + 'static) -> i64 {
        let meter = Meter::start(Duration::from_millis(100), count);
        self.engine.keeps_running(WATCH);
        let curve = meter.stop();
        println!("attempts by the second: {}", curve.by_the_second());
        curve.most_within(WATCH)
    }

    /// After all is put right: it goes on by itself, and everything arrives.
    fn assert_recovers(mut self) {
        let before = self.guarded.end();
        eventually(seconds(30), "records arrive again without a restart", || self.guarded.end() > before);
        self.engine.wait_for_state(seconds(30), "guarded", "running");
        self.assert_the_other_runs();
        self.load.stop();
        for target in ["guarded", "shanghai"] {
            self.source.wait_for(target);
        }
        let finished = self.engine.drain().assert_bounded();
        for secret in [SCRAM_256_PASSWORD, ANOTHER_PASSWORD] {
            assert!(!finished.output().contains(secret), "{secret} is in the output");
        }
        let written = self.source.committed_rows();
        Ledger::compare(&written, &self.shanghai.all_rows()).assert_exact();
        let duplicated = Ledger::compare(&written, &self.guarded.all_rows()).assert_at_least_once();
        println!("{duplicated} of {} records arrived again on the guarded cluster", written.len());
    }
}

/// Who is in stays in: the new password, or none, counts from the next connection on.
fn cut_connections() {
    GUARDED.stop();
    GUARDED.restart();
}

#[test]
fn a_user_that_is_deleted_while_running_stops_its_target_until_it_is_there_again() {
    let (_guarded, regions) = turn();
    let mut case = Case::start(&regions, "credentials.deleted");
    GUARDED.delete_scram_user(MECHANISM, SCRAM_USER);
    cut_connections();
    case.assert_failed(&["authentication"]);
    let attempts = case.attempts(|| GUARDED.failed_authentications());
    assert!((1..=10).contains(&attempts), "{attempts} failed authentications in {WATCH:?}: a storm, or no look at all");
    GUARDED.set_scram_user(MECHANISM, SCRAM_USER, SCRAM_256_PASSWORD);
    case.assert_recovers();
}

#[test]
fn a_password_that_is_changed_while_running_stops_its_target_until_it_is_put_right() {
    let (_guarded, regions) = turn();
    let mut case = Case::start(&regions, "credentials.changed");
    GUARDED.set_scram_user(MECHANISM, SCRAM_USER, ANOTHER_PASSWORD);
    cut_connections();
    case.assert_failed(&["authentication"]);
    GUARDED.set_scram_user(MECHANISM, SCRAM_USER, SCRAM_256_PASSWORD);
    case.assert_recovers();
}

#[test]
fn a_right_that_is_revoked_while_running_stops_its_target_until_it_is_given_back() {
    let (_guarded, regions) = turn();
    let mut case = Case::start(&regions, "credentials.revoked");
    GUARDED.revoke(SCRAM_USER, "credentials.revoked");
    case.assert_failed(&["authoriz", "authoris"]);
    let attempts = case.attempts(|| GUARDED.requests("Produce"));
    assert!(attempts <= 10, "{attempts} attempts to write in {WATCH:?}: a storm");
    GUARDED.allow(SCRAM_USER, "credentials.revoked");
    case.assert_recovers();
}

#[test]
fn the_guarded_cluster_lets_in_and_shows_what_it_should() {
    let _turn = turn();
    let_in();
    GUARDED.topic("credentials.lists").create(1);
    let bootstrap = GUARDED.bootstrap_of(Listener::Sasl);
    let shown = || way().shows_java(&bootstrap, Some("credentials.lists"));
    let refused = |fragment: &str| shown().is_err_and(|error| error.contains(fragment));
    assert_eq!(way().admits_java(&bootstrap), Ok(()));
    assert!(refused("Authorization"), "{:?}", shown());
    GUARDED.allow(SCRAM_USER, "credentials.lists");
    eventually(seconds(5), "the topic is shown", || shown().is_ok());
    GUARDED.revoke(SCRAM_USER, "credentials.lists");
    eventually(seconds(5), "the topic is hidden", || refused("Authorization"));

    let failed = GUARDED.failed_authentications();
    GUARDED.delete_scram_user(MECHANISM, SCRAM_USER);
    eventually(seconds(5), "the user is not let in", || refused("Authentication"));
    assert!(GUARDED.failed_authentications() > failed);
    cut_connections();
    assert!(refused("Authentication"), "{:?}", shown());
    GUARDED.set_scram_user(MECHANISM, SCRAM_USER, ANOTHER_PASSWORD);
    let mut other = way();
    other.security["password"] = json!(ANOTHER_PASSWORD);
    eventually(seconds(5), "the other password counts", || other.admits_java(&bootstrap).is_ok());
    assert!(refused("Authentication"), "{:?}", shown());
    let_in();
}
