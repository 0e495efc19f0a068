//! Batches as the source has them, still compressed: who only passes them on never opens them.

use std::ops::Range;

use super::batch::OffsetRange;
use super::limits::TopicLimits;
use super::records::Records;
use crate::format::{Codec, Malformed, RawBatch};

/// Consecutive batches of one source partition.
#[derive(Debug, Default)]
pub struct Raw {
    parts: Vec<RawPart>,
    records: u32,
    bytes: u64,
    footprint: u64,
}

/// What a batch takes beside its bytes.
const PART_OVERHEAD: u64 = 256;

/// One of the source's batches.
#[derive(Debug)]
pub struct RawPart {
    batch: RawBatch,
    first: u32,
    offsets: Offsets,
}

/// The source offsets of a batch's records. What a batch itself says of them is of no use: it is written without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// One after the other from here on.
    From(i64),
    /// These, in rising order: one for each record.
    Each(Vec<i64>),
}

impl Offsets {
    /// How many are kept.
    pub fn count(&self) -> usize {
        match self {
            Self::From(_) => 0,
            Self::Each(offsets) => offsets.len(),
        }
    }

    /// That of the record at a position among the batch's own; `None` behind the last that is kept.
    pub fn get(&self, at: u32) -> Option<i64> {
        match self {
            Self::From(first) => first.checked_add(i64::from(at)),
            Self::Each(offsets) => offsets.get(at as usize).copied(),
        }
    }
}

impl RawPart {
    /// The batch.
    pub fn batch(&self) -> &RawBatch {
        &self.batch
    }

    /// What it is compressed with.
    pub fn codec(&self) -> Codec {
        self.batch.header().codec().unwrap_or(Codec::None)
    }

    /// The positions of its records.
    pub fn positions(&self) -> Range<u32> {
        self.first..self.first + self.len()
    }

    fn len(&self) -> u32 {
        u32::try_from(self.batch.header().count).unwrap_or(0)
    }

    /// The source offset of its record at this position among its own.
    fn offset(&self, at: u32) -> Option<i64> {
        self.offsets.get(at).filter(|_| at < self.len())
    }

    /// How many of its records are before a source offset.
    fn before(&self, offset: i64) -> u32 {
        let before = match &self.offsets {
            Offsets::From(first) => u32::try_from(offset.saturating_sub(*first).max(0)).unwrap_or(u32::MAX),
            Offsets::Each(offsets) => u32::try_from(offsets.partition_point(|one| *one < offset)).unwrap_or(u32::MAX),
        };
        before.min(self.len())
    }

    /// The positions of its records in a range of source offsets.
    pub fn positions_in(&self, range: OffsetRange) -> Range<u32> {
        self.first + self.before(range.start)..self.first + self.before(range.end)
    }

    /// Opens it. Positions count from 0 here.
    pub fn open(&self) -> Result<Records, Malformed> {
        let mut records = Records::with_capacity(self.batch.total_bytes());
        self.open_into(&mut records)?;
        Ok(records)
    }

    fn open_into(&self, records: &mut Records) -> Result<(), Malformed> {
        let mut at = 0;
        self.batch.decode(|record| {
            if let Some(offset) = self.offset(at) {
                records.push(offset, record.timestamp, record.key, record.value, record.headers());
            }
            at += 1;
        })
    }

    /// One past its last offset.
    fn end(&self) -> i64 {
        self.len().checked_sub(1).and_then(|last| self.offset(last)).map_or(i64::MIN, |last| last + 1)
    }
}

impl Raw {
    /// Adds a batch of at least one record.
    pub fn push(&mut self, batch: RawBatch, offsets: Offsets) {
        let part = RawPart { batch, first: self.records, offsets };
        self.records += part.len();
        self.bytes += part.batch.total_bytes() as u64;
        self.footprint += Self::footprint_of(&part.batch, part.offsets.count());
        self.parts.push(part);
    }

    /// All of its batches.
    pub fn parts(&self) -> &[RawPart] {
        &self.parts
    }

    /// Those with a record in a range of source offsets.
    pub fn parts_in(&self, range: OffsetRange) -> &[RawPart] {
        let first = self.parts.partition_point(|part| part.end() <= range.start);
        let rest = self.parts.get(first..).unwrap_or_default();
        let count = rest.partition_point(|part| part.offset(0).is_some_and(|offset| offset < range.end));
        rest.get(..count).unwrap_or_default()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Memory that a batch takes, with so many offsets beside it.
    pub fn footprint_of(batch: &RawBatch, offsets: usize) -> u64 {
        batch.total_bytes() as u64 + PART_OVERHEAD + (offsets * size_of::<i64>()) as u64
    }

    /// Memory that all of it takes.
    pub fn footprint(&self) -> u64 {
        self.footprint
    }

    /// Bytes of the batches as they are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn part_from(&self, from: i64) -> Option<&RawPart> {
        self.parts.get(self.parts.partition_point(|part| part.end() <= from))
    }

    /// The end of the batch that the first record at or after `from` is in.
    pub fn first_cut(&self, from: i64) -> Option<i64> {
        self.part_from(from).map(RawPart::end)
    }

    /// Where a part that begins at `from` ends, if it is to have at most `most` bytes: behind at least one batch.
    /// `None` if all that is left fits.
    pub fn cut_within(&self, from: i64, most: u64) -> Option<i64> {
        let first = self.parts.partition_point(|part| part.end() <= from);
        let rest = self.parts.get(first..)?;
        let mut bytes = 0;
        let fits = |part: &&RawPart| {
            bytes += part.batch.total_bytes() as u64;
            bytes <= most
        };
        let count = rest.iter().take_while(fits).count().max(1);
        if count >= rest.len() { None } else { rest.get(count - 1).map(RawPart::end) }
    }

    /// The first record at or after `from` of a batch that a topic with these limits refuses.
    pub fn first_suspect(&self, from: i64, limits: &TopicLimits) -> Option<i64> {
        let first = self.parts.partition_point(|part| part.end() <= from);
        let rest = self.parts.get(first..)?;
        let suspect = rest.iter().find(|part| part.batch.total_bytes() as u64 > limits.max_bytes)?;
        suspect.offset(suspect.before(from))
    }

    /// The source offset of the record at a position.
    pub fn offset_at(&self, position: u32) -> Option<i64> {
        let after = self.parts.partition_point(|part| part.first <= position);
        let part = self.parts.get(after.checked_sub(1)?)?;
        part.offset(position - part.first)
    }

    /// About when the first record at or after `from` was made: its batch's first one.
    pub fn timestamp_from(&self, from: i64) -> Option<i64> {
        self.part_from(from).map(|part| part.batch.header().base_timestamp)
    }

    /// The positions of the records in a range of source offsets.
    pub fn positions_in(&self, range: OffsetRange) -> Range<usize> {
        let position =
            |offset: i64| self.part_from(offset).map_or(self.records, |part| part.first + part.before(offset)) as usize;
        position(range.start)..position(range.end)
    }

    /// Bytes of the records in a range of source offsets; of batches that are only partly in it, a share.
    pub fn bytes_in(&self, range: OffsetRange) -> u64 {
        let share = |part: &RawPart| {
            let wanted = part.positions_in(range).len() as u64;
            part.batch.total_bytes() as u64 * wanted / u64::from(part.len()).max(1)
        };
        self.parts_in(range).iter().map(share).sum()
    }

    /// Those with a record at one of these positions, and what lies between.
    pub fn parts_at(&self, first: u32, last: u32) -> &[RawPart] {
        let begin = self.parts.partition_point(|part| part.positions().end <= first);
        let end = self.parts.partition_point(|part| part.first <= last);
        self.parts.get(begin..end).unwrap_or_default()
    }

    /// Opens some batches that follow each other.
    pub fn open_all(parts: &[RawPart]) -> Result<Records, Malformed> {
        let mut records = Records::with_capacity(parts.iter().map(|part| part.batch.total_bytes()).sum());
        parts.iter().try_for_each(|part| part.open_into(&mut records))?;
        Ok(records)
    }

    /// Opens all of them. Positions and offsets stay the same.
    pub fn open(&self) -> Result<Records, Malformed> {
        Self::open_all(&self.parts)
    }
}
