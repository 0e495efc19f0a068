//! A script that drives the browser: a process that asks by a line and waits for a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::run_folder;

/// A running script; it ends with this process, and its browser with it.
pub struct Script(Child);

impl Script {
    /// Runs a script to its end, and panics with what it said where it failed. A line that begins with `? ` is a request, which
    /// is answered.
    pub fn run(name: &str, url: &str, arguments: &[&str], mut answer: impl FnMut(&str) -> Value) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let log = run_folder().join(format!("{name}.log"));
        let mut command = Command::new(root.join("target/python/bin/python"));
        command.arg("-u").arg(root.join("tests/console").join(name)).arg(url).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{error}: `tests/run` fetches the Python tools"));
        let mut script = Self(child);
        let mut replies = script.0.stdin.take().unwrap();
        for line in BufReader::new(script.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line.strip_prefix("? ") {
                Some(request) => writeln!(replies, "{}", answer(request)).unwrap(),
                None => println!("{name}: {line}"),
            }
        }
        let status = script.0.wait().unwrap();
        assert!(status.success(), "{name} failed ({status}):\n{}", said(&log));
    }
}

fn said(log: &PathBuf) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

impl Drop for Script {
    fn drop(&mut self) {
        // it has ended, but where the test panicked
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
