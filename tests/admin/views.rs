//! What is shown: the probes, the routes, the events; where it is shown, and until when.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use actix::System;
use anabranch::admin;
use anabranch::config::load_str;
use anabranch::engine::handle::Load;
use anabranch::engine::{Engine, Options, Standing};
use anabranch::plan::switches::Switches;
use anabranch::telemetry::{Metrics, MetricsOptions};

use super::harness::{How, Request, Served, eventually};

#[test]
fn it_is_ready_when_all_that_is_switched_on_runs() {
    let served = Served::open();
    let reply = served.get("/readyz");
    assert_eq!(reply.status, 503);
    let detail = reply.problem("/readyz");
    assert!(detail.starts_with("route orders is "), "{detail}");
    let waiting = &reply.json()["waiting"];
    assert_eq!(waiting.as_array().unwrap().len(), 1, "what is switched off is not waited for: {waiting}");
    assert_eq!(waiting[0]["route"], "orders");
    assert!(["starting", "degraded"].contains(&waiting[0]["state"].as_str().unwrap()), "{waiting}");
    let idle = Served::start(How { idle: true, ..How::default() });
    assert_eq!(idle.get("/readyz").body, r#"{"status":"ok"}"#);
    assert_eq!(idle.post("/api/v1/routes/payments/start").status, 200);
    assert_eq!(idle.get("/readyz").status, 503);
}

#[test]
fn routes_are_shown_with_their_targets() {
    let served = Served::open();
    let reply = served.get("/api/v1/routes");
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("cache-control"), "no-store");
    let routes = &reply.json()["routes"];
    let names: Vec<_> = routes.as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders", "payments"]);
    assert_eq!(routes[1]["state"], "off");
    assert!(routes[1]["reason"].as_str().unwrap().contains("anabranch route start"), "{}", routes[1]["reason"]);
    assert_eq!(routes[0]["targets"][0]["bandwidth"], "unlimited");
    assert_eq!(routes[0]["targets"][1]["bandwidth"], "20MiB/s");
    let detail = served.get("/api/v1/routes/orders").json();
    assert_eq!((&detail["name"], &detail["from"]), (&"orders".into(), &"guangzhou".into()));
    assert_eq!(detail["positions"].as_array().unwrap().len(), 0, "no broker tells what there is");
    let spelled = served.get("/api/v1/routes/%6frders");
    assert_eq!(spelled.json()["name"], "orders", "a name may be escaped");
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let served = Served::open();
    for path in ["/healthz", "/readyz", "/api/v1/routes", "/api/v1/routes/payments", "/api/v1/events"] {
        let (get, head) = (served.get(path), served.ask(&Request { method: "HEAD", path, ..Request::default() }));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[test]
fn events_come_newest_first_and_as_many_as_asked_for() {
    let served = Served::open();
    let order = |path: &str| assert_eq!(served.post(path).status, 200, "{path}");
    order("/api/v1/routes/orders/targets/shanghai/pause");
    order("/api/v1/routes/orders/targets/beijing/pause");
    order("/api/v1/routes/payments/start");
    let ids = |query: &str| -> Vec<u64> {
        let reply = served.get(&format!("/api/v1/events{query}"));
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        reply.json()["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()).collect()
    };
    let all = ids("");
    assert!(all.len() >= 3 && all.is_sorted_by(|newer, older| newer > older), "{all:?}");
    assert_eq!(ids("?limit=2").len(), 2);
    assert_eq!(ids("?route=&target=").len(), ids("").len(), "an empty name is every name");
    let of = |query: &str| served.get(&format!("/api/v1/events?{query}")).json()["events"].clone();
    let paused = of("route=orders&target=beijing&limit=1000");
    let texts: Vec<_> = paused.as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert!(texts.contains(&"paused by hand"), "{texts:?}");
    assert!(paused.as_array().unwrap().iter().all(|event| event["target"] == "beijing"), "{paused}");
    let orders = of("route=payments");
    let order = orders.as_array().unwrap().iter().find(|event| event["kind"] == "order").unwrap();
    assert_eq!((&order["text"], &order["level"]), (&"switched on by hand".into(), &"info".into()));
}

#[test]
fn it_listens_where_the_plan_says_or_says_why_not() {
    let listen = |address: &str| {
        let config = format!(
            "{{ admin: {{ listen: \"{address}\" }}, clusters: {{ a: {{ bootstrap: \"127.0.0.1:1\" }}, b: {{ bootstrap: \"127.0.0.1:2\" }} }},
               routes: {{ r: {{ from: a, topics: {{ include: [x] }}, to: {{ b: {{}} }} }} }} }}"
        );
        let plan = load_str(&config, Path::new(""), &BTreeMap::new()).unwrap();
        System::new().block_on(async {
            let unchanged = plan.clone();
            let load: Load = Arc::new(move || Ok(unchanged.clone()));
            let standing = Standing { switches: Switches::default(), keep: Arc::new(|_| Ok(())), load };
            let engine = Engine::start(&plan, Options::default(), Some(standing));
            let handle = engine.handle.clone().unwrap();
            let metrics = Arc::new(Metrics::start(handle.board(), MetricsOptions::default()).unwrap());
            let served = admin::start(&plan.admin, handle, metrics);
            served.map(|api| api.map(|api| api.address))
        })
    };
    assert!(listen("off").unwrap().is_none());
    let free: SocketAddr = listen("[::1]:0").unwrap().unwrap();
    assert!(free.is_ipv6() && free.port() != 0);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = listen(&taken.local_addr().unwrap().to_string()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}");
}

#[test]
fn it_goes_on_while_the_engine_drains_and_ends_when_it_is_stopped() {
    let served = Served::open();
    served.drain();
    eventually("orders are refused", || (served.post("/api/v1/routes/payments/start").status == 503).then_some(()));
    let path = "/api/v1/routes/orders/stop";
    let refused = served.post(path).problem(path);
    assert!(refused.contains("draining"), "{refused}");
    assert_eq!(served.get("/api/v1/routes").status, 200);
    served.stop_api();
    eventually("nobody listens", || TcpStream::connect(served.address).is_err().then_some(()));
}
