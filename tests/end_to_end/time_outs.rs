//! A policy with an end for targets that do not answer: what was with the client is given up, and nothing is lost with it.

use serde_json::json;

use crate::support::cluster::regions;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::ledger::{Ledger, Row, without};
use crate::support::log::number;
use crate::support::records::Bulk;
use crate::support::{eventually, seconds};

/// The numbers of records.
fn ids(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

#[test]
fn what_a_target_does_not_take_in_time_becomes_dead_letters_elsewhere_and_the_rest_goes_on() {
    const TOPIC: &str = "time_outs.elsewhere";
    const LETTERS: &str = "late.time_outs.elsewhere";
    let regions = regions();
    let source = regions.guangzhou.topic(TOPIC).create(2);
    let [steady, late] = [regions.shanghai, regions.chengdu].map(|cluster| cluster.topic(TOPIC).create(2));
    let retry = json!({
        "system": { "backoff": { "fixed": "500ms" }, "max_age": "3s", "on_exhausted": "dead_letter" },
        "dead_letter": { "cluster": "beijing", "topic": "late.{topic}" },
    });
    let config = Config::of(&regions).fan_out("guangzhou", TOPIC, &["shanghai", "chengdu"]).set(
        "/routes/time_outs_elsewhere/to/chengdu",
        "retry",
        retry,
    );
    let load = source.load(200, Bulk::over(2));
    let mut engine = Engine::run(&config);
    eventually(seconds(30), "records arrive on both", || steady.end() > 200 && late.end() > 200);

    regions.chengdu.stop();
    let letters = regions.beijing.topic(LETTERS);
    eventually(seconds(40), "dead letters are written twice", || {
        engine.assert_running();
        engine.log().with_message("given up").len() >= 4
    });
    regions.chengdu.restart();
    load.stop();
    source.wait_for("shanghai");
    source.wait_for("chengdu");
    engine.wait_for_state(seconds(20), "chengdu", "running");
    let finished = engine.drain().assert_bounded();

    let written = source.committed_rows();
    Ledger::compare(&written, &steady.all_rows()).assert_exact();
    let (arrived, letters) = (late.all_rows(), letters.all_rows());
    let given_up = number(finished.log().closed("chengdu"), "dead_lettered");
    println!("{} of {} records became dead letters", letters.len(), written.len());
    assert!(!letters.is_empty() && letters.len() as u64 == given_up, "{} letters, {given_up} counted", letters.len());
    // a record may be in both places: what had no answer may have been written
    let arrived_ids = ids(&arrived);
    let gone: Vec<i64> = ids(&letters).into_iter().filter(|id| !arrived_ids.contains(id)).collect();
    Ledger::compare(&without(&written, &gone), &arrived).assert_at_least_once();
}
