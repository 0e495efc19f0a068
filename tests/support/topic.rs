//! A topic of a cluster as the other client sees it: write it, read it, ask for its offsets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::agent::{Running, ask, ask_for_bytes};
use super::config::route_name;
use super::ledger::Row;
use super::records::{Bulk, Exact};
use super::{envelope, eventually, seconds};

/// First offset and end of each partition.
pub type Offsets = BTreeMap<i32, (i64, i64)>;

/// A topic by its name; it need not exist.
#[derive(Clone, Debug)]
pub struct Topic {
    pub bootstrap: String,
    pub name: String,
}

/// Records that are being written at a steady rate.
pub struct Load(Running);

impl Load {
    /// Ends it, and says how many were written.
    pub fn stop(self) -> i64 {
        self.0.stop().as_i64().unwrap()
    }
}

impl Topic {
    pub fn create(self, partitions: i32) -> Self {
        self.create_with(partitions, &json!({}))
    }

    pub fn create_with(self, partitions: i32, configs: &Value) -> Self {
        ask("create_topic", self.request(json!({ "partitions": partitions, "configs": configs })));
        self
    }

    /// One partition, with its replicas on these brokers.
    pub fn create_on(self, brokers: &[u16], configs: &Value) -> Self {
        ask("create_topic", self.request(json!({ "partitions": 1, "replicas": brokers, "configs": configs })));
        self
    }

    /// Sets settings of the topic; null takes one back to the broker's.
    pub fn alter(&self, configs: &Value) {
        ask("alter_topic", self.request(json!({ "configs": configs })));
    }

    pub fn delete(&self) {
        ask("delete_topic", self.request(json!({})));
    }

    pub fn grow(&self, total: i32) {
        ask("add_partitions", self.request(json!({ "total": total })));
    }

    /// Has the broker forget the records below an offset.
    pub fn trim(&self, partition: i32, below: i64) {
        ask("delete_records", self.request(json!({ "partition": partition, "below": below })));
    }

    /// `{"partitions": 8, "configs": {"cleanup.policy": "compact"}}`; null when it is not there.
    pub fn describe(&self) -> Value {
        ask("describe_topic", self.request(json!({})))
    }

    pub fn write(&self, records: &[Exact]) {
        let records: Vec<Value> = records.iter().map(Exact::to_json).collect();
        ask("write_exact", self.request(json!({ "records": records, "codec": "none", "transaction": null })));
    }

    /// Writes records as fast as they go.
    pub fn fill(&self, count: i64, bulk: Bulk) {
        let written = ask("write_bulk", self.bulk_request(count, 0, bulk));
        assert_eq!(written, json!(count));
    }

    /// Writes records at a rate until it is stopped.
    pub fn load(&self, records_per_second: i64, bulk: Bulk) -> Load {
        Load(Running::start("write_bulk", self.bulk_request(-1, records_per_second, bulk)))
    }

    /// Empty when the topic is not there.
    pub fn offsets(&self) -> Offsets {
        let reply = ask("offsets", self.request(json!({})));
        let entries = reply.as_object().unwrap().iter();
        entries.map(|(partition, range)| (partition.parse().unwrap(), (number(&range[0]), number(&range[1])))).collect()
    }

    /// The end offsets' sum: the records that were ever written, transaction markers included.
    pub fn end(&self) -> i64 {
        self.offsets().values().map(|(_, end)| end).sum()
    }

    /// How far a target of this topic's own route is, by partition, as any Kafka tool would show it.
    pub fn watermarks(&self, target: &str) -> BTreeMap<i32, i64> {
        self.watermarks_of(&route_name(&self.name), target)
    }

    /// How far a target of a route is, by partition.
    pub fn watermarks_of(&self, route: &str, target: &str) -> BTreeMap<i32, i64> {
        let group = format!("anabranch.{route}.{target}");
        let reply = ask("committed", json!({ "bootstrap": self.bootstrap, "group": group }));
        let offsets = reply[&self.name].as_object().cloned().unwrap_or_default();
        offsets.iter().map(|(partition, offset)| (partition.parse().unwrap(), number(offset))).collect()
    }

    /// What is kept with a watermark of a route's target.
    pub fn note_of(&self, route: &str, target: &str, partition: i32) -> Value {
        let group = format!("anabranch.{route}.{target}");
        let reply = ask("committed", json!({ "bootstrap": self.bootstrap, "group": group, "notes": true }));
        let note = reply[&self.name][partition.to_string()].as_str().unwrap_or_default().to_owned();
        serde_json::from_str(&note)
            .unwrap_or_else(|error| panic!("no note for {target} {partition}: {note:?}: {error}"))
    }

    /// Sets a watermark, as an operator does with Kafka's own tool.
    pub fn set_watermark(&self, route: &str, target: &str, partition: i32, offset: i64) {
        let group = format!("anabranch.{route}.{target}");
        ask("set_offset", self.request(json!({ "group": group, "partition": partition, "offset": offset })));
    }

    /// Waits until a target of this topic's own route has acknowledged all that is there now.
    pub fn wait_for(&self, target: &str) {
        self.wait_for_target_of(&route_name(&self.name), target);
    }

    /// Waits until a target of a route has acknowledged all that is there now.
    pub fn wait_for_target_of(&self, route: &str, target: &str) {
        let ends = self.offsets();
        eventually(seconds(60), &format!("{target} has acknowledged all of {}", self.name), || {
            let watermarks = self.watermarks_of(route, target);
            ends.iter().all(|(partition, (first, end))| watermarks.get(partition).unwrap_or(first) >= end)
        });
    }

    /// The records that a consumer of committed records sees, in brief.
    pub fn committed_rows(&self) -> Vec<Row> {
        self.rows("read_committed")
    }

    /// All records, in brief.
    pub fn all_rows(&self) -> Vec<Row> {
        self.rows("read_uncommitted")
    }

    /// All records, in full.
    pub fn records(&self) -> Vec<Exact> {
        let reply = ask("records", self.request(json!({ "isolation": "read_uncommitted" })));
        reply.as_array().unwrap().iter().map(Exact::from_json).collect()
    }

    /// All records that are no envelopes, in brief; and the envelopes of those that were kept, with the records they are.
    pub fn rows_and_envelopes(&self) -> (Vec<Row>, Vec<(Exact, Value)>) {
        let reply = ask("records", self.request(json!({ "isolation": "read_uncommitted" })));
        let (mut places, mut envelopes) = (BTreeSet::new(), Vec::new());
        for entry in reply.as_array().unwrap() {
            let record = Exact::from_json(entry);
            if let Some(envelope) = envelope::open(&record) {
                places.insert((number(&entry["partition"]), number(&entry["offset"])));
                envelopes.push((record, envelope));
            }
        }
        let mut rows = self.all_rows();
        rows.retain(|row| !places.contains(&(row.partition.into(), row.offset)));
        (rows, envelopes)
    }

    fn rows(&self, isolation: &str) -> Vec<Row> {
        Row::decode(&ask_for_bytes("dump", self.request(json!({ "isolation": isolation }))))
    }

    fn bulk_request(&self, count: i64, rate: i64, bulk: Bulk) -> Value {
        let mut request = self.request(bulk.to_json());
        request["count"] = json!(count);
        request["rate"] = json!(rate);
        request
    }

    fn request(&self, mut request: Value) -> Value {
        request["bootstrap"] = json!(self.bootstrap);
        request["topic"] = json!(self.name);
        request
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}
