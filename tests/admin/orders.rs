//! What is switched by hand: done, shown, written down, and told as an event.

use std::io::Write as _;
use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use super::harness::{How, Request, Served, close, eventually};

fn target(view: &Value, name: &str) -> Value {
    let targets = view["targets"].as_array().unwrap();
    targets.iter().find(|target| target["name"] == name).unwrap().clone()
}

#[test]
fn a_route_goes_off_and_on() {
    let served = Served::open();
    let started = served.post("/api/v1/routes/payments/start");
    assert_eq!(started.status, 200, "{started:?}");
    let view = started.json();
    assert_eq!(
        (&view["name"], &view["enabled"], &view["enabled_in_config"]),
        (&json!("payments"), &json!(true), &json!(false))
    );
    assert_ne!(view["state"], "off");
    assert!(view.get("positions").is_none(), "the route alone");
    let again = served.post("/api/v1/routes/payments/start");
    assert_eq!((again.status, &again.json()["enabled"]), (200, &json!(true)), "twice is as good as once");
    assert_eq!(served.post("/api/v1/routes/payments/stop").json()["enabled"], false);
    let off = eventually("it is off", || {
        Some(served.get("/api/v1/routes/payments").json()).filter(|route| route["state"] == "off")
    });
    assert!(off["reason"].as_str().unwrap().starts_with("switched off"), "{}", off["reason"]);
    let kept = served.kept.lock().unwrap();
    let enabled: Vec<_> =
        kept.iter().map(|switches| switches.routes.get("payments").and_then(|route| route.enabled)).collect();
    assert_eq!(enabled, [Some(true), None], "what is as the config says is not kept");
}

#[test]
fn a_target_is_paused_and_goes_on() {
    let served = Served::open();
    let paused = served.post("/api/v1/routes/orders/targets/shanghai/pause");
    assert_eq!(paused.status, 200, "{paused:?}");
    assert_eq!(target(&paused.json(), "shanghai")["paused"], true);
    assert_eq!(target(&paused.json(), "beijing")["paused"], false);
    let shown = served.get("/api/v1/routes/orders").json();
    assert_eq!(target(&shown, "shanghai")["state"], "paused");
    let resumed = served.post("/api/v1/routes/orders/targets/shanghai/resume");
    assert_eq!(target(&resumed.json(), "shanghai")["paused"], false);
    assert_ne!(target(&served.get("/api/v1/routes/orders").json(), "shanghai")["state"], "paused");
    assert_eq!(served.kept.lock().unwrap().len(), 2);
}

#[test]
fn a_bandwidth_is_set() {
    let served = Served::open();
    let path = "/api/v1/routes/orders/targets/shanghai/bandwidth";
    let shown = |name: &str| target(&served.get("/api/v1/routes/orders").json(), name);
    let set = served.put(path, r#"{"rate":"5MiB/s"}"#);
    assert_eq!(set.status, 200, "{set:?}");
    assert_eq!(target(&set.json(), "shanghai")["bandwidth"], "5MiB/s");
    assert_eq!(shown("shanghai")["bandwidth"], "5MiB/s");
    assert_eq!(shown("shanghai")["bandwidth_in_config"], "20MiB/s");
    assert_eq!(shown("beijing")["bandwidth"], "unlimited");
    assert_eq!(served.put(path, r#" {"rate": "unlimited"} "#).status, 200);
    assert_eq!(shown("shanghai")["bandwidth"], "40MiB/s", "what its cluster may have is the limit then");
    let events = served.get("/api/v1/events?target=shanghai").json();
    assert!(events.to_string().contains("its bandwidth was set to 5MiB/s by hand"), "{events}");
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let served = Served::start(How { full: true, ..How::default() });
    let path = "/api/v1/routes/payments/start";
    let refused = served.post(path);
    assert_eq!(refused.status, 500);
    let detail = refused.problem(path);
    assert!(detail.contains("no space left") && detail.contains("`admin.state`"), "{detail}");
    assert_eq!(served.get("/api/v1/routes/payments").json()["enabled"], false);
    served.still_answers();
}

/// Otherwise the next start would do what this one did not.
#[test]
fn an_order_is_seen_through_though_nobody_waits_for_it() {
    let barrier = Arc::new(Barrier::new(2));
    let served = Served::start(How { held: Some(barrier.clone()), ..How::default() });
    let mut stream = served.connect();
    let order = Request { method: "POST", path: "/api/v1/routes/payments/start", ..Request::default() };
    stream.write_all(order.text(served.address).as_bytes()).unwrap();
    barrier.wait();
    close(&stream);
    // by the time that others are answered it is known that this one is gone
    (0..5).for_each(|_| served.still_answers());
    barrier.wait();
    eventually("the order is followed", || {
        (served.get("/api/v1/routes/payments").json()["enabled"] == true).then_some(())
    });
    assert_eq!(served.kept.lock().unwrap().len(), 1);
}

#[test]
fn the_config_is_read_again() {
    let served = Served::open();
    let read = served.post("/api/v1/reload");
    assert_eq!(
        (read.status, read.json()),
        (200, json!({ "changes": ["limits.bandwidth: 1MiB/s instead of unlimited"] }))
    );
    assert_eq!(served.post("/api/v1/reload").json(), json!({ "changes": [] }));
    let wrong = "relay.yaml: 2 mistakes\n  routes.a: is not a mapping: …\n  limit: is not a key: did you mean limits?";
    let served = Served::start(How { mistakes: Some(wrong), ..How::default() });
    let refused = served.post("/api/v1/reload");
    assert_eq!(refused.status, 422);
    let expected = "relay.yaml: 2 mistakes; routes.a: is not a mapping: …; limit: is not a key: did you mean limits?";
    assert_eq!(refused.problem("/api/v1/reload"), expected);
    let events = served.get("/api/v1/events?limit=1").json();
    assert_eq!((&events["events"][0]["kind"], &events["events"][0]["level"]), (&json!("reload"), &json!("error")));
    served.still_answers();
}
