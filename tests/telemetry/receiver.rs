//! A receiver of OTLP, on gRPC's own server and OpenTelemetry's own messages, which writes what it takes into files; and others that
//! take nothing.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::certificates::Certificates;
use crate::support::process::Tethered;
use crate::support::{run_folder, seconds, within};

/// A receiver that listens for gRPC and for HTTP.
pub struct Receiver {
    grpc: u16,
    http: u16,
    folder: TempDir,
    _process: Tethered,
}

/// Ports that are free now.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl Receiver {
    /// One that listens.
    pub fn start() -> Self {
        Self::launch(free_ports(), None)
    }

    /// One that wants to be spoken to in secret.
    pub fn start_encrypted(certificates: &Certificates) -> Self {
        Self::launch(free_ports(), Some(certificates))
    }

    /// One on these ports, which nobody else has: gRPC's, and HTTP's.
    pub fn start_at(ports: [u16; 2]) -> Self {
        Self::launch(ports, None)
    }

    fn launch([grpc, http]: [u16; 2], certificates: Option<&Certificates>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/python/bin/python");
        assert!(python.exists(), "there is no {}: tests/run brings it", python.display());
        let folder = tempfile::Builder::new().prefix("receiver-").tempdir_in(run_folder()).unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut command = Command::new(python);
        command.arg(root.join("tests/telemetry/receiver.py"));
        command.args([grpc.to_string(), http.to_string()]).arg(folder.path());
        // key and certificate stand in one file
        command.args(certificates.map(|certificates| &certificates.broker));
        let mut process = Tethered::spawn(&command, Path::new(&file("stdout")), Path::new(&file("stderr")));
        let open = within(seconds(30), || (is_open(grpc) && is_open(http)).then_some(()));
        let log = || std::fs::read_to_string(file("stderr")).unwrap();
        assert!(open.is_some() && process.ended().is_none(), "the receiver does not listen:\n{}", log());
        Self { grpc, http, folder, _process: process }
    }

    /// Where it takes gRPC.
    pub fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Where it takes HTTP.
    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// All that it was sent of a signal, a request each.
    fn requests(&self, signal: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(signal)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Everything of one kind that it was sent so far, each with the attributes of the process that sent it. `scope` is added: of a log
    /// record it is the module.
    fn sent(&self, signal: &str, [resources, scopes, items]: [&str; 3]) -> Vec<(Value, Value)> {
        let mut found = Vec::new();
        for request in self.requests(signal) {
            for resource in list(&request[resources]) {
                let process = attributes(&resource["resource"]);
                for scope in list(&resource[scopes]) {
                    for item in list(&scope[items]) {
                        let mut item = item.clone();
                        item["scope"] = scope["scope"]["name"].clone();
                        found.push((process.clone(), item));
                    }
                }
            }
        }
        found
    }

    /// All spans.
    pub fn spans(&self) -> Vec<(Value, Value)> {
        self.sent("traces", ["resourceSpans", "scopeSpans", "spans"])
    }

    /// All log records.
    pub fn logs(&self) -> Vec<(Value, Value)> {
        self.sent("logs", ["resourceLogs", "scopeLogs", "logRecords"])
    }

    /// All metrics, as often as they were sent.
    pub fn metrics(&self) -> Vec<(Value, Value)> {
        self.sent("metrics", ["resourceMetrics", "scopeMetrics", "metrics"])
    }

    /// How often metrics were sent, and the ones that were sent last.
    pub fn last_metrics(&self) -> (usize, Vec<Value>) {
        let requests = self.requests("metrics");
        let last = requests.last().map(|request| {
            list(&request["resourceMetrics"][0]["scopeMetrics"])
                .iter()
                .flat_map(|scope| list(&scope["metrics"]))
                .cloned()
                .collect()
        });
        (requests.len(), last.unwrap_or_default())
    }
}

/// The elements of a list; there are none where there is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// OTLP's list of attributes as a mapping.
pub fn attributes(value: &Value) -> Value {
    let plain = |value: &Value| {
        let (kind, inner) = value.as_object().unwrap().iter().next().unwrap();
        match kind.as_str() {
            // JSON has no 64 bits
            "intValue" => json!(inner.as_str().unwrap().parse::<i64>().unwrap()),
            _ => inner.clone(),
        }
    };
    let pairs = list(&value["attributes"]).iter();
    pairs.map(|pair| (pair["key"].as_str().unwrap().to_owned(), plain(&pair["value"]))).collect()
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    let [port] = free_ports();
    format!("http://127.0.0.1:{port}")
}

/// Somebody who takes every connection, and never says or reads anything.
pub struct BlackHole {
    port: u16,
    taken: Arc<Mutex<Vec<TcpStream>>>,
}

impl BlackHole {
    /// One that listens.
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let held = taken.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                held.lock().unwrap().push(stream.unwrap());
            }
        });
        Self { port, taken }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether anybody was taken in.
    pub fn has_somebody(&self) -> bool {
        !self.taken.lock().unwrap().is_empty()
    }
}

/// Ports for a receiver that comes later.
pub fn ports_for_later() -> [u16; 2] {
    free_ports()
}

/// How long things may take to arrive.
pub const ARRIVAL: Duration = seconds(20);
