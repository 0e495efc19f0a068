//! Records to be written: exactly these, or many that are made from their numbers.

use serde_json::{Value, json};

/// One record, to be written as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exact {
    pub partition: Option<i32>,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Exact {
    /// A record for a partition, with its number in the header `id` by which the ledger knows it.
    pub fn new(partition: i32, id: i64) -> Self {
        let headers = vec![("id".to_owned(), Some(id.to_be_bytes().to_vec()))];
        Self { partition: Some(partition), timestamp: 1_700_000_000_000 + id, headers, ..Self::default() }
    }

    pub fn key(mut self, key: &[u8]) -> Self {
        self.key = Some(key.to_vec());
        self
    }

    pub fn value(mut self, value: &[u8]) -> Self {
        self.value = Some(value.to_vec());
        self
    }

    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// The partition is left to Java's default partitioner.
    pub const fn anywhere(mut self) -> Self {
        self.partition = None;
        self
    }

    pub fn to_json(&self) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, hex(value.as_deref())])).collect();
        json!({
            "partition": self.partition, "timestamp": self.timestamp, "headers": headers,
            "key": hex(self.key.as_deref()), "value": hex(self.value.as_deref()),
        })
    }

    /// From the agent's answer to `records`.
    pub fn from_json(record: &Value) -> Self {
        let headers = record["headers"].as_array().unwrap().iter();
        Self {
            partition: Some(i32::try_from(record["partition"].as_i64().unwrap()).unwrap()),
            timestamp: record["timestamp"].as_i64().unwrap(),
            key: unhex(&record["key"]),
            value: unhex(&record["value"]),
            headers: headers.map(|header| (header[0].as_str().unwrap().to_owned(), unhex(&header[1]))).collect(),
        }
    }
}

/// Many records, numbered, spread round-robin over the partitions.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// The first one's number; its `id` header.
    pub first_id: i64,
    pub partitions: i32,
    pub value_size: usize,
    /// Null, empty and binary keys, tombstones, empty values, repeated headers, null header values, old timestamps in turn.
    pub mixed: bool,
    pub codec: &'static str,
    /// `commit` or `abort`, when in a transaction.
    pub transaction: Option<&'static str>,
    /// The first one's, in milliseconds, and the distance to the next one's.
    pub timestamp: i64,
    pub timestamp_step: i64,
    /// By how much old ones are older.
    pub age: i64,
}

const TEN_YEARS: i64 = 10 * 365 * 24 * 3_600_000;

impl Bulk {
    /// Plain records for that many partitions.
    pub const fn over(partitions: i32) -> Self {
        Self {
            first_id: 0,
            partitions,
            value_size: 200,
            mixed: false,
            codec: "none",
            transaction: None,
            timestamp: 1_700_000_000_000,
            timestamp_step: 1,
            age: TEN_YEARS,
        }
    }

    pub const fn numbered_from(self, first_id: i64) -> Self {
        Self { first_id, ..self }
    }

    pub fn to_json(self) -> Value {
        json!({
            "first_id": self.first_id, "partitions": self.partitions, "value_size": self.value_size, "mixed": self.mixed,
            "codec": self.codec, "transaction": self.transaction, "timestamp": self.timestamp,
            "timestamp_step": self.timestamp_step, "age": self.age,
        })
    }
}

/// Bytes that no codec makes fewer; the same ones each time.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

/// Bytes as hexadecimal text; null for none.
pub fn hex(bytes: Option<&[u8]>) -> Value {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.map_or(Value::Null, |bytes| {
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>().into()
    })
}

fn unhex(text: &Value) -> Option<Vec<u8>> {
    let text = text.as_str()?;
    Some((0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect())
}
