//! A real Prometheus, with the config that comes with the dashboards, on a free port and in a folder of its own.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use ureq::Agent;

use super::boards::{folder, text};
use super::support::broker::free_ports;
use super::support::process::Tethered;
use super::support::{eventually, run_folder, seconds, within_at};

/// Where the config looks for an engine.
pub const ADDRESS: &str = "host.docker.internal:8686";

/// What tests show the engine.
pub const TOKEN: &str = "a-token-of-some-length";

/// A Prometheus that scrapes one engine each second.
pub struct Prometheus {
    url: String,
    agent: Agent,
    _process: Tethered,
    _folder: TempDir,
}

/// A series of an answer: its labels, and its samples, each with its time.
#[derive(Clone)]
pub struct Series {
    pub labels: Value,
    pub samples: Vec<(f64, f64)>,
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.labels, self.last())
    }
}

impl Series {
    /// A label's value, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }

    /// The last number.
    pub fn last(&self) -> f64 {
        self.samples.last().unwrap().1
    }

    /// The same, where it has to be a whole one.
    pub fn whole(&self) -> i64 {
        self.last().to_string().parse().unwrap_or_else(|_| panic!("no whole number: {self:?}"))
    }
}

impl Prometheus {
    /// Starts one that scrapes an engine at `host:port`.
    pub fn start(engine: &str) -> Self {
        let place = tempfile::Builder::new().prefix("prometheus-").tempdir_in(run_folder()).unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::write(path("token"), TOKEN).unwrap();
        std::fs::copy(folder().join("alerts.yaml"), path("alerts.yaml")).unwrap();
        let mut config = text("prometheus.yaml");
        let token = path("token").display().to_string();
        for (from, to) in [
            (ADDRESS, engine),
            ("/run/secrets/anabranch_token", &token),
            ("_interval: 15s", "_interval: 1s"),
            ("_interval: 30s", "_interval: 1s"),
        ] {
            assert!(config.contains(from), "the scrape config has no {from} any more");
            config = config.replace(from, to);
        }
        std::fs::write(path("prometheus.yaml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_ports().next().unwrap());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", path("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", path("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Tethered::spawn(&command, &path("stdout"), &path("stderr"));
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(seconds(20)));
        let url = format!("http://{address}/api/v1");
        let prometheus = Self { url, agent: agent.build().into(), _process: process, _folder: place };
        eventually(seconds(30), "Prometheus has scraped the engine", || prometheus.number("up") == Some(1.0));
        prometheus
    }

    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.agent.get(format!("{}/{path}", self.url)).query_pairs(parameters.iter().copied());
        let text = request.call().map_err(|error| error.to_string())?.body_mut().read_to_string();
        let answer: Value =
            serde_json::from_str(&text.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer["error"].to_string()) }
    }

    /// What an expression is now; an error where it is none.
    pub fn query(&self, expr: &str) -> Result<Vec<Series>, String> {
        let data = self.ask("query", &[("query", expr)])?;
        Ok(series(&data, |series| vec![sample(&series["value"])]))
    }

    /// What it has been for so long, each second.
    pub fn over(&self, expr: &str, time: Duration) -> Result<Vec<Series>, String> {
        let now = self.query("time()").map(|answer| answer[0].last()).unwrap_or_default();
        let (start, end) = ((now - time.as_secs_f64()).to_string(), now.to_string());
        let data = self.ask("query_range", &[("query", expr), ("start", &start), ("end", &end), ("step", "1")])?;
        Ok(series(&data, |series| series["values"].as_array().unwrap().iter().map(sample).collect()))
    }

    /// The one number that an expression is, if it is one yet.
    pub fn number(&self, expr: &str) -> Option<f64> {
        let answer = self.query(expr).ok()?;
        assert!(answer.len() <= 1, "{expr}: {answer:?}");
        answer.first().map(Series::last)
    }

    /// Waits until an expression has something to show.
    pub fn wait_for(&self, deadline: Duration, expr: &str) -> Vec<Series> {
        let found = within_at(Duration::from_millis(200), deadline, || {
            self.query(expr).ok().filter(|answer| !answer.is_empty())
        });
        found.unwrap_or_else(|| panic!("not within {deadline:?}: {expr}"))
    }

    /// Waits for a scrape that begins after this.
    pub fn wait_for_scrape(&self) {
        let scraped = || self.query("timestamp(up)").ok().and_then(|answer| answer.first().map(Series::last));
        let now = self.number("time()").unwrap();
        eventually(seconds(10), "another scrape", || scraped().is_some_and(|at| at > now));
    }
}

fn series(data: &Value, samples: impl Fn(&Value) -> Vec<(f64, f64)>) -> Vec<Series> {
    if data["resultType"] == "scalar" {
        return vec![Series { labels: Value::Null, samples: vec![sample(&data["result"])] }];
    }
    let result = data["result"].as_array().unwrap().iter();
    result.map(|series| Series { labels: series["metric"].clone(), samples: samples(series) }).collect()
}

fn sample(pair: &Value) -> (f64, f64) {
    (pair[0].as_f64().unwrap(), pair[1].as_str().unwrap().parse().unwrap())
}
