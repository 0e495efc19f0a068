//! Record batches: what flows from the reader to every target.
//!
//! A batch says which source offsets it covers and how large it is. Its payload is opaque to everything but the
//! reader that filled it and the writer that empties it, so the router, flow control and progress never look inside.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::limits::TopicLimits;
use super::raw::Raw;
use super::topic_partition::TopicPartition;
use crate::format::Malformed;

/// Source offsets from `start` up to, but not including, `end`.
///
/// The batches of one stream follow each other without a hole: offsets that hold no record (compacted away, aborted,
/// transaction markers) belong to the batch after them, so that a watermark can pass them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first offset covered.
    pub start: i64,
    /// One past the last offset covered.
    pub end: i64,
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// The right to hold a number of bytes in flight. It is given back when dropped.
pub trait Permit: fmt::Debug + Send + Sync {
    /// How many bytes this permit covers.
    fn bytes(&self) -> u64;
    /// Gives back what is above `bytes`.
    fn shrink_to(&mut self, bytes: u64);
    /// For those who gave it.
    fn as_any(&self) -> &dyn Any;
}

/// A permit for so many bytes that no gate counts: for copies whose original holds one, and for readers that are bounded otherwise.
#[derive(Debug)]
pub struct Uncounted(pub u64);

impl Permit for Uncounted {
    fn bytes(&self) -> u64 {
        self.0
    }

    fn shrink_to(&mut self, bytes: u64) {
        self.0 = self.0.min(bytes);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Consecutive records of one source partition, and the permit for the bytes that they occupy.
#[derive(Debug)]
pub struct RecordBatch {
    /// Where the records came from.
    pub partition: TopicPartition,
    /// The source offsets covered; more than the records' own where offsets hold no record.
    pub range: OffsetRange,
    /// The records, in the form that the reader left them in.
    pub payload: Payload,
    /// Leader epochs that begin in it, each with the first offset that was seen with it: most often none, or one.
    pub epochs: Vec<(i32, i64)>,
    permit: Box<dyn Permit>,
    companion: Option<Box<dyn Any + Send + Sync>>,
}

impl RecordBatch {
    /// A batch that holds its permit for as long as anybody holds the batch.
    pub fn new(partition: TopicPartition, range: OffsetRange, payload: Payload, mut permit: Box<dyn Permit>) -> Self {
        permit.shrink_to(payload.footprint());
        Self { partition, range, payload, epochs: Vec::new(), permit, companion: None }
    }

    /// The same, with the leader epochs that begin in it.
    #[must_use]
    pub fn with_epochs(self, epochs: Vec<(i32, i64)>) -> Self {
        Self { epochs, ..self }
    }

    /// The same, with something of no interest to those whom it passes, that lives as long as the batch.
    #[must_use]
    pub fn with_companion(self, companion: impl Any + Send + Sync) -> Self {
        Self { companion: Some(Box::new(companion)), ..self }
    }

    /// What travels with it, for those who gave it.
    pub fn companion<T: Any>(&self) -> Option<&T> {
        self.companion.as_deref()?.downcast_ref()
    }

    /// Its permit, for those who gave it.
    pub fn permit(&self) -> &dyn Permit {
        &*self.permit
    }

    /// Bytes in flight because of this batch.
    pub fn in_flight_bytes(&self) -> u64 {
        self.permit.bytes()
    }
}

/// The form of a batch's records. A writer must know every form that its reader makes.
#[derive(Debug)]
pub enum Payload {
    /// Decoded records.
    Records(Records),
    /// Batches as the source has them.
    Raw(Raw),
}

impl Payload {
    /// How many records there are.
    pub fn record_count(&self) -> usize {
        match self {
            Self::Records(records) => records.len(),
            Self::Raw(raw) => raw.len(),
        }
    }

    /// Bytes of keys, values and headers; of batches as they are, their own.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::Records(records) => records.data_len() as u64,
            Self::Raw(raw) => raw.bytes(),
        }
    }

    /// Where the payload can be cut next after `from`: the end of its first record there, or of the batch that has it. `None`
    /// without records.
    pub fn first_cut(&self, from: i64) -> Option<i64> {
        match self {
            Self::Records(records) => records.get(records.first_from(from)).map(|record| record.offset + 1),
            Self::Raw(raw) => raw.first_cut(from),
        }
    }

    /// Where a part that begins at `from` ends, if it is to occupy at most `most` bytes: behind at least one record.
    /// `None` if all that is left fits.
    pub fn cut_within(&self, from: i64, most: u64) -> Option<i64> {
        match self {
            Self::Records(records) => records.cut_within(from, most),
            Self::Raw(raw) => raw.cut_within(from, most),
        }
    }

    /// The first record at or after `from` that a topic with these limits may refuse.
    pub fn first_suspect(&self, from: i64, limits: &TopicLimits) -> Option<i64> {
        match self {
            Self::Records(records) => records.first_suspect(from, limits),
            Self::Raw(raw) => raw.first_suspect(from, limits),
        }
    }

    /// Source offsets of the records at these positions.
    pub fn offset_at(&self, position: u32) -> Option<i64> {
        match self {
            Self::Records(records) => records.get(position as usize).map(|record| record.offset),
            Self::Raw(raw) => raw.offset_at(position),
        }
    }

    /// When the first record at or after `from` says that it was made, in milliseconds since 1970; `None` where it does not say.
    pub fn timestamp_from(&self, from: i64) -> Option<u64> {
        let timestamp = match self {
            Self::Records(records) => records.get(records.first_from(from))?.timestamp,
            Self::Raw(raw) => raw.timestamp_from(from)?,
        };
        u64::try_from(timestamp).ok().filter(|timestamp| *timestamp > 0)
    }

    /// Positions of the records in a range of source offsets.
    pub fn positions_in(&self, range: OffsetRange) -> std::ops::Range<usize> {
        match self {
            Self::Records(records) => records.first_from(range.start)..records.first_from(range.end),
            Self::Raw(raw) => raw.positions_in(range),
        }
    }

    /// Records, and bytes of their keys, values and headers, in a range of source offsets.
    pub fn volume_in(&self, range: OffsetRange) -> (usize, u64) {
        let positions = self.positions_in(range);
        match self {
            Self::Records(records) => (positions.len(), records.data_in(positions)),
            Self::Raw(raw) => (positions.len(), raw.bytes_in(range)),
        }
    }

    /// Memory that the payload occupies, in bytes.
    pub fn footprint(&self) -> u64 {
        match self {
            Self::Records(records) => records.footprint(),
            Self::Raw(raw) => raw.footprint(),
        }
    }

    /// The first record at or after `from`.
    pub fn first_from(&self, from: i64) -> Option<i64> {
        match self {
            Self::Records(records) => records.get(records.first_from(from)).map(|record| record.offset),
            Self::Raw(raw) => {
                let first = raw.positions_in(OffsetRange { start: from, end: i64::MAX }).start;
                raw.offset_at(u32::try_from(first).ok()?)
            }
        }
    }

    /// Its records, for those whose reader opens all that it reads.
    pub fn decoded(&self) -> &Records {
        match self {
            Self::Records(records) => records,
            Self::Raw(_) => unreachable!("a reader that leaves batches closed was given to who wants records"),
        }
    }

    /// Its records, opened where they are not.
    pub fn records(&self) -> Result<Cow<'_, Records>, Malformed> {
        match self {
            Self::Records(records) => Ok(Cow::Borrowed(records)),
            Self::Raw(raw) => raw.open().map(Cow::Owned),
        }
    }
}

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
    fn starts_at(&self, position: usize) -> u64 {
        self.index.get(position).map_or(self.data.len() as u64, |entry| u64::from(entry.key.at))
    }

    fn data_in(&self, positions: std::ops::Range<usize>) -> u64 {
        self.starts_at(positions.end) - self.starts_at(positions.start)
    }

    fn cut_within(&self, from: i64, most: u64) -> Option<i64> {
        let first = self.first_from(from);
        let rest = self.index.get(first..)?;
        let before = |position: usize| self.starts_at(position) + position as u64 * RECORD_OVERHEAD;
        let ends_within = |at: usize| before(first + at + 1) - before(first) <= most;
        let (mut low, mut high) = (0, rest.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if ends_within(middle) { low = middle + 1 } else { high = middle }
        }
        let fits = low.max(1);
        if fits >= rest.len() { None } else { rest.get(fits - 1).map(|entry| entry.offset + 1) }
    }

    fn first_suspect(&self, from: i64, limits: &TopicLimits) -> Option<i64> {
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

/// A batch shared by all its targets.
pub type SharedBatch = Arc<RecordBatch>;

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
    fn a_part_is_cut_by_its_bytes_behind_at_least_one_record() {
        let mut records = Records::default();
        for offset in [5, 6, 9, 10] {
            records.push(offset, 0, Some(&[0; 10]), Some(&[0; 90]), std::iter::empty());
        }
        let batch = Payload::Records(records);
        let each = 100 + RECORD_OVERHEAD;
        assert_eq!(batch.cut_within(5, 0), Some(6));
        assert_eq!(batch.cut_within(5, 2 * each), Some(7));
        assert_eq!(batch.cut_within(6, 3 * each - 1), Some(10));
        assert_eq!(batch.cut_within(6, 3 * each), None);
        assert_eq!(batch.cut_within(0, 100 * each), None);
        assert_eq!(batch.cut_within(11, 0), None);
        assert_eq!(batch.volume_in(OffsetRange { start: 6, end: 10 }), (2, 200));
    }

    #[test]
    fn records_that_a_topic_may_refuse_are_found() {
        let mut records = Records::default();
        records.push(1, 0, Some(b"k"), Some(&[0; 50]), std::iter::empty());
        records.push(2, 0, Some(b"k"), Some(&[0; 5000]), std::iter::empty());
        records.push(3, 0, None, Some(&[0; 50]), std::iter::empty());
        let batch = Payload::Records(records);
        let limits = |max_bytes, compacted| TopicLimits { max_bytes, compacted };
        assert_eq!(batch.first_suspect(0, &limits(10_000, false)), None);
        assert_eq!(batch.first_suspect(0, &limits(4_000, false)), Some(2));
        assert_eq!(batch.first_suspect(3, &limits(4_000, false)), None);
        assert_eq!(batch.first_suspect(0, &limits(10_000, true)), Some(3));
    }

    #[test]
    fn the_first_record_from_an_offset_on_tells_its_time_if_it_has_one() {
        let mut records = Records::default();
        for (offset, timestamp) in [(1, 500), (2, -1), (4, 0), (5, 700)] {
            records.push(offset, timestamp, None, None, std::iter::empty());
        }
        let batch = Payload::Records(records);
        let times = [0, 1, 2, 3, 5, 6].map(|from| batch.timestamp_from(from));
        assert_eq!(times, [Some(500), Some(500), None, None, Some(700), None]);
    }

    #[test]
    fn a_batch_can_be_entered_in_its_middle() {
        let mut batch = Records::default();
        for offset in [5, 6, 9] {
            batch.push(offset, 0, None, None, std::iter::empty());
        }
        assert_eq!([0, 5, 6, 7, 9, 10].map(|o| batch.first_from(o)), [0, 0, 1, 2, 2, 3]);
    }
}
