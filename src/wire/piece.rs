//! A batch on its way to a partition, and whose records are in it.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use crate::format::{Codec, Encoder, RawBatch};

/// Whoever has waited behind requests for longer than this waits for their answers: each takes one batch of a partition, however small
/// that is. So they are put together then, which costs less. Who waits for a connection or a leader waits for nothing of the kind.
const PATIENCE: Duration = Duration::from_millis(500);
/// Batches smaller than this are put together.
const SMALL: usize = 16 << 10;
/// What is put together ends up at most as large as this.
const GATHERED: usize = 128 << 10;
/// Fewer than so many are left alone.
const SEVERAL: usize = 4;

/// A batch to be written.
#[derive(Debug)]
pub(super) struct Piece {
    /// The writes that its records come from, in their order; of each, their positions in what is written.
    pub(super) parts: Vec<(u64, Vec<Range<u32>>)>,
    pub(super) batch: RawBatch,
    /// Its number, once it was sent.
    pub(super) sequence: Option<i32>,
    /// Whether it may be there already.
    pub(super) uncertain: bool,
    /// Of how many refusals its writer knew.
    pub(super) heard: u64,
    /// Since when it waits.
    since: Instant,
    /// The largest batch that its topic takes, in bytes.
    most: u64,
}

impl Piece {
    pub(super) fn new(ticket: u64, batch: RawBatch, positions: Vec<Range<u32>>) -> Self {
        let parts = vec![(ticket, positions)];
        Self { parts, batch, sequence: None, uncertain: false, heard: 0, since: Instant::now(), most: u64::MAX }
    }

    /// Written by who knew of so many refusals, to a topic that takes batches of at most so many bytes.
    pub(super) fn knowing(self, heard: u64, most: u64) -> Self {
        Self { heard, most, ..self }
    }

    /// The writes that its records come from.
    pub(super) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.parts.iter().map(|(ticket, _)| *ticket)
    }

    fn codec(&self) -> Option<Codec> {
        self.batch.header().codec().ok()
    }

    /// Whether it can be put together with others.
    fn is_free(&self) -> bool {
        self.sequence.is_none() && !self.uncertain && self.batch.total_bytes() < SMALL
    }
}

/// Puts the first of those that wait together with those behind it, if it has waited for long and they are small. The connection was
/// busy all the time from `busy` on. Says how many went into it; those that can't be opened stay as they are.
pub(super) fn gather(waiting: &mut VecDeque<Piece>, busy: Instant, now: Instant) -> usize {
    let Some(first) = waiting.front() else { return 0 };
    if !first.is_free() || now.duration_since(first.since.max(busy)) < PATIENCE {
        return 0;
    }
    let most = usize::try_from(first.most / 8 * 7).unwrap_or(usize::MAX).min(GATHERED);
    let mut bytes = 0;
    let fits = |piece: &&Piece| {
        bytes += piece.batch.total_bytes();
        let alike = (piece.codec(), piece.heard, piece.most) == (first.codec(), first.heard, first.most);
        piece.is_free() && alike && bytes <= most
    };
    let count = waiting.iter().take_while(fits).count();
    if count < SEVERAL {
        return 0;
    }
    let Some(batch) = together(waiting.iter().take(count)) else { return 0 };
    let mut gathered = waiting.drain(..count);
    let Some(mut one) = gathered.next() else { return 0 };
    one.parts.extend(gathered.flat_map(|piece| piece.parts));
    one.batch = batch;
    waiting.push_front(one);
    count
}

fn together<'a>(pieces: impl Iterator<Item = &'a Piece>) -> Option<RawBatch> {
    let mut pieces = pieces.peekable();
    let mut encoder = Encoder::new(pieces.peek()?.codec()?);
    for piece in pieces {
        encoder.push_all(&piece.batch).ok()?;
    }
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(ticket: u64, values: &[&[u8]]) -> Piece {
        let mut encoder = Encoder::new(Codec::Lz4);
        for value in values {
            encoder.push(1, None, Some(value), std::iter::empty());
        }
        let positions = vec![0..1, 1..u32::try_from(values.len()).unwrap()];
        Piece::new(ticket, encoder.finish().unwrap(), positions).knowing(0, 1 << 20)
    }

    fn values(piece: &Piece) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        piece.batch.decode(|record| values.push(record.value.unwrap().to_vec())).unwrap();
        values
    }

    fn late() -> Instant {
        Instant::now() + 2 * PATIENCE
    }

    #[test]
    fn what_waits_for_long_goes_together_and_nothing_of_it_is_lost() {
        let mut waiting: VecDeque<Piece> = (1..=6).map(|n| piece(n, &[b"a", b"b"])).collect();
        let begin = Instant::now();
        assert_eq!(gather(&mut waiting, begin, Instant::now()), 0, "it has not waited");
        assert_eq!(gather(&mut waiting, late(), late()), 0, "it has not waited for answers");
        assert_eq!(gather(&mut waiting, begin, late()), 6);
        let one = waiting.pop_front().unwrap();
        assert!(waiting.is_empty());
        assert_eq!(values(&one), [b"a", b"b"].repeat(6).iter().map(|value| value.to_vec()).collect::<Vec<_>>());
        assert_eq!(one.tickets().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert!(one.parts.iter().all(|(_, positions)| *positions == [0..1, 1..2]));
    }

    #[test]
    fn what_has_a_number_or_is_large_or_was_written_knowing_less_stays_alone() {
        let large = vec![7; SMALL]; // of one value, and so small when it is compressed: this one is not
        let mut random = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()[0]
        })
        .take(2 * SMALL)
        .collect();
        assert!(piece(0, &[&noise]).batch.total_bytes() > SMALL && piece(0, &[&large]).batch.total_bytes() < SMALL);
        let spoil: [fn(&mut Piece); 3] =
            [|piece| piece.sequence = Some(5), |piece| piece.uncertain = true, |piece| piece.heard = 1];
        for spoil in spoil {
            let mut waiting: VecDeque<Piece> = (1..=8).map(|n| piece(n, &[b"a"])).collect();
            spoil(&mut waiting[4]);
            assert_eq!(gather(&mut waiting, Instant::now(), late()), 4);
            assert_eq!(waiting.len(), 5);
        }
        let mut waiting: VecDeque<Piece> = (1..=3).map(|n| piece(n, &[b"a"])).collect();
        waiting.push_back(piece(4, &[&noise]));
        assert_eq!(gather(&mut waiting, Instant::now(), late()), 0);
    }

    #[test]
    fn what_goes_together_is_no_larger_than_its_topic_takes() {
        let mut waiting: VecDeque<Piece> = (1..=40).map(|n| piece(n, &[b"a"]).knowing(0, 1000)).collect();
        let count = gather(&mut waiting, Instant::now(), late());
        assert!((SEVERAL..40).contains(&count));
        assert!(waiting[0].batch.total_bytes() < 1000);
    }
}
