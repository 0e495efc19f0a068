//! The alerts: Prometheus's own tool finds no fault with them, each fires where it ought to and not elsewhere, and each has a runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use regex::Regex;

use super::boards::{alerts, folder, text, yaml};

/// Runs promtool in the folder of the alerts; what it said.
fn promtool(arguments: &[&str]) -> String {
    let promtool = Command::new("promtool").args(arguments).current_dir(folder()).output();
    let output = promtool.expect("promtool is installed; tests/run sees to it");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said.into_owned()
}

#[test]
fn promtool_finds_no_fault_with_the_rules() {
    let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"]);
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
}

/// All scenarios of `alerts_test.yaml`.
#[test]
fn alerts_fire_where_they_ought_to_and_not_elsewhere() {
    let said = promtool(&["test", "rules", "alerts_test.yaml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

/// The config that comes with the dashboards, with a token where it expects one.
#[test]
fn promtool_finds_no_fault_with_the_scrape_config() {
    let place = tempfile::tempdir().unwrap();
    let token = place.path().join("token");
    std::fs::write(&token, "a-token-of-some-length").unwrap();
    std::fs::copy(folder().join("alerts.yaml"), place.path().join("alerts.yaml")).unwrap();
    let config = place.path().join("prometheus.yaml");
    let written = text("prometheus.yaml").replace("/run/secrets/anabranch_token", token.to_str().unwrap());
    std::fs::write(&config, written).unwrap();
    let said = promtool(&["check", "config", config.to_str().unwrap()]);
    assert!(said.contains("1 rule files found"), "{said}");
}

/// One that fires, the one in which all is well, and a near miss.
#[test]
fn every_alert_has_a_scenario_in_which_it_fires_and_two_in_which_it_does_not() {
    let tests = yaml("alerts_test.yaml");
    let mut scenarios = BTreeMap::<&str, (usize, usize)>::new();
    for check in tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap())
    {
        let (fires, quiet) = scenarios.entry(check["alertname"].as_str().unwrap()).or_default();
        *(if check["exp_alerts"].as_array().unwrap().is_empty() { quiet } else { fires }) += 1;
    }
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(scenarios.keys().copied().collect::<BTreeSet<_>>(), names);
    for (name, (fires, quiet)) in scenarios {
        assert!(fires >= 1 && quiet >= 2, "{name}: it fires in {fires} scenarios, and is quiet in {quiet}");
    }
}

#[test]
fn every_alert_says_what_to_do_and_has_a_runbook() {
    let runbooks = text("runbooks.md");
    let sections: Vec<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let readme = std::fs::read_to_string(folder().join("../README.md")).unwrap();
    assert!(readme.contains(&format!("{} alerts for Prometheus", names.len())), "the README counts otherwise");
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "two alerts have one name");
    assert_eq!(sections, names, "the runbooks and the alerts differ");
    for section in runbooks.split("\n## ").skip(1) {
        assert!(section.len() > 250, "there is not much in {section}");
    }
    for alert in &alerts {
        let said = |name: &str| alert.annotations[name].as_str().unwrap_or_default().to_owned();
        assert!(["critical", "warning", "info"].contains(&alert.severity.as_str()), "{}", alert.name);
        assert!(said("summary").len() > 20 && said("description").len() > 60, "{}", alert.name);
        assert_eq!(said("runbook"), format!("runbooks.md#{}", alert.name.to_lowercase()));
        assert!(said("dashboard").starts_with("/d/anabranch-"), "{}", alert.name);
    }
}

/// A command of a runbook is one that there is.
#[test]
fn runbooks_name_commands_that_there_are() {
    let help = Command::new(env!("CARGO_BIN_EXE_anabranch")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands: BTreeSet<&str> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let named = Regex::new(r"(?m)(?:^|`)anabranch ([a-z]+)").unwrap();
    let documents = text("runbooks.md") + &text("README.md");
    let named: BTreeSet<&str> = named.captures_iter(&documents).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(named.len() >= 5 && named.is_subset(&commands), "{named:?}");
}
