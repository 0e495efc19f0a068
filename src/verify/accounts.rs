//! Where records are that the target does not have: what its dead letters say, and a second look at a cluster.

use std::collections::HashMap;

use super::fingerprint::Fingerprint;
use super::outcome::Leftover;
use super::scope::{Request, TopicScope};
use super::streams::Streams;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::letters as words;
use crate::domain::records::{Record, Records};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::{Admin, OffsetAt};
use crate::plan::{ClusterSpec, make_dead_letters};

/// What became of a missing record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// Nobody has it.
    Lacking,
    /// It is a dead letter, byte for byte.
    DeadLettered,
    /// It is a dead letter, here, but differs in these fields.
    Altered(String, Vec<&'static str>),
}

/// Reads ranges of partitions, one after the other.
pub(super) fn scan(
    cluster: &ClusterSpec,
    ranges: &[(TopicPartition, i64, i64)],
    mut look: impl FnMut(&TopicPartition, &Record<'_>),
) -> Result<(), Fault> {
    let mut streams = Streams::open(&[cluster], 512 << 10)?;
    for (partition, from, to) in ranges {
        let stream = streams.start(0, partition.clone(), *from, *to);
        while !streams.is_done(stream) {
            while let Some(batch) = streams.next(stream) {
                let records = batch.payload.decoded();
                records.iter().take_while(|record| record.offset < *to).for_each(|record| look(partition, &record));
            }
            if let Some(fault) = streams.lost(stream) {
                return Err(fault);
            }
            if !streams.is_done(stream) {
                streams.wait()?;
            }
        }
        streams.stop(stream);
    }
    Ok(())
}

/// Looks for missing records among the target's dead letters: what became of each.
pub(super) fn dead_letters(
    request: &Request<'_>,
    topic: &TopicScope,
    missing: &[Leftover],
) -> Result<Vec<Missed>, Fault> {
    let mut found = vec![Missed::Lacking; missing.len()];
    let letters = &request.target.dead_letter;
    let expected = make_dead_letters(&request.target.retry);
    if missing.is_empty() || !(expected || letters.cluster.alias == request.target.name()) {
        return Ok(found);
    }
    let name = letters.topic.apply(&topic.name).map_err(|error| Fault::new(FaultClass::Config, error.to_string()))?;
    let admin = Admin::open(&letters.cluster)?;
    let Some(info) = admin.topics()?.remove(&name) else { return Ok(found) };
    if let Some(fault) = info.fault {
        return if expected { Err(fault) } else { Ok(found) };
    }
    let ranges = ranges(&admin, &name, info.partitions)?;
    let wanted: HashMap<(&str, i32, i64), usize> = missing
        .iter()
        .enumerate()
        .map(|(at, record)| {
            let partition = &topic.sources[record.source].0;
            ((&*partition.topic, partition.partition, record.offset), at)
        })
        .collect();
    scan(&letters.cluster, &ranges, |place, record| {
        let Some(letter) = Letter::open(record) else { return };
        if letter.route != request.route.name || letter.target != request.target.name() {
            return;
        }
        let Some(at) = wanted.get(&(letter.topic.as_str(), letter.partition, letter.offset)).copied() else { return };
        let expected = &missing[at].print;
        if letter.print == *expected {
            found[at] = Missed::DeadLettered;
        } else if found[at] == Missed::Lacking {
            let fields = expected.differences(&letter.print).into_iter().map(super::fingerprint::Field::name).collect();
            found[at] = Missed::Altered(format!("{place}@{}", record.offset), fields);
        }
    })?;
    Ok(found)
}

/// All that there is of a topic.
fn ranges(admin: &Admin, topic: &str, count: i32) -> Result<Vec<(TopicPartition, i64, i64)>, Fault> {
    let partitions: Vec<_> = (0..count).map(|number| TopicPartition::new(topic, number)).collect();
    let (first, end) = (admin.offsets(&partitions, OffsetAt::Earliest)?, admin.offsets(&partitions, OffsetAt::Latest)?);
    let of = |offsets: &HashMap<TopicPartition, i64>, tp: &TopicPartition| offsets.get(tp).copied().unwrap_or(0);
    Ok(partitions.iter().map(|tp| (tp.clone(), of(&first, tp), of(&end, tp))).collect())
}

/// A dead letter: whose it is, and the record that it was.
struct Letter {
    route: String,
    target: String,
    topic: String,
    partition: i32,
    offset: i64,
    print: Fingerprint,
}

impl Letter {
    /// How many headers tell the story, after the record's own.
    const TOLD: usize = 10;

    fn open(record: &Record<'_>) -> Option<Self> {
        let headers: Vec<_> = record.headers().collect();
        let own = headers.len().checked_sub(Self::TOLD)?;
        let told: HashMap<&[u8], &str> = headers[own..]
            .iter()
            .filter_map(|(name, value)| Some((*name, std::str::from_utf8((*value)?).ok()?)))
            .collect();
        let text = |name: &str| told.get(name.as_bytes()).map(|text| (*text).to_owned());
        let mut records = Records::default();
        records.push(0, record.timestamp, record.key, record.value, headers[..own].iter().copied());
        Some(Self {
            route: text(words::ROUTE)?,
            target: text(words::TARGET)?,
            topic: text(words::SOURCE_TOPIC)?,
            partition: text(words::SOURCE_PARTITION)?.parse().ok()?,
            offset: text(words::SOURCE_OFFSET)?.parse().ok()?,
            print: Fingerprint::of(&records.get(0)?),
        })
    }
}
