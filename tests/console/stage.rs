//! What the console is shown on: three clusters, a steady load, and a config of routes between them.

use std::sync::LazyLock;

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::config::Config;
use crate::support::records::Bulk;
use crate::support::topic::Load;

static CLUSTERS: LazyLock<[Cluster; 3]> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        ["guangzhou", "shanghai", "beijing"]
            .map(|name| scope.spawn(move || Cluster::start(name)))
            .map(|start| start.join().unwrap())
    })
});

/// The source and two targets.
pub fn clusters() -> [&'static Cluster; 3] {
    CLUSTERS.each_ref()
}

/// Plain records.
pub const fn bulk(partitions: i32, value_size: usize) -> Bulk {
    Bulk { value_size, ..Bulk::over(partitions) }
}

/// A topic that is written to as long as this is there; its route has its name.
pub struct Scene {
    name: String,
    load: Option<Load>,
}

impl Scene {
    /// Five hundred records of about a kilobyte each second.
    pub fn set(name: &str) -> Self {
        let [guangzhou, ..] = clusters();
        let source = guangzhou.topic(name).create(4);
        Self { name: name.to_owned(), load: Some(source.load(500, bulk(4, 1_000))) }
    }

    /// Its route to both targets, and another one that is off.
    pub fn config(&self) -> Config {
        let config =
            clusters().into_iter().fold(Config::new(), |config, cluster| config.cluster(cluster.name(), cluster));
        let to = json!({ "beijing": {}, "shanghai": {} });
        let on = json!({ "from": "guangzhou", "topics": { "include": [self.name] }, "to": to });
        let audit = format!("{}_audit", self.name);
        let off = json!({ "from": "guangzhou", "topics": { "include": [audit] }, "to": { "shanghai": {} } });
        config.route(&self.name, on).route(&audit, off).set(&format!("/routes/{audit}"), "enabled", json!(false))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(load) = self.load.take().filter(|_| !std::thread::panicking()) {
            assert!(load.stop() > 0, "the load of {} never began", self.name);
        }
    }
}
