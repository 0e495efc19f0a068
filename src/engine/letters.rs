//! What becomes of records that a target does not take: dead letters, which are the records as they were with headers
//! that tell their story, and envelopes, which stand in the record's place in the target topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::domain::batch::{OffsetRange, Payload, RecordBatch, Uncounted};
use crate::domain::fault::FaultClass;
use crate::domain::letters as words;
use crate::domain::records::{Record, Records};
use crate::domain::topic_partition::TopicPartition;
use crate::format::Malformed;

/// Why a record was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What had to happen next.
    pub class: FaultClass,
    /// What the target said; one line for people.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Where given up records come from, and where they should have gone.
#[derive(Clone, Debug)]
pub struct Story {
    /// The route's name.
    pub route: String,
    /// The source cluster's alias.
    pub source: String,
    /// The target's name.
    pub target: String,
}

fn batch_of(partition: TopicPartition, records: Records) -> RecordBatch {
    let bound = |record: Option<Record<'_>>, beyond: i64| record.map_or(0, |record| record.offset + beyond);
    let range =
        OffsetRange { start: bound(records.get(0), 0), end: bound(records.get(records.len().wrapping_sub(1)), 1) };
    // the original's permit is still held, and one such copy is made at a time per partition
    RecordBatch::new(partition, range, Payload::Records(records), Box::new(Uncounted(0)))
}

/// The dead letters for these positions of a batch: each record byte for byte, its headers first and then ours.
/// They can't be made where the batch can't be opened.
pub fn dead_letters(
    story: &Story,
    batch: &RecordBatch,
    positions: &[u32],
    failure: &Failure,
) -> Result<RecordBatch, Malformed> {
    let records = batch.payload.records()?;
    let mut letters = Records::default();
    for record in positions.iter().filter_map(|position| records.get(*position as usize)) {
        let told = [
            (words::SOURCE_CLUSTER, story.source.clone()),
            (words::SOURCE_TOPIC, batch.partition.topic.to_string()),
            (words::SOURCE_PARTITION, batch.partition.partition.to_string()),
            (words::SOURCE_OFFSET, record.offset.to_string()),
            (words::SOURCE_TIMESTAMP, record.timestamp.to_string()),
            (words::CLASS, failure.class.name().to_owned()),
            (words::ERROR, failure.error.clone()),
            (words::ATTEMPTS, failure.attempts.to_string()),
            (words::ROUTE, story.route.clone()),
            (words::TARGET, story.target.clone()),
        ];
        let ours = told.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        letters.push(record.offset, record.timestamp, record.key, record.value, record.headers().chain(ours));
    }
    Ok(batch_of(batch.partition.clone(), letters))
}

/// The envelope for a record, or the `cut.0`-th of its `cut.1` parts: JSON with the raw record in base64, and the failure.
/// It has the record's key and timestamp, and belongs into target partition `place`.
///
/// The value is cut; the key and the headers are in the first part.
pub fn envelope(
    story: &Story,
    batch: &RecordBatch,
    record: &Record<'_>,
    failure: &Failure,
    cut: (usize, usize),
    place: i32,
) -> RecordBatch {
    let mut kept = Records::default();
    let text = envelope_text(story, &batch.partition, record, failure, cut).to_string();
    kept.push(record.offset, record.timestamp, record.key, Some(text.as_bytes()), std::iter::empty());
    batch_of(TopicPartition { partition: place, ..batch.partition.clone() }, kept)
}

fn envelope_text(
    story: &Story,
    source: &TopicPartition,
    record: &Record<'_>,
    failure: &Failure,
    (part, parts): (usize, usize),
) -> Value {
    let encoded = |bytes: Option<&[u8]>| bytes.map(|bytes| BASE64.encode(bytes));
    let first = part == 1;
    let headers: Vec<Value> = record
        .headers()
        .filter(|_| first)
        .map(|(name, value)| json!([String::from_utf8_lossy(name), encoded(value)]))
        .collect();
    json!({
        "anabranch": words::KEPT,
        "source": {
            "cluster": story.source,
            "topic": &*source.topic,
            "partition": source.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
        },
        "failure": { "class": failure.class.name(), "error": failure.error, "attempts": failure.attempts },
        "record": {
            "key": encoded(record.key.filter(|_| first)),
            "value": encoded(record.value.map(|value| slice(value, part, parts))),
            "headers": headers,
        },
        "part": part,
        "parts": parts,
    })
}

/// The `part`-th of `parts` about equal slices, counted from 1.
fn slice(value: &[u8], part: usize, parts: usize) -> &[u8] {
    let size = value.len().div_ceil(parts.max(1));
    let start = (size * (part - 1)).min(value.len());
    value.get(start..(start + size).min(value.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn story() -> Story {
        Story { route: "orders".to_owned(), source: "here".to_owned(), target: "there".to_owned() }
    }

    fn batch() -> RecordBatch {
        let mut records = Records::default();
        for offset in 40..43 {
            let headers = [(&b"h"[..], Some(&b"1"[..])), (b"h", None)];
            records.push(offset, 1_000 + offset, Some(b"k"), Some(&[7; 10]), headers.into_iter());
        }
        batch_of(TopicPartition::new("t", 3), records)
    }

    fn failure() -> Failure {
        Failure { class: FaultClass::Record, error: "too large".to_owned(), attempts: 3 }
    }

    #[test]
    fn a_dead_letter_is_the_record_and_its_story() {
        let letters = dead_letters(&story(), &batch(), &[1], &failure()).unwrap();
        let records = letters.payload.decoded();
        let record = records.get(0).unwrap();
        assert_eq!((records.len(), letters.partition.partition, letters.in_flight_bytes()), (1, 3, 0));
        assert_eq!(
            (record.offset, record.timestamp, record.key, record.value),
            (41, 1_041, Some(&b"k"[..]), Some(&[7; 10][..]))
        );
        let headers: Vec<_> =
            record.headers().map(|(n, v)| (String::from_utf8_lossy(n), v.map(String::from_utf8_lossy))).collect();
        assert_eq!(headers[..2], [("h".into(), Some("1".into())), ("h".into(), None)]);
        let told: BTreeMap<_, _> = headers[2..].iter().map(|(n, v)| (n.as_ref(), v.as_deref().unwrap())).collect();
        assert_eq!(told["anabranch.source.offset"], "41");
        assert_eq!(told["anabranch.source.partition"], "3");
        assert_eq!((told["anabranch.class"], told["anabranch.attempts"]), ("record", "3"));
        assert_eq!(told.len(), 10);
    }

    #[test]
    fn the_parts_of_an_envelope_give_the_record_back() {
        for parts in [1, 3, 4, 16] {
            let mut value = Vec::new();
            for part in 1..=parts {
                let batch = batch();
                let third = batch.payload.decoded().get(2).unwrap();
                let kept = envelope(&story(), &batch, &third, &failure(), (part, parts), 5);
                let records = kept.payload.decoded();
                assert_eq!((records.len(), kept.partition.partition), (1, 5));
                let record = records.get(0).unwrap();
                assert!(record.value.unwrap().starts_with(words::ENVELOPE_BEGINS.as_bytes()));
                let envelope: Value = serde_json::from_slice(record.value.unwrap()).unwrap();
                assert_eq!((&envelope["part"], &envelope["parts"]), (&json!(part), &json!(parts)));
                assert_eq!(envelope["source"]["offset"], 42);
                assert_eq!((record.key, record.timestamp), (Some(&b"k"[..]), 1_042));
                value.extend(BASE64.decode(envelope["record"]["value"].as_str().unwrap()).unwrap());
                let key = if part == 1 { json!("aw==") } else { Value::Null };
                assert_eq!(envelope["record"]["key"], key);
            }
            assert_eq!(value, [7; 10]);
        }
    }
}
