//! One source partition on its way to one target: which batches wait, which are under way, how far it is.
//!
//! Whatever order batches come in, from the shared read or from the target's own, a feed takes each offset once and
//! in order: it knows the next offset that it needs, cuts what it has, and refuses a hole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::batch::{OffsetRange, RecordBatch, SharedBatch};
use crate::domain::records::RECORD_OVERHEAD;
use crate::domain::watermark::Watermark;
use crate::kafka::TargetTopic;

use super::messages::{Finish, Origin};
use super::refusals::Diversion;
use super::refused::Refused;

/// After this long without a record a broker may have forgotten the producer (`producer.id.expiration.ms` is a day, but
/// it is theirs to set).
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Where a feed's batches come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It has left the shared read and waits for what is under way before it asks to join again.
    Leaving,
    /// It has asked to follow the shared read.
    Asking,
    /// It follows the shared read.
    Attached,
    /// It still catches up; the shared read's batches from this offset on are kept for it.
    Joining(i64),
    /// It reads for itself.
    CatchingUp,
}

impl Mode {
    /// Whether the shared read's batches are kept for it.
    pub fn follows(self) -> bool {
        matches!(self, Self::Attached | Self::Joining(_))
    }
}

/// What became of a batch that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits to be written, or will when its turn comes.
    Taken,
    /// It is not needed.
    Ignored,
    /// It does not follow what the feed has: something in between is missing.
    Hole,
}

/// The feed of one source partition to one target.
#[allow(clippy::struct_excessive_bools)] // each says one thing, and they are independent
#[derive(Debug)]
pub struct Feed {
    /// Where its records go.
    pub topic: Arc<TargetTopic>,
    /// Where its batches come from.
    pub mode: Mode,
    /// How far acknowledgements reach.
    pub watermark: Watermark,
    /// Records that the target refused: nothing overtakes them.
    pub refused: Refused,
    /// Which turn at the shared read this is; a new one begins with each leave.
    pub turn: u64,
    /// Parts that are with the writer right now.
    pub with_writer: u32,
    /// When refused records may be tried again.
    pub retry_at: Option<Instant>,
    /// Whether something was refused since something was taken last.
    pub refused_before: bool,
    /// Refused records that are on their way to somewhere else: nothing is tried before that is done.
    pub diverting: Option<Diversion>,
    /// Whether it waits behind a record whose attempts are used up, and has let go of everything meanwhile.
    pub blocked: bool,
    /// Whether another process is to have it.
    pub releasing: Option<Finish>,
    /// Since when the writer has something of it and has said nothing.
    pub quiet_since: Option<Duration>,
    /// Whether it stands in the line of feeds with something to hand over.
    pub listed: bool,
    /// Bytes handed to the writer and not acknowledged.
    pub handed: u64,
    /// What the target was found to take in one go, where that is less than a whole batch.
    pub most: Most,
    /// Whether what is under way has to be acknowledged before anything else goes.
    solo: bool,
    /// Parts of batches handed to the writer and not acknowledged.
    pub under_way: u32,
    /// When records were acknowledged last.
    pub acknowledged: Option<Instant>,
    queue: VecDeque<SharedBatch>,
    ahead: VecDeque<SharedBatch>,
    /// Leader epochs of what was handed over, in order: those that begin below the watermark are to be noted.
    epochs: VecDeque<(i32, i64)>,
}

impl Feed {
    /// A feed that needs the source offset `from` next; its turns are counted from `turn`.
    pub fn new(topic: Arc<TargetTopic>, from: i64, turn: u64) -> Self {
        Self {
            topic,
            mode: Mode::Asking,
            watermark: Watermark::at(from),
            refused: Refused::default(),
            turn,
            with_writer: 0,
            retry_at: None,
            refused_before: false,
            diverting: None,
            blocked: false,
            releasing: None,
            quiet_since: None,
            listed: false,
            handed: 0,
            most: Most::default(),
            solo: false,
            under_way: 0,
            acknowledged: None,
            queue: VecDeque::new(),
            ahead: VecDeque::new(),
            epochs: VecDeque::new(),
        }
    }

    /// The next source offset that this feed needs.
    pub fn next(&self) -> i64 {
        self.queue.back().map_or(self.watermark.next(), |batch| batch.range.end)
    }

    /// Bytes that wait here, without those handed over.
    pub fn queued_bytes(&self) -> u64 {
        self.queue.iter().chain(&self.ahead).map(|batch| batch.in_flight_bytes()).sum()
    }

    /// Whether nothing of it is to be written any more but what the writer has.
    pub fn is_let_go(&self) -> bool {
        self.releasing == Some(Finish::WithWriter)
    }

    /// Whether a batch waits to be handed over.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether brokers know this producer: whether a record of it was acknowledged lately.
    fn is_known(&self, now: Instant) -> bool {
        self.acknowledged.is_some_and(|at| now.duration_since(at) < FORGOTTEN)
    }

    /// Whether [`take`](Self::take) has something to give.
    pub fn can_take(&self, now: Instant) -> bool {
        self.has_queued() && self.refused.is_empty() && (self.under_way == 0 || (self.is_known(now) && !self.solo))
    }

    /// Offers a batch.
    pub fn offer(&mut self, batch: SharedBatch, origin: Origin) -> Offered {
        let next = self.next();
        match (self.mode, origin) {
            (Mode::Leaving | Mode::Asking, _)
            | (Mode::CatchingUp, Origin::Live)
            | (Mode::Attached, Origin::CatchUp) => Offered::Ignored,
            (Mode::Joining(_), Origin::Live) => {
                let follows = self.ahead.back().is_none_or(|last| last.range.end >= batch.range.start);
                if !follows {
                    return Offered::Hole;
                }
                self.ahead.push_back(batch);
                Offered::Taken
            }
            (Mode::Attached, Origin::Live) | (Mode::CatchingUp | Mode::Joining(_), Origin::CatchUp) => {
                if batch.range.end <= next {
                    return Offered::Ignored;
                }
                if batch.range.start > next {
                    return Offered::Hole;
                }
                self.queue.push_back(batch);
                Offered::Taken
            }
        }
    }

    /// Joins the shared read if what was caught up reaches it; says whether it did, and how many bytes it had twice.
    pub fn try_join(&mut self) -> (bool, u64) {
        let Mode::Joining(at) = self.mode else { return (false, 0) };
        if self.next() < at {
            return (false, 0);
        }
        let mut twice = 0;
        self.mode = Mode::Attached;
        for batch in std::mem::take(&mut self.ahead) {
            if batch.range.end > self.next() {
                self.queue.push_back(batch);
            } else {
                twice += batch.in_flight_bytes();
            }
        }
        (true, twice)
    }

    /// The next part to be handed over, of at most about `most` bytes.
    ///
    /// A broker takes any sequence number from a producer that it does not know. If it refuses the first request (a
    /// young leader does) and takes the second, which was on its way already, the order is lost. So until a first
    /// record is acknowledged, it goes alone; and again after an hour's rest, as brokers forget. For the same reason
    /// a record that the topic may refuse goes alone, and parts go one by one where the topic takes small ones only.
    pub fn take(&mut self, now: Instant, most: u64) -> Option<Taken> {
        if !self.can_take(now) {
            return None;
        }
        let batch = self.queue.front()?;
        let start = self.watermark.next();
        let (end, solo) = self.cut(batch, start, most, now);
        // what has to go alone also waits for what went before it
        self.solo = solo;
        if solo && self.under_way > 0 {
            return None;
        }
        let batch = self.queue.front()?;
        let batch = batch.clone();
        let range = OffsetRange { start, end: end.unwrap_or(batch.range.end) };
        let whole = range.end >= batch.range.end;
        let permit = if whole { batch.in_flight_bytes() } else { 0 };
        if whole {
            self.queue.pop_front();
        }
        let (records, data) = batch.payload.volume_in(range);
        let bytes = data + records as u64 * RECORD_OVERHEAD;
        let begun = batch.epochs.iter().filter(|(_, first)| *first < range.end);
        self.epochs.extend(begun.map(|(epoch, first)| (*epoch, range.start.max(*first))));
        self.watermark.open(range);
        self.handed += bytes;
        self.under_way += 1;
        Some(Taken { batch, range, bytes, permit, records, data })
    }

    /// Where the part that begins at `start` ends, if not with its batch, and whether it has to go alone.
    fn cut(&self, batch: &RecordBatch, start: i64, most: u64, now: Instant) -> (Option<i64>, bool) {
        let payload = &batch.payload;
        if !self.is_known(now) {
            return (payload.first_cut(start).filter(|end| *end < batch.range.end), true);
        }
        let suspect = payload.first_suspect(start, &self.topic.limits);
        if suspect.is_some() && suspect == payload.first_from(start) {
            return (payload.first_cut(start).filter(|end| *end < batch.range.end), true);
        }
        let small = self.most.bytes(self.topic.limits.max_bytes);
        let cut = payload.cut_within(start, small.unwrap_or(u64::MAX).min(most));
        let cut = [cut, suspect].into_iter().flatten().min();
        (cut.filter(|end| *end < batch.range.end), small.is_some())
    }

    /// Notes that a part is acknowledged; says whether the watermark rose.
    pub fn acknowledge(&mut self, end: i64, bytes: u64, records: usize, now: Instant) -> bool {
        self.handed -= bytes;
        self.under_way -= 1;
        if records > 0 {
            self.acknowledged = Some(now);
            self.most.accepted();
        }
        self.watermark.acknowledge(end)
    }

    /// The next leader epoch that begins below the watermark, with its first offset; each one once.
    pub fn next_epoch(&mut self) -> Option<(i32, i64)> {
        let watermark = self.watermark.offset();
        self.epochs.pop_front_if(|(_, first)| *first < watermark)
    }

    /// Lets go of what the shared read kept for it; says how many bytes that were.
    pub fn let_go_ahead(&mut self) -> u64 {
        self.ahead.drain(..).map(|batch| batch.in_flight_bytes()).sum()
    }

    /// Lets go of everything, and goes on from `offset` when it is read again: everything below is acknowledged.
    pub fn rewind_to(&mut self, offset: i64) {
        self.let_go();
        self.refused = Refused::default();
        self.watermark.rewind_to(offset);
        self.epochs.retain(|(_, first)| *first < offset);
        (self.handed, self.under_way) = (0, 0);
    }

    /// Lets go of everything that is not under way; says how many bytes that were.
    pub fn let_go(&mut self) -> u64 {
        let bytes = self.queued_bytes();
        self.queue.clear();
        self.ahead.clear();
        bytes
    }
}

/// A part of a batch, for the writer.
#[derive(Debug)]
pub struct Taken {
    /// The batch that it is a part of.
    pub batch: SharedBatch,
    /// The source offsets of the part.
    pub range: OffsetRange,
    /// Memory that it occupies.
    pub bytes: u64,
    /// Bytes in flight that its acknowledgement sets free: the last part of a batch has them all.
    pub permit: u64,
    /// How many records it has.
    pub records: usize,
    /// Bytes of their keys, values and headers.
    pub data: u64,
}

/// What a target takes in one go, as far as it was found out by its refusals.
#[derive(Debug, Default)]
pub struct Most {
    found: Option<u64>,
    accepted: u32,
}

/// What the client puts into one request for a partition, if there is as much: `batch.size`.
const REQUEST: u64 = 1_000_000;

impl Most {
    /// Bytes of a part that goes alone; `None` where parts need not. `limit` is what the topic takes by its settings.
    fn bytes(&self, limit: u64) -> Option<u64> {
        let small = (limit < REQUEST).then_some(limit * 7 / 8);
        small.into_iter().chain(self.found).min()
    }

    /// Notes that a part of this size with more than one record was refused for what is in it.
    pub fn refused(&mut self, bytes: u64) {
        self.found = Some((bytes / 2).max(1));
        self.accepted = 0;
    }

    /// After some parts that were accepted, larger ones are tried: what was refused may have been one record.
    fn accepted(&mut self) {
        const ENOUGH: u32 = 16;
        let Some(found) = self.found else { return };
        self.accepted += 1;
        if self.accepted >= ENOUGH {
            self.accepted = 0;
            self.found = Some(found * 2).filter(|most| *most < REQUEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::batch::{Payload, Uncounted};
    use crate::domain::limits::TopicLimits;
    use crate::domain::records::Records;
    use crate::domain::routing::Partitioning;
    use crate::domain::topic_partition::TopicPartition;

    fn records(start: i64, end: i64, sizes: &[usize]) -> SharedBatch {
        let mut records = Records::default();
        for (offset, size) in (start..).zip(sizes) {
            records.push(offset, 0, Some(b"k"), Some(&vec![0; *size]), std::iter::empty());
        }
        let range = OffsetRange { start, end };
        Arc::new(RecordBatch::new(
            TopicPartition::new("t", 0),
            range,
            Payload::Records(records),
            Box::new(Uncounted(0)),
        ))
    }

    fn batch(start: i64, end: i64) -> SharedBatch {
        let partition = TopicPartition::new("t", 0);
        let payload = Payload::Records(Records::default());
        Arc::new(RecordBatch::new(partition, OffsetRange { start, end }, payload, Box::new(Uncounted(0))))
    }

    fn feed(mode: Mode) -> Feed {
        let limits = TopicLimits::default();
        let topic = TargetTopic { name: "t".into(), partitions: 1, partitioning: Partitioning::Keep, limits };
        Feed { mode, acknowledged: Some(Instant::now()), ..Feed::new(Arc::new(topic), 100, 0) }
    }

    fn taken(feed: &mut Feed) -> Vec<(i64, i64)> {
        let now = Instant::now();
        std::iter::from_fn(|| feed.take(now, u64::MAX)).map(|part| (part.range.start, part.range.end)).collect()
    }

    #[test]
    fn each_offset_is_taken_once_and_a_hole_is_refused() {
        let mut feed = feed(Mode::Attached);
        assert_eq!(feed.offer(batch(50, 100), Origin::Live), Offered::Ignored);
        assert_eq!(feed.offer(batch(90, 120), Origin::Live), Offered::Taken);
        assert_eq!(feed.offer(batch(130, 140), Origin::Live), Offered::Hole);
        assert_eq!(feed.offer(batch(120, 130), Origin::CatchUp), Offered::Ignored);
        assert_eq!(feed.offer(batch(120, 140), Origin::Live), Offered::Taken);
        assert_eq!(taken(&mut feed), [(100, 120), (120, 140)]);
    }

    #[test]
    fn joining_puts_the_two_reads_together_without_a_seam() {
        let mut feed = feed(Mode::CatchingUp);
        assert_eq!(feed.offer(batch(100, 110), Origin::CatchUp), Offered::Taken);
        assert_eq!(feed.offer(batch(150, 160), Origin::Live), Offered::Ignored);
        feed.mode = Mode::Joining(130);
        assert_eq!(feed.offer(batch(130, 145), Origin::Live), Offered::Taken);
        assert_eq!(feed.offer(batch(145, 150), Origin::Live), Offered::Taken);
        assert!(!feed.try_join().0);
        assert_eq!(feed.offer(batch(110, 135), Origin::CatchUp), Offered::Taken);
        assert!(feed.try_join().0);
        assert_eq!(feed.offer(batch(150, 155), Origin::Live), Offered::Taken);
        assert_eq!(taken(&mut feed), [(100, 110), (110, 135), (135, 145), (145, 150), (150, 155)]);
    }

    #[test]
    fn the_first_record_of_a_new_producer_goes_alone() {
        let mut feed = feed(Mode::Attached);
        feed.acknowledged = None;
        feed.offer(records(100, 110, &[0; 10]), Origin::Live);
        feed.offer(batch(110, 120), Origin::Live);
        assert_eq!(taken(&mut feed), [(100, 101)]);
        let bytes = feed.handed;
        assert!(feed.acknowledge(101, bytes, 1, Instant::now()));
        assert_eq!(taken(&mut feed), [(101, 110), (110, 120)]);
    }

    #[test]
    fn leader_epochs_are_told_once_the_watermark_has_passed_where_they_begin() {
        let mut feed = feed(Mode::Attached);
        let of =
            |batch: SharedBatch, epochs: Vec<(i32, i64)>| Arc::new(Arc::try_unwrap(batch).unwrap().with_epochs(epochs));
        // the first batch begins before what is needed
        feed.offer(of(batch(90, 110), vec![(3, 90)]), Origin::Live);
        feed.offer(of(batch(110, 120), vec![(4, 115)]), Origin::Live);
        assert_eq!(taken(&mut feed), [(100, 110), (110, 120)]);
        assert_eq!(feed.next_epoch(), None, "nothing is acknowledged");
        feed.watermark.acknowledge(110);
        assert_eq!((feed.next_epoch(), feed.next_epoch()), (Some((3, 100)), None));
        feed.watermark.acknowledge(120);
        assert_eq!((feed.next_epoch(), feed.next_epoch()), (Some((4, 115)), None));
    }

    #[test]
    fn nothing_overtakes_a_record_that_waits_to_be_tried_again() {
        let mut feed = feed(Mode::Attached);
        feed.offer(batch(100, 110), Origin::Live);
        feed.refused.refused(1, vec![0]);
        assert_eq!(taken(&mut feed), []);
    }

    #[test]
    fn a_record_that_the_topic_may_refuse_goes_alone() {
        let mut feed = feed(Mode::Attached);
        feed.offer(records(100, 105, &[10, 10, 2_000_000, 10, 10]), Origin::Live);
        feed.offer(batch(105, 110), Origin::Live);
        assert_eq!(taken(&mut feed), [(100, 102)], "the suspect waits for those before it");
        assert!(!feed.can_take(Instant::now()), "or its producer would ask without end");
        let bytes = feed.handed;
        feed.acknowledge(102, bytes, 2, Instant::now());
        assert_eq!(taken(&mut feed), [(102, 103)], "and those after it wait for the suspect");
        let bytes = feed.handed;
        feed.acknowledge(103, bytes, 1, Instant::now());
        assert_eq!(taken(&mut feed), [(103, 105), (105, 110)]);
    }

    #[test]
    fn where_a_topic_takes_small_batches_parts_go_one_by_one() {
        let mut feed = feed(Mode::Attached);
        let topic = TargetTopic { limits: TopicLimits { max_bytes: 5_000, compacted: false }, ..(*feed.topic).clone() };
        feed.topic = Arc::new(topic);
        feed.offer(records(100, 110, &[1_000; 10]), Origin::Live);
        let mut parts = Vec::new();
        while let Some(part) = feed.take(Instant::now(), u64::MAX) {
            assert!(feed.take(Instant::now(), u64::MAX).is_none());
            feed.acknowledge(part.range.end, part.bytes, part.records, Instant::now());
            parts.push(part.records);
        }
        assert_eq!(parts, [4, 4, 2]);
    }

    #[test]
    fn what_a_target_refuses_makes_smaller_parts_for_a_while() {
        let mut most = Most::default();
        assert_eq!((most.bytes(1_048_588), most.bytes(80_000)), (None, Some(70_000)));
        most.refused(100_000);
        assert_eq!((most.bytes(1_048_588), most.bytes(8_000)), (Some(50_000), Some(7_000)));
        (0..16).for_each(|_| most.accepted());
        assert_eq!(most.bytes(1_048_588), Some(100_000));
        (0..16 * 4).for_each(|_| most.accepted());
        assert_eq!(most.bytes(1_048_588), None);
    }
}
