//! The dashboards and the alerts, as their files have them.

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde_json::Value;

/// The dashboards, by their files' names.
pub const BOARDS: [&str; 3] = ["overview", "target", "inside"];

/// A dashboard.
pub struct Board {
    pub name: &'static str,
    pub json: Value,
}

/// An expression that a panel, a variable or an alert asks Prometheus for.
#[derive(Clone, Debug)]
pub struct Query {
    /// For messages, such as `overview / Lag`.
    pub place: String,
    pub expr: String,
    /// How its series are called, by their labels.
    pub legend: String,
    /// Whether it is asked for one moment, as for a table.
    pub instant: bool,
}

/// An alert.
#[derive(Clone, Debug)]
pub struct Alert {
    pub name: String,
    pub expr: String,
    pub severity: String,
    pub annotations: Value,
}

/// The folder that all of it is in.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// The text of one of its files.
pub fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("dashboards/{file}: {error}"))
}

/// One of its YAML files.
pub fn yaml(file: &str) -> Value {
    let source = File::from_str(&text(file), FileFormat::Yaml);
    let parsed =
        Config::builder().add_source(source).build().unwrap_or_else(|error| panic!("dashboards/{file}: {error}"));
    parsed.try_deserialize().unwrap()
}

/// All dashboards.
pub fn boards() -> Vec<Board> {
    let board = |name| {
        let json = serde_json::from_str(&text(&format!("{name}.json")));
        Board { name, json: json.unwrap_or_else(|error| panic!("{name}.json: {error}")) }
    };
    BOARDS.into_iter().map(board).collect()
}

/// All alerts.
pub fn alerts() -> Vec<Alert> {
    let rules = yaml("alerts.yaml");
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let field = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned();
    let alert = |rule: &Value| Alert {
        name: field(&rule["alert"]),
        expr: field(&rule["expr"]),
        severity: field(&rule["labels"]["severity"]),
        annotations: rule["annotations"].clone(),
    };
    let alerts: Vec<Alert> = rules.map(alert).collect();
    assert!(alerts.len() > 15, "the alerts are not where they were");
    alerts
}

impl Board {
    /// All panels but rows.
    pub fn panels(&self) -> Vec<&Value> {
        let all = self.json["panels"].as_array().unwrap().iter();
        all.flat_map(|panel| std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten()))
            .filter(|panel| panel["type"] != "row")
            .collect()
    }

    /// Its variables.
    pub fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().unwrap()
    }

    /// What its panels ask for.
    pub fn queries(&self) -> Vec<Query> {
        let queries = |panel: &Value| -> Vec<Query> {
            let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{}: no targets", title(panel))).iter();
            let query = |target: &Value| Query {
                place: format!("{} / {}", self.name, title(panel)),
                expr: target["expr"].as_str().unwrap().to_owned(),
                legend: target["legendFormat"].as_str().unwrap().to_owned(),
                instant: target["instant"] == true,
            };
            targets.map(query).collect()
        };
        self.panels().into_iter().flat_map(queries).collect()
    }
}

/// What a panel is called.
pub fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap_or_default()
}

/// What the panels of all dashboards ask for.
pub fn panel_queries() -> Vec<Query> {
    let queries: Vec<Query> = boards().iter().flat_map(Board::queries).collect();
    assert!(queries.len() > 50, "the panels are not where they were");
    queries
}
