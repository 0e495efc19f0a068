//! An engine with its API, on a thread of its own; and raw HTTP, so that what no client would send can be sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{park, park_timeout};
use std::time::Duration;

use actix::System;
use anabranch::admin;
use anabranch::config::load_str;
use anabranch::engine::handle::{Keep, Load};
use anabranch::engine::{Engine, Options, Standing};
use anabranch::plan::switches::Switches;
use anabranch::telemetry::{Metrics, MetricsOptions};
use serde_json::Value;

pub(super) const TOKEN: &str = "a-token-of-some-length";

const CONFIG: &str = r#"
admin: { listen: "127.0.0.1:0" }
clusters:
  guangzhou: { bootstrap: "127.0.0.1:1" }
  shanghai: { bootstrap: "127.0.0.1:2", peak_bandwidth: 40MiB/s }
  beijing: { bootstrap: "127.0.0.1:3" }
routes:
  orders:
    enabled: true
    from: guangzhou
    topics: { include: [orders] }
    to: { shanghai: { bandwidth: 20MiB/s }, beijing: {} }
  payments:
    from: guangzhou
    topics: { include: [payments] }
    to: { beijing: {} }
"#;

/// An engine that is served, until this is dropped.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    /// What was written down, in its order.
    pub(super) kept: Arc<Mutex<Vec<Switches>>>,
    orders: Sender<Command>,
    end: Receiver<()>,
}

/// What a test does to the engine past its API.
enum Command {
    Drain,
    StopApi,
    End,
}

/// How an engine is served.
#[derive(Default)]
pub(super) struct How {
    pub(super) token: Option<&'static str>,
    /// Whether nothing can be written down.
    pub(super) full: bool,
    /// What is wrong with the config when it is read again; otherwise it has another `limits.bandwidth`.
    pub(super) mistakes: Option<&'static str>,
    /// Whether no route is switched on.
    pub(super) idle: bool,
    /// Where writing down is met, before it is done and after it may go on.
    pub(super) held: Option<Arc<Barrier>>,
}

impl Served {
    /// Without a token.
    pub(super) fn open() -> Self {
        Self::start(How::default())
    }

    pub(super) fn start(how: How) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = channel();
        let (orders, taken) = channel();
        let (ended, end) = channel();
        let written = kept.clone();
        std::thread::spawn(move || {
            let system = System::new();
            system.block_on(async move {
                let (engine, api) = begin(&how, written);
                tell.send(api.address).unwrap();
                // the orders come from another kind of thread than this
                let (next, mut orders) = tokio::sync::mpsc::unbounded_channel();
                std::thread::spawn(move || taken.into_iter().try_for_each(|command| next.send(command)));
                while let Some(command) = orders.recv().await {
                    match command {
                        Command::Drain => engine.drain(),
                        Command::StopApi => api.stop().await,
                        Command::End => break,
                    }
                }
                api.stop().await;
            });
            // what waits for a broker is not waited for, and so the thread must not end before the process does
            ended.send(()).unwrap();
            loop {
                park();
            }
        });
        Self { address: told.recv().unwrap(), kept, orders, end }
    }

    pub(super) fn drain(&self) {
        self.orders.send(Command::Drain).unwrap();
    }

    pub(super) fn stop_api(&self) {
        self.orders.send(Command::StopApi).unwrap();
    }

    pub(super) fn ask(&self, request: &Request<'_>) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.text(self.address).as_bytes()).unwrap();
        Reply::read(&mut stream).unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.ask(&Request { path, ..Request::default() })
    }

    pub(super) fn post(&self, path: &str) -> Reply {
        self.ask(&Request { method: "POST", path, ..Request::default() })
    }

    /// Sets a bandwidth.
    pub(super) fn put(&self, path: &str, body: &str) -> Reply {
        self.ask(&Request { method: "PUT", path, body, headers: JSON, ..Request::default() })
    }

    /// A connection that waits for an answer for 30 s.
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// The engine and its API are as well as before.
    pub(super) fn still_answers(&self) {
        let reply = self.get("/healthz");
        assert_eq!((reply.status, &reply.json()["status"]), (200, &Value::from("ok")));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.orders.send(Command::End);
        let ended = self.end.recv();
        assert!(ended.is_ok() || std::thread::panicking(), "the engine's thread panicked");
    }
}

fn begin(how: &How, written: Arc<Mutex<Vec<Switches>>>) -> (Engine, admin::Api) {
    let mut config = CONFIG.to_owned();
    if let Some(token) = how.token {
        config = config.replace(r#"0" }"#, &format!(r#"0", token: {token} }}"#));
    }
    if how.idle {
        config = config.replace("enabled: true", "enabled: false");
    }
    let plan = load_str(&config, Path::new(""), &BTreeMap::new()).unwrap();
    let (full, held) = (how.full, how.held.clone());
    let (mut next, mistakes) = (plan.clone(), how.mistakes);
    next.limits.bandwidth = Some(1 << 20);
    let keep: Keep = Arc::new(move |switches| {
        if full {
            return Err(io::Error::new(ErrorKind::StorageFull, "no space left"));
        }
        if let Some(barrier) = &held {
            barrier.wait();
            barrier.wait();
        }
        written.lock().unwrap().push(switches.clone());
        Ok(())
    });
    let load: Load = Arc::new(move || mistakes.map_or_else(|| Ok(next.clone()), |why| Err(why.to_owned())));
    let standing = Standing { switches: Switches::default(), keep, load };
    let engine = Engine::start(&plan, Options::default(), Some(standing));
    let handle = engine.handle.clone().unwrap();
    let metrics = Arc::new(Metrics::start(handle.board(), MetricsOptions::default()).unwrap());
    let api = admin::start(&plan.admin, handle, metrics).unwrap().unwrap();
    (engine, api)
}

type Headers<'a> = &'a [(&'a str, &'a str)];

pub(super) const JSON: Headers<'_> = &[("Content-Type", "application/json")];

/// A request, as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: Headers<'a>,
    pub(super) body: &'a str,
    /// In the place of the address.
    pub(super) host: Option<&'a str>,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self { method: "GET", path: "/", headers: &[], body: "", host: None }
    }
}

impl Request<'_> {
    pub(super) fn text(&self, address: SocketAddr) -> String {
        let host = self.host.map_or_else(|| address.to_string(), str::to_owned);
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in self.headers {
            write!(text, "{name}: {}\r\n", value.replace("HERE", &address.to_string())).unwrap();
        }
        if !self.body.is_empty() {
            write!(text, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        text + "\r\n" + self.body
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// In lower case.
    headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Reply {
    /// The answer on a connection, up to its close; nothing where it was closed without one.
    pub(super) fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            // who is refused while it still sends may be cut off, with the answer before that
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            read => {
                read.unwrap();
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Some(Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned() })
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The detail of a problem, which is whole.
    pub(super) fn problem(&self, path: &str) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], "about:blank", "{self:?}");
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].as_str().is_some_and(|title| title.len() > 3), "{self:?}");
        let instance = problem["instance"].as_str().unwrap();
        assert!(path.starts_with(instance.trim_end_matches('…')) && instance.starts_with('/'), "{self:?}");
        let detail = problem["detail"].as_str().unwrap();
        let legible = detail.len() > 10 && detail.len() < 2100 && !detail.contains(char::is_control);
        assert!(legible, "{detail:?}");
        detail.to_owned()
    }
}

/// Looks again and again, for half a minute at most.
pub(super) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(1500, what, look)
}

/// Looks again and again, for 10 s at most.
pub(super) fn soon<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(500, what, look)
}

fn look_for<T>(times: u32, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..times {
        if let Some(found) = look() {
            return found;
        }
        park_timeout(Duration::from_millis(20));
    }
    panic!("it did not come to this: {what}");
}

/// Hangs up.
pub(super) fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
