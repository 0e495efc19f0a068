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
use super::records::Records;
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

/// A batch shared by all its targets.
pub type SharedBatch = Arc<RecordBatch>;

#[cfg(test)]
mod tests {
    use super::super::records::RECORD_OVERHEAD;
    use super::*;

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
}
