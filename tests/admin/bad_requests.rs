//! Requests that are refused, each with its status, why, and what to do; and the engine is none the worse for any.

use std::io::Write as _;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::harness::{How, JSON, Reply, Request, Served, TOKEN};

/// A request, the status that it is refused with, and what the detail has in it.
type Case = (Request<'static>, u16, &'static str);

const GOOD_TOKEN: (&str, &str) = ("Authorization", "Bearer a-token-of-some-length");
const BANDWIDTH: &str = "/api/v1/routes/orders/targets/shanghai/bandwidth";
const START: &str = "/api/v1/routes/orders/start";
const RATE: &str = r#"{"rate":"20MiB/s"}"#;

fn get(path: &'static str) -> Request<'static> {
    Request { path, ..Request::default() }
}

fn with(method: &'static str, path: &'static str) -> Request<'static> {
    Request { method, path, ..Request::default() }
}

fn put(body: &'static str) -> Request<'static> {
    Request { method: "PUT", path: BANDWIDTH, headers: JSON, body, ..Request::default() }
}

fn typed(headers: &'static [(&'static str, &'static str)], body: &'static str) -> Request<'static> {
    Request { headers, ..put(body) }
}

fn from(headers: &'static [(&'static str, &'static str)]) -> Request<'static> {
    Request { method: "POST", path: START, headers, ..Request::default() }
}

fn refused(served: &Served, cases: &[Case]) -> Vec<Reply> {
    let check = |(request, status, fragment): &Case| {
        let reply = served.ask(request);
        let shown: String = format!("{request:?}").chars().take(300).collect();
        assert_eq!(reply.status, *status, "{shown}: {reply:?}");
        let detail = reply.problem(request.path);
        assert!(detail.contains(fragment), "{shown}: {detail}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{shown}");
        assert_eq!(reply.header("cache-control"), "no-store", "{shown}");
        assert!(!reply.body.contains(TOKEN), "{shown}: {reply:?}");
        assert!(is_described(request, *status), "{shown}: {status} is not described");
        served.still_answers();
        reply
    };
    cases.iter().map(check).collect()
}

/// Whether the API's description of itself has this answer. What there is not is not described.
fn is_described(request: &Request<'_>, status: u16) -> bool {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(anabranch::admin::document()).unwrap());
    let path = request.path.split('?').next().unwrap();
    let method = request.method.to_lowercase();
    let matches = |template: &str| {
        let pattern = format!("^{}$", Regex::new(r"\{\w+\}").unwrap().replace_all(template, "[^/]+"));
        Regex::new(&pattern).unwrap().is_match(path)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut operations = paths.iter().filter(|(template, _)| matches(template)).map(|(_, item)| &item[&method]);
    operations.all(|operation| operation.is_null() || operation["responses"].get(status.to_string()).is_some())
}

#[test]
fn what_is_not_there_is_not_found() {
    let served = Served::open();
    let long: &'static str = format!("/{}", "a".repeat(20_000)).leak();
    let long_name: &'static str = format!("/api/v1/routes/{}", "a".repeat(20_000)).leak();
    let nothing = "openapi.json tells what there is";
    refused(
        &served,
        &[
            (get("/index.html"), 404, nothing),
            (get("/console"), 404, nothing),
            (get("/console/../healthz"), 404, nothing),
            (get("/api"), 404, nothing),
            (get("/api/v1"), 404, nothing),
            (get("/api/v2/routes"), 404, nothing),
            (get("/API/v1/routes"), 404, nothing),
            (get("/api/v1/routes/"), 404, nothing),
            (get("//api/v1/routes"), 404, nothing),
            (get("/api//v1/routes"), 404, nothing),
            (get("/api/v1/../v1/routes"), 404, nothing),
            (get("/healthz/"), 404, nothing),
            (get("/healthz%00"), 404, nothing),
            (get("/healthz;x=1"), 404, nothing),
            (get(long), 404, nothing),
            (get("/api/v1/routes/order"), 404, "there is no route order; the routes are: orders, payments"),
            (get("/api/v1/routes/.."), 404, "there is no route .."),
            (get("/api/v1/routes/%2e%2e"), 404, "there is no route .."),
            (get("/api/v1/routes/..%2f..%2fetc%2fpasswd"), 404, "there is no route ../../etc/passwd"),
            (get("/api/v1/routes/orders%00"), 404, "there is no route orders\u{fffd}"),
            (get("/api/v1/routes/%1b%5b31morders"), 404, "there is no route \u{fffd}[31morders"),
            (get("/api/v1/routes/%ff"), 404, "there is no route"),
            (get("/api/v1/routes/%zz"), 404, "there is no route"),
            (get("/api/v1/routes/ORDERS"), 404, "there is no route ORDERS"),
            (get("/api/v1/routes/%20"), 404, "there is no route"),
            (get(long_name), 404, "aaa…; the routes are"),
            (get("/api/v1/routes/orders/"), 404, nothing),
            (get("/api/v1/routes/orders/targets"), 404, nothing),
            (with("POST", "/api/v1/routes/order/start"), 404, "there is no route order"),
            (with("POST", "/api/v1/routes//start"), 404, nothing),
            (with("POST", "/api/v1/routes/order/stop"), 404, "there is no route order"),
            (
                with("POST", "/api/v1/routes/orders/targets/tokyo/pause"),
                404,
                "route orders has no target tokyo; its targets are: beijing, shanghai",
            ),
            (with("POST", "/api/v1/routes/payments/targets/shanghai/resume"), 404, "no target shanghai"),
            (with("POST", "/api/v1/routes/order/targets/shanghai/resume"), 404, "no route order"),
            (Request { path: "/api/v1/routes/orders/targets/x/bandwidth", ..put(RATE) }, 404, "no target x"),
            (get("/api/v1/events?route=order"), 404, "there is no route order"),
            (
                get("/api/v1/events?target=tokyo"),
                404,
                "no route has a target tokyo; the targets are: beijing, shanghai",
            ),
            (get("/api/v1/events?route=payments&target=shanghai"), 404, "route payments has no target shanghai"),
            (get("/api/v1/events/stream?route=order"), 404, "there is no route order"),
        ],
    );
}

#[test]
fn what_a_path_does_not_do_is_told_with_what_it_does() {
    let served = Served::open();
    let reads =
        ["/healthz", "/readyz", "/api/v1/routes", "/api/v1/routes/orders", "/api/v1/events", "/api/v1/openapi.json"];
    let stream = ["/api/v1/events/stream"];
    let pause = "/api/v1/routes/orders/targets/shanghai/pause";
    let resume = "/api/v1/routes/orders/targets/shanghai/resume";
    let posts = [START, "/api/v1/routes/orders/stop", pause, resume, "/api/v1/reload"];
    let allowed = |paths: &[&'static str], methods: &[&'static str], allowed: &str| {
        for path in paths {
            let cases: Vec<Case> =
                methods.iter().map(|method| (with(method, path), 405, "the methods of this path are")).collect();
            for reply in refused(&served, &cases) {
                assert_eq!(reply.header("allow"), allowed, "{path}");
            }
        }
    };
    allowed(&reads, &["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"], "GET, HEAD");
    allowed(&stream, &["POST", "PUT", "DELETE"], "GET");
    allowed(&posts, &["GET", "PUT", "DELETE", "OPTIONS"], "POST");
    allowed(&[BANDWIDTH], &["GET", "POST", "DELETE", "PATCH"], "PUT");
    let head = served.ask(&with("HEAD", "/api/v1/events/stream"));
    assert_eq!((head.status, head.header("allow"), head.body.as_str()), (405, "GET", ""));
}

#[test]
fn a_body_that_is_none_is_refused() {
    let served = Served::open();
    let huge: &'static str = format!(r#"{{"rate":"{}"}}"#, "9".repeat(20_000)).leak();
    let large_rate: &'static str = format!(r#"{{"rate":"{}MiB/s"}}"#, "9".repeat(10_000)).leak();
    let deep: &'static str = format!(r#"{{"rate":{}"#, "[".repeat(10_000)).leak();
    let other: &[(&str, &str)] = &[("Content-Type", "text/plain")];
    let form: &[(&str, &str)] = &[("Content-Type", "application/x-www-form-urlencoded")];
    let broken: &[(&str, &str)] = &[("Content-Type", "application")];
    refused(
        &served,
        &[
            (put(""), 400, "the body is empty"),
            (put("{"), 400, "EOF"),
            (put("\r\n "), 400, "the body is empty"),
            (put("rate: 1"), 400, "has to be a JSON object"),
            (put("{rate: 1}"), 400, "key must be a string"),
            (put("{}"), 400, "missing field `rate`"),
            (put("null"), 400, "has to be a JSON object"),
            (put(r#"["20MiB/s"]"#), 400, "has to be a JSON object"),
            (put(r#""20MiB/s""#), 400, "has to be a JSON object"),
            (put("\u{feff}{}"), 400, "has to be a JSON object"),
            (put(r#"{"rate":20}"#), 400, "expected a string"),
            (put(r#"{"rate":null}"#), 400, "expected a string"),
            (put(r#"{"rate":"20MiB/s","burst":1}"#), 400, "unknown field `burst`, expected `rate`"),
            (put(r#"{"rate":"1MiB/s","rate":"2MiB/s"}"#), 400, "duplicate field `rate`"),
            (put(r#"{"rate":"20MiB/s"} {}"#), 400, "trailing characters"),
            (put("{\"a\\u001b\\n\": 1}"), 400, "unknown field `a\u{fffd}\u{fffd}`"),
            (put(deep), 400, "expected a string"),
            (put(huge), 413, "16 KiB"),
            (put(large_rate), 422, "is out of range"),
            (put(r#"{"rate":""}"#), 422, "is not a rate"),
            (put(r#"{"rate":"fast"}"#), 422, "write a number, a unit and `/s`, such as 20MiB/s"),
            (put(r#"{"rate":"20MiB"}"#), 422, "add the unit and `/s`"),
            (put(r#"{"rate":"0/s"}"#), 422, "write a rate from 1KiB/s to 1TiB/s"),
            (put(r#"{"rate":"-1MiB/s"}"#), 422, "is not a rate"),
            (put(r#"{"rate":"41MiB/s"}"#), 422, "see clusters.shanghai.peak_bandwidth"),
            (typed(&[], RATE), 415, "`Content-Type: application/json`"),
            (typed(other, RATE), 415, "`Content-Type: application/json`"),
            (typed(form, "rate=20MiB/s"), 415, "`Content-Type: application/json`"),
            (typed(broken, RATE), 415, "`Content-Type: application/json`"),
            (Request { body: huge, ..with("POST", START) }, 413, "16 KiB"),
            (Request { body: huge, ..get("/api/v1/routes") }, 413, "16 KiB"),
        ],
    );
    assert_eq!(*served.kept.lock().unwrap(), [], "nothing was done");
}

/// Where no length is told beforehand.
#[test]
fn a_body_in_chunks_is_no_longer_than_another_one() {
    let served = Served::open();
    let mut stream = served.connect();
    let head = format!(
        "PUT {BANDWIDTH} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        served.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    (0..8).for_each(|_| stream.write_all(chunk.as_bytes()).unwrap());
    stream.write_all(b"0\r\n\r\n").unwrap();
    let reply = Reply::read(&mut stream).unwrap();
    assert_eq!(reply.status, 413, "{reply:?}");
    assert!(reply.problem(BANDWIDTH).contains("16 KiB"));
    served.still_answers();
}

#[test]
fn a_query_that_is_none_is_refused() {
    let served = Served::open();
    let limit = "write a number from 1 to 1000";
    let place = "`Last-Event-ID` is the `id` of an event";
    let id = |headers| Request { headers, ..get("/api/v1/events/stream") };
    refused(
        &served,
        &[
            (get("/api/v1/events?limit="), 400, limit),
            (get("/api/v1/events?limit=0"), 400, limit),
            (get("/api/v1/events?limit=1001"), 400, limit),
            (get("/api/v1/events?limit=-1"), 400, limit),
            (get("/api/v1/events?limit=ten"), 400, "`limit` is ten"),
            (get("/api/v1/events?limit=1.5"), 400, limit),
            (get("/api/v1/events?limit=99999999999999999999999"), 400, limit),
            (get("/api/v1/events?limit=%1b"), 400, limit),
            (get("/api/v1/events?limit=1&limit=2"), 400, "duplicate field `limit`"),
            (get("/api/v1/events?limits=1"), 400, "unknown field `limits`"),
            (get("/api/v1/events/stream?limit=1"), 400, "unknown field `limit`"),
            (id(&[("Last-Event-ID", "x")]), 400, place),
            (id(&[("Last-Event-ID", "")]), 400, place),
            (id(&[("Last-Event-ID", "1e3")]), 400, place),
            (id(&[("Last-Event-ID", "18446744073709551616")]), 400, place),
        ],
    );
}

#[test]
fn nobody_gets_in_without_the_token() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    let asked = |headers| Request { headers, ..get("/api/v1/routes") };
    let (missing, wrong) = ("a token is needed", "this token is not the right one");
    let replies = refused(
        &served,
        &[
            (get("/api/v1/routes"), 401, missing),
            (get("/api/v1/events/stream"), 401, missing),
            (get("/api/v1/openapi.json"), 401, missing),
            (get("/api/v1/nothing"), 401, missing),
            (with("POST", START), 401, missing),
            (put(RATE), 401, missing),
            // other ways to write the same path
            (get("/%61pi/v1/routes"), 401, missing),
            (get("/api%2fv1/routes"), 401, missing),
            (get("//api/v1/routes"), 401, missing),
            (get("/healthz/../api/v1/routes"), 401, missing),
            (get("/%68ealthz"), 401, missing),
            (asked(&[("Authorization", "Bearer a-token-of-some-lengti")]), 401, wrong),
            (asked(&[("Authorization", "Bearer a-token-of-some-lengt")]), 401, wrong),
            (asked(&[("Authorization", "Bearer a-token-of-some-length-and-more")]), 401, wrong),
            (asked(&[("Authorization", "Bearer A-TOKEN-OF-SOME-LENGTH")]), 401, wrong),
            (asked(&[("Authorization", "Bearer ")]), 401, wrong),
            (asked(&[("Authorization", "Bearer")]), 401, wrong),
            (asked(&[("Authorization", "")]), 401, wrong),
            (asked(&[("Authorization", "a-token-of-some-length")]), 401, wrong),
            (asked(&[("Authorization", "Basic a-token-of-some-length")]), 401, wrong),
            (asked(&[("Authorization", "Bearer \u{fc}")]), 401, wrong),
            (asked(&[GOOD_TOKEN, GOOD_TOKEN]), 401, missing),
            (asked(&[("Cookie", "token=a-token-of-some-length")]), 401, missing),
            (get("/api/v1/routes?token=a-token-of-some-length"), 401, missing),
            (Request { path: "/nothing", ..asked(&[GOOD_TOKEN]) }, 404, "there is nothing at this path"),
        ],
    );
    for reply in replies.iter().filter(|reply| reply.status == 401) {
        assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
    }
    assert_eq!(served.ask(&asked(&[GOOD_TOKEN])).status, 200);
    assert_eq!(served.ask(&asked(&[("authorization", "bearer a-token-of-some-length")])).status, 200);
    // reached by whatever name: the token is what counts
    assert_eq!(served.ask(&Request { host: Some("relay.test"), ..asked(&[GOOD_TOKEN]) }).status, 200);
    assert_eq!(served.get("/readyz").status, 503, "open, and not ready");
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let served = Served::open();
    let foreign = "a page of another site";
    let same: &[(&str, &str)] = &[("Origin", "http://HERE"), ("Sec-Fetch-Site", "same-origin")];
    refused(
        &served,
        &[
            (from(&[("Origin", "https://evil.test")]), 403, foreign),
            (from(&[("Origin", "null")]), 403, foreign),
            (from(&[("Origin", "")]), 403, foreign),
            (from(&[("Origin", "http://127.0.0.1:1")]), 403, foreign),
            (from(&[("Origin", "http://HERE.evil.test")]), 403, foreign),
            (from(&[("Origin", "http://HERE"), ("Origin", "https://evil.test")]), 403, foreign),
            (from(&[("Sec-Fetch-Site", "cross-site")]), 403, foreign),
            (from(&[("Sec-Fetch-Site", "same-site")]), 403, foreign),
            (from(&[("Origin", "http://HERE"), ("Sec-Fetch-Site", "cross-site")]), 403, foreign),
            (Request { method: "OPTIONS", ..from(&[("Origin", "https://evil.test")]) }, 403, foreign),
            (Request { method: "DELETE", ..from(&[("Origin", "https://evil.test")]) }, 403, foreign),
        ],
    );
    assert_eq!(*served.kept.lock().unwrap(), [], "nothing was done");
    let preflight = served.ask(&Request { method: "OPTIONS", ..from(&[("Origin", "https://evil.test")]) });
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    assert_eq!(served.ask(&from(same)).status, 200);
    assert_eq!(served.ask(&from(&[("Sec-Fetch-Site", "none")])).status, 200);
}

#[test]
fn without_a_token_it_answers_to_this_machines_names_alone() {
    let served = Served::open();
    let named = |host| Request { host: Some(host), ..get("/api/v1/routes") };
    let other = "this is for localhost and 127.0.0.1 alone";
    refused(
        &served,
        &[
            (named("evil.test"), 421, other),
            (named("evil.test:8686"), 421, other),
            (named("localhost.evil.test"), 421, other),
            (named("127.0.0.1.evil.test"), 421, other),
            (named("10.0.0.1:8686"), 421, other),
            (named(""), 421, other),
            (named("localhost@evil.test"), 421, other),
            (Request { host: Some("evil.test"), ..get("/healthz") }, 421, other),
            (Request { host: Some("evil.test"), ..with("POST", START) }, 421, other),
        ],
    );
    for host in ["localhost", "LOCALHOST:8686", "127.0.0.1", "127.0.0.1:1", "[::1]:8686"] {
        assert_eq!(served.ask(&named(host)).status, 200, "{host}");
    }
    // a host alone, and a whole address, count before the header
    let host_alone = Request { host: Some("localhost"), ..get("healthz") };
    assert_eq!(served.ask(&host_alone).status, 421);
    let absolute = Request { host: Some("localhost"), ..get("http://evil.test/api/v1/routes") };
    assert_eq!(served.ask(&absolute).status, 421);
}

/// What is no HTTP never reaches the API: the server itself answers with a bare status, and closes.
#[test]
fn what_is_no_http_is_refused_and_closed() {
    let served = Served::open();
    let many = "X: 1\r\n".repeat(200);
    let long = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    for (text, status) in [
        ("hello\r\n\r\n", 400),
        ("GET /healthz\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        ("GET ../healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\u{0}: 1\r\n\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (
            "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n", 400),
        (&format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        (&long, 431),
    ] {
        let mut stream = served.connect();
        // it may be refused before it is sent
        let _ = stream.write_all(text.as_bytes());
        let reply = Reply::read(&mut stream).unwrap_or_else(|| panic!("no answer to {text:?}"));
        assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{text:?}");
        served.still_answers();
    }
}
