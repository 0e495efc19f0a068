//! From what is to be written to batches for partitions: as they are where that can be, opened and made anew where it can't.

use std::collections::BTreeMap;
use std::ops::Range;

use super::counts::Counts;
use super::piece::Piece;
use crate::domain::batch::Payload;
use crate::domain::fallback::Fallback;
use crate::domain::raw::{Raw, RawPart};
use crate::domain::records::{Record, Records};
use crate::domain::routing::Partitioning;
use crate::format::{Codec, Encoder, Malformed};
use crate::kafka::{Part, TargetTopic, Write};

/// What records are compressed with that did not come in a batch.
const CODEC: Codec = Codec::Lz4;
/// A batch that is made here has at most so many bytes before it is compressed.
const LARGEST: u64 = 1_000_000;

/// Batches by the partition that they go to, in order.
pub(super) type Pieces = Vec<(i32, Piece)>;

/// What can't be written: the positions of its records, and why.
pub(super) type Impossible = (Vec<Range<u32>>, String);

/// Cuts a write into batches.
pub(super) fn pieces(write: &Write, counts: &Counts) -> (Pieces, Vec<Impossible>) {
    let mut cut = Cut {
        ticket: write.ticket,
        topic: &write.topic,
        source: write.batch.partition.partition,
        counts,
        pieces: Vec::new(),
        impossible: Vec::new(),
    };
    match (&write.batch.payload, &write.part) {
        (Payload::Records(records), Part::In(range)) => {
            let positions = records.first_from(range.start)..records.first_from(range.end);
            cut.records(records, positions.filter_map(number), 0, CODEC);
        }
        (Payload::Records(records), Part::Only(positions)) => cut.records(records, positions.iter().copied(), 0, CODEC),
        (Payload::Raw(raw), Part::In(range)) => {
            for part in raw.parts_in(*range) {
                let wanted = part.positions_in(*range);
                if let Err(malformed) = cut.raw(part, wanted.clone()) {
                    cut.impossible.push((vec![wanted], malformed.to_string()));
                }
            }
        }
        (Payload::Raw(raw), Part::Only(positions)) => cut.only(raw, positions),
    }
    (cut.pieces, cut.impossible)
}

fn number(position: usize) -> Option<u32> {
    u32::try_from(position).ok()
}

struct Cut<'a> {
    ticket: u64,
    topic: &'a TargetTopic,
    source: i32,
    counts: &'a Counts,
    pieces: Pieces,
    impossible: Vec<Impossible>,
}

impl Cut<'_> {
    /// A batch that came as it is, or the part of it at these positions.
    fn raw(&mut self, part: &RawPart, wanted: Range<u32>) -> Result<(), Malformed> {
        let whole = wanted == part.positions();
        let fits = part.batch().total_bytes() as u64 <= self.topic.limits.max_bytes || part.positions().len() == 1;
        if whole && fits && self.topic.partitioning == Partitioning::Keep {
            let piece = Piece::new(self.ticket, part.batch().clone(), vec![wanted]);
            self.pieces.push((self.source, piece));
            return Ok(());
        }
        self.counts.fell_back(if !whole {
            Fallback::Cut
        } else if fits {
            Fallback::Spread
        } else {
            Fallback::TooLarge
        });
        let records = part.open()?;
        let first = part.positions().start;
        self.records(&records, wanted.map(|position| position - first), first, part.codec());
        Ok(())
    }

    fn only(&mut self, raw: &Raw, positions: &[u32]) {
        for part in raw.parts() {
            let all = part.positions();
            let wanted = positions.iter().copied().filter(|position| all.contains(position));
            if wanted.clone().next().is_none() {
                continue;
            }
            self.counts.fell_back(Fallback::Cut);
            match part.open() {
                Ok(records) => self.records(&records, wanted.map(|at| at - all.start), all.start, part.codec()),
                Err(malformed) => self.impossible.push((vec![all], malformed.to_string())),
            }
        }
    }

    /// Makes batches of records: those of a partition in their order. `first` is the position of the first of `records` in the write.
    fn records(&mut self, records: &Records, positions: impl Iterator<Item = u32>, first: u32, codec: Codec) {
        let mut open: BTreeMap<i32, Open> = BTreeMap::new();
        let most = LARGEST.min(self.topic.limits.max_bytes * 7 / 8);
        for position in positions {
            let Some(record) = records.get(position as usize) else { continue };
            let place = self.topic.partitioning.place(self.source, record.key, self.topic.partitions);
            let batch = open.entry(place).or_insert_with(|| Open::new(codec));
            if !batch.encoder.is_empty() && batch.encoder.bytes() as u64 + size(&record) > most {
                let full = std::mem::replace(batch, Open::new(codec));
                self.finish(place, full);
            }
            if let Some(batch) = open.get_mut(&place) {
                batch.add(&record, first + position);
            }
        }
        for (place, batch) in open {
            self.finish(place, batch);
        }
    }

    fn finish(&mut self, place: i32, open: Open) {
        if open.encoder.is_empty() {
            return;
        }
        match open.encoder.finish() {
            Ok(batch) => self.pieces.push((place, Piece::new(self.ticket, batch, open.positions))),
            Err(error) => self.impossible.push((open.positions, error.to_string())),
        }
    }
}

/// Bytes that a record takes in a batch, or some more.
fn size(record: &Record<'_>) -> u64 {
    record.data_len() as u64 + 40
}

struct Open {
    encoder: Encoder,
    positions: Vec<Range<u32>>,
}

impl Open {
    fn new(codec: Codec) -> Self {
        Self { encoder: Encoder::new(codec), positions: Vec::new() }
    }

    fn add(&mut self, record: &Record<'_>, position: u32) {
        self.encoder.push(record.timestamp, record.key, record.value, record.headers());
        match self.positions.last_mut().filter(|last| last.end == position) {
            Some(last) => last.end += 1,
            None => self.positions.push(position..position + 1),
        }
    }
}
