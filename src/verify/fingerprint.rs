//! A record in 128 bits, and what is needed to say in which fields two of them differ.

use twox_hash::XxHash3_128;

use crate::domain::records::Record;

/// What stands for a record: records are taken for equal if and only if this is. Xxh3 with 128 bits: among 10^12 records a pair that
/// is wrongly taken for equal has a chance of one in 10^14; it is no protection against somebody who makes such a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Key, value, headers and timestamp together; in two halves, as that packs better.
    whole: [u64; 2],
    /// Of the key alone; 0 where it is null.
    key: u64,
    /// Of the value alone; 0 where it is null.
    value: u32,
    headers: u32,
    timestamp: u32,
}

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The key.
    Key,
    /// The value.
    Value,
    /// The headers: names, values, order.
    Headers,
    /// The timestamp.
    Timestamp,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::Value, Self::Headers, Self::Timestamp];

    /// The name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Headers => "headers",
            Self::Timestamp => "timestamp",
        }
    }
}

/// Hashes a value that comes in pieces, as from the parts of an envelope.
#[derive(Default)]
pub struct Pieces {
    hasher: XxHash3_128,
    /// Whether any piece was there: a value without one is null.
    any: bool,
}

impl Pieces {
    /// The next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.any = true;
        self.hasher.write(piece);
    }

    fn finish(&self) -> Option<u128> {
        self.any.then(|| self.hasher.finish_128())
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pieces")
    }
}

impl Fingerprint {
    /// The fingerprint of a record as it was read.
    pub fn of(record: &Record<'_>) -> Self {
        Self::make(record.key, record.value.map(hash), record.encoded_headers(), record.timestamp)
    }

    /// The fingerprint of the copy that a writer makes of a source record: it can't write a timestamp of 0.
    pub fn of_source(record: &Record<'_>) -> Self {
        let timestamp = if record.timestamp == 0 { 1 } else { record.timestamp };
        Self::make(record.key, record.value.map(hash), record.encoded_headers(), timestamp)
    }

    /// The fingerprint of a record whose value came in pieces.
    pub fn of_pieces(key: Option<&[u8]>, value: &Pieces, headers: &[u8], timestamp: i64) -> Self {
        Self::make(key, value.finish(), headers, timestamp)
    }

    fn make(key: Option<&[u8]>, value: Option<u128>, headers: &[u8], timestamp: i64) -> Self {
        let key = key.map(hash);
        let headers = hash(headers);
        let mut all = [0_u8; 57];
        let fields = [key.unwrap_or_default(), value.unwrap_or_default(), headers];
        for (place, field) in all.chunks_exact_mut(16).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        all[48..56].copy_from_slice(&timestamp.to_le_bytes());
        all[56] = u8::from(key.is_none()) | u8::from(value.is_none()) << 1;
        let whole = hash(&all);
        // a field that is there is odd, so that none of them is 0
        let there = |field: Option<u128>| field.map_or(0, |hash| low(hash) | 1);
        Self {
            whole: [low(whole), low(whole >> 64)],
            key: there(key),
            value: short(there(value)),
            headers: short(low(headers)),
            timestamp: short(low(hash(&timestamp.to_le_bytes()))),
        }
    }

    /// All of it, for sums and indexes.
    pub fn whole(&self) -> u128 {
        u128::from(self.whole[0]) | u128::from(self.whole[1]) << 64
    }

    /// Where it belongs in a hash table, told apart by `lane`.
    pub fn place(&self, lane: u32) -> u64 {
        self.whole[0] ^ u64::from(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// The key's hash; `None` where it is null.
    pub fn key(&self) -> Option<u64> {
        (self.key != 0).then_some(self.key)
    }

    /// Whether the value is null.
    pub fn is_tombstone(&self) -> bool {
        self.value == 0
    }

    /// The fields in which another one differs.
    pub fn differences(&self, other: &Self) -> Vec<Field> {
        Field::ALL.into_iter().filter(|field| self.field(*field) != other.field(*field)).collect()
    }

    /// A hash of some of the fields.
    pub fn of_fields(&self, fields: &[Field]) -> u64 {
        let mix =
            |sum: u64, field: &Field| (sum ^ self.field(*field)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        fields.iter().fold(0, mix)
    }

    fn field(&self, field: Field) -> u64 {
        match field {
            Field::Key => self.key,
            Field::Value => u64::from(self.value),
            Field::Headers => u64::from(self.headers),
            Field::Timestamp => u64::from(self.timestamp),
        }
    }
}

fn hash(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

#[allow(clippy::cast_possible_truncation)] // the low half is what is asked for
fn low(hash: u128) -> u64 {
    hash as u64
}

#[allow(clippy::cast_possible_truncation)] // as above
fn short(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::records::Records;
    use proptest::prelude::*;

    type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;
    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Headers, i64);

    fn print((key, value, headers, timestamp): &Owned) -> Fingerprint {
        let mut records = Records::default();
        let headers = headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()));
        records.push(0, *timestamp, key.as_deref(), value.as_deref(), headers);
        Fingerprint::of(&records.get(0).unwrap())
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..2, 0..3)
    }

    fn record() -> impl Strategy<Value = Owned> {
        let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..3);
        (prop::option::of(bytes()), prop::option::of(bytes()), headers, 0_i64..3)
    }

    proptest! {
        #[test]
        fn two_records_have_the_same_fingerprint_if_and_only_if_they_are_equal(one in record(), other in record()) {
            let (a, b) = (print(&one), print(&other));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.whole() == b.whole(), one == other);
            let differ = [one.0 != other.0, one.1 != other.1, one.2 != other.2, one.3 != other.3];
            let expected: Vec<Field> = Field::ALL.into_iter().zip(differ).filter_map(|(f, d)| d.then_some(f)).collect();
            prop_assert_eq!(a.differences(&b), expected);
        }

        #[test]
        fn a_value_in_pieces_is_the_value(pieces in prop::collection::vec(bytes(), 1..5)) {
            let mut hashed = Pieces::default();
            for piece in &pieces {
                hashed.push(piece);
            }
            let whole = print(&(None, Some(pieces.concat()), Vec::new(), 7));
            prop_assert_eq!(Fingerprint::of_pieces(None, &hashed, &[], 7), whole);
        }
    }

    #[test]
    fn null_is_not_empty_and_a_timestamp_of_zero_is_expected_as_one() {
        let of = |key: Option<&[u8]>, value: Option<&[u8]>| {
            print(&(key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), vec![], 5))
        };
        assert_ne!(of(None, None), of(Some(b""), None));
        assert_ne!(of(None, None), of(None, Some(b"")));
        assert!(of(None, None).key().is_none() && of(None, None).is_tombstone());
        assert!(of(Some(b""), Some(b"")).key().is_some() && !of(Some(b""), Some(b"")).is_tombstone());
        let mut records = Records::default();
        records.push(0, 0, Some(b"k"), None, std::iter::empty());
        records.push(1, 1, Some(b"k"), None, std::iter::empty());
        let [zero, one] = [0, 1].map(|at| records.get(at).unwrap());
        assert_eq!(Fingerprint::of_source(&zero), Fingerprint::of(&one));
        assert_ne!(Fingerprint::of(&zero), Fingerprint::of(&one));
    }
}
