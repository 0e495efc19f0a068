//! The API against its own description, by somebody else's tester: schemathesis makes requests of all kinds from the description, good ones
//! and bad ones, and looks whether the answers are those that are described, and none is an error of ours.

use std::path::Path;
use std::process::Command;

use regex::Regex;

use super::harness::{How, Served, TOKEN};

/// What the description says, and the tester can't know: `/readyz` answers 503 by design, and a rate may be well formed and refused, as one
/// that is too low is.
const BY_DESIGN: &str = r#"
[[operations]]
include-path = "/readyz"
checks.not_a_server_error.enabled = false

[[operations]]
include-path = "/api/v1/routes/{route}/targets/{target}/bandwidth"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 422]
"#;

/// A route and a target that there are; without, nearly all names are those of nothing.
const NAMES: &str = "[parameters]\n\"path.route\" = \"orders\"\n\"path.target\" = \"beijing\"\n";

/// Has an engine tested; how many requests that were. All are the same ones each time.
fn tested(served: &Served, config: &str, options: &[&str]) -> u32 {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("schemathesis.toml");
    std::fs::write(&file, config).unwrap();
    let tester = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/schemathesis");
    let mut tester = Command::new(tester);
    tester.current_dir(place.path()).arg("--config-file").arg(&file).arg("run");
    tester.arg(format!("http://{}/api/v1/openapi.json", served.address));
    // a stream has no end: it has tests of its own
    tester.args(["--exclude-path-regex", "/stream$", "--generation-deterministic", "--max-examples", "20"]);
    tester.args(["--request-timeout", "10", "--no-color"]).args(options);
    let output = tester.output().expect("schemathesis is in target/python: tests/run fetches it");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counts = Regex::new(r"(\d+) generated, (\d+) passed").unwrap();
    let counts = counts.captures(&said).unwrap_or_else(|| panic!("nothing was tested: {said}"));
    assert_eq!(counts[1], counts[2], "{said}");
    served.still_answers();
    counts[1].parse().unwrap()
}

#[test]
fn every_answer_is_one_that_is_described() {
    let open = Served::open();
    let any = tested(&open, BY_DESIGN, &[]);
    let guarded = Served::start(How { token: Some(TOKEN), ..How::default() });
    let known =
        tested(&guarded, &format!("{NAMES}{BY_DESIGN}"), &["--header", &format!("Authorization: Bearer {TOKEN}")]);
    println!("{any} requests about any names, {known} about those that there are");
    assert!(any >= 150 && known >= 100, "{any} and {known} requests are few");
}
