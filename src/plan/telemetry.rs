//! What a process tells about itself to others: where it is pushed to, and how much of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// What a process tells about itself.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Whether there is a lag per partition; else per topic.
    pub per_partition: bool,
    /// What all of it is told apart by, besides what a process knows of itself: these go before that.
    pub resource: BTreeMap<String, String>,
    /// Where metrics are pushed to; `None`: nowhere, and so for the others.
    pub metrics: Option<Push>,
    /// Where logs are pushed to.
    pub logs: Option<Push>,
    /// Where traces are pushed to.
    pub traces: Option<Push>,
    /// How often metrics are pushed.
    pub interval: Duration,
    /// Which share of the batches is traced, from 0 to 1.
    pub sample: f64,
    /// Variables of the environment that are ignored, why, and what to do; never what they say.
    pub ignored: Vec<String>,
}

impl Default for Telemetry {
    /// Nothing is pushed.
    fn default() -> Self {
        Self {
            per_partition: true,
            resource: BTreeMap::new(),
            metrics: None,
            logs: None,
            traces: None,
            interval: Self::INTERVAL,
            sample: Self::SAMPLE,
            ignored: Vec::new(),
        }
    }
}

impl Telemetry {
    /// How often metrics are pushed where nothing else is said.
    pub const INTERVAL: Duration = Duration::from_secs(15);
    /// Which share of the batches is traced where nothing else is said.
    pub const SAMPLE: f64 = 0.01;

    /// Whether anything is pushed.
    pub fn is_pushed(&self) -> bool {
        [&self.metrics, &self.logs, &self.traces].into_iter().any(Option::is_some)
    }
}

/// Where something is pushed to, and how.
#[derive(Clone, Debug)]
pub struct Push {
    /// A URL with `http` or `https`, complete with its path.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// What each request carries, by names in lower case.
    pub headers: BTreeMap<String, SecretString>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// PEM file of the authorities to trust; the system's where there is none.
    pub ca: Option<PathBuf>,
}

impl PartialEq for Push {
    fn eq(&self, other: &Self) -> bool {
        let headers = |push: &Self| -> Vec<(String, String)> {
            push.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        let rest = |push: &Self| (push.endpoint.clone(), push.protocol, push.timeout, push.ca.clone());
        rest(self) == rest(other) && headers(self) == headers(other)
    }
}

impl Push {
    /// How long an answer may take where nothing else is said.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// What a receiver is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf in it.
    Http,
}
