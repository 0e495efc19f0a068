//! Every expression of every panel and alert is asked of a real Prometheus that scrapes a real engine: under load, with a target that is
//! frozen for a while, and a record that a target refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use regex::Regex;
use serde_json::json;

use super::boards::{Query, alerts, boards, panel_queries};
use super::prometheus::{Prometheus, Series, TOKEN};
use super::promql::selectors;
use super::support::cluster::{Cluster, Regions, regions_alone};
use super::support::config::Config;
use super::support::engine::Engine;
use super::support::log::text;
use super::support::records::{Bulk, Exact, noise};
use super::support::topic::{Load, Topic};
use super::support::{eventually, seconds};

const ROUTE: &str = "scrapes";
const TOPICS: [(&str, i32, i64); 2] = [("scrapes.orders", 4, 400), ("scrapes.payments", 2, 200)];
const PARTITIONS: usize = 6;
const RECORDS_PER_SECOND: f64 = 600.0;

/// What rightly shows nothing here: the panel, words of its expression, and why.
const EMPTY: &[(&str, &str, &str)] = &[
    ("overview / Silent partitions", "topk", "all has arrived when it is asked"),
    ("overview / Given up", "dropped", "no policy says drop"),
    ("overview / Given up", "kept", "no policy says keep"),
    ("overview / Gaps", "> 0", "the source has everything"),
    ("overview / Restarts", "restarts_total", "no part of it panics"),
    ("overview / Restarts", "start_time", "the process is started once"),
];

/// The engine between its clusters, with load on both topics.
struct Scene {
    regions: Regions,
    engine: Engine,
    prometheus: Prometheus,
    sources: Vec<Topic>,
    loads: Vec<Load>,
}

fn config(regions: &Regions) -> Config {
    let refuses =
        json!({ "record": { "attempts": 2, "backoff": { "fixed": "300ms" } }, "on_exhausted": "dead_letter" });
    let route = json!({
        "from": "guangzhou", "topics": { "include": ["scrapes\\..*"] }, "to": { "shanghai": { "retry": refuses }, "chengdu": {} },
    });
    Config::of(regions).route(ROUTE, route).set("/admin", "token", json!(TOKEN))
}

impl Scene {
    fn set() -> Self {
        let regions = regions_alone();
        let sources: Vec<Topic> =
            TOPICS.iter().map(|(name, partitions, _)| regions.guangzhou.topic(name).create(*partitions)).collect();
        let create = |cluster: &Cluster, limit: &serde_json::Value| {
            for (name, partitions, _) in TOPICS {
                cluster.topic(name).create_with(partitions, limit);
            }
        };
        create(regions.shanghai, &json!({ "max.message.bytes": "100000" }));
        create(regions.chengdu, &json!({}));
        let mut engine = Engine::run(&config(&regions));
        let listens = engine.wait_for_log(seconds(10), "the API listens", |line| line["message"] == "the API listens");
        let prometheus = Prometheus::start(text(&listens, "address"));
        let load =
            |(source, (_, partitions, rate)): (&Topic, &(&str, i32, i64))| source.load(*rate, Bulk::over(*partitions));
        let loads = sources.iter().zip(&TOPICS).map(load).collect();
        Self { regions, engine, prometheus, sources, loads }
    }

    fn lag(&self, target: &str) -> f64 {
        self.prometheus.number(&format!(r#"sum(anabranch_lag_records{{target="{target}"}})"#)).unwrap()
    }

    /// A record that Shanghai does not take becomes a dead letter.
    fn have_one_refused(&mut self) {
        self.sources[1].write(&[Exact::new(0, 1_000_000).value(&noise(500_000))]);
        self.prometheus.wait_for(seconds(30), r#"sum(anabranch_dead_letter_records_total{target="shanghai"}) == 1"#);
        self.engine.wait_for_state(seconds(20), "shanghai", "running");
    }

    /// What is frozen falls behind and says so; the other one goes on.
    fn freeze_one(&mut self) {
        let all_well = r#"sum(min_over_time(anabranch_target_state{state="running"}[3s])) == 2"#;
        self.prometheus.wait_for(seconds(30), all_well);
        let before = self.lag("chengdu");
        let began = self.prometheus.number("time()").unwrap();
        self.regions.chengdu.freeze();
        let not_running = r#"sum(anabranch_target_state{target="chengdu",state=~"retrying|detached"}) == 1"#;
        self.prometheus.wait_for(seconds(20), not_running);
        self.name_what_is_silent();
        let (late, behind) =
            (self.prometheus.number(r#"anabranch_lag_seconds{target="chengdu"}"#).unwrap(), self.lag("chengdu"));
        println!("frozen: {behind} records and {late} s behind; {before} records before");
        assert!(behind > before + 5.0 * RECORDS_PER_SECOND && late > 5.0, "{behind} records, {late} s");
        let meanwhile = Duration::from_secs_f64(self.prometheus.number("time()").unwrap() - began);
        let runs =
            self.prometheus.over(r#"anabranch_target_state{target="shanghai",state="running"}"#, meanwhile).unwrap();
        assert!(
            runs[0].samples.iter().all(|(_, is)| *is > 0.5),
            "the other target does not run all the time: {runs:?}"
        );
        let most = self.prometheus.number(r#"max_over_time(anabranch_lag_seconds{target="shanghai"}[5s])"#).unwrap();
        assert!(most < 5.0, "the other target is {most} s behind");
    }

    /// The list of silent partitions, over seconds in place of minutes, has all of the target that is frozen, and no other.
    fn name_what_is_silent(&self) {
        let list = panel_queries()
            .into_iter()
            .find(|query| query.place == "overview / Silent partitions" && query.expr.contains("topk"));
        let expr = fill(&list.unwrap().expr, None).replace("[5m]", "[6s]");
        eventually(seconds(30), "the frozen target's partitions are silent", || {
            let silent = self.prometheus.query(&expr).unwrap();
            silent.len() == PARTITIONS && silent.iter().all(|series| series.label("target") == "chengdu")
        });
    }

    /// All of it arrives everywhere.
    fn settle(&mut self) {
        self.regions.chengdu.thaw();
        self.engine.wait_for_state(seconds(60), "chengdu", "running");
        for load in self.loads.drain(..) {
            load.stop();
        }
        for (source, target) in
            self.sources.iter().flat_map(|source| ["shanghai", "chengdu"].map(|target| (source, target)))
        {
            source.wait_for_target_of(ROUTE, target);
        }
        self.prometheus.wait_for(seconds(10), "sum(anabranch_lag_records) == 0");
    }
}

/// An expression with its variables filled in; `target`: of a dashboard that is about one.
fn fill(expr: &str, target: Option<&str>) -> String {
    let all = [("$job", ".+"), ("$instance", ".+"), ("$topic", ".+"), ("$__rate_interval", "5s"), ("$__range", "10m")];
    let one = [("$route", target.map_or(".+", |_| ROUTE)), ("$target", target.unwrap_or(".+"))];
    let filled = all.iter().chain(&one).fold(expr.to_owned(), |expr, (name, value)| expr.replace(name, value));
    assert!(!filled.contains('$'), "a variable that nobody fills: {filled}");
    filled
}

/// The time that a dashboard shows here.
const SHOWN: Duration = Duration::from_mins(10);

/// What a panel shows.
fn show(prometheus: &Prometheus, query: &Query) -> Vec<Series> {
    let expr = fill(&query.expr, query.place.starts_with("target / ").then_some("chengdu"));
    let shown = if query.instant { prometheus.query(&expr) } else { prometheus.over(&expr, SHOWN) };
    shown.unwrap_or_else(|error| panic!("{}: {expr}: {error}", query.place))
}

/// Every panel shows something, or is listed; its lines have the labels that they are named by.
fn assert_panels(prometheus: &Prometheus) {
    let label = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let (mut empty, mut shown) = (BTreeSet::new(), 0);
    for query in panel_queries() {
        let series = show(prometheus, &query);
        let listed = EMPTY.iter().find(|(place, words, _)| *place == query.place && query.expr.contains(words));
        match (series.is_empty(), listed) {
            (true, None) => panic!("{} shows nothing: {}", query.place, query.expr),
            (false, Some((place, words, why))) => {
                panic!("{place} ({words}) is listed as empty, as {why}, and shows {series:?}")
            }
            (true, Some(listed)) => {
                empty.insert(listed);
            }
            (false, None) => shown += 1,
        }
        let numbers = |series: &Series| series.samples.iter().all(|(_, number)| number.is_finite());
        let named = label
            .captures_iter(&query.legend)
            .all(|found| series.iter().all(|series| !series.label(&found[1]).is_empty()));
        assert!(named, "{}: {} needs labels that are not in {series:?}", query.place, query.legend);
        assert!(
            query.expr.contains('/') || query.expr.contains("quantile") || series.iter().all(numbers),
            "{}: {series:?}",
            query.place
        );
    }
    println!("{shown} expressions of panels show something, {} rightly nothing", empty.len());
    assert_eq!(empty.len(), EMPTY.len(), "something is listed as empty that is not there");
}

/// What the alerts are about is there; and of all of them only that fires for which there is a reason.
fn assert_alerts(prometheus: &Prometheus) {
    let mut firing = BTreeSet::new();
    let alerts = alerts();
    for alert in &alerts {
        let found = prometheus.query(&alert.expr).unwrap_or_else(|error| panic!("{}: {error}", alert.name));
        if !found.is_empty() {
            firing.insert(alert.name.as_str());
        }
        for selector in selectors(&alert.expr) {
            let matchers: Vec<String> =
                selector.matchers.iter().map(|(label, how, value)| format!("{label}{how}\"{value}\"")).collect();
            let expr = format!("{}{{{}}}", selector.name, matchers.join(","));
            assert!(!prometheus.query(&expr).unwrap().is_empty(), "{}: there is no {expr}", alert.name);
        }
    }
    assert_eq!(firing, BTreeSet::from(["AnabranchDeadLetters"]), "of {} alerts", alerts.len());
}

/// What variables and annotations are filled from.
fn assert_variables(prometheus: &Prometheus) {
    let values = Regex::new(r"^label_values\((.+), (\w+)\)$").unwrap();
    for board in boards() {
        for variable in board.variables().iter().filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap();
            let found = values.captures(query).unwrap();
            let series = prometheus.query(&fill(&found[1], None)).unwrap();
            assert!(
                !series.is_empty() && series.iter().all(|series| !series.label(&found[2]).is_empty()),
                "{}: {query}",
                board.name
            );
        }
        let annotation = board.json["annotations"]["list"][0]["expr"].as_str().unwrap();
        prometheus.query(&fill(annotation, None)).unwrap();
    }
}

#[test]
fn every_expression_shows_what_is_so() {
    let mut scene = Scene::set();
    scene.have_one_refused();
    scene.freeze_one();
    scene.settle();
    assert_panels(&scene.prometheus);
    assert_alerts(&scene.prometheus);
    assert_variables(&scene.prometheus);
    scene.engine.drain().assert_bounded();
}
