//! What people order while the engine runs: routes switched on and off, targets paused, throttled; and that a restart keeps it.

use serde_json::json;

use crate::support::api::Api;
use crate::support::cluster::regions;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::meter::Meter;
use crate::support::records::Bulk;
use crate::support::{eventually, seconds, throughout};

const ROUTE: &str = "orders_switched";

#[test]
fn a_route_copies_nothing_until_it_is_switched_on_and_says_so() {
    let regions = regions();
    let source = regions.guangzhou.topic("orders.switched").create(4);
    let target = regions.shanghai.topic("orders.switched").create(4);
    source.fill(20_000, Bulk::over(4));
    let config = Config::of(&regions).fan_out("guangzhou", "orders.switched", &["shanghai"]);
    let config = config.set(&format!("/routes/{ROUTE}"), "enabled", json!(false));

    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    let off = api.wait_for_route(seconds(5), ROUTE, "off");
    assert!(off["reason"].as_str().unwrap().contains("`enabled` is not true in the config"), "{off}");
    assert_eq!((&off["enabled"], &off["enabled_in_config"]), (&json!(false), &json!(false)));
    assert_eq!(api.ask("/readyz").0, 200, "what is off is not waited for");
    throughout(seconds(3), || engine.assert_running());
    assert_eq!(target.end(), 0, "it is off");

    api.post(&format!("/api/v1/routes/{ROUTE}/start"));
    eventually(seconds(30), "all is copied once it is switched on", || target.end() == 20_000);
    api.wait_for_route(seconds(5), ROUTE, "running");

    let off = api.post(&format!("/api/v1/routes/{ROUTE}/stop"));
    assert_eq!((&off["enabled"], &off["enabled_in_config"]), (&json!(false), &json!(false)));
    api.wait_for_route(seconds(30), ROUTE, "off");
    source.fill(20_000, Bulk::over(4).numbered_from(20_000));
    throughout(seconds(3), || engine.assert_running());
    assert_eq!(target.end(), 20_000, "it is off again");

    // off and on, faster than it can drain
    for _ in 0..3 {
        api.post(&format!("/api/v1/routes/{ROUTE}/start"));
        api.post(&format!("/api/v1/routes/{ROUTE}/stop"));
    }
    api.post(&format!("/api/v1/routes/{ROUTE}/start"));
    eventually(seconds(30), "the rest is copied", || target.end() >= 40_000);
    api.wait_for_route(seconds(30), ROUTE, "running");
    engine.drain().assert_bounded();
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}

#[test]
fn a_paused_target_is_left_alone_and_goes_on_where_it_was() {
    let regions = regions();
    let source = regions.guangzhou.topic("orders.paused").create(6);
    let [shanghai, beijing] = [regions.shanghai, regions.beijing].map(|region| region.topic("orders.paused").create(6));
    let config = Config::of(&regions).fan_out("guangzhou", "orders.paused", &["shanghai", "beijing"]);
    let load = source.load(3_000, Bulk::over(6));
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    eventually(seconds(30), "both are written", || shanghai.end() > 5_000 && beijing.end() > 5_000);

    api.post("/api/v1/routes/orders_paused/targets/beijing/pause");
    let place = ("orders_paused", "beijing");
    api.wait_for_target(seconds(10), place, "it has finished what its writer had", |target| {
        target["state"] == "paused" && target["reason"] == "somebody paused it"
    });
    let (paused_at, other_at) = (beijing.end(), shanghai.end());
    throughout(seconds(5), || engine.assert_running());
    assert_eq!(beijing.end(), paused_at, "a paused target is not written");
    assert!(shanghai.end() > other_at + 10_000, "the other one goes on");
    let committed: i64 = source.watermarks("beijing").values().sum();
    assert_eq!(committed, paused_at, "what it has is committed");
    let lag = api.target("orders_paused", "beijing");
    let (records, late) = (lag["lag_records"].as_u64().unwrap(), lag["lag_seconds"].as_f64().unwrap());
    assert!(records > 10_000 && (3.0..30.0).contains(&late), "it lags, and that is shown: {lag}");

    api.post("/api/v1/routes/orders_paused/targets/beijing/resume");
    eventually(seconds(30), "it has caught up", || shanghai.end() - beijing.end() < 1_500);
    // again, and resumed at once
    api.post("/api/v1/routes/orders_paused/targets/beijing/pause");
    api.post("/api/v1/routes/orders_paused/targets/beijing/resume");
    let written = load.stop();
    eventually(seconds(30), "all arrived", || shanghai.end() >= written && beijing.end() >= written);
    engine.drain().assert_bounded();
    let rows = source.committed_rows();
    Ledger::compare(&rows, &shanghai.all_rows()).assert_exact();
    Ledger::compare(&rows, &beijing.all_rows()).assert_exact();
}

#[test]
fn a_bandwidth_that_is_changed_is_kept_to_at_once() {
    const KIB: f64 = 1024.0;
    let regions = regions();
    let source = regions.guangzhou.topic("orders.rate").create(4);
    let target = regions.shanghai.topic("orders.rate").create(4);
    source.fill(120_000, Bulk { value_size: 1_000, ..Bulk::over(4) });
    let config = Config::of(&regions).fan_out("guangzhou", "orders.rate", &["shanghai"]);
    let config = config.set("/routes/orders_rate/to/shanghai", "bandwidth", json!("512KiB/s"));
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    eventually(seconds(20), "it is written", || target.end() > 0);

    let broker = regions.shanghai;
    let meter = Meter::start(seconds(1) / 5, || broker.bytes_in("orders.rate"));
    throughout(seconds(5), || engine.assert_running());
    let (status, answer) = api.throttle("orders_rate", "shanghai", "2MiB/s");
    assert_eq!((status, &answer["targets"][0]["bandwidth"]), (200, &json!("2MiB/s")), "{answer}");
    let changed = meter.now();
    throughout(seconds(6), || engine.assert_running());
    let (status, problem) = api.throttle("orders_rate", "shanghai", "fast");
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("such as 20MiB/s"), "{problem}");
    let until = meter.now();
    let curve = meter.stop();
    let [before, after] = [(seconds(0), changed), (changed + seconds(1), until)].map(|(from, to)| curve.rate(from, to));
    println!("bytes per second: {before:.0} before, {after:.0} after");
    assert!((400.0 * KIB..560.0 * KIB).contains(&before), "{}", curve.by_the_second());
    assert!((1_700.0 * KIB..2_200.0 * KIB).contains(&after), "{}", curve.by_the_second());

    assert_eq!(api.throttle("orders_rate", "shanghai", "unlimited").0, 200);
    eventually(seconds(20), "without a limit it is soon done", || target.end() >= 120_000);
    engine.drain().assert_bounded();
    Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
}

#[test]
fn what_was_ordered_survives_a_restart_and_is_told_apart_from_the_config() {
    let regions = regions();
    for topic in ["orders.kept.a", "orders.kept.b"] {
        regions.guangzhou.topic(topic).create(2).fill(1_000, Bulk::over(2));
    }
    let config = Config::of(&regions).fan_out("guangzhou", "orders.kept.a", &["shanghai", "beijing"]).fan_out(
        "guangzhou",
        "orders.kept.b",
        &["shanghai"],
    );
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    let running =
        |api: &Api| ["orders_kept_a", "orders_kept_b"].map(|route| api.wait_for_route(seconds(30), route, "running"));
    running(&api);
    assert_eq!(engine.plan_beside()["by_hand"], json!([]));
    api.post("/api/v1/routes/orders_kept_b/stop");
    api.post("/api/v1/routes/orders_kept_a/targets/beijing/pause");
    assert_eq!(api.throttle("orders_kept_a", "shanghai", "3MiB/s").0, 200);
    let finished = engine.drain().assert_bounded();

    let mut engine = Engine::run_again(finished);
    let api = Api::of(&mut engine);
    api.wait_for_route(seconds(30), "orders_kept_b", "off");
    let kept = api
        .wait_for_target(seconds(30), ("orders_kept_a", "shanghai"), "it runs", |target| target["state"] == "running");
    assert_eq!((&kept["bandwidth"], &kept["bandwidth_in_config"]), (&json!("3MiB/s"), &json!("unlimited")));
    assert_eq!(api.target("orders_kept_a", "beijing")["state"], "paused");
    let route = api.route("orders_kept_b");
    assert_eq!((&route["enabled"], &route["enabled_in_config"]), (&json!(false), &json!(true)));
    let plan = engine.plan_beside();
    let by_hand = plan["by_hand"].as_array().unwrap();
    assert!(by_hand.len() == 3 && by_hand.contains(&json!("route orders_kept_b is switched off by hand")), "{plan}");

    api.post("/api/v1/routes/orders_kept_b/start");
    api.post("/api/v1/routes/orders_kept_a/targets/beijing/resume");
    assert_eq!(api.throttle("orders_kept_a", "shanghai", "unlimited").0, 200);
    running(&api);
    assert_eq!(engine.plan_beside()["by_hand"], json!([]), "what is as the config says is not kept");
    engine.drain().assert_bounded();
}

#[test]
fn lag_is_what_kafkas_own_tool_says() {
    // what is copied within a commit interval, and the look that is a second old
    const SLACK: i64 = 2 * 300;
    let regions = regions();
    let source = regions.guangzhou.topic("orders.lag").create(3);
    let config = Config::of(&regions).fan_out("guangzhou", "orders.lag", &["shanghai"]);
    let config = config.set("/routes/orders_lag/to/shanghai", "bandwidth", json!("256KiB/s"));
    source.fill(20_000, Bulk { value_size: 1_000, ..Bulk::over(3) });
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    api.wait_for_target(seconds(30), ("orders_lag", "shanghai"), "it lags", |target| {
        target["lag_records"].as_u64() > Some(0)
    });
    let mut compared = 0;
    throughout(seconds(6), || {
        engine.assert_running();
        let ends: i64 = source.end();
        let committed: i64 = source.watermarks("shanghai").values().sum();
        let lag = api.target("orders_lag", "shanghai")["lag_records"].as_i64().unwrap();
        assert!((ends - committed - lag).abs() <= SLACK, "{lag}, and Kafka says {}", ends - committed);
        compared += 1;
    });
    assert!(compared > 3, "compared {compared} times");
    assert_eq!(api.throttle("orders_lag", "shanghai", "unlimited").0, 200);
    let level = |target: &serde_json::Value| target["lag_records"] == 0 && target["lag_seconds"] == 0.0;
    api.wait_for_target(seconds(20), ("orders_lag", "shanghai"), "it is level", level);
    let metrics = api.metrics();
    for (name, labels, expected) in [
        ("source_records_total", r#"route="orders_lag",topic="orders.lag""#, 20_000.0),
        ("target_records_total", r#"route="orders_lag",target="shanghai",topic="orders.lag""#, 20_000.0),
        ("lag_records", r#"partition="2",route="orders_lag",target="shanghai",topic="orders.lag""#, 0.0),
        ("lag_seconds", r#"route="orders_lag",target="shanghai""#, 0.0),
        ("target_state", r#"route="orders_lag",state="retrying",target="shanghai""#, 0.0),
    ] {
        let series = format!("anabranch_{name}{{{labels}}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        assert_eq!(line.map(|value| value.parse::<f64>().unwrap()), Some(expected), "{series}\n{metrics}");
    }
    engine.drain().assert_bounded();
}

#[test]
fn commands_talk_to_a_running_engine() {
    let regions = regions();
    regions.guangzhou.topic("orders.commands").create(2).fill(1_000, Bulk::over(2));
    let config = Config::of(&regions).fan_out("guangzhou", "orders.commands", &["shanghai"]);
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    let place = ("orders_commands", "shanghai");
    api.wait_for_target(seconds(30), place, "all is copied, and seen to be", |target| {
        target["records"] == 1_000 && target["lag_records"] == 0
    });
    let command =
        |arguments: &[&str]| Engine::start(&[arguments, &["--admin", api.url()]].concat(), &[]).wait(seconds(20));
    let done = |arguments: &[&str]| command(arguments).assert_code(0).stdout;

    let status = done(&["status"]);
    assert!(status.contains("route orders_commands from guangzhou: running"), "{status}");
    let json: serde_json::Value = serde_json::from_str(&done(&["status", "--output", "json"])).unwrap();
    assert_eq!(json["routes"][0]["targets"][0]["records"], json!(1_000), "{json}");
    done(&["throttle", "orders_commands", "shanghai", "1MiB/s"]);
    done(&["target", "pause", "orders_commands", "shanghai"]);
    let status = done(&["status"]);
    assert!(status.contains("1MiB/s [by hand]") && status.contains("paused"), "{status}");
    done(&["target", "resume", "orders_commands", "shanghai"]);
    done(&["route", "stop", "orders_commands"]);
    api.wait_for_route(seconds(30), "orders_commands", "off");
    let status = done(&["status"]);
    assert!(status.contains("off (switched off by hand) [switched off by hand]"), "{status}");
    done(&["route", "start", "orders_commands"]);
    let events = done(&["events", "--route", "orders_commands"]);
    let ordered =
        ["set to 1MiB/s by hand", "paused by hand", "resumed by hand", "switched off by hand", "switched on by hand"];
    let places: Vec<_> = ordered.iter().map(|text| events.find(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{events}");

    for (arguments, code, hint) in [
        (&["route", "stop", "orders_comands"][..], 2, "the routes are: orders_commands"),
        (&["target", "pause", "orders_commands", "beijing"], 2, "its targets are: shanghai"),
        (&["throttle", "orders_commands", "shanghai", "fast"], 2, "such as 20MiB/s"),
    ] {
        let finished = command(arguments).assert_code(code);
        assert!(finished.stderr.contains(hint) && finished.stderr.lines().count() == 1, "{}", finished.stderr);
    }
    engine.drain().assert_bounded();
    let finished = command(&["status"]).assert_code(1);
    assert!(finished.stderr.contains("is it running?"), "{}", finished.stderr);
}
