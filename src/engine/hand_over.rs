//! A target producer's way to its writer and back: whose turn it is, how much may go, and what an acknowledgement does.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{AsyncContext, Context};
use tokio::time::Instant;

use super::clock::{now, wall_ms};
use super::feed::{Feed, Mode};
use super::pacer::{Delay, Why};
use super::target_producer::TargetProducer;
use super::trace;
use crate::domain::bandwidth::Urgency;
use crate::domain::batch::{OffsetRange, SharedBatch};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{Part, Refusal, Write};

/// Records handed to the writer and not acknowledged: each costs the client some 250 bytes besides its own.
const WINDOW_RECORDS: usize = 100_000;
/// What a writer is given before it has acknowledged anything. From there the window grows by what is acknowledged: a
/// broker that throttles must not find the whole window in its first answers.
const FIRST_WINDOW: u64 = 1 << 20;

/// A batch, or the part of it that was handed over.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) partition: TopicPartition,
    pub(super) batch: SharedBatch,
    pub(super) range: OffsetRange,
    /// What it counts for in the window.
    pub(super) bytes: u64,
    /// What it counts for in the backlog.
    pub(super) permit: u64,
    records: usize,
    data: u64,
    /// Whether it was refused, and is out of the window since.
    pub(super) refused: bool,
    /// Records of it that were not written to the target topic, and their payload.
    pub(super) diverted: (u64, u64),
}

impl Handed {
    /// About how many bytes of payload so many of its records have.
    pub(super) fn data_of(&self, records: usize) -> u64 {
        self.data * records as u64 / (self.records as u64).max(1)
    }

    /// How old its first record is: of those that were handed over together it has waited longest. Records say themselves when
    /// they began; those that say nothing have no age, and those of the future are new.
    fn age(&self) -> Option<Duration> {
        let timestamp = self.batch.payload.timestamp_from(self.range.start)?;
        Some(Duration::from_millis(wall_ms().saturating_sub(timestamp)))
    }
}

/// What is with the writer and not acknowledged.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) tickets: usize,
    pub(super) bytes: u64,
    pub(super) records: usize,
    limit: u64,
}

impl Window {
    /// A window for a target that may have `most` bytes with its writer.
    pub(super) fn new(most: u64) -> Self {
        Self { tickets: 0, bytes: 0, records: 0, limit: FIRST_WINDOW.min(most) }
    }

    fn is_full(&self, most: u64) -> bool {
        self.bytes > 0 && (self.bytes >= self.limit.min(most) || self.records >= WINDOW_RECORDS)
    }
}

/// Feeds with something to hand over, each once. Those that follow the shared read go first.
#[derive(Debug, Default)]
pub(super) struct Line {
    live: VecDeque<TopicPartition>,
    catch_up: VecDeque<TopicPartition>,
    served: u32,
    /// Whether a timer will look at the line again.
    waits: bool,
    /// Since when it has been waiting for the pace, and why.
    slowed: Option<(Duration, Why)>,
}

impl Line {
    /// One in so many goes to those that catch up, however much live traffic there is: or they never would.
    const SHARE: u32 = 8;

    fn push(&mut self, partition: TopicPartition, urgency: Urgency) {
        match urgency {
            Urgency::Live => self.live.push_back(partition),
            Urgency::CatchUp => self.catch_up.push_back(partition),
        }
    }

    fn pop(&mut self) -> Option<(TopicPartition, Urgency)> {
        let live = |line: &mut Self| line.live.pop_front().map(|partition| (partition, Urgency::Live));
        let catch_up = |line: &mut Self| line.catch_up.pop_front().map(|partition| (partition, Urgency::CatchUp));
        self.served = self.served.wrapping_add(1);
        if self.served.is_multiple_of(Self::SHARE) {
            catch_up(self).or_else(|| live(self))
        } else {
            live(self).or_else(|| catch_up(self))
        }
    }

    fn put_back(&mut self, partition: TopicPartition, urgency: Urgency) {
        match urgency {
            Urgency::Live => self.live.push_front(partition),
            Urgency::CatchUp => self.catch_up.push_front(partition),
        }
    }

    /// Has the next turn go to live traffic; says whether there is any.
    fn prefer_live(&mut self) -> bool {
        self.served = 0;
        !self.live.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.live.clear();
        self.catch_up.clear();
    }

    /// How long it has been waiting for the pace since this was asked last, and why.
    pub(super) fn slowed(&mut self, now: Duration) -> Option<(Duration, Why)> {
        let (since, why) = self.slowed.as_mut()?;
        Some((now.saturating_sub(std::mem::replace(since, now)), *why))
    }
}

fn urgency(feed: &Feed) -> Urgency {
    if matches!(feed.mode, Mode::CatchingUp | Mode::Joining(_)) { Urgency::CatchUp } else { Urgency::Live }
}

impl TargetProducer {
    /// Hands over what the window and the pace have room for, a part of each feed in turn.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        let window = self.params.pacer.window(self.params.share.capacity());
        // several partitions share the window, so that one that is stuck leaves room for the others
        let share = if self.feeds.len() > 1 { window / 2 } else { window };
        while let Some((partition, urgency)) = self.line.pop() {
            if self.with_writer.is_full(window) || !self.may_act() {
                return self.line.put_back(partition, urgency);
            }
            if let Some(delay) = self.params.pacer.delay(now(), urgency) {
                self.line.put_back(partition, urgency);
                if urgency == Urgency::CatchUp && self.line.prefer_live() {
                    continue; // it waits for others to go first: so they may
                }
                return self.slow_down(delay, ctx);
            }
            self.speed_up();
            let Some(feed) = self.feeds.get_mut(&partition) else { continue };
            feed.listed = false;
            if feed.handed < share {
                self.hand_over(&partition);
                self.list(&partition);
            } // else it is listed again with its next acknowledgement
        }
    }

    fn slow_down(&mut self, delay: Delay, ctx: &mut Context<Self>) {
        // what was waited so far may have been for another reason
        self.count_slowed();
        self.line.slowed = Some((now(), delay.why));
        self.silence.slowed_by(delay.why);
        if !self.line.waits {
            self.line.waits = true;
            ctx.run_later(delay.wait, |this, ctx| {
                this.line.waits = false;
                this.pump(ctx);
            });
        }
    }

    /// It need not wait any more: what it waited is counted.
    fn speed_up(&mut self) {
        self.count_slowed();
        self.line.slowed = None;
    }

    pub(super) fn list(&mut self, partition: &TopicPartition) {
        if let Some(feed) = self.feeds.get_mut(partition)
            && !feed.listed
            && feed.can_take(Instant::now())
        {
            feed.listed = true;
            self.line.push(partition.clone(), urgency(feed));
        }
    }

    fn hand_over(&mut self, partition: &TopicPartition) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let Some(part) = feed.take(Instant::now(), self.params.pacer.part()) else { return };
        self.tickets += 1;
        self.with_writer.bytes += part.bytes;
        self.with_writer.records += part.records;
        self.params.pacer.took(now(), part.data);
        let handed = Handed {
            partition: partition.clone(),
            batch: part.batch,
            range: part.range,
            bytes: part.bytes,
            permit: part.permit,
            records: part.records,
            data: part.data,
            refused: false,
            diverted: (0, 0),
        };
        trace::handed(&handed.batch, self.params.target);
        self.handed.insert(self.tickets, handed);
        self.write(self.tickets, Part::In(part.range));
    }

    pub(super) fn write(&mut self, ticket: u64, part: Part) {
        let Some(handed) = self.handed.get(&ticket) else { return };
        let (Some(writer), Some(feed)) = (&self.writer, self.feeds.get_mut(&handed.partition)) else { return };
        feed.with_writer += 1;
        feed.quiet_since.get_or_insert_with(now);
        self.with_writer.tickets += 1;
        let (batch, topic) = (handed.batch.clone(), feed.topic.clone());
        writer.write(Write { ticket, batch, part, topic, heard: self.heard });
    }

    /// The writer has done with a ticket, for better or worse.
    pub(super) fn written(&mut self, ticket: u64, refusals: &[Refusal], ctx: &mut Context<Self>) {
        self.answered += 1;
        self.heard += u64::from(!refusals.is_empty());
        if let Some(partition) = self.envelopes.remove(&ticket) {
            return self.enveloped(&partition, refusals, ctx);
        }
        let Some(handed) = self.handed.get_mut(&ticket) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        let partition = handed.partition.clone();
        feed.with_writer -= 1;
        feed.quiet_since = (feed.with_writer > 0).then(now);
        self.with_writer.tickets -= 1;
        if !handed.refused {
            self.with_writer.bytes -= handed.bytes;
            self.with_writer.records -= handed.records;
        }
        if refusals.is_empty() {
            let was_refused = handed.refused;
            let done = !was_refused || feed.refused.accepted(ticket);
            // what was on its way before something was refused tells nothing of that
            if was_refused || feed.refused.is_empty() {
                self.taken(&partition);
            }
            if done {
                self.acknowledged(ticket);
            }
        } else {
            handed.refused = true;
            trace::refused(&handed.batch, self.params.target, refusals);
            self.refused(ticket, refusals, ctx);
        }
        self.go_on(&partition, ctx);
    }

    /// After something of a partition has come to an end: whatever can follow.
    pub(super) fn go_on(&mut self, partition: &TopicPartition, ctx: &mut Context<Self>) {
        self.finish_release(partition);
        self.try_again(partition);
        self.list(partition);
        self.pump(ctx);
        self.ask_if_through(partition);
        self.finish_drain();
    }

    /// Lets go of what was handed over of a partition, and of its permits: the writer has nothing of it any more.
    pub(super) fn forget_handed(&mut self, partition: &TopicPartition) {
        let mine = self.handed.values().filter(|handed| handed.partition == *partition);
        let permits = mine.map(|handed| handed.permit).sum();
        self.load.backlog.fetch_sub(permits, Relaxed);
        self.handed.retain(|_, handed| handed.partition != *partition);
    }

    /// Everything of a ticket is acknowledged.
    pub(super) fn acknowledged(&mut self, ticket: u64) {
        let Some(handed) = self.handed.remove(&ticket) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        trace::acknowledged(&handed, self.params.target);
        self.load.backlog.fetch_sub(handed.permit, Relaxed);
        self.load.acknowledged.fetch_add(1, Relaxed);
        self.with_writer.limit = (self.with_writer.limit + handed.bytes).min(self.params.share.capacity());
        let wire = self.writer.as_ref().map_or(0, |writer| writer.wire_bytes());
        self.params.pacer.acknowledged(now(), handed.data, wire);
        if feed.acknowledge(handed.range.end, handed.bytes, handed.records, Instant::now()) {
            self.params.progress.raise(self.params.target, &handed.partition, feed.watermark.offset());
            while let Some((epoch, first)) = feed.next_epoch() {
                self.params.progress.see_epoch(self.params.target, &handed.partition, epoch, first);
            }
        }
        let (records, data) = handed.diverted;
        let written = handed.records as u64 - records;
        self.stats().wrote(&handed.partition.topic, written, handed.data - data);
        if written > 0 {
            self.stats().took(|| handed.age());
        }
    }
}
