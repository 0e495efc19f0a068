//! The rules of Grafana's dashboard-linter, and some of our own. What does not apply: rules about `LogQL`, as all data is Prometheus's;
//! target-promql-rule, as a real Prometheus is asked every expression in `scrapes`.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use super::boards::{Board, boards, title};
use super::promql::selectors;

/// What each panel's numbers count, by Grafana's names.
const UNITS: &[&str] = &["none", "short", "s", "bytes", "binBps", "cps", "cpm", "ops", "percentunit"];

/// Everything that is wrong, on all dashboards.
fn assert_none(rule: &str, find: impl Fn(&Board) -> Vec<String>) {
    let wrong: Vec<String> = boards()
        .iter()
        .flat_map(|board| find(board).into_iter().map(|what| format!("{}: {what}", board.name)))
        .collect();
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}

/// Panels of which something is not so.
fn panels_without(board: &Board, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    board.panels().into_iter().filter(|panel| !holds(panel)).map(|panel| title(panel).to_owned()).collect()
}

fn data_source(of: &Value) -> bool {
    *of == json!({ "type": "prometheus", "uid": "${datasource}" })
}

#[test]
fn template_datasource_rule() {
    for board in boards() {
        let sources: Vec<_> = board.variables().iter().filter(|variable| variable["type"] == "datasource").collect();
        assert_eq!(sources.len(), 1, "{}", board.name);
        let fields = ["name", "label", "query"].map(|field| sources[0][field].as_str().unwrap());
        assert_eq!(fields, ["datasource", "Data source", "prometheus"], "{}", board.name);
    }
}

/// template-job-rule and template-instance-rule.
#[test]
fn template_job_and_instance_rules() {
    for (name, label) in [("job", "Job"), ("instance", "Instance")] {
        for board in boards() {
            let variable = board.variables().iter().find(|variable| variable["name"] == name).unwrap();
            let expected =
                json!({ "label": label, "type": "query", "multi": true, "includeAll": true, "allValue": ".+" });
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&variable[field], value, "{}: {name}: {field}", board.name);
            }
        }
    }
}

/// template-label-promql-rule: what a variable is filled from is one selection of series, and one label of them.
#[test]
fn template_label_promql_rule() {
    let values = Regex::new(r"^label_values\((anabranch_\w+(?:\{[^}]*\})?), (\w+)\)$").unwrap();
    assert_none("a variable is filled with the values of a label", |board| {
        let queries = board.variables().iter().filter(|variable| variable["type"] == "query");
        let wrong = queries.filter(|variable| {
            let query = variable["query"]["query"].as_str().unwrap();
            let label = values.captures(query).map(|found| found[2].to_owned());
            label.as_deref() != variable["name"].as_str()
                || variable["definition"] != query
                || !data_source(&variable["datasource"])
        });
        wrong.map(|variable| variable["name"].to_string()).collect()
    });
}

#[test]
fn template_on_time_change_reload_rule() {
    assert_none("a variable is filled anew when the time changes", |board| {
        let stale = board.variables().iter().filter(|variable| variable["type"] == "query" && variable["refresh"] != 2);
        stale.map(|variable| variable["name"].to_string()).collect()
    });
}

#[test]
fn panel_datasource_rule() {
    assert_none("the data source is the one that is chosen", |board| {
        let chosen = |panel: &Value| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            data_source(&panel["datasource"]) && targets.into_iter().all(|target| data_source(&target["datasource"]))
        };
        panels_without(board, chosen)
    });
}

#[test]
fn panel_title_description_rule() {
    assert_none("a panel says what it shows, what is normal, and what to do", |board| {
        let filled = |value: &Value, most: usize| value.as_str().is_some_and(|text| text.len() >= most);
        panels_without(board, |panel| filled(&panel["title"], 3) && filled(&panel["description"], 40))
    });
}

#[test]
fn panel_units_rule() {
    assert_none("a panel says what its numbers count", |board| {
        let unit = |panel: &Value| panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default().to_owned();
        panels_without(board, |panel| UNITS.contains(&unit(panel).as_str()))
    });
}

#[test]
fn panel_no_targets_rule() {
    assert_none("a panel asks for something", |board| {
        panels_without(board, |panel| panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()))
    });
}

#[test]
fn target_rate_interval_rule() {
    assert_none("rates are taken over $__rate_interval", |board| {
        let queries = board.queries().into_iter();
        let other = queries.filter(|query| {
            let rates = selectors(&query.expr)
                .into_iter()
                .filter(|selector| ["rate", "irate"].contains(&selector.function.as_str()));
            rates.into_iter().any(|rate| rate.range.as_deref() != Some("$__rate_interval"))
        });
        other.map(|query| query.place).collect()
    });
}

/// target-job-rule and target-instance-rule.
#[test]
fn target_job_and_instance_rules() {
    assert_none("everything is asked for by job and instance", |board| {
        let matches = |matchers: &[(String, String, String)], label: &str| {
            matchers.iter().any(|(name, how, value)| name == label && how == "=~" && *value == format!("${label}"))
        };
        let queries = board.queries().into_iter();
        let wrong = queries.filter(|query| {
            let all = selectors(&query.expr);
            all.is_empty()
                || all.iter().any(|one| ["job", "instance"].iter().any(|label| !matches(&one.matchers, label)))
        });
        wrong.map(|query| format!("{}: {}", query.place, query.expr)).collect()
    });
}

/// Also for what a histogram is made of.
#[test]
fn target_counter_agg_rule() {
    assert_none("a counter is looked at by its rise", |board| {
        let rises = |name: &str| ["_total", "_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let all = board
            .queries()
            .into_iter()
            .flat_map(|query| selectors(&query.expr).into_iter().map(move |one| (query.place.clone(), one)));
        let plain =
            all.filter(|(_, one)| rises(&one.name) && !["rate", "irate", "increase"].contains(&one.function.as_str()));
        plain.map(|(place, one)| format!("{place}: {}", one.name)).collect()
    });
}

#[test]
fn uneditable_dashboard_rule() {
    assert_none("what is provisioned is not edited in place", |board| {
        if board.json["editable"] == false { Vec::new() } else { vec!["editable".to_owned()] }
    });
}

/// Of our own: what a dashboard is found by stays, and leads to the others.
#[test]
fn dashboards_are_found_by_names_that_stay_and_lead_to_each_other() {
    let known: BTreeSet<String> = boards().iter().map(|board| format!("anabranch-{}", board.name)).collect();
    let link = Regex::new(r"/d/([a-z-]+)").unwrap();
    for board in boards() {
        assert_eq!(board.json["uid"], format!("anabranch-{}", board.name));
        assert_eq!((&board.json["tags"], &board.json["id"]), (&json!(["anabranch"]), &Value::Null));
        assert_eq!(board.json["refresh"], "30s");
        let all = &board.json["links"][0];
        assert_eq!(
            (&all["type"], &all["tags"], &all["includeVars"]),
            (&json!("dashboards"), &json!(["anabranch"]), &json!(true))
        );
        for found in link.captures_iter(&board.json.to_string()) {
            assert!(known.contains(&found[1]), "{}: there is no {}", board.name, &found[0]);
        }
    }
}

/// Of our own: panels fill rows of 24 columns, none lies on another, and the reader is told which line is which.
#[test]
fn panels_are_laid_out_and_their_lines_named() {
    for board in boards() {
        let mut cells = BTreeSet::new();
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in board.json["panels"].as_array().unwrap() {
            let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            let what = format!("{} / {}", board.name, title(panel));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{what}: its id is another's");
            assert!(titles.insert(title(panel)), "{what}: another one is called so");
            assert!(place("x") + place("w") <= 24, "{what}: beyond the right edge");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(cells.insert((x, y)), "{what}: lies on another");
                }
            }
            if panel["type"] == "timeseries" {
                assert!(panel["options"]["legend"]["showLegend"] == true, "{what}: no legend");
                let targets = panel["targets"].as_array().unwrap();
                assert!(
                    targets.iter().all(|target| target["legendFormat"] != "__auto"),
                    "{what}: a line without a name"
                );
            }
        }
        let height = cells.iter().map(|(_, y)| y + 1).max().unwrap();
        assert_eq!(cells.len() as u64, 24 * height, "{}: there are holes", board.name);
    }
}
