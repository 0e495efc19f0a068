//! From what a broker sent of a partition to what is passed on: aborted transactions and markers are left out, and batches that no
//! broker would take as they are get opened and made anew, once for all targets.

use std::collections::HashSet;

use bytes::Bytes;

use super::counts::Counts;
use crate::domain::fallback::Fallback;
use crate::domain::raw::Offsets;
use crate::domain::records::Records;
use crate::format::{Codec, Encoder, Header, Malformed, Message, Plain, RawBatch};

/// A batch, or offsets without one.
#[derive(Debug)]
pub(super) struct Sifted {
    pub(super) contents: Contents,
    /// One past the last source offset that it covers.
    pub(super) end: i64,
    /// The term of the leader that wrote it.
    pub(super) epoch: i32,
}

/// What there is at some offsets.
#[derive(Debug)]
pub(super) enum Contents {
    /// No record that anybody is to have.
    Nothing,
    /// A batch to be passed on, and the source offsets of its records: one after the other from the first, or each.
    Closed(RawBatch, Offsets),
    /// A batch of which records are wanted, as it is: its records say their offsets, and some may be before those that are wanted.
    ToOpen(RawBatch),
    /// Records.
    Opened(Records),
}

/// What becomes of what was read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// Batches are passed on; those that can't be, as they are, are counted there.
    PassOn(&'a Counts),
    /// Batches are opened.
    Open,
}

/// Batches smaller than this are put together: a request for each would cost more than to open them.
const SMALL: usize = 1 << 10;
/// What is put together ends up about as large as this.
const MERGED: usize = 64 << 10;
/// Fewer than so many are left alone.
const SEVERAL: usize = 4;

/// What came of an answer.
#[derive(Debug, Default)]
pub(super) struct Sieved {
    pub(super) sifted: Vec<Sifted>,
    /// Whether there was a whole batch in it, wanted or not.
    pub(super) has_batches: bool,
    /// What ended it early, if something did.
    pub(super) malformed: Option<Malformed>,
}

/// What is to be read from offset `from` on.
pub(super) fn sift(mut records: Bytes, from: i64, aborted: &[(i64, i64)], purpose: Purpose<'_>) -> Sieved {
    let mut sieve = Sieve { from, aborted: sorted(aborted), open: HashSet::new(), purpose };
    let mut sieved = Sieved::default();
    let sent = records.len();
    loop {
        let taken = match RawBatch::split_from(&mut records) {
            Err(Malformed::OldFormat(_)) => Message::split_from(&mut records)
                .and_then(|first| first.map(|first| sieve.take_old(&first, &mut records)).transpose()),
            batch => batch.and_then(|batch| batch.map(|batch| sieve.take(batch)).transpose()),
        };
        sieved.has_batches |= matches!(taken, Ok(Some(_)));
        match taken {
            Ok(Some(one)) => sieved.sifted.extend(one),
            Ok(None) => break,
            Err(malformed) => {
                sieved.malformed = Some(malformed);
                break;
            }
        }
    }
    if let Purpose::PassOn(counts) = purpose {
        sieved.sifted = merge(std::mem::take(&mut sieved.sifted), counts);
    }
    if is_mostly_left_out(&sieved.sifted, sent) {
        sieved.sifted = sieved.sifted.into_iter().map(detached).collect();
    }
    sieved
}

/// Whether less than half of an answer is kept: what is kept must not keep all of it.
fn is_mostly_left_out(sifted: &[Sifted], sent: usize) -> bool {
    let kept: usize = sifted.iter().filter_map(batch_of).map(RawBatch::total_bytes).sum();
    kept < sent / 2
}

fn batch_of(one: &Sifted) -> Option<&RawBatch> {
    match &one.contents {
        Contents::Closed(batch, _) | Contents::ToOpen(batch) => Some(batch),
        Contents::Nothing | Contents::Opened(_) => None,
    }
}

/// The same, in memory of its own.
fn detached(one: Sifted) -> Sifted {
    let contents = match one.contents {
        Contents::Closed(batch, offsets) => Contents::Closed(batch.detached(), offsets),
        Contents::ToOpen(batch) => Contents::ToOpen(batch.detached()),
        other => other,
    };
    Sifted { contents, ..one }
}

fn sorted(aborted: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut sorted = aborted.to_vec();
    // the next one last
    sorted.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
    sorted
}

struct Sieve<'a> {
    from: i64,
    /// Transactions that came to nothing and have not begun yet, the next one last.
    aborted: Vec<(i64, i64)>,
    /// Producers in the middle of such a transaction.
    open: HashSet<i64>,
    purpose: Purpose<'a>,
}

impl Sieve<'_> {
    fn take(&mut self, batch: RawBatch) -> Result<Option<Sifted>, Malformed> {
        let header = *batch.header();
        let end = header.next_offset();
        while self.aborted.last().is_some_and(|(_, first)| *first < end) {
            self.open.extend(self.aborted.pop().map(|(producer, _)| producer));
        }
        let is_aborted = header.is_transactional() && self.open.contains(&header.producer_id);
        if header.is_control() && is_abort_marker(&batch) {
            self.open.remove(&header.producer_id);
        }
        if end <= self.from {
            return Ok(None);
        }
        if is_aborted && let Purpose::PassOn(counts) = self.purpose {
            counts.fell_back(Fallback::Aborted);
        }
        let (epoch, from) = (header.leader_epoch, std::mem::replace(&mut self.from, end));
        if header.is_control() || is_aborted || header.count == 0 {
            return Ok(Some(Sifted { contents: Contents::Nothing, end, epoch }));
        }
        let contents = match (self.purpose, reason(&header, from)) {
            (Purpose::Open, _) => Contents::ToOpen(batch),
            (Purpose::PassOn(_), None) => Contents::Closed(batch, Offsets::From(header.base_offset)),
            (Purpose::PassOn(counts), Some(why)) => {
                counts.fell_back(why);
                made_anew(&batch, from)?
            }
        };
        Ok(Some(Sifted { contents, end, epoch }))
    }

    /// The messages of an old format that come next, as many as go together.
    fn take_old(&mut self, first: &Message, records: &mut Bytes) -> Result<Option<Sifted>, Malformed> {
        let (mut next, codec) = (self.from, first.codec()?);
        let mut gathered = match self.purpose {
            Purpose::PassOn(_) => Gathered::Batch(Encoder::new(codec), Vec::new()),
            Purpose::Open => Gathered::Records(Records::default()),
        };
        let mut push = |message: &Message| {
            message.decode(|plain| {
                if plain.offset >= next {
                    next = plain.offset + 1;
                    gathered.push(&plain);
                }
            })?;
            Ok(gathered.bytes())
        };
        let mut bytes = push(first)?;
        let mut end = first.next_offset().max(self.from);
        // what is wrong with a later one is found when it is the first
        while bytes < MERGED {
            let mut ahead = records.clone();
            let Ok(Some(message)) = Message::split_from(&mut ahead) else { break };
            if message.codec() != Ok(codec) {
                break;
            }
            let Ok(pushed) = push(&message) else { break };
            bytes = pushed;
            end = message.next_offset().max(end);
            *records = ahead;
        }
        let contents = gathered.finish()?;
        if matches!(contents, Contents::Nothing) {
            return Ok(None);
        }
        self.from = end;
        if let Purpose::PassOn(counts) = self.purpose {
            counts.fell_back(Fallback::OldFormat);
        }
        Ok(Some(Sifted { contents, end, epoch: UNKNOWN }))
    }
}

/// Messages of an old format, put together.
enum Gathered {
    Batch(Encoder, Vec<i64>),
    Records(Records),
}

impl Gathered {
    fn push(&mut self, plain: &Plain<'_>) {
        match self {
            Self::Batch(encoder, offsets) => {
                encoder.push(plain.timestamp, plain.key, plain.value, std::iter::empty());
                offsets.push(plain.offset);
            }
            Self::Records(records) => {
                records.push(plain.offset, plain.timestamp, plain.key, plain.value, std::iter::empty());
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Batch(encoder, _) => encoder.bytes(),
            Self::Records(records) => records.data_len(),
        }
    }

    fn finish(self) -> Result<Contents, Malformed> {
        match self {
            Self::Batch(encoder, offsets) => finish(encoder, offsets),
            Self::Records(records) if records.is_empty() => Ok(Contents::Nothing),
            Self::Records(records) => Ok(Contents::Opened(records)),
        }
    }
}

/// The term of a leader that is not known: messages of old formats do not say.
const UNKNOWN: i32 = -1;

/// Why a batch can't be passed on as it is from offset `from` on.
fn reason(header: &Header, from: i64) -> Option<Fallback> {
    if header.base_offset < from {
        Some(Fallback::Resumed)
    } else if !header.is_dense() {
        Some(Fallback::Thinned)
    } else if header.has_append_time() {
        Some(Fallback::AppendTime)
    } else {
        None
    }
}

fn made_anew(batch: &RawBatch, from: i64) -> Result<Contents, Malformed> {
    let mut encoder = Encoder::new(batch.header().codec()?);
    let mut offsets = Vec::new();
    batch.decode(|record| {
        if record.offset >= from {
            encoder.push(record.timestamp, record.key, record.value, record.headers());
            offsets.push(record.offset);
        }
    })?;
    finish(encoder, offsets)
}

fn finish(encoder: Encoder, offsets: Vec<i64>) -> Result<Contents, Malformed> {
    if encoder.is_empty() {
        return Ok(Contents::Nothing);
    }
    let codec = encoder.codec();
    let batch = encoder.finish().map_err(|error| Malformed::Compressed { codec, reason: error.to_string() })?;
    Ok(Contents::Closed(batch, Offsets::Each(offsets)))
}

/// Whether a marker ends a transaction in vain: its key has a version and then a type, which is 0.
fn is_abort_marker(batch: &RawBatch) -> bool {
    let mut aborts = false;
    // one that can't be opened ends nothing: what follows of its producer is left out, and not let through by mistake
    let opened = batch.decode(|record| aborts = record.key.and_then(|key| key.get(2..4)) == Some(&[0, 0]));
    opened.is_ok() && aborts
}

/// Puts runs of small batches together.
fn merge(sifted: Vec<Sifted>, counts: &Counts) -> Vec<Sifted> {
    let is_small = |one: &Sifted| batch_of(one).is_some_and(|batch| batch.total_bytes() < SMALL);
    if sifted.iter().filter(|one| is_small(one)).count() < SEVERAL {
        return sifted;
    }
    let mut merged = Vec::new();
    let mut run: Vec<Sifted> = Vec::new();
    for one in sifted {
        let bytes: usize = run.iter().filter_map(batch_of).map(RawBatch::total_bytes).sum();
        let fits = run.first().is_none_or(|first| codec(first) == codec(&one) && first.epoch == one.epoch);
        if !is_small(&one) || !fits || bytes > MERGED {
            close(&mut run, &mut merged, counts);
        }
        if is_small(&one) { run.push(one) } else { merged.push(one) }
    }
    close(&mut run, &mut merged, counts);
    merged
}

fn codec(one: &Sifted) -> Option<Codec> {
    batch_of(one).and_then(|batch| batch.header().codec().ok())
}

fn close(run: &mut Vec<Sifted>, merged: &mut Vec<Sifted>, counts: &Counts) {
    let together = (run.len() >= SEVERAL).then(|| put_together(run)).flatten();
    match together {
        Some(one) => {
            for _ in run.drain(..) {
                counts.fell_back(Fallback::Small);
            }
            merged.push(one);
        }
        None => merged.append(run),
    }
}

/// One batch of several; `None` where one of them can't be opened: they are passed on as they are then.
fn put_together(run: &[Sifted]) -> Option<Sifted> {
    let (first, last) = (run.first()?, run.last()?);
    let mut encoder = Encoder::new(codec(first)?);
    let mut offsets = Vec::new();
    for one in run {
        let Contents::Closed(batch, known) = &one.contents else { continue };
        encoder.push_all(batch).ok()?;
        let count = u32::try_from(batch.header().count).unwrap_or(0);
        offsets.extend((0..count).filter_map(|at| known.get(at)));
    }
    Some(Sifted { contents: finish(encoder, offsets).ok()?, end: last.end, epoch: first.epoch })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::message::tests::{packed, plain};

    #[test]
    fn messages_before_one_that_can_not_be_opened_are_passed_on() {
        let inner = |offset| plain(1, 0, offset, 7, None, Some(b"v"));
        let good = |last| packed(1, Codec::Gzip, 0, last, 0, &[inner(0), inner(1)]);
        let bad = packed(1, Codec::Gzip, 0, 5, 0, &[inner(1), inner(0)]);
        let counts = Counts::new(Arc::default());
        let sent: Bytes = [good(1), good(3), bad, good(7)].concat().into();
        let sieved = sift(sent.clone(), 1, &[], Purpose::PassOn(&counts));
        assert!(matches!(sieved.malformed, Some(Malformed::Message { offset: 5, .. })), "{:?}", sieved.malformed);
        let [Sifted { contents: Contents::Closed(batch, offsets), end: 4, epoch: UNKNOWN }] = &sieved.sifted[..] else {
            panic!("{:?}", sieved.sifted)
        };
        assert_eq!((batch.header().count, offsets), (3, &Offsets::Each(vec![1, 2, 3])));

        let sieved = sift(sent, 1, &[], Purpose::Open);
        assert!(matches!(sieved.malformed, Some(Malformed::Message { offset: 5, .. })), "{:?}", sieved.malformed);
        let [Sifted { contents: Contents::Opened(records), end: 4, epoch: UNKNOWN }] = &sieved.sifted[..] else {
            panic!("{:?}", sieved.sifted)
        };
        assert!(records.iter().map(|record| record.offset).eq(1..=3));
    }
}
