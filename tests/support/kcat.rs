//! kcat: a third client, for the eyes of somebody else.

use std::process::{Command, Output};

use serde_json::Value;

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

/// Whether kcat gets in at an address within some seconds, with the engine's `security`; its complaint if not.
pub fn gets_in(bootstrap: &str, security: &Value, seconds: u32) -> Result<(), String> {
    let text = |key: &str| security[key].as_str();
    let mechanism = text("mechanism").map(str::to_uppercase);
    let user = text("username")
        .map(|user| text("instance").map_or_else(|| user.to_owned(), |instance| format!("{instance}#{user}")));
    let properties = [
        ("security.protocol", text("protocol")),
        ("sasl.mechanism", mechanism.as_deref()),
        ("sasl.username", user.as_deref()),
        ("sasl.password", text("password")),
        ("ssl.ca.location", text("ca")),
        ("ssl.certificate.location", text("cert")),
        ("ssl.key.location", text("key")),
    ];
    let properties = properties.iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
    let arguments: Vec<String> = properties.flat_map(|property| ["-X".to_owned(), property]).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = kcat(&[&["-L", "-m", &seconds.to_string(), "-b", bootstrap], &arguments[..]]);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn kcat(arguments: &[&[&str]]) -> Output {
    Command::new("kcat").args(arguments.concat()).output().expect("kcat is installed; tests/run sees to it")
}
