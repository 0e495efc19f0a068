//! kcat, and confluent-kafka in Python: further clients, for the eyes of somebody else.

use std::path::Path;
use std::process::{Command, Output};

use super::topic::Topic;

/// All that kcat tells of the records of a partition: timestamp, lengths, headers, key and value, as it prints them.
pub fn print(topic: &Topic, partition: i32) -> Vec<u8> {
    let partition = partition.to_string();
    let output = kcat(&[
        &["-C", "-q", "-e", "-o", "beginning", "-f", "%T %K %S %h %k %s\n"],
        &["-b", &topic.bootstrap, "-t", &topic.name, "-p", &partition][..],
    ]);
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn kcat(arguments: &[&[&str]]) -> Output {
    // cargo puts the engine's librdkafka on the library path; with it kcat would be no other client.
    let mut kcat = Command::new("kcat");
    kcat.env_remove("LD_LIBRARY_PATH")
        .args(arguments.concat())
        .output()
        .expect("kcat is installed; tests/run sees to it")
}

/// All that confluent-kafka tells of the records of a partition.
#[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
pub fn print_by_confluent(topic: &Topic, partition: i32) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(root.join("target/python/bin/python"));
    // it has a librdkafka of its own
    python.env_remove("LD_LIBRARY_PATH").arg(root.join("tests/support/python/read.py"));
    let output = python.args([&topic.bootstrap, &topic.name, &partition.to_string()]).output();
    let output = output.expect("Python is in target/python; tests/run sees to it");
    assert!(output.status.success(), "read.py: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
