//! What is kept of a route, and what is forgotten.

use super::*;
use crate::engine::events::Events;

const START: u64 = 1_700_000_000_000;

fn route(name: &str, records: u64, targets: &[(&str, u64, u64)]) -> RouteView {
    let target = |(name, records, lag): &(&str, u64, u64)| {
        serde_json::json!({
            "name": name, "state": "running", "reason": "", "since": "", "paused": false, "bandwidth": "unlimited",
            "bandwidth_in_config": "unlimited", "transfer": "records", "lag_records": lag, "lag_seconds": 0.25, "records": records,
            "bytes": records * 100, "detached_partitions": 0, "retries": 0, "dead_letter_records": 0, "dropped_records": 0,
            "kept_records": 0, "gaps": 0, "throttled_seconds": 0.0,
        })
    };
    serde_json::from_value(serde_json::json!({
        "name": name, "from": "guangzhou", "state": "running", "reason": "", "since": "", "enabled": true,
        "enabled_in_config": true, "partitions": 1, "records": records, "bytes": records * 100, "in_flight_bytes": 0,
        "in_flight_limit_bytes": 1, "targets": targets.iter().map(target).collect::<Vec<_>>(),
    }))
    .unwrap()
}

/// Takes samples, one every ten seconds, the first after `from` of them.
fn take(samples: &mut Samples, from: u64, routes: &[RouteView]) {
    for (step, route) in (from..).zip(routes) {
        samples.take(std::slice::from_ref(route), STEP * u32::try_from(step).unwrap(), START + 10_000 * step);
    }
}

#[test]
fn rates_are_between_samples_and_columns_are_of_one_length() {
    let mut samples = Samples::default();
    let views = [
        route("orders", 0, &[("shanghai", 0, 7)]),
        route("orders", 1_000, &[("beijing", 5, 0), ("shanghai", 505, 3)]),
        route("orders", 1_500, &[("beijing", 25, 0), ("shanghai", 510, 0)]),
    ];
    take(&mut samples, 0, &views);
    let view = samples.view(&views[2]);
    assert_eq!(view.at, [START, START + 10_000, START + 20_000]);
    assert_eq!(view.read.records_per_second, [None, Some(100.0), Some(50.0)]);
    let [beijing, shanghai] = &view.targets[..] else { panic!("{view:?}") };
    assert_eq!(beijing.lag_records, [None, Some(0), Some(0)], "it came later");
    assert_eq!(beijing.written.records_per_second, [None, None, Some(2.0)]);
    assert_eq!(shanghai.lag_records, [Some(7), Some(3), Some(0)]);
    assert_eq!(shanghai.lag_seconds, [Some(0.3); 3], "in tenths");
    assert_eq!(shanghai.written.bytes_per_second, [None, Some(5_050.0), Some(50.0)]);
}

#[test]
fn counters_that_begin_anew_are_no_negative_rate() {
    let mut samples = Samples::default();
    let views = [90_000, 100_000, 50, 150].map(|records| route("orders", records, &[("shanghai", records, 0)]));
    take(&mut samples, 0, &views);
    let view = samples.view(&views[3]);
    assert_eq!(view.read.records_per_second, [None, Some(1_000.0), None, Some(10.0)]);
    assert_eq!(view.targets[0].written.records_per_second, view.read.records_per_second);
}

#[test]
fn no_more_than_an_hour_is_kept_however_long_it_runs() {
    let mut samples = Samples::default();
    let views: Vec<RouteView> = (0..1_000).map(|step| route("orders", step * 10, &[("shanghai", step, 1)])).collect();
    take(&mut samples, 0, &views);
    let view = samples.view(&views[999]);
    assert_eq!((view.at.len(), view.at[0], view.at[359]), (MOST, START + 6_400_000, START + 9_990_000));
    assert_eq!(view.targets[0].lag_records, vec![Some(1); MOST]);
    assert_eq!(view.read.records_per_second, vec![Some(1.0); MOST]);
    let series = &samples.routes["orders"];
    assert!(series.read.samples.len() == MOST && series.targets["shanghai"].samples.len() == MOST);
    // the process was stopped for longer than is kept
    take(&mut samples, 2_000, &[route("orders", 20_000, &[("shanghai", 5_000, 1)])]);
    let view = samples.view(&views[999]);
    assert_eq!((view.at.len(), view.targets[0].lag_records.len()), (1, 1));
    assert_eq!(view.read.records_per_second, [Some(1.0)], "over all the time that it was away");
}

#[test]
fn what_is_gone_is_forgotten_and_begins_anew_when_it_is_back() {
    let mut samples = Samples::default();
    let both = [route("orders", 10, &[("beijing", 1, 0), ("shanghai", 1, 0)]), route("payments", 1, &[])];
    samples.take(&both, STEP, START);
    samples.take(&[route("orders", 20, &[("shanghai", 1, 0)])], STEP * 2, START + 10_000);
    assert_eq!(samples.routes.keys().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(samples.routes["orders"].targets.keys().collect::<Vec<_>>(), ["shanghai"]);
    samples.take(&both, STEP * 3, START + 20_000);
    let view = samples.view(&both[0]);
    assert_eq!(view.targets[0].lag_records, [None, None, Some(0)]);
    assert_eq!(view.targets[0].written.records_per_second, [None; 3], "its counters are not compared with former ones");
    let unknown = samples.view(&route("refunds", 0, &[("shanghai", 0, 0)]));
    assert_eq!((unknown.at.len(), unknown.targets[0].lag_records.len()), (3, 3), "not sampled yet");
}

#[actix_web::test]
async fn samples_are_taken_every_ten_seconds_as_long_as_somebody_wants_them() {
    tokio::time::pause();
    let board = Board::new(Events::new());
    let history = Arc::new(History::default());
    let keeper = actix_web::rt::spawn(keep(board, Arc::downgrade(&history)));
    let began = now();
    while history.lock().times.len() < 4 {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let taken: Vec<Duration> = history.lock().times.iter().map(|(at, _)| *at).collect();
    let steps: Vec<Duration> = taken.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(taken[0] < began + STEP / 10 && steps.iter().all(|step| *step >= STEP && *step < STEP * 2), "{taken:?}");
    drop(history);
    keeper.await.unwrap();
}
