//! The tests' other Kafka client: Apache's own, in one Java process that lives as long as the tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::java::Jvm;
use super::process::Tethered;
use super::{run_folder, seconds, within};

struct Agent {
    port: u16,
    _process: Tethered,
}

static AGENT: LazyLock<Agent> = LazyLock::new(start);

fn start() -> Agent {
    let folder = run_folder();
    let (out, err) = (folder.join("agent.out"), folder.join("agent.err"));
    let mut command = Jvm::brief("768m").command();
    command.arg("Agent");
    let remove = std::env::var_os("ANABRANCH_KEEP").is_none().then_some(folder.as_path());
    let process = Tethered::spawn_cleaning(&command, &out, &err, remove);
    let port = within(seconds(30), || {
        let said = std::fs::read_to_string(&out).unwrap();
        said.strip_suffix('\n').map(|line| line.parse().unwrap())
    });
    let port = port.unwrap_or_else(|| panic!("the agent did not start: {}", std::fs::read_to_string(&err).unwrap()));
    Agent { port, _process: process }
}

/// Asks the agent; panics with its error.
pub fn ask(command: &str, request: Value) -> Value {
    try_ask(command, request).unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Asks the agent; its error is an answer too.
pub fn try_ask(command: &str, request: Value) -> Result<Value, String> {
    answer(&mut send(command, request)).map(|(value, _)| value)
}

/// Asks the agent for an answer in bytes.
pub fn ask_for_bytes(command: &str, request: Value) -> Vec<u8> {
    let (_, bytes) = answer(&mut send(command, request)).unwrap_or_else(|error| panic!("{command}: {error}"));
    bytes
}

/// Something that the agent does until it is told to stop.
pub struct Running(TcpStream);

impl Running {
    /// Has the agent begin.
    pub fn start(command: &str, request: Value) -> Self {
        Self(send(command, request))
    }

    /// Has it stop, and gives its answer.
    pub fn stop(mut self) -> Value {
        self.0.shutdown(Shutdown::Write).unwrap();
        answer(&mut self.0).unwrap_or_else(|error| panic!("{error}")).0
    }
}

fn send(command: &str, mut request: Value) -> TcpStream {
    request["command"] = json!(command);
    let mut stream = TcpStream::connect(("127.0.0.1", AGENT.port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(seconds(180))).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    stream
}

fn answer(stream: &mut TcpStream) -> Result<(Value, Vec<u8>), String> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(|error| format!("the agent does not answer: {error}"))?;
    let reply: Value = serde_json::from_str(&line).map_err(|error| format!("the agent said {line:?}: {error}"))?;
    if let Some(error) = reply["error"].as_str() {
        return Err(error.to_owned());
    }
    let length = reply["bytes"].as_u64().unwrap_or(0);
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, length, "the agent's answer is cut off");
    Ok((reply["ok"].clone(), bytes))
}
