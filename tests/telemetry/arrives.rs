//! Metrics, logs and traces arrive at a receiver, by gRPC and by HTTP, and records are as they were.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::receiver::{ARRIVAL, Receiver, attributes, list};
use crate::support::api::Api;
use crate::support::cluster::regions;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::{eventually, seconds, within};
use crate::work::{SPAN, TRACE, all_to, config, write_traced};

#[test]
fn all_of_it_arrives_by_grpc_and_records_are_as_they_were() {
    all_of_it_arrives("telemetry.grpc", "grpc");
}

#[test]
fn all_of_it_arrives_by_http_and_records_are_as_they_were() {
    all_of_it_arrives("telemetry.http", "http");
}

fn all_of_it_arrives(topic: &str, protocol: &str) {
    let regions = regions();
    let receiver = Receiver::start();
    let source = regions.guangzhou.topic(topic).create(2);
    write_traced(&source);
    let endpoint = if protocol == "grpc" { receiver.grpc() } else { receiver.http() };
    let mut telemetry = all_to(&endpoint, protocol);
    telemetry["resource"] = json!({ "deployment.environment.name": "test" });
    telemetry["otlp"]["headers"] = json!({ "authorization": "Bearer hunter2" });
    let config = config(&regions, topic, &["shanghai", "beijing"], telemetry);
    let mut engine = Engine::run(&config);
    let api = Api::of(&mut engine);
    for target in ["shanghai", "beijing"] {
        source.wait_for(target);
    }

    the_traces_tell_what_became_of_the_batch(&receiver, topic);
    the_metrics_are_those_of_the_page(&receiver, &api);
    let finished = engine.drain().assert_code(0);
    the_logs_are_those_of_standard_error(&receiver, finished.log().lines());
    assert!(!finished.output().contains("hunter2"));

    for cluster in [regions.shanghai, regions.beijing] {
        let target = cluster.topic(topic);
        Ledger::compare(&source.committed_rows(), &target.all_rows()).assert_exact();
        let mut records = target.records();
        let mut written = source.records();
        records.sort_by_key(|record| record.timestamp);
        written.sort_by_key(|record| record.timestamp);
        assert_eq!(records, written, "headers too");
    }
}

fn the_traces_tell_what_became_of_the_batch(receiver: &Receiver, topic: &str) {
    let is_root = |span: &Value| span["name"] == format!("process {topic}");
    let linked = |span: &&Value| is_root(span) && !list(&span["links"]).is_empty();
    let sends = |spans: &[Value], root: &Value| -> Vec<Value> {
        let child = |span: &&Value| span["parentSpanId"] == root["spanId"] && span["traceId"] == root["traceId"];
        spans.iter().filter(child).cloned().collect()
    };
    let found = within(ARRIVAL, || {
        let spans: Vec<Value> = receiver.spans().into_iter().map(|(_, span)| span).collect();
        let root = spans.iter().find(linked)?.clone();
        let sends = sends(&spans, &root);
        (sends.len() == 2).then_some((root, sends))
    });
    let (root, sends) = found.unwrap_or_else(|| panic!("no trace of the batch: {:#?}", receiver.spans()));

    let links = list(&root["links"]);
    assert_eq!(links.len(), 1, "what is nonsense is ignored: {links:?}");
    assert_eq!((links[0]["traceId"].as_str(), links[0]["spanId"].as_str()), (Some(TRACE), Some(SPAN)));
    assert!(root["parentSpanId"].as_str().unwrap_or_default().is_empty() && root["traceId"] != TRACE, "{root}");
    let about = attributes(&root);
    let route = topic.replace('.', "_");
    for (name, value) in [
        ("messaging.system", json!("kafka")),
        ("messaging.operation.type", json!("process")),
        ("messaging.destination.name", json!(topic)),
        ("messaging.destination.partition.id", json!("0")),
        ("messaging.kafka.offset", json!(0)),
        ("messaging.batch.message_count", json!(5)),
        ("anabranch.route", json!(route)),
        ("anabranch.read", json!("shared")),
    ] {
        assert_eq!(about[name], value, "{name}: {about}");
    }
    let targets: BTreeSet<String> = sends.iter().map(|send| attributes(send)["anabranch.target"].to_string()).collect();
    assert_eq!(targets, ["\"beijing\"", "\"shanghai\""].map(str::to_owned).into());
    for send in &sends {
        let about = attributes(send);
        assert_eq!(about["anabranch.result"], "acknowledged", "{about}");
        assert_eq!(about["messaging.destination.name"], topic);
        assert_eq!(about["anabranch.route"], route.as_str());
        assert!(about["anabranch.waited"].as_f64().is_some(), "{about}");
        assert_eq!(list(&send["events"])[0]["name"], "handed over");
        let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        let (began, ended) = (time(send, "startTimeUnixNano"), time(send, "endTimeUnixNano"));
        assert!(time(&root, "startTimeUnixNano") <= began && began <= ended && ended <= time(&root, "endTimeUnixNano"));
    }
    the_process_says_who_it_is(&receiver.spans()[0].0);
}

fn the_process_says_who_it_is(about: &Value) {
    assert_eq!(about["service.name"], "anabranch");
    assert_eq!(about["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["deployment.environment.name"], "test");
    assert_eq!(about["service.instance.id"].as_str().unwrap().len(), 36);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(about["host.name"], host.trim());
    assert!(about["process.pid"].as_i64().unwrap() > 0);
}

/// Names, and what their series are told apart by; a histogram's count for the rest of it.
type Series = BTreeMap<String, BTreeSet<BTreeMap<String, String>>>;

fn series_of_the_page(text: &str) -> Series {
    let sample = regex::Regex::new(r"(?m)^(\w+)(?:\{(.*)\})? \S+$").unwrap();
    let label = regex::Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    let mut series = Series::new();
    for found in sample.captures_iter(text) {
        let name = &found[1];
        if name == "target_info" || name.ends_with("_bucket") || name.ends_with("_sum") {
            continue;
        }
        let labels = found.get(2).map_or("", |labels| labels.as_str());
        let labels = label.captures_iter(labels).map(|pair| (pair[1].to_owned(), pair[2].to_owned())).collect();
        series.entry(name.trim_end_matches("_count").to_owned()).or_default().insert(labels);
    }
    series
}

fn series_that_were_pushed(metrics: &[Value]) -> Series {
    let mut series = Series::new();
    for metric in metrics {
        let data = ["sum", "gauge", "histogram"].into_iter().find_map(|kind| metric[kind].as_object()).unwrap();
        for point in list(&data["dataPoints"]) {
            let labels = attributes(point);
            let labels = labels.as_object().unwrap().iter();
            let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
            series.entry(metric["name"].as_str().unwrap().to_owned()).or_default().insert(labels);
        }
    }
    series
}

fn the_metrics_are_those_of_the_page(receiver: &Receiver, api: &Api) {
    let mut last = (Series::new(), Series::new());
    eventually(ARRIVAL, "what is pushed has the names and series of the page", || {
        let page = series_of_the_page(&api.metrics());
        last = (page, series_that_were_pushed(&receiver.last_metrics().1));
        last.0 == last.1 && last.0.len() > 15
    });
    let (count, _) = receiver.last_metrics();
    eventually(seconds(10), "they are pushed each second", || receiver.last_metrics().0 >= count + 3);
    let records = |metrics: &[Value]| {
        let metric = metrics.iter().find(|metric| metric["name"] == "anabranch_source_records_total")?;
        assert_eq!((&metric["unit"], &metric["sum"]["isMonotonic"]), (&json!("{record}"), &json!(true)));
        metric["sum"]["dataPoints"][0]["asInt"].as_str()?.parse::<i64>().ok()
    };
    assert_eq!(records(&receiver.last_metrics().1), Some(5));
    the_process_says_who_it_is(&receiver.metrics()[0].0);
}

fn the_logs_are_those_of_standard_error(receiver: &Receiver, lines: &[Value]) {
    let stopped = |body: &Value| body["stringValue"] == "engine stopped";
    eventually(ARRIVAL, "the last line arrives", || receiver.logs().iter().any(|(_, record)| stopped(&record["body"])));
    let records = receiver.logs();
    for (about, record) in &records {
        the_process_says_who_it_is(about);
        assert!(record["scope"].as_str().unwrap().starts_with("anabranch"), "{record}");
    }
    let about = |record: &Value| {
        let about = attributes(record);
        (
            record["body"]["stringValue"].clone(),
            record["severityText"].clone(),
            about["route"].clone(),
            about["target"].clone(),
        )
    };
    let pushed: Vec<_> = records.iter().map(|(_, record)| about(record)).collect();
    // pushing begins once it is known where to; the words about pushing itself stay here
    let told = lines.iter().skip_while(|line| line["signal"] != "logs").skip(1);
    let mut expected = 0;
    for line in told.filter(|line| line["signal"].is_null()) {
        expected += 1;
        let line = (line["message"].clone(), line["level"].clone(), line["route"].clone(), line["target"].clone());
        assert!(pushed.contains(&line), "{line:?} is not among {pushed:#?}");
    }
    assert!(expected > 5, "only {expected} lines");
    assert!(pushed.iter().any(|(_, _, route, target)| route.is_string() && target == "beijing"));
}
