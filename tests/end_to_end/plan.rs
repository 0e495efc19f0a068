//! `plan` asks the clusters, changes nothing, and leaves no topic without a reason.

use serde_json::{Value, json};

use crate::support::cluster::regions;
use crate::support::config::Config;
use crate::support::engine::Engine;
use crate::support::records::Bulk;
use crate::support::seconds;

#[test]
fn plan_says_what_happens_to_every_topic_and_why() {
    let regions = regions();
    let source = |name: &str, partitions| regions.guangzhou.topic(name).create(partitions);
    for (name, partitions) in [("plan.new", 3), ("plan.there", 2), ("plan.small", 4), ("plan.tmp", 1), ("other", 1)] {
        source(name, partitions).fill(1, Bulk::over(1));
    }
    regions.shanghai.topic("gz.plan.there").create(2);
    regions.shanghai.topic("gz.plan.small").create(1);
    let config = |create: bool| {
        Config::new().cluster("guangzhou", regions.guangzhou).cluster("shanghai", regions.shanghai).route(
            "plan",
            json!({
                "from": "guangzhou",
                "topics": { "include": [r"plan\..*"], "exclude": [r".*\.tmp"] },
                "create_topics": create,
                "to": { "shanghai": { "topic": "gz.{topic}" } },
            }),
        )
    };
    let rows = |create: bool, code| {
        let finished = Engine::plan_as(&config(create), "json").assert_code(code);
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        report["routes"][0]["topics"].as_array().unwrap().clone()
    };
    let action = |rows: &[Value], topic: &str| {
        let row = rows.iter().find(|row| row["topic"] == topic).unwrap_or_else(|| panic!("no {topic} in the plan"));
        (row["action"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap().to_owned())
    };

    let creating = rows(true, 0);
    assert_eq!(action(&creating, "plan.new").0, "create");
    assert_eq!(action(&creating, "plan.there").0, "copy");
    assert_eq!(action(&creating, "plan.small").0, "grow");
    assert_eq!(action(&creating, "plan.tmp"), ("skip".to_owned(), r"`exclude` has .*\.tmp".to_owned()));
    assert!(action(&creating, "other").1.contains("include"));
    assert!(creating.iter().all(|row| !row["reason"].as_str().unwrap().is_empty()));

    let fixed = rows(false, 1);
    assert!(action(&fixed, "plan.new").1.contains("create_topics"));
    assert!(action(&fixed, "plan.small").1.contains("add partitions"));
    assert!(regions.shanghai.topic("gz.plan.new").describe().is_null(), "plan created a topic");

    let table = Engine::plan(&config(true)).assert_code(0).stdout;
    for topic in ["plan.new", "plan.there", "plan.small", "plan.tmp", "other"] {
        assert!(table.contains(topic), "{topic} is missing:\n{table}");
    }
}

#[test]
fn a_dead_address_is_told_in_one_line_within_15_seconds() {
    let regions = regions();
    let config = Config::new()
        .cluster("guangzhou", regions.guangzhou)
        .cluster_as("nowhere", "127.0.0.1:1", None)
        .fan_out("guangzhou", "plan.dead", &["nowhere"]);
    let finished = Engine::plan_within(&config, seconds(15)).assert_code(1);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("nowhere") && lines[0].to_lowercase().contains("refused"), "{lines:?}");
}
