//! What is around the dashboards: provisioning, the scrape config, and the compose file. There may be no Docker where this runs, so the
//! compose file is read, and not tried.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use super::boards::{BOARDS, folder, text, yaml};
use super::prometheus::ADDRESS;

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn what_is_provisioned_is_there() {
    let sources = yaml("provisioning/datasources/prometheus.yaml");
    let source = &sources["datasources"][0];
    let expected =
        json!({ "type": "prometheus", "access": "proxy", "url": "http://prometheus:9090", "isDefault": true });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&source[field], value, "{field}");
    }
    // or $__rate_interval is too short for the scrapes
    assert_eq!(source["jsonData"]["timeInterval"], yaml("prometheus.yaml")["global"]["scrape_interval"]);
    let boards = yaml("provisioning/dashboards/anabranch.yaml");
    assert_eq!(boards["providers"][0]["type"], "file");
    assert_eq!(boards["providers"][0]["options"]["path"], "/anabranch");
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().strip_suffix(".json").map(str::to_owned))
        .collect();
    assert_eq!(found, BOARDS.iter().map(|name| (*name).to_owned()).collect(), "each JSON file there is a dashboard");
}

#[test]
fn the_compose_file_uses_what_is_here_and_opens_nothing_to_others() {
    let compose = yaml("compose.yaml");
    let pinned = Regex::new(r"^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+$").unwrap();
    for (name, service) in compose["services"].as_object().unwrap() {
        assert!(pinned.is_match(service["image"].as_str().unwrap()), "{name}: {}", service["image"]);
        assert!(strings(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "{name}");
        let volumes = strings(&service["volumes"]);
        assert!(volumes.contains(&"./:/anabranch:ro"), "{name}");
        for volume in volumes.iter().filter(|volume| !volume.starts_with('.')) {
            let kept = volume.split(':').next().unwrap();
            assert!(compose["volumes"].get(kept).is_some(), "{name}: {kept}");
        }
    }
    let prometheus = &compose["services"]["prometheus"];
    assert_eq!(strings(&prometheus["extra_hosts"]), ["host.docker.internal:host-gateway"]);
    let secret = strings(&prometheus["secrets"])[0];
    assert_eq!(compose["secrets"][secret]["environment"], "ANABRANCH_TOKEN");
    assert!(text("prometheus.yaml").contains(&format!("credentials_file: /run/secrets/{secret}")));
    let grafana = &compose["services"]["grafana"]["environment"];
    assert_eq!(
        (&grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"], &grafana["GF_AUTH_DISABLE_LOGIN_FORM"]),
        (&json!("Viewer"), &json!("true"))
    );
    // each file that is named is one of this folder
    let here = Regex::new(r"/anabranch/([\w./-]+)").unwrap();
    let text = text("compose.yaml");
    let named: Vec<&str> = here.captures_iter(&text).map(|found| found.get(1).unwrap().as_str()).collect();
    assert_eq!(named, ["prometheus.yaml", "provisioning", "overview.json"]);
    assert!(named.iter().all(|name| folder().join(name).exists()));
}

#[test]
fn the_scrape_config_is_about_the_engine() {
    let config = yaml("prometheus.yaml");
    let job = &config["scrape_configs"][0];
    assert_eq!(job["job_name"], "anabranch", "the alerts know it by this name");
    assert_eq!(strings(&job["static_configs"][0]["targets"]), [ADDRESS]);
    let defaults = std::fs::read_to_string(folder().join("../config/default.yaml")).unwrap();
    let port = ADDRESS.rsplit(':').next().unwrap();
    assert!(defaults.contains(&format!("listen: 127.0.0.1:{port} ")), "the engine listens elsewhere by default");
    assert_eq!(strings(&config["rule_files"]), ["alerts.yaml"]);
}
