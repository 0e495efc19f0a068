//! What a target producer does with records that the target does not take: narrows them down, tries them again as its
//! policy says, and in the end blocks, drops, keeps or dead-letters them. Only their partition waits.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{AsyncContext, Context};
use tokio::time::Instant;

use super::clock::now;
use super::counts::GivenUp;
use super::feed::Mode;
use super::flow::move_permit;
use super::hand_over::Handed;
use super::letters::{Failure, dead_letters, envelope};
use super::messages::{DeadLetter, DeadLettered};
use super::refused::Found;
use super::retries::What;
use super::target_producer::TargetProducer;
use crate::domain::batch::OffsetRange;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::retry::{BLOCKED, Next, OnExhausted};
use crate::domain::routing::Partitioning;
use crate::domain::state::Trouble;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::{Part, Refusal, TargetTopic, Write};

/// Records that are on their way to somewhere else.
#[derive(Clone, Debug)]
pub struct Diversion {
    /// Which dead letter it is, if it is one.
    letter: u64,
    ticket: u64,
    positions: Vec<u32>,
    failure: Failure,
    /// Into how many parts the record's envelope is cut, and how many of them are written.
    parts: usize,
    written: usize,
}

impl Diversion {
    /// Whether it goes by way of the dead letters; else in an envelope.
    pub(super) fn is_letter(&self) -> bool {
        self.letter != 0
    }
}

/// An envelope that is refused as too large is cut into up to so many parts.
const MOST_PARTS: usize = 256;

impl TargetProducer {
    /// Some records of a ticket were refused: the feed is held, and leaves the shared read so that it holds nobody else.
    pub(super) fn refused(&mut self, ticket: u64, refusals: &[Refusal], ctx: &mut Context<Self>) {
        let (Some(handed), Some(fault)) = (self.handed.get(&ticket), worst(refusals)) else { return };
        let Some(feed) = self.feeds.get_mut(&handed.partition) else { return };
        let partition = handed.partition.clone();
        let positions: Vec<u32> = refusals.iter().map(|refusal| refusal.position).collect();
        feed.refused_before = true;
        let blame = if fault.class == FaultClass::Record {
            if positions.len() > 1 {
                feed.most.refused(handed.bytes);
            }
            matches!(feed.refused.refused(ticket, positions), Found::Alone(_))
        } else {
            feed.refused.held(ticket, positions);
            if fault.class == FaultClass::Config {
                feed.refused.one_by_one();
            }
            true
        };
        let oldest = feed.refused.oldest().is_some_and(|(oldest, _)| oldest == ticket);
        move_permit(&handed.batch, &self.params.own);
        if feed.mode != Mode::Leaving {
            self.leave(&partition);
        }
        if blame && oldest {
            self.failed(&partition, &fault, ctx);
        }
    }

    /// The oldest record that was refused of a partition was refused alone, or for a reason that is none of its own.
    fn failed(&mut self, partition: &TopicPartition, fault: &Fault, ctx: &mut Context<Self>) {
        let Some((ticket, offset)) = self.oldest_refused(partition) else { return };
        let waits = |feed: &super::feed::Feed| feed.retry_at.is_some_and(|at| at > Instant::now());
        if self.feeds.get(partition).is_some_and(waits) {
            return; // several writes may come back for the same reason: that is one attempt
        }
        let what = What::Record(self.params.target, partition.clone(), offset);
        let error = fault.reason.clone();
        match self.params.retries.failed(&what, fault.class) {
            Next::Again { attempt, delay } => {
                let reason = format!("{partition} at offset {offset}: {error}");
                if attempt == 1 && fault.class == FaultClass::Record {
                    self.stats().tally.refused.fetch_add(1, Relaxed);
                }
                self.stats().tally.retries.count(fault.class);
                tracing::warn!(route = %self.params.story.route, target = %self.name(), %partition, offset,
                    class = fault.class.name(), attempt, retry_ms = millis(delay), %reason, "refused");
                let next_attempt_at = Some(now() + delay);
                let trouble = Trouble { class: fault.class, attempt, next_attempt_at, reason };
                self.params.status.change_target(self.params.target, |facts| {
                    facts.blocked.remove(partition);
                    facts.held.insert(partition.clone(), trouble);
                });
                self.retry_later(partition, delay, ctx);
            }
            Next::Exhausted { attempts } => {
                if attempts == 1 && fault.class == FaultClass::Record {
                    self.stats().tally.refused.fetch_add(1, Relaxed);
                }
                self.exhausted(partition, ticket, Failure { class: fault.class, error, attempts }, ctx);
            }
        }
    }

    fn oldest_refused(&self, partition: &TopicPartition) -> Option<(u64, i64)> {
        let (ticket, positions) = self.feeds.get(partition)?.refused.oldest()?;
        let handed = self.handed.get(&ticket)?;
        Some((ticket, handed.batch.payload.offset_at(*positions.first()?)?))
    }

    fn retry_later(&mut self, partition: &TopicPartition, delay: Duration, ctx: &mut Context<Self>) {
        if let Some(feed) = self.feeds.get_mut(partition) {
            feed.retry_at = Some(Instant::now() + delay);
            let partition = partition.clone();
            ctx.run_later(delay, move |this, _| this.try_again(&partition));
        }
    }

    /// Makes the next attempt at a feed's refused records, when it is due and nothing else of the feed is under way.
    pub(super) fn try_again(&mut self, partition: &TopicPartition) {
        let may_act = self.may_act();
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let due = feed.retry_at.is_none_or(|at| at <= Instant::now());
        let stays = feed.with_writer > 0 || feed.diverting.is_some() || feed.is_let_go() || !due;
        if self.draining || stays || !may_act {
            return;
        }
        if feed.blocked && feed.releasing.is_some() {
            self.finish_release(partition);
        } else if std::mem::take(&mut feed.blocked) {
            self.leaving.insert(partition.clone());
            self.ask_again();
        } else if let Some((ticket, positions)) = feed.refused.next_attempt() {
            if let Some(handed) = self.handed.get(&ticket) {
                self.params.pacer.took_more(now(), handed.data_of(positions.len()));
            }
            self.write(ticket, Part::Only(positions));
        }
    }

    /// The policy allows no further attempt at the oldest refused record; or, where the reason is none of its own, at the
    /// write that it belongs to.
    pub(super) fn exhausted(
        &mut self,
        partition: &TopicPartition,
        ticket: u64,
        failure: Failure,
        ctx: &mut Context<Self>,
    ) {
        let Some((_, positions)) = self.feeds.get(partition).and_then(|feed| feed.refused.oldest()) else { return };
        let count = if failure.class == FaultClass::Record { 1 } else { positions.len() };
        let positions = positions.get(..count).unwrap_or_default().to_vec();
        if positions.is_empty() {
            return self.go_on(partition, ctx); // a write without records: nothing of it can be lost
        }
        let diversion = Diversion { letter: 0, ticket, positions, failure, parts: 1, written: 0 };
        match self.params.plan.retry.of(diversion.failure.class).on_exhausted {
            OnExhausted::Block => self.block(partition, &diversion.failure, ctx),
            OnExhausted::Drop => self.settle(partition, &diversion, GivenUp::Dropped, None, ctx),
            OnExhausted::DeadLetter => self.dead_letter(partition, diversion, ctx),
            OnExhausted::Keep => self.keep(partition, diversion, ctx),
        }
    }

    /// The partition waits. The record is offered again now and then, in case that somebody has changed something.
    fn block(&mut self, partition: &TopicPartition, failure: &Failure, ctx: &mut Context<Self>) {
        let Some((_, offset)) = self.oldest_refused(partition) else { return };
        let Failure { class, error, attempts } = failure;
        let reason = format!("{partition} at offset {offset}: {error}");
        let mut before = false;
        self.params.status.change_target(self.params.target, |facts| {
            facts.held.remove(partition);
            let next_attempt_at = Some(now() + BLOCKED);
            let trouble = Trouble { class: *class, attempt: *attempts, next_attempt_at, reason: reason.clone() };
            before = facts.blocked.insert(partition.clone(), trouble).is_some();
        });
        if !before {
            tracing::error!(route = %self.params.story.route, target = %self.name(), %partition, offset,
                class = class.name(), attempts, how = "blocked", %reason, "given up");
        }
        self.let_go_of_blocked(partition, offset);
        self.retry_later(partition, BLOCKED, ctx);
    }

    /// A partition that waits for long holds no memory meanwhile: it is read again when the record is offered again. Not
    /// where something after the record was taken already, as that would come twice.
    fn let_go_of_blocked(&mut self, partition: &TopicPartition, offset: i64) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let mine = || self.handed.values().filter(|handed| handed.partition == *partition);
        let rest = |handed: &Handed| OffsetRange { start: handed.range.start.max(offset), end: handed.range.end };
        let all: usize = mine().map(|handed| handed.batch.payload.positions_in(rest(handed)).len()).sum();
        if feed.with_writer > 0 || feed.watermark.has_islands() || feed.refused.left() != all {
            return;
        }
        feed.rewind_to(offset);
        feed.blocked = true;
        self.forget_handed(partition);
        self.leaving.remove(partition);
        self.params.progress.raise(self.params.target, partition, offset);
    }

    fn dead_letter(&mut self, partition: &TopicPartition, diversion: Diversion, ctx: &mut Context<Self>) {
        if !self.may_act() {
            return;
        }
        let (Some(letters), Some(handed)) = (&self.letters, self.handed.get(&diversion.ticket)) else { return };
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        let batch = match dead_letters(&self.params.story, &handed.batch, &diversion.positions, &diversion.failure) {
            Ok(batch) => batch,
            Err(malformed) => return self.stuck(partition, &diversion, &format!("no dead letter: {malformed}"), ctx),
        };
        self.tickets += 1;
        letters.do_send(DeadLetter { letter: self.tickets, batch, meant_for: feed.topic.clone() });
        feed.diverting = Some(Diversion { letter: self.tickets, ..diversion });
    }

    /// What became of dead letters.
    pub(super) fn dead_lettered(&mut self, answer: DeadLettered, ctx: &mut Context<Self>) {
        let Some(feed) = self.feeds.get_mut(&answer.partition) else { return };
        let Some(diversion) = feed.diverting.take_if(|diversion| diversion.letter == answer.letter) else { return };
        match answer.outcome {
            Ok(topic) => self.settle(&answer.partition, &diversion, GivenUp::DeadLettered, Some(&topic), ctx),
            Err(fault) => self.stuck(&answer.partition, &diversion, &format!("no dead letter: {fault}"), ctx),
        }
    }

    /// Where nothing else helps, the partition is blocked.
    fn stuck(&mut self, partition: &TopicPartition, diversion: &Diversion, why: &str, ctx: &mut Context<Self>) {
        let error = format!("{}; {why}", diversion.failure.error);
        self.block(partition, &Failure { error, ..diversion.failure.clone() }, ctx);
    }

    /// Writes the next envelope in a record's place: one at a time, as together they could be too large again.
    fn keep(&mut self, partition: &TopicPartition, diversion: Diversion, ctx: &mut Context<Self>) {
        if !self.may_act() {
            return;
        }
        let (Some(handed), Some(feed)) = (self.handed.get(&diversion.ticket), self.feeds.get_mut(partition)) else {
            return;
        };
        let records = match handed.batch.payload.records() {
            Ok(records) => records,
            Err(malformed) => return self.stuck(partition, &diversion, &format!("no envelope: {malformed}"), ctx),
        };
        // one record at a time: their envelopes may belong into different partitions
        let Some(position) = diversion.positions.first().copied() else { return };
        let Some(record) = records.get(position as usize) else { return };
        let place = feed.topic.partitioning.place(partition.partition, record.key, feed.topic.partitions);
        let cut = (diversion.written + 1, diversion.parts);
        let batch = envelope(&self.params.story, &handed.batch, &record, &diversion.failure, cut, place);
        drop(records);
        let range = batch.range;
        let topic = Arc::new(TargetTopic { partitioning: Partitioning::Keep, ..(*feed.topic).clone() });
        let Some(writer) = &self.writer else { return };
        self.params.pacer.took_more(now(), batch.payload.data_bytes());
        self.tickets += 1;
        feed.with_writer += 1;
        self.with_writer.tickets += 1;
        feed.diverting = Some(Diversion { positions: vec![position], ..diversion });
        self.envelopes.insert(self.tickets, partition.clone());
        let write =
            Write { ticket: self.tickets, batch: Arc::new(batch), part: Part::In(range), topic, heard: self.heard };
        writer.write(write);
    }

    /// The writer has done with an envelope.
    pub(super) fn enveloped(&mut self, partition: &TopicPartition, refusals: &[Refusal], ctx: &mut Context<Self>) {
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        feed.with_writer -= 1;
        self.with_writer.tickets -= 1;
        let Some(diversion) = feed.diverting.take() else { return };
        let written = diversion.written + 1;
        match worst(refusals) {
            None if written < diversion.parts => self.keep(partition, Diversion { written, ..diversion }, ctx),
            None => {
                let topic = feed.topic.name.clone();
                self.settle(partition, &diversion, GivenUp::Kept, Some(&topic), ctx);
            }
            // the first part is the largest, so no part was written before
            Some(fault)
                if fault.class == FaultClass::Record && diversion.written == 0 && diversion.parts < MOST_PARTS =>
            {
                self.keep(partition, Diversion { parts: diversion.parts * 2, ..diversion }, ctx);
            }
            Some(fault) => self.stuck(partition, &diversion, &format!("no envelope: {fault}"), ctx),
        }
        self.finish_release(partition);
        self.finish_drain();
    }

    /// Records need no further attempt: they have gone elsewhere, and the watermark may pass them.
    fn settle(
        &mut self,
        partition: &TopicPartition,
        diversion: &Diversion,
        how: GivenUp,
        topic: Option<&str>,
        ctx: &mut Context<Self>,
    ) {
        let Diversion { ticket, positions, failure, .. } = diversion;
        let (Some(handed), Some(feed)) = (self.handed.get_mut(ticket), self.feeds.get_mut(partition)) else { return };
        let payload = &handed.batch.payload;
        let offsets: Vec<i64> = positions.iter().filter_map(|position| payload.offset_at(*position)).collect();
        let data = |offset: &i64| payload.volume_in(OffsetRange { start: *offset, end: offset + 1 }).1;
        handed.diverted.0 += offsets.len() as u64;
        handed.diverted.1 += offsets.iter().map(data).sum::<u64>();
        feed.retry_at = None;
        let done = feed.refused.settle(*ticket, positions.len());
        let stats = &self.params.progress.targets[self.params.target];
        stats.gave_up(&partition.topic, how, offsets.len() as u64);
        let how = how.name();
        let (class, attempts, reason) = (failure.class.name(), failure.attempts, &failure.error);
        tracing::warn!(route = %self.params.story.route, target = %self.name(), %partition, offset = offsets.first(),
            records = offsets.len(), class, attempts, how, topic, %reason, "given up");
        self.taken(partition);
        if done {
            self.acknowledged(*ticket);
        }
        self.go_on(partition, ctx);
    }

    /// The target has taken something of a partition: nothing of it is held any more, until the next refusal.
    pub(super) fn taken(&mut self, partition: &TopicPartition) {
        // the attempts at what is still refused go on counting
        let refused = self.oldest_refused(partition).map(|(_, offset)| offset);
        let Some(feed) = self.feeds.get_mut(partition) else { return };
        if feed.refused_before {
            feed.refused_before = false;
            feed.retry_at = None;
            let below = refused.unwrap_or(feed.watermark.next());
            self.params.retries.forget_records(self.params.target, partition, below);
            self.params.status.change_target(self.params.target, |facts| {
                facts.held.remove(partition);
                facts.blocked.remove(partition);
            });
        }
    }
}

/// What has to be mended first.
fn worst(refusals: &[Refusal]) -> Option<Fault> {
    let rank = |refusal: &&Refusal| match refusal.fault.class {
        FaultClass::Config => 0,
        FaultClass::System | FaultClass::Overrun | FaultClass::Crash => 1,
        FaultClass::Record => 2,
    };
    refusals.iter().min_by_key(rank).map(|refusal| refusal.fault.clone())
}

pub(super) fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
