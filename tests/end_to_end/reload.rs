//! The config is read again while the engine runs: what differs is followed, nothing else notices, and a config that is wrong changes
//! nothing.

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{Regions, regions};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::records::Bulk;
use crate::support::standstill::Standstill;
use crate::support::{eventually, seconds, throughout};

/// Most that an untouched partition may stand still.
const PAUSE: f64 = 1.0;

/// An engine whose config is changed.
struct Changing {
    engine: Engine,
    api: Api,
    config: Config,
    changes: usize,
}

impl Changing {
    fn begin(config: Config) -> Self {
        let mut engine = Engine::run(&config);
        let api = Api::of(&mut engine);
        Self { engine, api, config, changes: 0 }
    }

    /// Has a change followed; one of the lines that tell of it begins so.
    fn change(&mut self, change: impl FnOnce(Config) -> Config, told: &str) {
        self.config = change(self.config.clone());
        self.engine.rewrite(&self.config.text());
        let (status, answer) = self.api.reload();
        let lines = answer["changes"].as_array().cloned().unwrap_or_default();
        let is_told = lines.iter().any(|line| line.as_str().unwrap().starts_with(told));
        assert!(status == 200 && is_told, "{told}: {status} {answer}");
        self.changes += 1;
    }

    /// A text that is no config: why it is refused. All is as it was.
    fn refuse(&mut self, text: &str) -> String {
        let shape = |api: &Api| {
            let routes = api.get("/api/v1/routes")["routes"].as_array().unwrap().clone();
            let of = |route: &Value| {
                let targets = route["targets"].as_array().unwrap().clone();
                let targets: Vec<Value> =
                    targets.iter().map(|target| json!([target["name"], target["bandwidth"]])).collect();
                json!([route["name"], route["enabled"], route["in_flight_limit_bytes"], targets])
            };
            routes.iter().map(of).collect::<Vec<_>>()
        };
        let before = shape(&self.api);
        self.engine.rewrite(text);
        let (status, answer) = self.api.reload();
        assert_eq!(status, 422, "{answer}");
        assert_eq!(shape(&self.api), before, "what is wrong changes nothing");
        let event = self.api.get("/api/v1/events?limit=1")["events"][0].clone();
        assert!(event["kind"] == "reload" && event["level"] == "error", "{event}");
        self.engine.rewrite(&self.config.text());
        self.changes += 1;
        answer["detail"].as_str().unwrap().to_owned()
    }
}

fn config(regions: &Regions, topic: &str, targets: &[&str]) -> Config {
    Config::of(regions).fan_out("guangzhou", topic, targets)
}

#[test]
fn changes_under_load_touch_only_what_differs() {
    const ROUTE: &str = "/routes/reload_a";
    let regions = regions();
    let source = regions.guangzhou.topic("reload.a").create(6);
    let [shanghai, beijing, chengdu] =
        [regions.shanghai, regions.beijing, regions.chengdu].map(|region| region.topic("reload.a").create(6));
    let other = regions.guangzhou.topic("reload.b").create(2);
    other.fill(2_000, Bulk::over(2));
    let [other_there, other_later] = [regions.shanghai, regions.chengdu].map(|region| region.topic("reload.b"));
    let audited = regions.guangzhou.topic("reload.audit").create(2);
    audited.fill(1_000, Bulk::over(2));
    let load = source.load(3_000, Bulk::over(6));
    let mut now = Changing::begin(config(&regions, "reload.a", &["shanghai", "beijing"]));
    eventually(seconds(30), "both are written", || shanghai.end() > 3_000 && beijing.end() > 3_000);
    let still = Standstill::watch(source.clone(), shanghai.clone());

    now.change(|config| config.set(&format!("{ROUTE}/to"), "chengdu", json!({})), "routes.reload_a.to.chengdu: is new");
    eventually(seconds(30), "the new target has caught up", || source.end() - chengdu.end() < 1_500);
    let why = now.refuse(&now.config.clone().set(ROUTE, "bandwith", json!("1MiB/s")).text());
    assert!(why.contains("routes.reload_a.bandwith") && why.contains("bandwidth"), "{why}");
    now.change(
        |config| config.set(&format!("{ROUTE}/to/beijing"), "bandwidth", json!("8MiB/s")),
        "routes.reload_a.to.beijing.bandwidth: 8MiB/s instead of unlimited",
    );
    assert_eq!(now.api.target("reload_a", "beijing")["bandwidth"], "8MiB/s");
    now.change(
        |config| config.set(&format!("{ROUTE}/topics"), "include", json!(["reload\\.[ab]"])),
        "routes.reload_a.topics.include: reload\\.[ab] instead of",
    );
    eventually(seconds(30), "what is selected now is copied from its first record", || other_there.end() == 2_000);
    let why = now.refuse("clusters: [");
    assert!(why.contains("anabranch.yaml"), "{why}");
    now.change(
        |config| config.set("/clusters/shanghai", "peak_bandwidth", json!("512MiB/s")),
        "clusters.shanghai.peak_bandwidth over its replicas: 512MiB/s instead of unlimited",
    );
    now.change(|config| config.without(&format!("{ROUTE}/to"), "beijing"), "routes.reload_a.to.beijing: is gone");
    let gone = |event: &Value| event["text"].as_str().unwrap().starts_with("it is no target any more");
    eventually(seconds(30), "the removed target has ended", || {
        let events = now.api.get("/api/v1/events?target=beijing")["events"].as_array().unwrap().clone();
        events.iter().any(gone)
    });
    assert_eq!(source.watermarks("beijing").values().sum::<i64>(), beijing.end(), "what it has is committed");
    assert_eq!(now.api.route("reload_a")["targets"].as_array().unwrap().len(), 2);
    now.change(
        |config| {
            let config = config.set(ROUTE, "in_flight", json!("16MiB"));
            config.set("", "limits", json!({ "in_flight": "96MiB" }))
        },
        "limits.in_flight: 96",
    );
    assert_eq!(now.api.route("reload_a")["in_flight_limit_bytes"], 16 << 20);
    let why =
        now.refuse(&now.config.clone().set(ROUTE, "from", json!("nowhere")).set(ROUTE, "start", json!("soon")).text());
    assert!(why.contains("routes.reload_a.from") && why.contains("routes.reload_a.start"), "all that is wrong: {why}");
    now.change(
        |config| config.fan_out("guangzhou", "reload.audit", &["beijing"]),
        "routes.reload_audit: is new, and starts",
    );
    eventually(seconds(30), "the new route copies", || regions.beijing.topic("reload.audit").end() == 1_000);
    now.change(|config| config.set(&format!("{ROUTE}/to"), "beijing", json!({})), "routes.reload_a.to.beijing: is new");
    eventually(seconds(30), "it goes on where it was", || source.end() - beijing.end() < 1_500);
    now.change(
        |config| config.set(&format!("{ROUTE}/to/chengdu"), "retry", json!({ "profile": "ckafka-2025" })),
        "routes.reload_a.to.chengdu.retry: has another value",
    );
    now.change(
        |config| config.set(&format!("{ROUTE}/topics"), "include", json!(["reload\\.a"])),
        "routes.reload_a.topics.include: reload\\.a instead of",
    );
    eventually(seconds(30), "what is not selected is not spoken of", || {
        now.api.route("reload_a")["positions"].as_array().unwrap().len() == 6
    });
    other.fill(500, Bulk::over(2).numbered_from(2_000));
    now.change(|config| config.without("/routes", "reload_audit"), "routes.reload_audit: is gone");
    eventually(seconds(30), "the removed route is gone", || now.api.ask("/api/v1/routes/reload_audit").0 == 404);
    assert_eq!(now.api.reload(), (200, json!({ "changes": [] })), "nothing has changed");
    throughout(seconds(3), || now.engine.assert_running());
    assert!(now.changes >= 12, "{} changes", now.changes);

    let longest = still.stop();
    println!("the longest pauses of the partitions of a target that was not touched: {longest:?}");
    assert!(longest.values().all(|pause| pause.as_secs_f64() <= PAUSE), "{longest:?}");
    // that it would have been seen
    let still = Standstill::watch(source.clone(), shanghai.clone());
    now.engine.freeze();
    throughout(seconds(3) / 2, || {});
    now.engine.thaw();
    eventually(seconds(30), "it goes on", || source.end() - shanghai.end() < 1_500);
    let seen = still.stop();
    assert!(seen.values().all(|pause| pause.as_secs_f64() > PAUSE), "a process that stands still is seen to: {seen:?}");
    let written = load.stop();
    for target in [&shanghai, &beijing, &chengdu] {
        eventually(seconds(30), "all arrived", || target.end() >= written);
    }
    assert_eq!((other_there.end(), other_later.end()), (2_000, 2_000), "it is not selected any more");
    now.engine.drain().assert_bounded();
    let rows = source.committed_rows();
    for target in [shanghai, beijing, chengdu] {
        Ledger::compare(&rows, &target.all_rows()).assert_exact();
    }
}

#[test]
fn a_route_that_can_not_go_on_as_it_is_begins_anew_where_it_was() {
    let regions = regions();
    let source = regions.guangzhou.topic("reload.anew").create(3);
    let [shanghai, beijing] = [regions.shanghai, regions.beijing].map(|region| region.topic("reload.anew").create(3));
    let load = source.load(2_000, Bulk::over(3));
    let dead = config(&regions, "reload.anew", &["shanghai", "beijing"]).cluster_as("beijing", "127.0.0.1:1", None);
    let mut now = Changing::begin(dead);
    eventually(seconds(30), "one is written", || shanghai.end() > 2_000);
    let place = ("reload_anew", "beijing");
    now.api.wait_for_target(seconds(60), place, "nobody is at its address", |target| target["state"] == "retrying");

    now.change(|config| config.cluster("beijing", regions.beijing), "clusters.beijing: is reached in another way");
    eventually(seconds(10), "its new address is tried at once", || beijing.end() > 0);
    now.change(
        |config| config.set("/routes/reload_anew", "batch", json!({ "max_messages": 500 })),
        "routes.reload_anew.batch: has another value",
    );
    let goes_on = |from: i64| {
        let all = [&shanghai, &beijing];
        eventually(seconds(30), "it goes on", || all.iter().all(|target| target.end() > from + 4_000));
    };
    goes_on(shanghai.end().max(beijing.end()));
    now.change(
        |config| config.set("/routes/reload_anew", "enabled", json!(false)),
        "routes.reload_anew.enabled: false instead of true",
    );
    now.api.wait_for_route(seconds(30), "reload_anew", "off");
    now.change(
        |config| {
            let config = config.set("/routes/reload_anew", "enabled", json!(true));
            config.set("/routes/reload_anew", "batch", json!({ "max_messages": 5_000 }))
        },
        "routes.reload_anew.enabled: true instead of false",
    );
    goes_on(shanghai.end());
    let written = load.stop();
    eventually(seconds(30), "all arrived", || shanghai.end() >= written && beijing.end() >= written);
    now.engine.drain().assert_bounded();
    let rows = source.committed_rows();
    for target in [shanghai, beijing] {
        Ledger::compare(&rows, &target.all_rows()).assert_exact();
    }
}

#[test]
fn the_config_is_read_again_when_its_file_changes_when_sighup_says_so_and_by_command() {
    let regions = regions();
    regions.guangzhou.topic("reload.watch").create(1).fill(1_000, Bulk::over(1));
    let mut now = Changing::begin(config(&regions, "reload.watch", &["shanghai"]).set("", "reload", json!("watch")));
    let place = ("reload_watch", "shanghai");
    now.api.wait_for_target(seconds(30), place, "all is copied", |target| target["records"] == 1_000);
    let has_rate = |now: &Changing, rate: &str| {
        now.api.wait_for_target(seconds(10), place, "it has another limit", |target| target["bandwidth"] == rate);
    };
    let with_rate =
        |config: &Config, rate: &str| config.clone().set("/routes/reload_watch/to/shanghai", "bandwidth", json!(rate));
    now.engine.rewrite(&with_rate(&now.config, "3MiB/s").text());
    has_rate(&now, "3MiB/s");
    now.engine.rewrite("routes: 7");
    let refused = |line: &Value| line["message"].as_str().unwrap_or_default().contains("changes nothing");
    now.engine.wait_for_log(seconds(10), "what is wrong is told", refused);
    throughout(seconds(3), || now.engine.assert_running());
    let told = now.engine.log().lines().iter().filter(|line| refused(line)).count();
    assert_eq!((told, now.api.target(place.0, place.1)["bandwidth"].as_str()), (1, Some("3MiB/s")), "it is told once");

    now.engine.rewrite(&with_rate(&now.config, "4MiB/s").set("", "reload", json!("on_request")).text());
    has_rate(&now, "4MiB/s");
    now.engine.rewrite(&with_rate(&now.config, "5MiB/s").text());
    throughout(seconds(4), || now.engine.assert_running());
    has_rate(&now, "4MiB/s");
    now.engine.hang_up();
    has_rate(&now, "5MiB/s");

    let reload = |url: &str| Engine::start(&["reload", "--admin", url], &[]).wait(seconds(20));
    now.engine.rewrite(&with_rate(&now.config, "6MiB/s").text());
    let said = reload(now.api.url()).assert_code(0).stdout;
    assert_eq!(said, "routes.reload_watch.to.shanghai.bandwidth: 6MiB/s instead of 5MiB/s\n");
    assert_eq!(reload(now.api.url()).assert_code(0).stdout, "nothing has changed\n");
    now.engine.rewrite(&now.config.clone().set("", "limit", json!({})).text());
    let refused = reload(now.api.url()).assert_code(2).stderr;
    assert!(refused.contains("limits") && refused.lines().count() == 1, "{refused}");
    // what was ordered by hand stays, whatever the file says
    assert_eq!(now.api.throttle(place.0, place.1, "7MiB/s").0, 200);
    now.engine.rewrite(&with_rate(&now.config, "8MiB/s").text());
    reload(now.api.url()).assert_code(0);
    let target = now.api.target(place.0, place.1);
    assert_eq!((&target["bandwidth"], &target["bandwidth_in_config"]), (&json!("7MiB/s"), &json!("8MiB/s")));
    now.engine.drain().assert_bounded();
}
