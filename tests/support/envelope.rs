//! Records that a target refused and that were kept all the same: JSON in the target topic, in one part or several.

use serde_json::Value;

use super::records::Exact;

/// What the envelopes of one record say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Cluster, topic, partition, offset and timestamp.
    pub source: Value,
    /// Class, error and attempts.
    pub failure: Value,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Into how many it was cut.
    pub parts: u64,
}

/// Whether a record is such an envelope, and what it says.
pub fn open(record: &Exact) -> Option<Value> {
    let envelope: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    (envelope["anabranch"] == "kept").then_some(envelope)
}

/// The record that the envelopes, in the order in which they stand, are about; panics if they do not belong together.
pub fn put_together(envelopes: &[Value]) -> Kept {
    let parts = u64::try_from(envelopes.len()).unwrap();
    let first = envelopes.first().expect("there is an envelope");
    let mut value: Option<Vec<u8>> = None;
    for (envelope, part) in envelopes.iter().zip(1..) {
        assert_eq!((&envelope["part"], &envelope["parts"]), (&part.into(), &parts.into()), "of {parts} parts");
        for field in ["source", "failure"] {
            assert_eq!(envelope[field], first[field], "{field} of part {part}");
        }
        if let Some(bytes) = bytes(&envelope["record"]["value"]) {
            value.get_or_insert_default().extend(bytes);
        }
    }
    let record = &first["record"];
    let headers = record["headers"].as_array().unwrap().iter();
    Kept {
        source: first["source"].clone(),
        failure: first["failure"].clone(),
        key: bytes(&record["key"]),
        value,
        headers: headers.map(|header| (header[0].as_str().unwrap().to_owned(), bytes(&header[1]))).collect(),
        parts,
    }
}

/// From base64; null for none.
fn bytes(text: &Value) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if text.is_null() {
        return None;
    }
    let text = text.as_str().unwrap_or_else(|| panic!("neither a text nor null: {text}"));
    assert_eq!(text.len() % 4, 0, "base64 comes in fours: {text}");
    let six = |digit: u8| u32::try_from(DIGITS.iter().position(|known| *known == digit).unwrap()).unwrap();
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let padding = four.iter().rev().take_while(|digit| **digit == b'=').count();
        let digits = four[..4 - padding].iter().chain(std::iter::repeat_n(&b'A', padding));
        let number = digits.fold(0, |number, digit| number << 6 | six(*digit));
        bytes.extend(&number.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}
