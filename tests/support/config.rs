//! The engine's config file, put together by a test.

use std::path::Path;

use serde_json::{Value, json};

use super::cluster::{Cluster, Regions};
use super::trio::Trio;

/// The name of the route that `fan_out` makes for a topic.
pub fn route_name(topic: &str) -> String {
    topic.replace('.', "_")
}

/// A config; what it does not say has the engine's default.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Config {
    /// Nothing yet.
    pub fn new() -> Self {
        // any port that is free: several engines run beside each other
        Self(json!({ "admin": { "listen": "127.0.0.1:0" }, "clusters": {}, "routes": {} }))
    }

    /// All clusters that tests share.
    pub fn of(regions: &Regions) -> Self {
        let all = [regions.guangzhou, regions.shanghai, regions.beijing, regions.chengdu];
        all.into_iter().fold(Self::new(), |config, cluster| config.cluster(cluster.name(), cluster))
    }

    /// A cluster at its address without security.
    pub fn cluster(self, alias: &str, cluster: &Cluster) -> Self {
        self.cluster_as(alias, &cluster.bootstrap(), None)
    }

    /// A cluster at an address, with the content of `security`.
    pub fn cluster_as(mut self, alias: &str, bootstrap: &str, security: Option<Value>) -> Self {
        let cluster = &mut self.0["clusters"][alias];
        *cluster = json!({ "bootstrap": [bootstrap] });
        if let Some(security) = security {
            cluster["security"] = security;
        }
        self
    }

    /// A cluster of three, through its proxies.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn trio(mut self, alias: &str, cluster: &Trio) -> Self {
        self.0["clusters"][alias] = json!({ "bootstrap": cluster.client_bootstrap() });
        self
    }

    /// A route that is switched on.
    pub fn route(mut self, name: &str, mut route: Value) -> Self {
        route["enabled"] = json!(true);
        // what holds for one way to transfer records holds for the others
        if let Ok(transfer) = std::env::var("ANABRANCH_TRANSFER")
            && route.get("transfer").is_none()
        {
            let by_key = transfer == "passthrough" && route["partitioning"] == "by_key";
            route["transfer"] = json!(if by_key { "auto" } else { &transfer });
        }
        self.0["routes"][name] = route;
        self
    }

    /// A switched-on route for one topic, from one cluster to others.
    pub fn fan_out(self, from: &str, topic: &str, to: &[&str]) -> Self {
        let targets: serde_json::Map<_, _> = to.iter().map(|target| ((*target).to_owned(), json!({}))).collect();
        let route = json!({ "from": from, "topics": { "include": [regex::escape(topic)] }, "to": targets });
        self.route(&route_name(topic), route)
    }

    /// Sets a value somewhere: `set("/routes/orders", "in_flight", json!("8MiB"))`.
    pub fn set(mut self, parent: &str, key: &str, value: Value) -> Self {
        self.0.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in the config"))[key] = value;
        self
    }

    /// Takes something out: `without("/routes/orders/to", "beijing")`.
    #[allow(dead_code, reason = "each of the tests that share this uses a part of it")]
    pub fn without(mut self, parent: &str, key: &str) -> Self {
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut);
        assert!(parent.is_some_and(|parent| parent.remove(key).is_some()), "no {key} in the config");
        self
    }

    /// The text of the file; JSON is YAML too.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap()
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.text()).unwrap();
    }
}
