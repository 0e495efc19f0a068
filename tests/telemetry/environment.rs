//! OpenTelemetry's own variables, as whoever runs the process sets them.

use serde_json::json;

use crate::receiver::{ARRIVAL, Receiver};
use crate::support::cluster::regions;
use crate::support::engine::{Engine, Finished};
use crate::support::{eventually, run_folder, seconds};
use crate::work::{config, write_traced};

#[test]
fn the_usual_variables_are_enough_to_be_heard() {
    let regions = regions();
    let topic = "telemetry.variables";
    let receiver = Receiver::start();
    let source = regions.guangzhou.topic(topic).create(1);
    write_traced(&source);
    // nobody reaches it: what is pushed does not need the API
    let config = config(&regions, topic, &["shanghai"], json!({})).set("/admin", "listen", json!("off"));
    let engine = Engine::run_with(
        &config,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.http()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            // a signal has a way of its own
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &receiver.grpc()),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_SERVICE_NAME", "copier"),
            ("OTEL_RESOURCE_ATTRIBUTES", "zone=a%2Cb"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ],
    );
    source.wait_for("shanghai");
    eventually(ARRIVAL, "all three signals arrive", || {
        !receiver.spans().is_empty() && !receiver.logs().is_empty() && receiver.last_metrics().0 > 3
    });
    let finished = engine.drain().assert_code(0);
    for (about, _) in [receiver.spans(), receiver.logs(), receiver.metrics()].into_iter().flatten() {
        assert_eq!((&about["service.name"], &about["zone"]), (&json!("copier"), &json!("a,b")));
    }
    assert_eq!(warnings(&finished), Vec::<String>::new());
    assert!(!finished.output().contains("hunter2"));
}

#[test]
fn a_variable_that_makes_no_sense_is_told_and_stops_nothing() {
    let regions = regions();
    let topic = "telemetry.nonsense";
    let receiver = Receiver::start();
    let source = regions.guangzhou.topic(topic).create(1);
    write_traced(&source);
    let config = config(&regions, topic, &["shanghai"], json!({}));
    let bad = [
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://hunter2:99999"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2"),
        ("OTEL_METRICS_EXPORTER", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "hunter2"),
    ];
    let file = run_folder().join("nonsense.yaml");
    config.write(&file);
    let endpoint = receiver.grpc();
    let variables: Vec<_> = bad.into_iter().chain([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).collect();
    let checked =
        Engine::start(&["check", "--config", file.to_str().unwrap()], &variables).wait(seconds(10)).assert_code(0);
    let engine = Engine::run_with(&config, &variables);
    source.wait_for("shanghai");
    let finished = engine.drain().assert_code(0);
    let told = warnings(&finished);
    for (name, _) in bad {
        assert!(checked.stdout.contains(&format!("\n{name} is ignored")), "{}", checked.stdout);
        assert!(told.iter().any(|line| line.starts_with(&format!("{name} is ignored"))), "{name}: {told:?}");
    }
    assert_eq!(told.len(), bad.len(), "{told:?}");
    assert!(!finished.output().contains("hunter2"));
    assert!(!receiver.logs().is_empty(), "it goes where all signals go");
}

#[test]
fn all_pushing_can_be_switched_off_for_a_machine() {
    let regions = regions();
    let topic = "telemetry.disabled";
    let receiver = Receiver::start();
    let source = regions.guangzhou.topic(topic).create(1);
    write_traced(&source);
    let telemetry = crate::work::all_to(&receiver.grpc(), "grpc");
    let config = config(&regions, topic, &["shanghai"], telemetry);
    let mut engine = Engine::run_with(&config, &[("OTEL_SDK_DISABLED", "true")]);
    source.wait_for("shanghai");
    // long enough that something would have been sent
    engine.keeps_running(seconds(3));
    engine.drain().assert_code(0);
    assert!(receiver.logs().is_empty() && receiver.spans().is_empty() && receiver.metrics().is_empty());
}

fn warnings(finished: &Finished) -> Vec<String> {
    let log = finished.log();
    let lines = log.lines().iter().filter(|line| line["level"] == "WARN");
    lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect::<Vec<String>>()
}
