//! The description that the API gives of itself is so.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::harness::{How, JSON, Request, Served, TOKEN};

const MAP: &str = include_str!("../../src/admin/map.rs");

fn described(served: &Served) -> Value {
    let reply = served.get("/api/v1/openapi.json");
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    reply.json()
}

/// Each operation: its path as it is written, its method, and itself.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| -> Vec<(String, String, Value)> {
        let item = item.as_object().unwrap();
        item.iter().map(|(method, operation)| (path.clone(), method.to_uppercase(), operation.clone())).collect()
    };
    paths.iter().flat_map(methods).collect()
}

#[test]
fn it_names_every_path_that_there_is() {
    let served = Served::open();
    let document = described(&served);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let described: BTreeSet<String> = operations(&document).into_iter().map(|(path, ..)| path).collect();
    let path = Regex::new(r#""(/[^"\s]*)""#).unwrap();
    let mapped: BTreeSet<String> = path.captures_iter(MAP).map(|found| found[1].to_owned()).collect();
    assert_eq!(described, mapped, "the description and src/admin/map.rs differ");
    assert!(mapped.len() >= 12, "{mapped:?}");
}

#[test]
fn what_is_described_is_there_and_answers_as_described() {
    let served = Served::open();
    for (path, method, operation) in operations(&described(&served)) {
        // a stream has no end to wait for; what it answers is in its own tests
        let query = if path.ends_with("/stream") { "?limit=1" } else { "" };
        let full = path.replace("{route}", "orders").replace("{target}", "shanghai") + query;
        let (headers, body) =
            if operation["requestBody"].is_null() { (&[][..], "") } else { (JSON, r#"{"rate":"9MiB/s"}"#) };
        let reply = served.ask(&Request { method: &method, path: &full, headers, body, ..Request::default() });
        assert!(!matches!(reply.status, 404 | 405), "{method} {full}: {reply:?}");
        let kinds = &operation["responses"][reply.status.to_string()]["content"];
        let kind = reply.header("content-type");
        assert!(kinds.get(kind).is_some(), "{method} {full}: {} with {kind} is not described", reply.status);
    }
}

#[test]
fn problems_and_the_token_are_described() {
    let served = Served::open();
    let document = described(&served);
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let problem = &document["components"]["schemas"]["Problem"]["properties"];
    for field in ["type", "title", "status", "detail", "instance"] {
        assert!(problem.get(field).is_some(), "{field}");
    }
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let guarded = !["/healthz", "/readyz"].contains(&path.as_str());
        assert_eq!(
            operation["security"].as_array().map_or(0, Vec::len),
            if guarded { 2 } else { 0 },
            "{method} {path}"
        );
        assert_eq!(responses.contains_key("401"), guarded, "{method} {path}");
        assert_eq!(responses.contains_key("403"), method != "GET", "{method} {path}");
        for (status, response) in responses.iter().filter(|(status, _)| *status != "200") {
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
        }
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{method} {path}: its id is another's"
        );
    }
}

/// Every reference leads somewhere.
#[test]
fn it_is_whole() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    let reply = served.ask(&Request {
        path: "/api/v1/openapi.json",
        headers: &[("Authorization", "Bearer a-token-of-some-length")],
        ..Request::default()
    });
    let document = reply.json();
    let reference = Regex::new(r##""\$ref":"#([^"]+)""##).unwrap();
    let found: BTreeSet<String> = reference.captures_iter(&reply.body).map(|found| found[1].to_owned()).collect();
    assert!(found.len() > 5, "{found:?}");
    for pointer in found {
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
    assert!(!reply.body.contains(TOKEN));
}
