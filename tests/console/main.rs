//! The web console in a real browser (headless Chromium through Playwright), on a running engine between real brokers.
//!
//! What the browser does is in the Python files beside this one. A script asks the test for what a page can't do, such as stopping the
//! engine. Tests take turns, as several browsers beside several engines are more than two cores can do in time. `tests/run` fetches what
//! they need; `tests/console/screenshots` makes the pictures of the README.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "real brokers keep real time")]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with the end-to-end tests")]

#[path = "../support/mod.rs"]
mod support;

mod script;
mod stage;

use std::path::PathBuf;

use serde_json::{Value, json};

use self::script::Script;
use self::stage::{Scene, clusters};
use crate::support::api::Api;
use crate::support::broker::free_ports;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::seconds;
use crate::support::turns::Turn;

#[test]
fn what_is_ordered_in_the_console_is_done_and_shown() {
    let _turn = Turn::alone();
    let scene = Scene::set("orders");
    // less than what comes, so that it falls behind
    let config = scene.config().set("/routes/orders/to/beijing", "bandwidth", json!("64KiB/s"));
    // limits count what goes over the network, and counters the records
    let config = config.set("/clusters/beijing", "client", json!({ "compression.codec": "none" }));
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    api.wait_for_route(seconds(30), "orders", "running");
    Script::run("orders.py", api.url(), &[], |asked| panic!("nothing was to be asked: {asked}"));
    engine.drain().assert_code(0);
}

#[test]
fn it_goes_on_by_itself_when_the_engine_is_back() {
    let _turn = Turn::alone();
    let scene = Scene::set("payments");
    let port = free_ports().next().unwrap();
    let listen = json!(format!("127.0.0.1:{port}"));
    let mut engine = Some(Engine::run(&scene.config().set("/admin", "listen", listen)));
    let api = Api::of(engine.as_mut().unwrap());
    api.wait_for_route(seconds(30), "payments", "running");
    let mut finished = None;
    Script::run("restart.py", api.url(), &[], |asked| {
        match asked {
            "stop" => finished = Some(engine.take().unwrap().drain().assert_code(0)),
            "start" => {
                let again = engine.insert(Engine::run_again(finished.take().unwrap()));
                assert_eq!(Api::of(again).url(), api.url());
            }
            other => panic!("asked for {other}"),
        }
        json!("done")
    });
    engine.unwrap().drain().assert_code(0);
}

#[test]
fn it_asks_for_the_token_once_and_says_when_it_is_wrong() {
    let _turn = Turn::alone();
    let scene = Scene::set("stock");
    let mut engine = Engine::run(&scene.config().set("/admin", "token", json!("a-token-of-some-length")));
    let url = Api::of(&mut engine).url().to_owned();
    Script::run("sign_in.py", &url, &["a-token-of-some-length"], |asked| panic!("nothing was to be asked: {asked}"));
    engine.drain().assert_code(0);
}

#[test]
fn anybody_can_use_it_on_any_screen_and_nothing_is_taken_for_markup() {
    let _turn = Turn::alone();
    let scene = Scene::set("parcels");
    let config = troubled(scene.config());
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    api.wait_for_target(seconds(30), ("refunds", "singapore"), "it is tried again", |target| {
        target["state"] == "retrying"
    });
    Script::run("looks.py", api.url(), &[], |asked| panic!("nothing was to be asked: {asked}"));
    engine.drain().assert_code(0);
}

/// With a cluster that is not there, and a route to it.
fn troubled(config: Config) -> Config {
    let nowhere = format!("127.0.0.1:{}", free_ports().next().unwrap());
    let to = json!({ "shanghai": {}, "singapore": {} });
    let refunds = json!({ "from": "guangzhou", "topics": { "include": ["refunds"] }, "to": to });
    config.cluster_as("singapore", &nowhere, None).route("refunds", refunds)
}

/// What the README shows: some ten minutes of a life that is not quite well.
#[test]
#[ignore = "it makes pictures: tests/console/screenshots"]
fn screenshots() {
    let [guangzhou, ..] = clusters();
    let scene = Scene::set("orders");
    let payments = guangzhou.topic("payments").create(12);
    let refunds = guangzhou.topic("refunds").create(3);
    let loads = [payments.load(1_400, stage::bulk(12, 700)), refunds.load(60, stage::bulk(3, 300))];
    let route =
        json!({ "from": "guangzhou", "topics": { "include": ["payments"] }, "to": { "beijing": {}, "shanghai": {} } });
    let config = troubled(scene.config()).route("payments", route);
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    api.wait_for_route(seconds(30), "payments", "running");
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let [_, shanghai, beijing] = clusters();
    Script::run("screenshots.py", api.url(), &[place.to_str().unwrap()], |asked| {
        match asked {
            "freeze beijing" => beijing.freeze(),
            "thaw beijing" => beijing.thaw(),
            "freeze shanghai" => shanghai.freeze(),
            "thaw shanghai" => shanghai.thaw(),
            other => panic!("asked for {other}"),
        }
        Value::Null
    });
    for load in loads {
        load.stop();
    }
    drop(engine.kill());
}
