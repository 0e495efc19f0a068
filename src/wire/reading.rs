//! A partition that is being read: what has come of it and waits for a permit, and where it goes on.

use std::collections::VecDeque;

use super::directory::{BrokerId, TopicId};
use super::sift::Sifted;
use crate::domain::batch::{OffsetRange, Payload, Permit, RecordBatch};
use crate::domain::raw::Raw;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{Permits, ReadEvent, ReadSink, StreamId};

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
    /// The term that was told last.
    told_epoch: i32,
    ready: VecDeque<Sifted>,
    ready_bytes: u64,
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
            told_epoch: -1,
            ready: VecDeque::new(),
            ready_bytes: 0,
            announced: false,
            permits: None,
            fetching: None,
            share,
            rests: false,
            last: None,
            known: None,
        }
    }

    /// Whether more may be fetched while so many bytes may be ready.
    pub(super) fn has_room(&self, most: u64) -> bool {
        self.ready_bytes < most && self.last.is_none()
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

    /// Takes what was fetched. Where it is news that there is something to read, a first batch of about so many records is given at
    /// once, if there is a permit for it, or else that is said.
    pub(super) fn fetched(&mut self, id: StreamId, sifted: Vec<Sifted>, max_messages: u32) {
        for one in sifted {
            self.next = one.end;
            self.last_epoch = one.epoch;
            self.ready_bytes += bytes(&one);
            match self.ready.back_mut().filter(|last| last.batch.is_none() && one.batch.is_none()) {
                Some(last) => last.end = one.end,
                None => self.ready.push_back(one),
            }
        }
        if self.announced || self.ready.is_empty() {
            return;
        }
        self.announced = true;
        match self.permits.as_ref().and_then(|permits| permits()) {
            Some(permit) => self.read(id, permit, max_messages),
            None => self.tell(id, ReadEvent::Readable),
        }
    }

    /// Gives one batch, at most as large as the permit and with about so many records.
    pub(super) fn read(&mut self, id: StreamId, permit: Box<dyn Permit>, max_messages: u32) {
        if let Some(first) = self.ready.iter().map(bytes).find(|bytes| *bytes > 0)
            && first > permit.bytes()
        {
            return self.tell(id, ReadEvent::NeedsBytes(first));
        }
        let (mut raw, mut end, mut epochs) = (Raw::default(), self.position, Vec::new());
        while let Some(one) = self.ready.front()
            && raw.footprint() + bytes(one) <= permit.bytes()
            && raw.len() < max_messages as usize
        {
            let Some(one) = self.ready.pop_front() else { break };
            self.ready_bytes -= bytes(&one);
            if one.epoch != self.told_epoch && one.batch.is_some() {
                self.told_epoch = one.epoch;
                epochs.push((one.epoch, first_offset(&one).unwrap_or(end)));
            }
            end = one.end;
            if let Some((batch, offsets)) = one.batch {
                raw.push(batch, offsets);
            }
        }
        let more = !self.ready.is_empty();
        self.announced = more;
        if end == self.position {
            return self.tell(id, ReadEvent::Idle);
        }
        let range = OffsetRange { start: self.position, end };
        self.position = end;
        let batch = RecordBatch::new(self.partition.clone(), range, Payload::Raw(raw), permit).with_epochs(epochs);
        self.tell(id, ReadEvent::Batch { batch, more });
    }
}

fn bytes(one: &Sifted) -> u64 {
    one.batch.as_ref().map_or(0, |(batch, offsets)| Raw::footprint_of(batch, offsets.count()))
}

fn first_offset(one: &Sifted) -> Option<i64> {
    one.batch.as_ref()?.1.get(0)
}
