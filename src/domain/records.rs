//! Decoded records in one buffer: what a batch holds where it was opened.

use super::limits::TopicLimits;

/// What Kafka's format adds to a record and its batch, at the most.
const FORMAT_OVERHEAD: u64 = 100;

/// A header of a record; the value may be null, which differs from empty.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Decoded records in one buffer, with an index.
///
/// One copy out of the client's fetch buffers is made on purpose: a fetch response is freed only when its last record
/// is, so a slow target would pin far more memory than its in-flight bytes say. From here on every target shares
/// these bytes.
#[derive(Clone, Debug, Default)]
pub struct Records {
    data: Vec<u8>,
    index: Vec<Entry>,
    /// Bytes of the largest record.
    largest: usize,
    /// Whether a record has no key.
    keyless: bool,
}

/// `u32` for positions: a batch is far smaller than 4 GiB, and Kafka's own records are at most 2 GiB.
#[derive(Clone, Debug)]
struct Entry {
    offset: i64,
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Field,
}

/// A slice of the buffer, or null.
#[derive(Clone, Copy, Debug)]
struct Field {
    at: u32,
    len: u32,
}

const NULL: u32 = u32::MAX;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its offset in the source partition.
    pub offset: i64,
    /// Milliseconds since 1970, or -1 where the record has none.
    pub timestamp: i64,
    /// The key; null differs from empty.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone and differs from empty.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
}

/// What a record costs beside its own bytes: its entry in the index.
pub const RECORD_OVERHEAD: u64 = size_of::<Entry>() as u64;

impl Records {
    /// Room for about `bytes` of keys, values and headers before it has to grow.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Appends a record. Offsets must rise.
    pub fn push<'h>(
        &mut self,
        offset: i64,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        debug_assert!(self.index.last().is_none_or(|last| last.offset < offset));
        let start = self.data.len();
        self.keyless |= key.is_none();
        let key = self.copy(key);
        let value = self.copy(value);
        let at = position(self.data.len());
        for (name, value) in headers {
            self.data.extend_from_slice(&position(name.len()).to_le_bytes());
            self.data.extend_from_slice(name);
            self.data.extend_from_slice(&value.map_or(NULL, |v| position(v.len())).to_le_bytes());
            self.data.extend_from_slice(value.unwrap_or_default());
        }
        let headers = Field { at, len: position(self.data.len()) - at };
        self.largest = self.largest.max(self.data.len() - start);
        self.index.push(Entry { offset, timestamp, key, value, headers });
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Field {
        let at = position(self.data.len());
        let Some(bytes) = bytes else { return Field { at, len: NULL } };
        self.data.extend_from_slice(bytes);
        Field { at, len: position(bytes.len()) }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Memory in use, in bytes: the records and their index.
    pub fn footprint(&self) -> u64 {
        self.data.len() as u64 + self.index.len() as u64 * RECORD_OVERHEAD
    }

    /// Where the bytes of the record at `position` begin; the end of all where there is none.
    pub(super) fn starts_at(&self, position: usize) -> u64 {
        self.begins_at(position) as u64
    }

    fn begins_at(&self, position: usize) -> usize {
        self.index.get(position).map_or(self.data.len(), |entry| entry.key.at as usize)
    }

    pub(super) fn data_in(&self, positions: std::ops::Range<usize>) -> u64 {
        self.starts_at(positions.end) - self.starts_at(positions.start)
    }

    pub(super) fn cut_within(&self, from: i64, most: u64) -> Option<i64> {
        let first = self.first_from(from);
        let rest = self.index.get(first..)?;
        let fits = self.fit_within(first, most).max(1);
        if fits >= rest.len() { None } else { rest.get(fits - 1).map(|entry| entry.offset + 1) }
    }

    /// How many records from position `first` on take at most so many bytes.
    fn fit_within(&self, first: usize, most: u64) -> usize {
        let before = |position: usize| self.starts_at(position) + position as u64 * RECORD_OVERHEAD;
        let ends_within = |at: usize| before(first + at + 1) - before(first) <= most;
        let (mut low, mut high) = (0, self.index.len().saturating_sub(first));
        while low < high {
            let middle = usize::midpoint(low, high);
            if ends_within(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Takes records that follow from another, from position `at` on: as many as there may be, with `bytes` and `records` of all
    /// that is here then. Says how many those were. Where all are taken, nothing of them is left there.
    pub fn take_from(&mut self, other: &mut Self, at: usize, bytes: u64, records: usize) -> usize {
        let room = bytes.saturating_sub(self.footprint());
        let count = other.fit_within(at, room).min(records.saturating_sub(self.len()));
        if self.is_empty() && at == 0 && count == other.len() {
            *self = std::mem::take(other);
            return count;
        }
        let (from, to) = (other.begins_at(at), other.begins_at(at + count));
        let base = self.data.len();
        let moved = |field: Field| Field { at: position(base + field.at as usize - from), ..field };
        for (place, entry) in other.index.iter().enumerate().skip(at).take(count) {
            let (key, value, headers) = (moved(entry.key), moved(entry.value), moved(entry.headers));
            self.index.push(Entry { key, value, headers, ..entry.clone() });
            self.keyless |= entry.key.len == NULL;
            self.largest = self.largest.max(other.begins_at(place + 1) - other.begins_at(place));
        }
        self.data.extend_from_slice(other.data.get(from..to).unwrap_or_default());
        count
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> Option<i64> {
        self.index.last().map(|entry| entry.offset)
    }

    pub(super) fn first_suspect(&self, from: i64, limits: &TopicLimits) -> Option<i64> {
        let fits = |bytes: u64| bytes + FORMAT_OVERHEAD <= limits.max_bytes;
        let no_key = limits.compacted && self.keyless;
        if fits(self.largest as u64) && !no_key {
            return None;
        }
        let first = self.first_from(from);
        let suspect = |position: &usize| {
            let large = !fits(self.data_in(*position..*position + 1));
            large || (limits.compacted && self.index.get(*position).is_some_and(|entry| entry.key.len == NULL))
        };
        let found = (first..self.index.len()).find(suspect)?;
        self.index.get(found).map(|entry| entry.offset)
    }

    /// Bytes of keys, values and headers, without the index.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Lets go of room that was taken and not used, so that the footprint is the truth.
    pub fn shrink(&mut self) {
        if self.data.capacity() > self.data.len() + self.data.len() / 8 {
            self.data.shrink_to_fit();
        }
        self.index.shrink_to_fit();
    }

    /// The `at`-th record.
    pub fn get(&self, at: usize) -> Option<Record<'_>> {
        self.index.get(at).map(|entry| self.record(entry))
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.index.iter().map(|entry| self.record(entry))
    }

    /// The position of the first record at or after `offset`.
    pub fn first_from(&self, offset: i64) -> usize {
        self.index.partition_point(|entry| entry.offset < offset)
    }

    fn record(&self, entry: &Entry) -> Record<'_> {
        Record {
            offset: entry.offset,
            timestamp: entry.timestamp,
            key: self.slice(entry.key),
            value: self.slice(entry.value),
            headers: self.slice(entry.headers).unwrap_or_default(),
        }
    }

    fn slice(&self, field: Field) -> Option<&[u8]> {
        if field.len == NULL {
            return None;
        }
        let at = field.at as usize;
        self.data.get(at..at + field.len as usize)
    }
}

impl<'a> Record<'a> {
    /// Bytes of its key, value and headers.
    pub fn data_len(&self) -> usize {
        let field = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        field(self.key) + field(self.value) + self.headers.len()
    }

    /// Whether there is any header.
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// All headers as one run of bytes: equal if and only if the headers are, with their order, repeats and nulls.
    pub fn encoded_headers(&self) -> &'a [u8] {
        self.headers
    }

    /// The headers in order, repeats included.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.headers }
    }
}

/// Iterates over a record's headers.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn length(&mut self) -> Option<u32> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*head))
    }

    fn bytes(&mut self, len: u32) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len as usize)?;
        self.rest = rest;
        Some(head)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let len = self.length()?;
        let name = self.bytes(len)?;
        let len = self.length()?;
        let value = if len == NULL { None } else { Some(self.bytes(len)?) };
        Some((name, value))
    }
}

fn position(len: usize) -> u32 {
    u32::try_from(len).expect("a batch is cut long before 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..20)
    }

    fn record() -> impl Strategy<Value = Owned> {
        let headers = prop::collection::vec((bytes(), prop::option::of(bytes())), 0..4);
        (any::<i64>(), prop::option::of(bytes()), prop::option::of(bytes()), headers)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(records in prop::collection::vec(record(), 0..30)) {
            let mut batch = Records::default();
            for (offset, (timestamp, key, value, headers)) in (0_i64..).step_by(3).zip(&records) {
                let headers = headers.iter().map(|(n, v)| (n.as_slice(), v.as_deref()));
                batch.push(offset, *timestamp, key.as_deref(), value.as_deref(), headers);
            }
            let out: Vec<Owned> = batch
                .iter()
                .map(|r| (
                    r.timestamp,
                    r.key.map(<[u8]>::to_vec),
                    r.value.map(<[u8]>::to_vec),
                    r.headers().map(|(n, v)| (n.to_vec(), v.map(<[u8]>::to_vec))).collect(),
                ))
                .collect();
            prop_assert_eq!(out, records);
        }
    }

    #[test]
    fn a_batch_can_be_entered_in_its_middle() {
        let mut batch = Records::default();
        for offset in [5, 6, 9] {
            batch.push(offset, 0, None, None, std::iter::empty());
        }
        assert_eq!([0, 5, 6, 7, 9, 10].map(|o| batch.first_from(o)), [0, 0, 1, 2, 2, 3]);
    }

    #[test]
    fn records_are_taken_from_another_batch_as_far_as_they_fit() {
        let mut other = Records::default();
        for offset in 0..5 {
            let headers = [(&b"n"[..], Some(&b"v"[..]))];
            other.push(offset, offset, (offset != 3).then_some(b"k"), Some(&[b'x'; 50]), headers.into_iter());
        }
        let was = other.clone();
        let mut taken = Records::default();
        assert_eq!(taken.take_from(&mut other, 1, was.footprint() / 2, 100), 2);
        assert_eq!((taken.last_offset(), taken.keyless), (Some(2), false));
        assert_eq!(taken.take_from(&mut other, 3, u64::MAX, 3), 1);
        assert_eq!((taken.last_offset(), taken.keyless, taken.largest), (Some(3), true, was.largest));
        for (one, same) in taken.iter().zip(was.iter().skip(1)) {
            assert_eq!(
                (one.offset, one.timestamp, one.key, one.value),
                (same.offset, same.timestamp, same.key, same.value)
            );
            assert_eq!(one.encoded_headers(), same.encoded_headers());
        }
        let mut all = Records::default();
        assert_eq!(all.take_from(&mut other, 0, was.footprint() - 1, 100), 4);
        let mut all = Records::default();
        assert_eq!(all.take_from(&mut other, 0, was.footprint(), 100), 5);
        assert!(other.is_empty() && all.footprint() == was.footprint());
    }
}
