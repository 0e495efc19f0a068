//! Envelopes opened: what a target keeps of records that it did not take as they were.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::fingerprint::{Fingerprint, Pieces};
use crate::domain::letters::{ENVELOPE_BEGINS, KEPT};
use crate::domain::records::{Record, Records};

/// Envelopes that are open at the same time: parts of several may be mixed.
const OPEN: usize = 64;

/// What a target's record is.
#[derive(Debug)]
pub(super) enum Opened {
    /// A record like any other.
    Plain,
    /// An envelope's part, and not its last one.
    Part,
    /// The last part of an envelope, and the record that was in it.
    Whole(Fingerprint),
}

#[derive(Deserialize)]
struct Envelope {
    anabranch: String,
    source: Source,
    record: Content,
    part: u32,
    parts: u32,
}

#[derive(Clone, Deserialize, PartialEq, Eq, Hash)]
struct Source {
    cluster: String,
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: i64,
}

#[derive(Deserialize)]
struct Content {
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

/// The envelopes of one target partition.
#[derive(Debug, Default)]
pub(super) struct Envelopes {
    open: HashMap<(String, i32, i64), Open>,
}

#[derive(Debug)]
struct Open {
    part: u32,
    key: Option<Vec<u8>>,
    headers: Vec<u8>,
    value: Pieces,
}

impl Envelopes {
    /// Looks at the next record of the partition. Envelopes of other sources are records like any other: they were copied.
    pub(super) fn open(&mut self, cluster: &str, is_source: impl Fn(&str) -> bool, record: &Record<'_>) -> Opened {
        let value = record.value.unwrap_or_default();
        if !value.starts_with(ENVELOPE_BEGINS.as_bytes()) {
            return Opened::Plain;
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope>(value) else { return Opened::Plain };
        let source = &envelope.source;
        if envelope.anabranch != KEPT || source.cluster != cluster || !is_source(&source.topic) {
            return Opened::Plain;
        }
        self.take(envelope).unwrap_or(Opened::Plain)
    }

    /// `None`: it is not what an envelope has to be.
    fn take(&mut self, envelope: Envelope) -> Option<Opened> {
        let Envelope { source, record, part, parts, .. } = envelope;
        let place = (source.topic, source.partition, source.offset);
        if part == 1 {
            let headers: Vec<_> =
                record.headers.iter().map(|(name, value)| Some((name, decode(value)?))).collect::<Option<_>>()?;
            let mut encoded = Records::default();
            let borrowed = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
            encoded.push(0, 0, None, None, borrowed);
            let headers = encoded.get(0)?.encoded_headers().to_vec();
            if self.open.len() >= OPEN {
                self.open.clear();
            }
            let open = Open { part: 0, key: decode(&record.key)?, headers, value: Pieces::default() };
            self.open.insert(place.clone(), open);
        }
        let open = self.open.get_mut(&place).filter(|open| open.part + 1 == part)?;
        open.part = part;
        if let Some(piece) = decode(&record.value)? {
            open.value.push(&piece);
        }
        if part < parts {
            return Some(Opened::Part);
        }
        let Open { key, headers, value, .. } = self.open.remove(&place)?;
        let timestamp = if source.timestamp == 0 { 1 } else { source.timestamp };
        Some(Opened::Whole(Fingerprint::of_pieces(key.as_deref(), &value, &headers, timestamp)))
    }
}

/// From base64; the outer `None` is for what is none.
#[allow(clippy::option_option, clippy::ref_option)] // null is not the same as unreadable
fn decode(text: &Option<String>) -> Option<Option<Vec<u8>>> {
    match text {
        None => Some(None),
        Some(text) => BASE64.decode(text).ok().map(Some),
    }
}
