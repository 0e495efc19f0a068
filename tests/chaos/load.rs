//! The load, and what it claims: the records that the source has acknowledged, each with its time.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::agent::{ask, ask_for_bytes};
use crate::support::records::Bulk;
use crate::support::topic::Topic;

/// A time of the agent's monotonic clock, in milliseconds.
pub type Millis = i64;

/// The time by the clock that all of a run's times are of.
pub fn now() -> Millis {
    ask("clock", json!({})).as_i64().unwrap()
}

/// A record that the source has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub offset: i64,
    pub id: i64,
    pub at: Millis,
}

/// A producer that writes at a steady rate through whatever happens, and its claims so far.
pub struct Load {
    topic: Topic,
    claims: Claims,
}

/// What was claimed, by partition, in the order of offsets and of times.
#[derive(Clone, Debug, Default)]
pub struct Claims(BTreeMap<i32, Vec<Claim>>);

impl Load {
    /// Begins to write records of every kind, round-robin over the partitions. None is older than an hour: a broker that starts
    /// again forgets a producer whose last record is older than a day, and then takes what is sent to it again for new.
    pub fn start(topic: &Topic, partitions: i32, records_per_second: i64) -> Self {
        let present = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let kinds = Bulk { mixed: true, codec: "lz4", timestamp: present, age: 3_600_000, ..Bulk::over(partitions) };
        let mut request = kinds.to_json();
        request["rate"] = json!(records_per_second);
        ask("start_load", about(topic, request));
        Self { topic: topic.clone(), claims: Claims::default() }
    }

    /// Takes in what was claimed since the last time.
    pub fn take_in(&mut self) {
        self.claims.add(&ask_for_bytes("acknowledged", about(&self.topic, json!({}))));
    }

    /// All claims that were taken in.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Ends it; every record has been acknowledged.
    pub fn stop(&mut self) {
        let end = ask("stop_load", about(&self.topic, json!({})));
        assert_eq!(end["failed"], 0, "the source did not take what it was given: {end}");
        self.take_in();
        assert_eq!(json!(self.claims.count()), end["sent"]);
    }
}

impl Claims {
    fn add(&mut self, rows: &[u8]) {
        for row in rows.chunks_exact(4 + 3 * 8) {
            let long = |at: usize| i64::from_be_bytes(row[4 + 8 * at..12 + 8 * at].try_into().unwrap());
            let claim = Claim { offset: long(0), id: long(1), at: long(2) };
            let claims = self.0.entry(i32::from_be_bytes(row[..4].try_into().unwrap())).or_default();
            let place = claims.partition_point(|known| known.offset < claim.offset);
            // an acknowledgement may be late: what comes after it was there no earlier
            let at = claims.get(place).map_or(claim.at, |later| later.at.min(claim.at));
            claims.insert(place, Claim { at, ..claim });
            let near = claims[place.saturating_sub(1)..].iter().take(3);
            assert!(near.is_sorted_by(|a, b| a.offset < b.offset && a.id < b.id), "the source's order: {claim:?}");
        }
    }

    /// How many records were acknowledged.
    pub fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// The partitions, and what was claimed of each.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, &[Claim])> {
        self.0.iter().map(|(partition, claims)| (*partition, claims.as_slice()))
    }

    /// How old the oldest record is, at a time, that a watermark has not passed; 0 where it has passed all.
    pub fn lag(&self, partition: i32, watermark: i64, at: Millis) -> Millis {
        let claims = self.0.get(&partition).map_or(&[][..], Vec::as_slice);
        let next = claims.get(claims.partition_point(|claim| claim.offset < watermark));
        next.map_or(0, |claim| (at - claim.at).max(0))
    }

    /// The first record of a partition that was acknowledged after a time.
    pub fn first_after(&self, partition: i32, time: Millis) -> Option<Claim> {
        let claims = self.0.get(&partition)?;
        claims.get(claims.partition_point(|claim| claim.at <= time)).copied()
    }

    /// Records that were acknowledged and that watermarks have not passed.
    pub fn beyond(&self, watermarks: &BTreeMap<i32, i64>) -> usize {
        self.beyond_at(watermarks, Millis::MAX)
    }

    /// The same at an earlier time.
    pub fn beyond_at(&self, watermarks: &BTreeMap<i32, i64>, time: Millis) -> usize {
        let left = |(partition, claims): (&i32, &Vec<Claim>)| {
            let watermark = watermarks.get(partition).copied().unwrap_or(0);
            let there = claims.partition_point(|claim| claim.at <= time);
            there.saturating_sub(claims.partition_point(|claim| claim.offset < watermark))
        };
        self.0.iter().map(left).sum()
    }
}

fn about(topic: &Topic, mut request: Value) -> Value {
    request["bootstrap"] = json!(topic.bootstrap);
    request["topic"] = json!(topic.name);
    request
}
