//! What being watched costs at full speed: processor time with metrics scraped every 5 s, all three signals pushed to a receiver and one
//! batch in a hundred traced, beside that without any of it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::support::api::Api;
use crate::support::cluster::{Cluster, Options};
use crate::support::records::Bulk;
use crate::support::seconds;
use crate::support::turns::Turn;
use crate::work::{copy, median};

/// More than this is too much.
const MOST: f64 = 1.03;

fn number(name: &str, usual: i64) -> i64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Scrapes every 5 s until the other end is dropped, as Prometheus would.
fn scraped(api: Api) -> std::sync::mpsc::Sender<()> {
    let (stop, stopped) = channel();
    std::thread::spawn(move || {
        loop {
            assert!(api.metrics().contains("anabranch_build_info"));
            if stopped.recv_timeout(seconds(5)) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    });
    stop
}

/// To be run by itself, on a machine that does nothing else: see `main.rs`. `COST_RECORDS` and `COST_ROUNDS` make it longer or shorter.
#[test]
#[ignore = "it takes minutes, and measures"]
fn cost_of_being_watched_at_full_speed() {
    let _turn = Turn::alone();
    let (records, rounds) = (number("COST_RECORDS", 4_000_000), number("COST_ROUNDS", 7));
    // topics that were deleted leave the disk soon
    let options =
        Options { properties: vec![("log.segment.delete.delay.ms".into(), "1000".into())], ..Options::default() };
    let [here, there] = ["cost-source", "cost-target"].map(|name| Cluster::start_with(name, &options));
    let receiver = Receiver::start();
    let source = here.topic("cost").create(4);
    source.fill(records, Bulk::over(4));
    let watched = json!({ "otlp": { "endpoint": receiver.grpc() } });
    let mut copied = 0;
    let mut run = |telemetry: &Value, is_watched: bool| -> Duration {
        copied += 1;
        let target = there.topic(&format!("cost.{copied}"));
        let copy = copy((&source, records), target.clone(), telemetry.clone(), |api| is_watched.then(|| scraped(api)));
        drop(copy.beside);
        copy.engine.drain().assert_code(0);
        target.delete();
        copy.cpu
    };
    run(&json!({}), false);
    let (mut plain, mut all) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // whoever goes second finds a warmer broker
        for is_watched in [round % 2 == 0, round % 2 == 1] {
            let cpu = if is_watched { run(&watched, true) } else { run(&json!({}), false) };
            if is_watched { &mut all } else { &mut plain }.push(cpu.as_secs_f64());
        }
    }
    let ratio = median(all.iter().copied()) / median(plain.iter().copied());
    println!("processor seconds for {records} records: without {plain:.2?}, with {all:.2?}");
    println!("medians {:.2} and {:.2}: {ratio:.4} times", median(plain.iter().copied()), median(all.iter().copied()));
    assert!(!receiver.spans().is_empty() && receiver.last_metrics().0 > 1, "it was not watched at all");
    assert!(ratio <= MOST, "{ratio}");
}
