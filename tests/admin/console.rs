//! The console's files, and the history that it draws.

use serde_json::Value;

use super::harness::{How, Request, Served, TOKEN, eventually};

/// What the page links to, and what its scripts import.
const FILES: [&str; 4] = ["/", "/console/style.css", "/console/app.js", "/console/icon.svg"];

#[test]
fn its_files_are_open_and_say_what_a_page_may_do() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    for (path, kind) in FILES.into_iter().zip(["text/html", "text/css", "text/javascript", "image/svg+xml"]) {
        let reply = served.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert!(reply.header("content-type").starts_with(kind), "{path}: {reply:?}");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("require-trusted-types-for 'script'"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(reply.header("cache-control"), "no-cache", "{path}");
        let head = served.ask(&Request { method: "HEAD", path, ..Request::default() });
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    // what is not spelled as it is has to show the token, and is not there then
    for path in ["/console", "/console/", "/console/%61pp.js", "/console/../api/v1/routes", "//", "/console/console.rs"]
    {
        assert_eq!(served.get(path).status, 401, "{path}");
    }
    assert!(!served.get("/").body.contains("guangzhou"), "nothing is told of the engine");
    let post = served.post("/");
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn a_file_is_sent_again_only_when_it_is_another_one() {
    let served = Served::open();
    let first = served.get("/console/app.js");
    let tag = first.header("etag").to_owned();
    assert!(tag.len() > 10 && !first.body.is_empty(), "{first:?}");
    for (known, status) in [(tag.as_str(), 304), ("\"older\"", 200), ("*", 304), ("", 200)] {
        let headers = &[("If-None-Match", known)];
        let again = served.ask(&Request { path: "/console/app.js", headers, ..Request::default() });
        assert_eq!((again.status, again.body.is_empty()), (status, status == 304), "{known}");
        assert_eq!(again.header("etag"), tag, "{known}");
    }
}

#[test]
fn a_page_of_a_foreign_name_is_not_served() {
    let served = Served::open();
    let reply = served.ask(&Request { path: "/", host: Some("evil.test"), ..Request::default() });
    assert_eq!(reply.status, 421);
}

#[test]
fn the_last_hour_is_told_in_columns() {
    let served = Served::open();
    let path = "/api/v1/routes/orders/history";
    let history = eventually("a sample is taken", || {
        let reply = served.get(path);
        assert_eq!(reply.status, 200, "{reply:?}");
        Some(reply.json()).filter(|history| !history["at"].as_array().unwrap().is_empty())
    });
    assert_eq!((&history["route"], &history["step_seconds"]), (&"orders".into(), &10.into()));
    let length = history["at"].as_array().unwrap().len();
    let column =
        |of: &Value, name: &str| assert_eq!(of[name].as_array().map(Vec::len), Some(length), "{name}: {history}");
    let rates = ["records_per_second", "bytes_per_second"];
    for name in rates {
        column(&history["read"], name);
    }
    let targets = history["targets"].as_array().unwrap();
    assert_eq!(targets.iter().map(|target| &target["name"]).collect::<Vec<_>>(), ["beijing", "shanghai"]);
    for target in targets {
        rates.iter().chain(&["lag_records", "lag_seconds"]).for_each(|name| column(target, name));
    }
    assert_eq!(history["read"]["bytes_per_second"][0], Value::Null, "nothing was counted before the first sample");
    let unknown = served.get("/api/v1/routes/order/history");
    assert_eq!(unknown.status, 404);
    assert!(unknown.problem("/api/v1/routes/order/history").contains("the routes are: orders, payments"));
}

#[test]
fn the_last_hour_is_not_open() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    assert_eq!(served.get("/api/v1/routes/orders/history").status, 401);
}
