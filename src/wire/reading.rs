//! A partition that is being read: what has come of it and waits for a permit, and where it goes on.

use super::directory::{BrokerId, TopicId};
use super::ready::Ready;
use super::sift::Sifted;
use crate::domain::batch::{OffsetRange, Permit, RecordBatch};
use crate::domain::topic_partition::TopicPartition;
use crate::format::Malformed;
use crate::kafka::{Permits, ReadEvent, ReadSink, StreamId};
use crate::plan::BatchLimits;

/// No batch is larger: Kafka counts their bytes in 32 bits.
const LARGEST: u64 = i32::MAX as u64;

/// One stream.
pub(super) struct Reading {
    pub(super) partition: TopicPartition,
    sink: ReadSink,
    /// Where the next batch starts.
    position: i64,
    /// Where the next fetch starts.
    pub(super) next: i64,
    /// The term in which the last record was written that was fetched; -1 before the first.
    pub(super) last_epoch: i32,
    ready: Ready,
    /// Whether the consumer knows that there is something to read, and will ask for it.
    announced: bool,
    /// Where permits come from that it does not have to ask for.
    pub(super) permits: Option<Permits>,
    /// The broker of which it is being fetched.
    pub(super) fetching: Option<BrokerId>,
    /// How much is asked for at a time: more, where a batch was found to be larger.
    pub(super) share: u64,
    /// Whether it waits a moment, as its leader had none of it.
    pub(super) rests: bool,
    /// Whether what is ready waits for more.
    pub(super) lingers: bool,
    /// What ends it, once what is ready of it is read.
    last: Option<ReadEvent>,
    /// The id of its topic, once the partition was seen to be there.
    pub(super) known: Option<TopicId>,
}

impl Reading {
    pub(super) fn new(partition: TopicPartition, from: i64, share: u64, sink: ReadSink) -> Self {
        Self {
            partition,
            sink,
            position: from,
            next: from,
            last_epoch: -1,
            ready: Ready::new(),
            announced: false,
            permits: None,
            fetching: None,
            share,
            rests: false,
            lingers: false,
            last: None,
            known: None,
        }
    }

    /// Whether more may be fetched while so many bytes may be ready.
    pub(super) fn has_room(&self, most: u64) -> bool {
        self.ready.bytes() < most && self.last.is_none()
    }

    /// It ends with this word; gives it back where nothing has to be read before.
    pub(super) fn ends_with(&mut self, word: ReadEvent) -> Option<ReadEvent> {
        self.last.get_or_insert(word);
        self.last_word()
    }

    /// Its last word, if it is time for that.
    pub(super) fn last_word(&mut self) -> Option<ReadEvent> {
        self.last.take_if(|_| self.ready.is_empty())
    }

    /// An answer had a part of a batch and nothing else: more is asked for the next time.
    pub(super) fn asks_for_more(&mut self) {
        self.share = (self.share * 2).min(LARGEST);
    }

    /// Tells something of it.
    pub(super) fn tell(&self, id: StreamId, event: ReadEvent) {
        (self.sink)(id, event);
    }

    /// Takes what was fetched.
    pub(super) fn fetched(&mut self, sifted: Vec<Sifted>) {
        for one in sifted {
            self.next = one.end;
            self.last_epoch = one.epoch;
            self.ready.push(one);
        }
    }

    /// Whether what is ready is news, and so little that more is waited for, while so many bytes may be ready.
    pub(super) fn may_wait(&self, limits: &BatchLimits, most: u64) -> bool {
        self.is_news()
            && self.has_room(most)
            && self.ready.bytes() < limits.max_bytes
            && self.ready.records() < limits.max_messages as usize
    }

    fn is_news(&self) -> bool {
        !self.announced && !self.ready.is_empty()
    }

    /// Where it is news that there is something to read, a first batch of about so many records is given at once, if there is a
    /// permit for it, or else that is said. Says what is wrong with what comes next.
    pub(super) fn announce(&mut self, id: StreamId, max_messages: u32) -> Option<Malformed> {
        if !self.is_news() {
            return None;
        }
        self.announced = true;
        match self.permits.as_ref().and_then(|permits| permits()) {
            Some(permit) => self.read(id, permit, max_messages),
            None => {
                self.tell(id, ReadEvent::Readable);
                None
            }
        }
    }

    /// Gives one batch, at most as large as the permit and with about so many records. Says what is wrong with what comes next:
    /// that has to be fetched anew.
    pub(super) fn read(&mut self, id: StreamId, permit: Box<dyn Permit>, max_messages: u32) -> Option<Malformed> {
        let taken = match self.ready.take(self.position, permit.bytes(), max_messages as usize) {
            Ok(taken) => taken,
            Err(bytes) => {
                self.tell(id, ReadEvent::NeedsBytes(bytes));
                return None;
            }
        };
        let more = !self.ready.is_empty();
        self.announced = more;
        if taken.malformed.is_some() {
            self.next = taken.end;
        }
        if taken.end == self.position {
            self.tell(id, ReadEvent::Idle);
            return taken.malformed;
        }
        let range = OffsetRange { start: self.position, end: taken.end };
        self.position = taken.end;
        let batch = RecordBatch::new(self.partition.clone(), range, taken.payload, permit).with_epochs(taken.epochs);
        self.tell(id, ReadEvent::Batch { batch, more });
        taken.malformed
    }
}
