//! A target that is down for long and one that was never there cost neither memory nor the others' time.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::support::cluster::{Regions, regions_alone};
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::Ledger;
use crate::support::log::{number, text};
use crate::support::meter::{Curve, Meter};
use crate::support::records::Bulk;
use crate::support::{at_length, eventually, seconds};

const TOPIC: &str = "down.long";
const RECORDS_PER_SECOND: i64 = 1_000;
/// How long memory may rise before it has to be flat, and by how much it may still vary.
const SETTLING: Duration = seconds(20);
const VARIES: i64 = 16 << 20;

/// A port at which nobody stays on the line: whoever calls is counted, and hung up on.
struct DeadPort {
    port: u16,
    calls: Arc<AtomicI64>,
    closed: Arc<AtomicBool>,
}

impl DeadPort {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (calls, closed) = (Arc::<AtomicI64>::default(), Arc::<AtomicBool>::default());
        let (counted, over) = (calls.clone(), closed.clone());
        std::thread::spawn(move || {
            for call in listener.incoming().take_while(|_| !over.load(Ordering::Relaxed)) {
                drop(call);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, calls, closed }
    }

    fn calls(&self) -> Meter {
        let calls = self.calls.clone();
        Meter::start(Duration::from_millis(100), move || calls.load(Ordering::Relaxed))
    }
}

impl Drop for DeadPort {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        std::net::TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn config(regions: &Regions, nowhere: &DeadPort) -> Config {
    Config::new()
        .cluster("guangzhou", regions.guangzhou)
        .cluster("shanghai", regions.shanghai)
        .cluster("chengdu", regions.chengdu)
        .cluster_as("nowhere", &format!("127.0.0.1:{}", nowhere.port), None)
        .fan_out("guangzhou", TOPIC, &["shanghai", "chengdu", "nowhere"])
}

/// After it has settled, memory is flat.
fn assert_flat(memory: &Curve, down: Duration, back: Duration) {
    let (early, late) = (memory.highest(Duration::ZERO, down + SETTLING), memory.highest(down + SETTLING, back));
    println!("memory: {} KiB in the first {SETTLING:?}, {} KiB later", early >> 10, late >> 10);
    assert!(late <= early + VARIES, "{late} bytes of memory, {early} in the first {SETTLING:?}");
}

/// Nobody who is not there is called all the time.
fn assert_no_storm(calls: &Curve, time: Duration) {
    let rate = calls.rate(Duration::ZERO, time);
    let storm = calls.most_within(seconds(1));
    println!("the dead port was called {rate:.2} times per second, {storm} times in the worst");
    assert!(rate > 0.0, "nobody looks whether it is there");
    assert!(rate <= 2.0 && storm <= 20, "{rate} calls per second, {storm} in the worst");
}

#[test]
fn a_target_that_is_down_and_one_that_never_was_there_cost_nobody_anything() {
    let regions = regions_alone();
    let nowhere = DeadPort::open();
    let source = regions.guangzhou.topic(TOPIC).create(4);
    let [shanghai, chengdu] = [regions.shanghai, regions.chengdu].map(|cluster| cluster.topic(TOPIC).create(4));
    let load = source.load(RECORDS_PER_SECOND, Bulk { value_size: 1_000, ..Bulk::over(4) });
    let calls = nowhere.calls();
    let mut engine = Engine::run(&config(&regions, &nowhere));
    let memory = engine.memory();
    eventually(seconds(30), "records arrive on both that are there", || {
        shanghai.end() > 2_000 && chengdu.end() > 2_000
    });
    let counted = shanghai.clone();
    let arrivals = Meter::start(Duration::from_millis(200), move || counted.end());

    regions.chengdu.stop();
    let (down, started) = (memory.now(), arrivals.now());
    engine.keeps_running(at_length(seconds(40), seconds(600)));
    let (back, ended) = (memory.now(), arrivals.now());
    for target in ["chengdu", "nowhere"] {
        let log = engine.log();
        let state = log.state_of(target).unwrap();
        assert_eq!((text(state, "state"), text(state, "class")), ("retrying", "system"), "{state}");
        assert!(number(state, "attempt") >= 1 && state["next_attempt_ms"].is_u64(), "{state}");
        assert!(!text(state, "reason").is_empty(), "{state}");
    }
    assert_eq!(engine.log().state_of("shanghai").unwrap()["state"], "running");

    regions.chengdu.restart();
    let before = chengdu.end();
    eventually(seconds(15), "it is served again", || chengdu.end() > before);
    engine.wait_for_state(seconds(60), "chengdu", "running");
    let connections = regions.chengdu.connections();
    println!("{connections} connections to the broker that is back");
    assert!(connections <= 100, "{connections} connections to a broker that is back: a storm");
    load.stop();
    for target in ["shanghai", "chengdu"] {
        source.wait_for(target);
    }
    let over = calls.now();
    let (memory, arrivals, calls) = (memory.stop(), arrivals.stop(), calls.stop());
    engine.drain().assert_bounded();

    assert_flat(&memory, down, back);
    assert_no_storm(&calls, over);
    let rate = arrivals.rate(started, ended);
    println!("{rate:.0} of {RECORDS_PER_SECOND} records per second while the other targets were down");
    assert!(rate >= 950.0, "{rate} records per second of {RECORDS_PER_SECOND}");
    let written = source.committed_rows();
    Ledger::compare(&written, &shanghai.all_rows()).assert_exact();
    let duplicated = Ledger::compare(&written, &chengdu.all_rows()).assert_at_least_once();
    println!("{duplicated} of {} records arrived again on the target that was down", written.len());
}
