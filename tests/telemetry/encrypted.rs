//! A receiver that is spoken to in secret, and one that is not who it ought to be.

use serde_json::json;

use crate::receiver::{ARRIVAL, Receiver};
use crate::support::certificates::Certificates;
use crate::support::cluster::regions;
use crate::support::engine::Engine;
use crate::support::{eventually, run_folder, seconds};
use crate::work::{all_to, config, write_traced};

#[test]
fn telemetry_is_encrypted_and_goes_to_nobody_else() {
    let regions = regions();
    let topic = "telemetry.encrypted";
    let source = regions.guangzhou.topic(topic).create(1);
    write_traced(&source);
    let certificates = Certificates::make(&run_folder());
    let receiver = Receiver::start_encrypted(&certificates);
    for (protocol, endpoint) in [("grpc", receiver.grpc()), ("http", receiver.http())] {
        let endpoint = endpoint.replace("http://", "https://");
        for (ca, is_right) in [(&certificates.stranger, false), (&certificates.ca, true)] {
            let run = format!("{protocol} {is_right}");
            let mut telemetry = all_to(&endpoint, protocol);
            telemetry["otlp"]["ca"] = json!(ca);
            telemetry["resource"] = json!({ "test.run": run });
            // the receiver writes down what it gets a moment later
            let is_heard = || receiver.logs().iter().any(|(process, _)| process["test.run"] == json!(run));
            let mut engine = Engine::run(&config(&regions, topic, &["shanghai"], telemetry));
            if is_right {
                eventually(ARRIVAL, "it arrives", is_heard);
            } else {
                engine.wait_for_log(seconds(20), "it does not arrive", |line| {
                    line["message"].as_str().unwrap_or_default().starts_with("telemetry does not arrive")
                });
            }
            engine.drain().assert_code(0);
            assert_eq!(is_heard(), is_right, "{protocol}");
        }
    }
}
