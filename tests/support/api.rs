//! The engine's API as any client sees it: JSON over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

use super::engine::Engine;
use super::{seconds, within};

/// Where an engine listens.
#[derive(Clone, Debug)]
pub struct Api {
    url: String,
    agent: Agent,
}

impl Api {
    /// Of a running engine, once it listens.
    pub fn of(engine: &mut Engine) -> Self {
        let line = engine.wait_for_log(seconds(10), "the API listens", |line| line["message"] == "the API listens");
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(seconds(10)));
        let address = line["address"].as_str().unwrap();
        Self { url: format!("http://{address}"), agent: config.build().into() }
    }

    /// `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What stands at a path.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The same, with its status, whatever that is.
    pub fn ask(&self, path: &str) -> (u16, Value) {
        answer(self.agent.get(format!("{}{path}", self.url)).call().unwrap())
    }

    /// The metrics, as text.
    pub fn metrics(&self) -> String {
        let (status, text) = self.ask("/metrics");
        assert_eq!(status, 200, "{text}");
        text.as_str().unwrap().to_owned()
    }

    /// Has something done that has to succeed.
    pub fn post(&self, path: &str) -> Value {
        let (status, body) = answer(self.agent.post(format!("{}{path}", self.url)).send_empty().unwrap());
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Has the config read again: the status, and the answer.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn reload(&self) -> (u16, Value) {
        answer(self.agent.post(format!("{}/api/v1/reload", self.url)).send_empty().unwrap())
    }

    /// A route.
    pub fn route(&self, route: &str) -> Value {
        self.get(&format!("/api/v1/routes/{route}"))
    }

    /// A target of a route.
    pub fn target(&self, route: &str, target: &str) -> Value {
        let route = self.route(route);
        let targets = route["targets"].as_array().unwrap();
        targets.iter().find(|known| known["name"] == target).unwrap_or_else(|| panic!("no {target} in {route}")).clone()
    }

    /// Sets a target's bandwidth: its status, and the answer.
    pub fn throttle(&self, route: &str, target: &str, rate: &str) -> (u16, Value) {
        let path = format!("{}/api/v1/routes/{route}/targets/{target}/bandwidth", self.url);
        answer(self.agent.put(path).send_json(json!({ "rate": rate })).unwrap())
    }

    /// Waits until a route is in a state; the route then.
    pub fn wait_for_route(&self, deadline: Duration, route: &str, state: &str) -> Value {
        let found = within(deadline, || Some(self.route(route)).filter(|view| view["state"] == state));
        found.unwrap_or_else(|| panic!("{route} is not {state} within {deadline:?}: {}", self.route(route)))
    }

    /// Waits until something holds for a target; the target then.
    pub fn wait_for_target(
        &self,
        deadline: Duration,
        (route, target): (&str, &str),
        what: &str,
        accepts: impl Fn(&Value) -> bool,
    ) -> Value {
        let found = within(deadline, || Some(self.target(route, target)).filter(&accepts));
        found.unwrap_or_else(|| panic!("not within {deadline:?}: {what}: {}", self.target(route, target)))
    }
}

fn answer(mut response: Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
