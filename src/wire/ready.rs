//! What was fetched of a partition and waits for a permit: batches that stay closed, or records.

use std::collections::VecDeque;

use super::sift::{Contents, Sifted};
use crate::domain::batch::Payload;
use crate::domain::raw::Raw;
use crate::domain::records::{RECORD_OVERHEAD, Records};
use crate::format::{Malformed, RawBatch};

/// In the order of their offsets.
#[derive(Debug)]
pub(super) struct Ready {
    queue: VecDeque<Sifted>,
    /// What its batches take, the opened one aside.
    bytes: u64,
    records: usize,
    /// The first batch, where it had to be opened to be taken.
    opened: Option<Opened>,
    /// The term that was told last.
    told_epoch: i32,
}

/// A batch that was opened, and not taken to its end.
#[derive(Debug)]
struct Opened {
    records: Records,
    /// The first record that was not taken.
    at: usize,
    end: i64,
    epoch: i32,
}

/// What one permit covers.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) payload: Payload,
    /// One past the last offset that it covers.
    pub(super) end: i64,
    /// The terms that begin in it, each with the first offset of it.
    pub(super) epochs: Vec<(i32, i64)>,
    /// What is wrong with what comes next.
    pub(super) malformed: Option<Malformed>,
}

impl Taken {
    fn nothing(from: i64) -> Self {
        Self { payload: Payload::Raw(Raw::default()), end: from, epochs: Vec::new(), malformed: None }
    }
}

impl Ready {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new(), bytes: 0, records: 0, opened: None, told_epoch: -1 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.opened.is_none()
    }

    /// Memory that all of it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + self.opened.as_ref().map_or(0, |opened| opened.records.footprint())
    }

    /// How many records there are, about.
    pub(super) fn records(&self) -> usize {
        self.records + self.opened.as_ref().map_or(0, |opened| opened.records.len() - opened.at)
    }

    pub(super) fn push(&mut self, one: Sifted) {
        self.bytes += one.contents.footprint();
        self.records += one.contents.records();
        let is_nothing = |one: &Sifted| matches!(one.contents, Contents::Nothing);
        match self.queue.back_mut().filter(|last| is_nothing(last) && is_nothing(&one)) {
            Some(last) => last.end = one.end,
            None => self.queue.push_back(one),
        }
    }

    /// Takes what fits into so many bytes and has about so many records, which begins at offset `from`; or says how many bytes
    /// the first needs.
    pub(super) fn take(&mut self, from: i64, bytes: u64, records: usize) -> Result<Taken, u64> {
        let first = self.queue.iter().map(|one| &one.contents).find(|one| !matches!(one, Contents::Nothing));
        match first {
            Some(Contents::Closed(..)) if self.opened.is_none() => self.take_batches(from, bytes, records),
            _ => self.take_records(from, bytes, records),
        }
    }

    fn pop(&mut self) -> Option<Sifted> {
        let one = self.queue.pop_front()?;
        self.bytes -= one.contents.footprint();
        self.records -= one.contents.records();
        Some(one)
    }

    fn tell(&mut self, epoch: i32, offset: i64, taken: &mut Taken) {
        if epoch != self.told_epoch {
            self.told_epoch = epoch;
            taken.epochs.push((epoch, offset));
        }
    }

    fn take_batches(&mut self, from: i64, bytes: u64, records: usize) -> Result<Taken, u64> {
        let (mut raw, mut taken) = (Raw::default(), Taken::nothing(from));
        while let Some(one) = self.queue.front()
            && raw.len() < records
        {
            let needed = one.contents.footprint();
            if raw.footprint() + needed > bytes {
                if taken.end == from {
                    return Err(needed);
                }
                break;
            }
            if matches!(one.contents, Contents::ToOpen(_) | Contents::Opened(_)) {
                break;
            }
            let Some(one) = self.pop() else { break };
            if let Contents::Closed(batch, offsets) = one.contents {
                self.tell(one.epoch, offsets.get(0).unwrap_or(taken.end), &mut taken);
                raw.push(batch, offsets);
            }
            taken.end = one.end;
        }
        taken.payload = Payload::Raw(raw);
        Ok(taken)
    }

    fn take_records(&mut self, from: i64, bytes: u64, most: usize) -> Result<Taken, u64> {
        let (mut records, mut taken) = (Records::default(), Taken::nothing(from));
        while records.len() < most
            && let Some(mut opened) = self.next_opened(&mut taken)
        {
            let first = opened.records.get(opened.at).map(|record| record.offset);
            let had = records.len();
            opened.at += records.take_from(&mut opened.records, opened.at, bytes, most);
            if let Some(first) = first
                && records.len() > had
            {
                self.tell(opened.epoch, first, &mut taken);
            }
            match opened.records.get(opened.at) {
                None => taken.end = opened.end,
                Some(next) => {
                    let needed = RECORD_OVERHEAD + next.data_len() as u64;
                    taken.end = records.last_offset().map_or(taken.end, |last| taken.end.max(last + 1));
                    self.opened = Some(opened);
                    if taken.end == from {
                        return Err(needed);
                    }
                    break;
                }
            }
        }
        records.shrink();
        taken.payload = Payload::Records(records);
        Ok(taken)
    }

    /// What is open, or the next that can be opened. What covers offsets alone, before it, is taken.
    fn next_opened(&mut self, taken: &mut Taken) -> Option<Opened> {
        if let Some(opened) = self.opened.take() {
            return Some(opened);
        }
        loop {
            if matches!(self.queue.front()?.contents, Contents::Closed(..)) {
                return None;
            }
            let one = self.pop()?;
            let (end, epoch) = (one.end, one.epoch);
            let records = match one.contents {
                Contents::ToOpen(batch) => open(&batch, taken.end),
                Contents::Opened(records) => Ok(records),
                Contents::Closed(..) | Contents::Nothing => {
                    taken.end = end;
                    continue;
                }
            };
            match records {
                Ok(records) => return Some(Opened { records, at: 0, end, epoch }),
                Err(malformed) => {
                    taken.malformed = Some(malformed);
                    *self = Self { told_epoch: self.told_epoch, ..Self::new() };
                    return None;
                }
            }
        }
    }
}

/// A batch's records from an offset on.
fn open(batch: &RawBatch, from: i64) -> Result<Records, Malformed> {
    let mut records = Records::with_capacity(batch.total_bytes());
    batch.decode(|record| {
        if record.offset >= from {
            records.push(record.offset, record.timestamp, record.key, record.value, record.headers());
        }
    })?;
    Ok(records)
}

impl Contents {
    fn footprint(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Closed(batch, offsets) => Raw::footprint_of(batch, offsets.count()),
            Self::ToOpen(batch) => Raw::footprint_of(batch, 0),
            Self::Opened(records) => records.footprint(),
        }
    }

    fn records(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Closed(batch, _) | Self::ToOpen(batch) => usize::try_from(batch.header().count).unwrap_or(0),
            Self::Opened(records) => records.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Codec, Encoder, Identity};

    /// A batch of records of so many bytes at these offsets from `base` on, as a broker has it.
    fn batch(base: i64, sizes: &[usize]) -> RawBatch {
        let mut encoder = Encoder::new(Codec::Lz4);
        for size in sizes {
            encoder.push(7, Some(b"k"), Some(&vec![b'v'; *size]), [(&b"h"[..], None)].into_iter());
        }
        let batch = encoder.finish().unwrap();
        let mut bytes = BytesMut::from(&batch.header_for(Identity { producer_id: -1, epoch: -1 }, -1)[..]);
        bytes.put_slice(batch.payload());
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        RawBatch::split_from(&mut bytes.freeze()).unwrap().unwrap()
    }

    /// A batch of which none can say what is in it.
    fn broken(base: i64) -> RawBatch {
        let good = batch(base, &[1, 1]);
        let mut bytes = BytesMut::from(&good.header().to_bytes()[..]);
        bytes.put_slice(b"nothing");
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        RawBatch::split_from(&mut bytes.freeze()).unwrap().unwrap()
    }

    fn to_open(base: i64, sizes: &[usize]) -> Sifted {
        let batch = batch(base, sizes);
        Sifted { end: batch.header().next_offset(), contents: Contents::ToOpen(batch), epoch: 3 }
    }

    fn offsets(taken: &Taken) -> Vec<i64> {
        taken.payload.records().unwrap().iter().map(|record| record.offset).collect()
    }

    #[test]
    fn records_before_those_that_are_wanted_are_left_out_and_terms_are_told_where_they_begin() {
        let mut ready = Ready::new();
        ready.push(to_open(10, &[1, 1, 1]));
        ready.push(Sifted { contents: Contents::Nothing, end: 15, epoch: 3 });
        ready.push(Sifted { epoch: 4, ..to_open(15, &[1, 1]) });
        let taken = ready.take(11, u64::MAX, 3).unwrap();
        assert_eq!((offsets(&taken), taken.end, taken.epochs), (vec![11, 12, 15], 16, vec![(3, 11), (4, 15)]));
        let taken = ready.take(16, u64::MAX, 3).unwrap();
        assert_eq!((offsets(&taken), taken.end, taken.epochs), (vec![16], 17, vec![]));
        assert!(ready.is_empty());
    }

    #[test]
    fn what_can_not_be_opened_ends_it_behind_what_can() {
        let mut ready = Ready::new();
        ready.push(to_open(0, &[1, 1]));
        ready.push(Sifted { contents: Contents::ToOpen(broken(2)), end: 4, epoch: 3 });
        ready.push(to_open(4, &[1]));
        let taken = ready.take(0, u64::MAX, 100).unwrap();
        assert_eq!((offsets(&taken), taken.end, taken.malformed.is_some()), (vec![0, 1], 2, true));
        assert!(ready.is_empty() && ready.bytes() == 0, "it is fetched anew");
    }

    proptest! {
        #[test]
        fn all_is_taken_once_in_order_and_within_the_permit(
            batches in prop::collection::vec(prop::collection::vec(0_usize..300, 1..20), 1..20),
            (room, most) in (1_u64..2_000, 1_usize..30),
        ) {
            let (mut ready, mut end) = (Ready::new(), 0);
            for sizes in &batches {
                let one = to_open(end, sizes);
                end = one.end;
                ready.push(one);
            }
            let (mut from, mut room, mut sizes) = (0, room, Vec::new());
            while !ready.is_empty() {
                match ready.take(from, room, most) {
                    Ok(taken) => {
                        let records = taken.payload.records().unwrap();
                        prop_assert!(records.footprint() <= room && records.len() <= most);
                        prop_assert!(records.iter().map(|record| record.offset).eq(from..taken.end));
                        prop_assert!(taken.end > from);
                        let same = |record: crate::domain::records::Record<'_>| {
                            record.key == Some(b"k") && record.headers().eq([(&b"h"[..], None)])
                        };
                        prop_assert!(records.iter().all(same));
                        sizes.extend(records.iter().map(|record| record.value.map_or(0, <[u8]>::len)));
                        from = taken.end;
                    }
                    Err(needed) => {
                        prop_assert!(needed > room);
                        room = needed;
                    }
                }
            }
            prop_assert_eq!((sizes, from), (batches.concat(), end));
            prop_assert_eq!((ready.bytes(), ready.records()), (0, 0));
        }
    }

    #[test]
    fn batches_stay_closed_where_they_are_passed_on() {
        let mut ready = Ready::new();
        for base in [0, 2] {
            let contents = Contents::Closed(batch(base, &[1, 1]), crate::domain::raw::Offsets::From(base));
            ready.push(Sifted { contents, end: base + 2, epoch: 3 });
        }
        let one = Raw::footprint_of(&batch(0, &[1, 1]), 0);
        assert_eq!(ready.take(0, one - 1, 100).unwrap_err(), one);
        let taken = ready.take(0, one, 100).unwrap();
        assert!(matches!(taken.payload, Payload::Raw(_)));
        assert_eq!((taken.end, ready.bytes()), (2, one));
    }
}
