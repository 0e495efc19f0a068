//! Tests of the comparison: what is planted is found, and nothing else.

use proptest::prelude::*;

use super::*;
use crate::domain::records::Records;

fn print(content: i64) -> Fingerprint {
    let mut records = Records::default();
    records.push(0, 1_000 + content, Some(&content.to_be_bytes()), Some(b"value"), std::iter::empty());
    Fingerprint::of(&records.get(0).unwrap())
}

fn seen(offset: usize, content: i64) -> Seen {
    Seen { offset: i64::try_from(offset).unwrap(), print: print(content), aside: false }
}

const RULES: Rules = Rules { source_compacted: false, target_compacted: false, sampled: false, window: 1 << 16 };

fn scopes(source: usize, target: usize) -> (SourceScope, LaneScope) {
    let [source, target] = [source, target].map(|end| i64::try_from(end).unwrap());
    let scope = SourceScope { watermark: source, end: source, ..SourceScope::default() };
    (scope, LaneScope { end: target, ..LaneScope::default() })
}

/// Compares two sequences of records in one partition.
fn compare(source: &[i64], target: &[i64]) -> Outcome {
    let (scope, lane) = scopes(source.len(), target.len());
    compare_with(RULES, scope, lane, source, target)
}

fn compare_with(rules: Rules, scope: SourceScope, lane: LaneScope, source: &[i64], target: &[i64]) -> Outcome {
    let sources = [source.iter().enumerate().map(|(at, content)| (0, seen(at, *content))).collect()];
    let lanes = [target.iter().enumerate().map(|(at, content)| seen(at, *content)).collect()];
    drive(Comparison::new(rules, vec![scope], vec![lane]), &sources, &lanes)
}

/// Feeds it as the driver does: the lanes go on as far as they can, and the source is read when it is wanted.
fn drive(mut comparison: Comparison, sources: &[Vec<Bound>], lanes: &[Vec<Seen>]) -> Outcome {
    let (mut read, mut shown) = (vec![0; sources.len()], vec![0; lanes.len()]);
    loop {
        let mut moved = false;
        let mut waiting = vec![false; lanes.len()];
        for lane in 0..lanes.len() {
            while let Some(record) = lanes[lane].get(shown[lane]) {
                if comparison.target(lane, record) == Verdict::Wait {
                    waiting[lane] = true;
                    break;
                }
                shown[lane] += 1;
                moved = true;
            }
            if shown[lane] == lanes[lane].len() {
                comparison.lane_ended(lane);
            }
        }
        let done = (0..lanes.len()).all(|lane| shown[lane] == lanes[lane].len());
        for source in 0..sources.len() {
            let wanted = (0..lanes.len()).any(|lane| waiting[lane] && comparison.wants(source, lane));
            if wanted || (done && comparison.is_open(source)) {
                for (lane, record) in sources[source].iter().skip(read[source]).take(100) {
                    comparison.source(source, *lane, record);
                    moved = true;
                }
                read[source] = (read[source] + 100).min(sources[source].len());
                if read[source] == sources[source].len() {
                    comparison.source_ended(source);
                    moved = true;
                }
            }
        }
        if !moved {
            assert!(done, "it waits for nothing");
            return comparison.finish();
        }
    }
}

/// missing, duplicated, reordered, extra
fn counts(outcome: &Outcome) -> [u64; 4] {
    let tally = &outcome.tally;
    [tally.missing, tally.duplicated, tally.reordered, tally.extra]
}

fn numbers(count: i64) -> Vec<i64> {
    (0..count).collect()
}

#[test]
fn a_clean_copy_has_no_difference_and_the_same_sums() {
    let outcome = compare(&numbers(100_000), &numbers(100_000));
    assert_eq!(counts(&outcome), [0; 4]);
    assert_eq!((outcome.tally.matched, outcome.tally.source_sum), (100_000, outcome.tally.target_sum));
}

#[test]
fn each_planted_difference_is_found_where_it_is() {
    let source = numbers(100_000);
    let mut target = source.clone();
    target[70_000] = -1;
    target.insert(60_000, 59_999);
    target.insert(50_000, 999_999);
    target.swap(40_000, 40_001);
    target.swap(30_000, 35_000);
    target.remove(20_000);
    let outcome = compare(&source, &target);
    assert_eq!(counts(&outcome), [2, 1, 3, 2]);
    let missing: Vec<i64> = outcome.missing.iter().map(|record| record.offset).collect();
    assert_eq!(missing, [20_000, 70_000]);
    assert_eq!(outcome.extra.iter().map(|record| record.offset).collect::<Vec<_>>(), [49_999, 70_001]);
    assert_eq!((outcome.duplicated[0].offset, outcome.duplicated[0].at), (59_999, 60_000));
    let reordered: Vec<i64> = outcome.reordered.iter().map(|pair| pair.offset).collect();
    assert_eq!(reordered, [35_000, 30_000, 40_001]);
}

#[test]
fn a_rewind_is_duplicates_and_nothing_else() {
    let source = numbers(100_000);
    let mut target = source[..60_000].to_vec();
    target.extend_from_slice(&source[40_000..]);
    assert_eq!(counts(&compare(&source, &target)), [0, 20_000, 0, 0]);
}

#[test]
fn a_repeated_record_of_the_source_does_not_confuse_a_rewind() {
    let source: Vec<i64> = (0..50_000).map(|at| if at % 10 == 0 { -7 } else { at }).collect();
    assert_eq!(counts(&compare(&source, &source)), [0; 4]);
    let mut target = source[..30_000].to_vec();
    target.extend_from_slice(&source[25_005..]);
    assert_eq!(counts(&compare(&source, &target)), [0, 4_995, 0, 0]);
}

#[test]
fn records_that_are_all_the_same_are_counted() {
    let source = vec![1; 30_000];
    assert_eq!(counts(&compare(&source, &source)), [0; 4]);
    assert_eq!(counts(&compare(&source, &source[1..])), [1, 0, 0, 0]);
    assert_eq!(counts(&compare(&source[1..], &source)), [0, 1, 0, 0]);
}

#[test]
fn a_block_larger_than_the_window_is_missing_or_extra_as_a_whole() {
    let source = numbers(300_000);
    let mut target = source[..50_000].to_vec();
    target.extend_from_slice(&source[250_000..]);
    assert_eq!(counts(&compare(&source, &target)), [200_000, 0, 0, 0]);
    assert_eq!(counts(&compare(&target, &source)), [0, 0, 0, 200_000]);
}

#[test]
fn what_is_beyond_the_watermark_may_be_there_or_not() {
    let source = numbers(30_000);
    for arrived in [20_000, 25_000, 30_000] {
        let (scope, lane) = scopes(30_000, arrived);
        let scope = SourceScope { watermark: 20_000, ..scope };
        let outcome = compare_with(RULES, scope, lane, &source, &source[..arrived]);
        assert_eq!(counts(&outcome), [0; 4]);
        assert_eq!((outcome.tally.matched, outcome.tally.in_flight), (20_000, arrived as u64 - 20_000));
    }
    let (scope, lane) = scopes(30_000, 19_999);
    let outcome = compare_with(RULES, SourceScope { watermark: 20_000, ..scope }, lane, &source, &source[..19_999]);
    assert_eq!(counts(&outcome), [1, 0, 0, 0]);
}

#[test]
fn what_was_skipped_is_not_missing() {
    let source = numbers(1_000);
    let (scope, lane) = scopes(1_000, 900);
    let target = [&source[..500], &source[600..]].concat();
    let outcome =
        compare_with(RULES, SourceScope { skipped: vec![(500, 600)], ..scope.clone() }, lane.clone(), &source, &target);
    assert_eq!((counts(&outcome), outcome.tally.skipped), ([0; 4], 100));
    let outcome = compare_with(RULES, SourceScope { skipped: vec![(501, 600)], ..scope }, lane, &source, &target);
    assert_eq!((counts(&outcome), outcome.tally.skipped), ([1, 0, 0, 0], 99));
}

#[test]
fn what_retention_took_from_the_source_is_not_extra_but_what_was_planted_is() {
    let all = numbers(60_000);
    for gone in [10, 5_000, 40_000] {
        let (scope, lane) = scopes(all.len() - gone, all.len() + 1);
        let scope = SourceScope { gone: gone as u64, ..scope };
        let mut target = all.clone();
        target.insert(50_000, -1);
        let outcome = compare_with(RULES, scope, lane, &all[gone..], &target);
        assert_eq!((counts(&outcome), outcome.tally.gone_at_source), ([0, 0, 0, 1], gone as u64));
    }
}

#[test]
fn what_retention_took_from_the_target_is_not_missing_but_what_lacks_later_is() {
    let all = numbers(60_000);
    for gone in [10, 5_000, 40_000] {
        let (scope, lane) = scopes(all.len(), all.len() - gone - 1);
        let lane = LaneScope { gone: gone as u64, ..lane };
        let mut target = all[gone..].to_vec();
        target.remove(15_000);
        let outcome = compare_with(RULES, scope, lane, &all, &target);
        assert_eq!((counts(&outcome), outcome.tally.gone_at_target), ([1, 0, 0, 0], gone as u64), "{gone}");
    }
}

#[test]
fn a_sample_is_found_in_the_middle_of_a_lane_and_what_is_around_it_does_not_count() {
    let all = numbers(60_000);
    let rules = Rules { sampled: true, ..RULES };
    let compare_sample = |target: &[i64]| {
        let (scope, lane) = scopes(10_000, target.len());
        compare_with(rules, scope, lane, &all[20_000..30_000], target)
    };
    for from in [0, 15_000, 20_000] {
        let outcome = compare_sample(&all[from..]);
        assert_eq!((counts(&outcome), outcome.tally.matched), ([0; 4], 10_000));
    }
    let mut target = all.clone();
    target.remove(29_999);
    target.insert(25_000, -1);
    target.remove(22_000);
    assert_eq!(counts(&compare_sample(&target)), [2, 0, 0, 1]);
    let outcome = compare_sample(&all[..20_000]);
    assert_eq!((counts(&outcome), outcome.tally.unplaced), ([0; 4], 10_000));
}

fn feed(comparison: &mut Comparison, records: &[Seen]) {
    for record in records {
        comparison.source(0, 0, record);
    }
}

/// Shows a lane from a position on, as far as it goes without more of the source.
fn show(comparison: &mut Comparison, records: &[Seen], from: usize) -> usize {
    let waits = |record: &Seen| comparison.target(0, record) == Verdict::Wait;
    records[from..].iter().position(waits).map_or(records.len(), |at| from + at)
}

#[test]
fn what_is_lost_while_it_is_read_is_no_difference_on_either_side() {
    let all: Vec<Seen> = (0..30_000).map(|at| seen(at, i64::try_from(at).unwrap())).collect();
    let (scope, lane) = scopes(all.len(), all.len());
    let mut comparison = Comparison::new(RULES, vec![scope.clone()], vec![lane.clone()]);
    feed(&mut comparison, &all[..5_000]);
    let shown = show(&mut comparison, &all[..3_000], 0);
    comparison.source_lost(0, 10_000);
    let shown = show(&mut comparison, &all, shown);
    assert_eq!(shown, 5_000, "then it waits for the source");
    feed(&mut comparison, &all[10_000..]);
    comparison.source_ended(0);
    assert_eq!(show(&mut comparison, &all, shown), all.len());
    comparison.lane_ended(0);
    let outcome = comparison.finish();
    assert_eq!((counts(&outcome), outcome.tally.gone_at_source), ([0; 4], 5_000));

    let mut comparison = Comparison::new(RULES, vec![scope], vec![lane]);
    feed(&mut comparison, &all[..8_000]);
    show(&mut comparison, &all[..3_000], 0);
    comparison.lane_lost(0, 10_000);
    feed(&mut comparison, &all[8_000..]);
    comparison.source_ended(0);
    assert_eq!(show(&mut comparison, &all, 10_000), all.len());
    comparison.lane_ended(0);
    let outcome = comparison.finish();
    assert_eq!((counts(&outcome), outcome.tally.gone_at_target), ([0; 4], 7_000));
}

/// A record of a key, told apart by its time.
fn keyed(key: i64, time: i64, tombstone: bool) -> Fingerprint {
    let mut records = Records::default();
    let value = (!tombstone).then_some(&b"value"[..]);
    records.push(0, time, Some(&key.to_be_bytes()), value, std::iter::empty());
    Fingerprint::of(&records.get(0).unwrap())
}

#[test]
fn compaction_may_take_all_but_the_last_of_a_key() {
    let rules = Rules { source_compacted: true, target_compacted: true, ..RULES };
    let all: Vec<Seen> =
        (0..50_000).map(|at| Seen { offset: at, print: keyed(at % 100, at, at % 7 == 0), aside: false }).collect();
    let last = |seen: &Seen| seen.offset >= 49_900;
    let kept = |side: i64| all.iter().filter(move |seen| last(seen) || seen.offset % 3 == side).copied();
    let outcome_of = |source: Vec<Seen>, target: Vec<Seen>| {
        let (scope, lane) = scopes(all.len(), all.len());
        let source = [source.into_iter().map(|seen| (0, seen)).collect()];
        drive(Comparison::new(rules, vec![scope], vec![lane]), &source, &[target])
    };
    let outcome = outcome_of(kept(0).collect(), kept(1).collect());
    assert_eq!((counts(&outcome), outcome.tally.compacted_unproven), ([0; 4], 0));
    assert!(outcome.tally.compacted > 30_000, "{:?}", outcome.tally);
    let last_value = |seen: &Seen| seen.offset != 49_950;
    let outcome = outcome_of(kept(0).collect(), kept(1).filter(last_value).collect());
    assert_eq!(
        counts(&outcome),
        [1, 0, 0, 1],
        "and what the target has as the last of that key now is not the source's"
    );
    let outcome = outcome_of(kept(0).filter(last_value).collect(), kept(1).collect());
    assert_eq!(counts(&outcome), [1, 0, 0, 1]);
}

/// A record of the source, and the lane that it goes to.
type Bound = (usize, Seen);

/// Records of several source partitions that go to several lanes, in turns of different lengths.
fn by_key(runs: &[usize]) -> (Vec<Vec<Bound>>, Vec<Vec<Seen>>) {
    let (mut sources, mut lanes) = (vec![Vec::new(); 3], vec![Vec::new(); 4]);
    let mut content = 0;
    for (at, run) in runs.iter().enumerate() {
        for _ in 0..*run {
            let (source, lane) = (at % 3, usize::try_from(content * 7 % 11).unwrap() % 4);
            let (offset, at): (usize, usize) = (sources[source].len(), lanes[lane].len());
            sources[source].push((lane, seen(offset, content)));
            lanes[lane].push(seen(at, content));
            content += 1;
        }
    }
    (sources, lanes)
}

fn compare_by_key(sources: &[Vec<Bound>], lanes: &[Vec<Seen>]) -> Outcome {
    let source = |records: &Vec<Bound>| scopes(records.len(), 0).0;
    let lane = |records: &Vec<Seen>| scopes(0, records.len()).1;
    let comparison = Comparison::new(RULES, sources.iter().map(source).collect(), lanes.iter().map(lane).collect());
    drive(comparison, sources, lanes)
}

#[test]
fn partitions_that_are_mixed_by_key_are_compared_each_in_its_order() {
    for runs in [vec![1; 9_000], [40, 1_000, 7].repeat(20), vec![20_000; 3]] {
        let (sources, mut lanes) = by_key(&runs);
        let outcome = compare_by_key(&sources, &lanes);
        assert_eq!((counts(&outcome), outcome.tally.source_sum), ([0; 4], outcome.tally.target_sum));
        let moved = lanes[1].remove(1_000);
        lanes[2].insert(700, moved);
        let twice = lanes[3][900];
        lanes[3].insert(901, twice);
        for lane in &mut lanes {
            for (at, seen) in lane.iter_mut().enumerate() {
                seen.offset = i64::try_from(at).unwrap();
            }
        }
        let outcome = compare_by_key(&sources, &lanes);
        assert_eq!(counts(&outcome), [1, 1, 0, 1]);
        assert_eq!(outcome.missing[0].print, outcome.extra[0].print);
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Remove,
    Double,
    Insert,
    Swap,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Edits that are far enough apart are found one by one, whatever lies between.
    #[test]
    fn edits_are_found_and_told_apart(
        edits in prop::collection::vec((prop::sample::select(vec![Edit::Remove, Edit::Double, Edit::Insert, Edit::Swap]), 5_usize..3_000), 0..12),
        window in prop::sample::select(vec![1_usize << 10, 1 << 12, 1 << 16]),
    ) {
        let source = numbers(40_000);
        let mut target = Vec::new();
        let (mut at, mut expected) = (0, [0_u64; 4]);
        for (edit, distance) in &edits {
            target.extend_from_slice(&source[at..at + distance]);
            at += distance;
            match edit {
                Edit::Remove => (at, expected[0]) = (at + 1, expected[0] + 1),
                Edit::Double => {
                    target.push(source[at - 1]);
                    expected[1] += 1;
                }
                Edit::Swap => {
                    target.extend([source[at + 1], source[at]]);
                    (at, expected[2]) = (at + 2, expected[2] + 1);
                }
                Edit::Insert => {
                    target.push(-1 - i64::try_from(at).unwrap());
                    expected[3] += 1;
                }
            }
        }
        target.extend_from_slice(&source[at..]);
        let (scope, lane) = scopes(source.len(), target.len());
        let outcome = compare_with(Rules { window, ..RULES }, scope, lane, &source, &target);
        prop_assert_eq!(counts(&outcome), expected);
    }

    /// Whatever the two sides are: what is counted adds up, and equal sums mean that no record is missing or extra.
    #[test]
    fn what_is_counted_adds_up(
        source in prop::collection::vec(0_i64..50, 0..400),
        target in prop::collection::vec(0_i64..50, 0..400),
    ) {
        let outcome = compare(&source, &target);
        let tally = outcome.tally;
        prop_assert_eq!(tally.matched + tally.missing, source.len() as u64);
        prop_assert_eq!(tally.matched + tally.duplicated + tally.extra, target.len() as u64);
        let mut sorted = [source.clone(), target.clone()];
        for side in &mut sorted {
            side.sort_unstable();
        }
        let same = sorted[0] == sorted[1];
        prop_assert_eq!(same, tally.missing + tally.duplicated + tally.extra == 0);
        if source == target {
            prop_assert_eq!(counts(&outcome), [0; 4]);
        }
    }
}
