//! The other side: how the commands talk to a running engine.

use std::fmt::Write as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::json;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, RequestBuilder};

use super::problem::{self, Problem, legible};
use crate::engine::events::EventFilter;
use crate::engine::view::{ChangesView, Event, EventsView, RouteDetail, RouteView, RoutesView};

/// How long an answer may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// A route with thousands of partitions is long.
const LONGEST_ANSWER: u64 = 256 << 20;
/// No error is longer than people read.
const LONGEST_ERROR: usize = 2000;

/// Talks to a running engine. Blocks.
#[derive(Debug)]
pub struct Client {
    url: String,
    token: Option<SecretString>,
    agent: Agent,
}

/// Why there is no answer, or not the one that was hoped for. In one line, and never with the token.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{0} is not the address of an API: write it as http://127.0.0.1:8686")]
    BadUrl(String),
    /// Nobody answers.
    #[error("no engine answers at {url}: is it running? see `admin.listen` and `--admin` ({cause})")]
    NoAnswer {
        /// Where.
        url: String,
        /// What the system says.
        cause: String,
    },
    /// The engine says no, and why.
    #[error("{detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// Somebody else answers.
    #[error("what answers at {url} is no engine of this version ({what}): see `admin.listen` and `--admin`")]
    Strange {
        /// Where.
        url: String,
        /// What came back.
        what: String,
    },
}

type Answer<T> = Result<T, ClientError>;

impl Client {
    /// For the API at this address, such as `http://127.0.0.1:8686`; `http://` may be left out. Nothing is asked yet.
    pub fn new(url: &str, token: Option<SecretString>) -> Answer<Self> {
        let address = url.trim();
        let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let full = full.trim_end_matches('/').to_owned();
        // a password in an address is shown nowhere
        let shown = if url.contains('@') { "what has an `@` in it" } else { url };
        let bad = || ClientError::BadUrl(legible(shown, LONGEST_ERROR).into_owned());
        let uri: Uri = full.parse().map_err(|_| bad())?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        if !plain || uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(bad());
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Ok(Self { url: full, token, agent })
    }

    /// Where the API is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All routes.
    pub fn routes(&self) -> Answer<RoutesView> {
        self.get("/api/v1/routes")
    }

    /// A route with its partitions.
    pub fn route(&self, route: &str) -> Answer<RouteDetail> {
        self.get(&route_path(route))
    }

    /// Switches a route on; as it is then.
    pub fn start(&self, route: &str) -> Answer<RouteView> {
        self.post(&format!("{}/start", route_path(route)))
    }

    /// Switches a route off; as it is then.
    pub fn stop(&self, route: &str) -> Answer<RouteView> {
        self.post(&format!("{}/stop", route_path(route)))
    }

    /// Pauses a target; how its route is then.
    pub fn pause(&self, route: &str, target: &str) -> Answer<RouteView> {
        self.post(&format!("{}/pause", target_path(route, target)))
    }

    /// Lets a paused target go on; how its route is then.
    pub fn resume(&self, route: &str, target: &str) -> Answer<RouteView> {
        self.post(&format!("{}/resume", target_path(route, target)))
    }

    /// Sets what a route may write to a target, as the config has it: `20MiB/s`, or `unlimited`; how its route is then.
    pub fn throttle(&self, route: &str, target: &str, rate: &str) -> Answer<RouteView> {
        let path = format!("{}/bandwidth", target_path(route, target));
        let request = self.with_token(self.agent.put(format!("{}{path}", self.url)));
        self.read(request.send_json(json!({ "rate": rate })))
    }

    /// Has the config read again: what it changes, key by key.
    pub fn reload(&self) -> Answer<Vec<String>> {
        self.post("/api/v1/reload").map(|view: ChangesView| view.changes)
    }

    /// The newest events, newest first.
    pub fn events(&self, filter: &EventFilter, limit: usize) -> Answer<Vec<Event>> {
        let mut path = format!("/api/v1/events?limit={limit}");
        for (key, name) in [("route", &filter.route), ("target", &filter.target)] {
            if let Some(name) = name {
                let _ = write!(path, "&{key}={}", escaped(name));
            }
        }
        self.get(&path).map(|view: EventsView| view.events)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        self.read(self.with_token(self.agent.get(format!("{}{path}", self.url))).call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        self.read(self.with_token(self.agent.post(format!("{}{path}", self.url))).send_empty())
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret())),
            None => request,
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: Result<Response<Body>, ureq::Error>) -> Answer<T> {
        let silent = |error: ureq::Error| {
            // an error of the system alone, without the library's words around it
            let cause = match error {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            ClientError::NoAnswer { url: self.url.clone(), cause: legible(&cause, LONGEST_ERROR).into_owned() }
        };
        let mut answer = answer.map_err(silent)?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec().map_err(silent)?;
        let strange = |what: String| ClientError::Strange { url: self.url.clone(), what };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| strange(format!("it can't be read: {error}")));
        }
        let explained = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == problem::CONTENT_TYPE);
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if explained => Err(ClientError::Refused {
                status: status.as_u16(),
                detail: legible(&problem.detail, LONGEST_ERROR).into_owned(),
            }),
            _ => Err(strange(format!("it says {status}, and not why"))),
        }
    }
}

fn route_path(route: &str) -> String {
    format!("/api/v1/routes/{}", escaped(route))
}

fn target_path(route: &str, target: &str) -> String {
    format!("{}/targets/{}", route_path(route), escaped(target))
}

/// A name as one part of a path or a query.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_and_carry_no_password() {
        for (given, full) in [
            ("127.0.0.1:8686", "http://127.0.0.1:8686"),
            ("http://[::1]:8686/", "http://[::1]:8686"),
            ("http://relay.test/engine/", "http://relay.test/engine"),
        ] {
            assert_eq!(Client::new(given, None).unwrap().url(), full);
        }
        for given in
            ["", "http://", "https://relay.test", "http://u:p@relay.test", "http://a b", "http://a?x=1", "x://y"]
        {
            assert!(matches!(Client::new(given, None), Err(ClientError::BadUrl(_))), "{given}");
        }
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(target_path("a/../b", "c d?"), "/api/v1/routes/a%2F%2E%2E%2Fb/targets/c%20d%3F");
    }
}
