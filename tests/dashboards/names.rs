//! What dashboards and alerts ask for is in the table of instruments, with those labels and those values; and all that is in the table is
//! shown somewhere.

use std::collections::BTreeSet;

use anabranch::domain::fault::FaultClass;
use anabranch::domain::state::{RouteState, TargetState};
use anabranch::engine::counts::Brake;
use anabranch::telemetry::instruments::{INSTRUMENTS, Instrument, Kind};

use super::boards::{Query, alerts, boards, panel_queries};
use super::promql::{Selector, groupings, joins, selectors};

/// What no panel shows, and why.
const NOT_SHOWN: &[(&str, &str)] = &[];

/// What Prometheus itself tells of each scrape.
const OF_PROMETHEUS: &[&str] = &["up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS"];

/// All that is asked for: by panels, variables, annotations and alerts.
fn queries() -> Vec<Query> {
    let mut queries = panel_queries();
    let mut add = |place: String, expr: &str| {
        queries.push(Query { place, expr: expr.to_owned(), legend: String::new(), instant: true });
    };
    for board in boards() {
        for variable in board.variables().iter().filter(|variable| variable["type"] == "query") {
            add(format!("{} ${}", board.name, variable["name"]), variable["query"]["query"].as_str().unwrap());
        }
        for annotation in board.json["annotations"]["list"].as_array().unwrap() {
            add(format!("{} / {}", board.name, annotation["name"]), annotation["expr"].as_str().unwrap());
        }
    }
    for alert in alerts() {
        add(alert.name, &alert.expr);
    }
    queries
}

/// The row that a name of a series belongs to.
pub fn instrument(name: &str) -> Option<&'static Instrument> {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    INSTRUMENTS.iter().find(|row| match row.kind {
        Kind::Histogram => Some(row.name) == stem,
        Kind::Counter | Kind::Gauge => row.name == name,
    })
}

/// The labels that its series have.
fn labels(selector: &Selector) -> Option<BTreeSet<&'static str>> {
    let mut labels = BTreeSet::from(["job", "instance"]);
    if let Some(row) = instrument(&selector.name) {
        labels.extend(row.labels);
        if selector.name.ends_with("_bucket") {
            labels.insert("le");
        }
        return Some(labels);
    }
    match selector.name.as_str() {
        "ALERTS" => labels.extend(["alertname", "alertstate"]),
        name if OF_PROMETHEUS.contains(&name) => {}
        _ => return None,
    }
    Some(labels)
}

#[test]
fn all_that_is_asked_for_is_in_the_table_with_its_labels() {
    let mut wrong = Vec::new();
    for query in queries() {
        let selectors = selectors(&query.expr);
        let known: Vec<BTreeSet<&str>> = selectors.iter().filter_map(labels).collect();
        if known.len() != selectors.len() || known.is_empty() {
            let unknown = selectors.iter().filter(|selector| labels(selector).is_none()).map(|one| one.name.as_str());
            wrong.push(format!("{}: no such series: {}", query.place, unknown.collect::<Vec<_>>().join(", ")));
            continue;
        }
        for (selector, labels) in selectors.iter().zip(&known) {
            for (label, ..) in selector.matchers.iter().filter(|(label, ..)| !labels.contains(label.as_str())) {
                wrong.push(format!("{}: {} has no label {label}", query.place, selector.name));
            }
        }
        for grouping in groupings(&query.expr) {
            let within: Vec<_> = selectors.iter().zip(&known).filter(|(selector, _)| grouping.has(selector)).collect();
            // where several are joined, the result has the labels of one of them
            let joined = !joins(&query.expr[grouping.within.clone()]).is_empty();
            for label in &grouping.labels {
                let mut has = within.iter().map(|(_, labels)| labels.contains(label.as_str()));
                if !(if joined { has.any(|has| has) } else { has.all(|has| has) }) {
                    wrong.push(format!("{}: there is no label {label} to group by in {}", query.place, query.expr));
                }
            }
        }
        for label in joins(&query.expr) {
            let sides = known.iter().filter(|labels| labels.contains(label.as_str())).count();
            if sides < 2 {
                wrong.push(format!("{}: nothing to join on {label}", query.place));
            }
        }
    }
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
}

#[test]
fn values_that_are_asked_for_are_values_that_there_are() {
    let states: BTreeSet<&str> =
        TargetState::ALL.map(TargetState::name).into_iter().chain(RouteState::ALL.map(RouteState::name)).collect();
    for query in queries() {
        for selector in selectors(&query.expr) {
            for (label, _, value) in selector.matchers {
                let values: BTreeSet<&str> = match (label.as_str(), selector.name.as_str()) {
                    ("state", "anabranch_route_state") => RouteState::ALL.map(RouteState::name).into(),
                    ("state", "anabranch_target_state") => TargetState::ALL.map(TargetState::name).into(),
                    ("state", _) => states.clone(),
                    ("reason", "anabranch_throttled_seconds_total") => Brake::ALL.map(Brake::name).into(),
                    ("class", _) => FaultClass::ALL.map(FaultClass::name).into_iter().collect(),
                    _ => continue,
                };
                for part in value.split('|') {
                    assert!(values.contains(part), "{}: {label} is never {part}", query.place);
                }
            }
        }
    }
}

/// Every state has a colour and a name on every timeline, and is counted once.
#[test]
fn timelines_know_every_state() {
    let mut timelines = 0;
    for board in boards() {
        for panel in board.panels().into_iter().filter(|panel| panel["type"] == "state-timeline") {
            timelines += 1;
            let expr = panel["targets"][0]["expr"].as_str().unwrap();
            let asked = selectors(expr);
            let asked: Vec<&str> = asked
                .iter()
                .map(|one| one.matchers.iter().find(|(label, ..)| label == "state").unwrap().2.as_str())
                .collect();
            let all: BTreeSet<&str> = if expr.contains("anabranch_route_state") {
                RouteState::ALL.map(RouteState::name).into()
            } else {
                TargetState::ALL.map(TargetState::name).into()
            };
            assert_eq!(asked.iter().copied().collect::<BTreeSet<_>>(), all, "{}", panel["title"]);
            let names = panel["fieldConfig"]["defaults"]["mappings"][0]["options"].as_object().unwrap();
            for (number, state) in (1..).zip(&asked) {
                assert_eq!(names[&i32::to_string(&number)]["text"], *state, "{}", panel["title"]);
                assert!(
                    expr.contains(&format!("state=\"{state}\"}} == 1) * {number}\n")),
                    "{}: {state}",
                    panel["title"]
                );
            }
            assert_eq!(names.len(), asked.len());
        }
    }
    assert!(timelines >= 3, "only {timelines} timelines were found");
}

#[test]
fn all_that_is_in_the_table_is_shown() {
    let shown: BTreeSet<&str> = panel_queries()
        .iter()
        .flat_map(|query| selectors(&query.expr))
        .filter_map(|selector| instrument(&selector.name).map(|row| row.name))
        .collect();
    let not_shown: BTreeSet<&str> = NOT_SHOWN.iter().map(|(name, _)| *name).collect();
    let table: BTreeSet<&str> = INSTRUMENTS.iter().map(|row| row.name).collect();
    assert_eq!(table.difference(&shown).copied().collect::<BTreeSet<_>>(), not_shown, "no panel shows these");
}
