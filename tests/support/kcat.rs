//! kcat: a third client, for the eyes of somebody else.

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
