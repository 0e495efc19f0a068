//! The watermark of one target partition: how far acknowledgements reach without a hole.

use std::collections::VecDeque;

use super::batch::OffsetRange;

/// Turns the acknowledgements of batches, in whatever order they come, into one rising offset.
///
/// Every source record below the watermark is acknowledged by the target. It never passes a batch that is still open.
#[derive(Debug)]
pub struct Watermark {
    offset: i64,
    open: VecDeque<(OffsetRange, bool)>,
}

impl Watermark {
    /// Everything below `offset` is acknowledged already.
    pub fn at(offset: i64) -> Self {
        Self { offset, open: VecDeque::new() }
    }

    /// The first offset that is not known to be acknowledged.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The end of the last batch handed over; the next batch has to start here.
    pub fn next(&self) -> i64 {
        self.open.back().map_or(self.offset, |(range, _)| range.end)
    }

    /// Whether every batch handed over is acknowledged.
    pub fn is_level(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether something was acknowledged behind what is still open.
    pub fn has_islands(&self) -> bool {
        self.open.iter().any(|(_, acknowledged)| *acknowledged)
    }

    /// Notes a batch that was handed to the target. Its range has to continue [`next`](Self::next).
    pub fn open(&mut self, range: OffsetRange) {
        debug_assert_eq!(range.start, self.next(), "batches of a stream follow each other");
        self.open.push_back((range, false));
    }

    /// Everything below `offset` is acknowledged, and what was handed over beyond it is to be handed over again.
    pub fn rewind_to(&mut self, offset: i64) {
        self.offset = self.offset.max(offset);
        self.open.clear();
    }

    /// Notes that the batch which ends at `end` is acknowledged; says whether the watermark rose.
    pub fn acknowledge(&mut self, end: i64) -> bool {
        if let Some(batch) = self.open.iter_mut().find(|(range, _)| range.end == end) {
            batch.1 = true;
        }
        let before = self.offset;
        while let Some((range, true)) = self.open.front() {
            self.offset = range.end;
            self.open.pop_front();
        }
        self.offset > before
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_never_passes_an_open_batch(order in Just((0..20_i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut watermark = Watermark::at(0);
            for batch in 0..20 {
                watermark.open(OffsetRange { start: batch * 10, end: batch * 10 + 10 });
            }
            let mut acknowledged = BTreeSet::new();
            for batch in order {
                let before = watermark.offset();
                watermark.acknowledge(batch * 10 + 10);
                acknowledged.insert(batch);
                let first_open = (0..20).find(|batch| !acknowledged.contains(batch)).unwrap_or(20);
                prop_assert_eq!(watermark.offset(), first_open * 10);
                prop_assert!(watermark.offset() >= before);
            }
            prop_assert!(watermark.is_level());
        }
    }
}
