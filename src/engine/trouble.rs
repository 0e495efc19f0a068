//! What keeps a target from taking anything at all: a broker that is down or silent, a password that is wrong, limits.
//!
//! The client tries by itself, all the time; the policy counts. An attempt has failed when its time is over and nothing
//! was acknowledged. When the policy allows no further one, what is with the writer is taken back and given up.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::Context;

use super::clock::now;
use super::feed::{Feed, Mode};
use super::letters::Failure;
use super::messages::Renew;
use super::pacer::Why;
use super::retries::What;
use super::target_producer::TargetProducer;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::retry::{BLOCKED, Next, OnExhausted};
use crate::domain::state::Trouble;
use crate::domain::topic_partition::TopicPartition;

/// After this long without an acknowledgement, a target that has work is in trouble.
const SILENT: Duration = Duration::from_secs(5);
/// A partition that is not acknowledged for this long, while others of the target are, is in trouble, too.
const QUIET: Duration = Duration::from_secs(15);
/// A target that waited this much of a second for its pace is throttled ...
const SLOWED: Duration = Duration::from_millis(100);
/// ... until it has not for so many looks.
const CALM: u32 = 3;

/// What a target's silence is about.
#[derive(Debug, Default)]
pub(super) struct Silence {
    answered: u64,
    since: Option<Duration>,
    /// What the client said of it.
    fault: Option<Fault>,
    /// When the present attempt is over.
    due: Option<Duration>,
    /// What is to be taken back, and why; and how much was answered by then.
    verdict: Option<Failure>,
    given_up_at: u64,
    /// Why it was slowed down since the last look, and how much.
    slowed: Option<Why>,
    slowed_for: Duration,
    calm: u32,
}

impl Silence {
    /// Whether what is with the writer has been given up, and a new writer is on its way.
    pub(super) fn is_given_up(&self) -> bool {
        self.verdict.is_some()
    }

    /// Notes why the pace keeps something from going.
    pub(super) fn slowed_by(&mut self, why: Why) {
        self.slowed = Some(why);
    }
}

impl TargetProducer {
    /// The client is in trouble, and goes on trying.
    pub(super) fn troubled(&mut self, fault: Fault) {
        // what the client says of brokers that nothing is to be written to concerns nobody
        if self.with_writer.tickets > 0 {
            // "all brokers are down" follows every cause, and explains none
            if self.silence.fault.is_none() || !fault.reason.contains("brokers are down") {
                self.silence.fault = Some(fault);
            }
            self.look();
        }
    }

    /// Counts what was waited for the pace.
    pub(super) fn count_slowed(&mut self) {
        if let Some((slowed, why)) = self.line.slowed(now()) {
            self.silence.slowed_for += slowed;
            self.stats().tally.throttled.count(why.brake(), slowed);
        }
    }

    /// Looks whether something was acknowledged, and whether the pace has slowed the target down.
    pub(super) fn look(&mut self) {
        let answered = self.answered;
        let (now, silence) = (now(), &mut self.silence);
        if answered != silence.answered || self.with_writer.tickets == 0 {
            let before = silence.due.take().is_some();
            (silence.answered, silence.since, silence.fault) = (answered, None, None);
            self.params.retries.works(&What::Write(self.params.target));
            if before {
                self.params.status.change_target(self.params.target, |facts| facts.trouble = None);
            }
        } else if silence.verdict.is_none() {
            self.silent(now);
        }
        self.look_for_quiet_partitions(now);
        self.free_the_leaving(now);
        self.look_at_pace(now);
        if let Some(writer) = &self.writer {
            self.params.pacer.tick(now, writer.wire_bytes());
            self.stats().tally.timed_out.store(writer.timed_out(), Relaxed);
        }
    }

    fn silent(&mut self, now: Duration) {
        let silence = &mut self.silence;
        let since = *silence.since.get_or_insert(now);
        let throttled = self.params.pacer.is_throttled(now);
        let fault = match silence.fault.clone() {
            // a broker that throttles answers late: what looks like a failure is its way to say "too fast"
            Some(fault) if throttled && fault.class == FaultClass::System => {
                Some(Fault::new(FaultClass::Overrun, fault.reason))
            }
            Some(fault) => Some(fault),
            None if throttled || now.saturating_sub(since) < SILENT => None,
            None => {
                let reason =
                    format!("cluster {}: no acknowledgement for {} s", self.params.plan.name(), SILENT.as_secs());
                Some(Fault::new(FaultClass::System, reason))
            }
        };
        if let Some(fault) = fault
            && silence.due.is_none_or(|due| due <= now)
        {
            self.attempt_failed(&fault, now);
        }
    }

    /// Partitions that have left wait for what is under way, of all of them. Where that is stuck for good, those that have
    /// nothing there go on by reads of their own.
    fn free_the_leaving(&mut self, now: Duration) {
        const REST: Duration = Duration::from_secs(60);
        let stuck = |feed: &Feed| feed.quiet_since.is_none_or(|since| now.saturating_sub(since) >= QUIET);
        let waits = self.leaving.iter().any(|tp| self.feeds.get(tp).is_some_and(|feed| feed.under_way == 0));
        if waits && self.feeds.values().filter(|feed| feed.with_writer > 0).all(stuck) {
            self.rests_until = self.rests_until.max(now + REST);
            self.ask_again();
        }
    }

    /// A broker of several may be down while the others answer: its partitions are quiet, and that is said.
    fn look_for_quiet_partitions(&mut self, now: Duration) {
        if self.silence.due.is_some() || self.params.pacer.is_throttled(now) {
            return; // all of the target is in trouble
        }
        let quiet = |feed: &Feed| feed.quiet_since.is_some_and(|since| now.saturating_sub(since) >= QUIET);
        for (partition, feed) in self.feeds.iter_mut().filter(|(_, feed)| !feed.refused_before && quiet(feed)) {
            feed.refused_before = true;
            let reason = format!("{partition}: no acknowledgement for {} s, while others are written", QUIET.as_secs());
            let trouble = Trouble { class: FaultClass::System, attempt: 1, next_attempt_at: None, reason };
            self.params.status.change_target(self.params.target, |facts| {
                facts.held.insert(partition.clone(), trouble);
            });
        }
    }

    fn attempt_failed(&mut self, fault: &Fault, now: Duration) {
        let what = What::Write(self.params.target);
        let (attempt, delay, reason) = match self.params.retries.failed(&what, fault.class) {
            Next::Again { attempt, delay } => (attempt, delay, fault.reason.clone()),
            Next::Exhausted { attempts } => {
                if self.params.plan.retry.of(fault.class).on_exhausted != OnExhausted::Block {
                    let error = fault.reason.clone();
                    return self.give_up(Failure { class: fault.class, error, attempts });
                }
                (attempts, BLOCKED, format!("{}; no attempt is left, but it goes on when it answers", fault.reason))
            }
        };
        self.silence.due = Some(now + delay);
        self.stats().tally.retries.count(fault.class);
        let trouble = Trouble { class: fault.class, attempt, next_attempt_at: Some(now + delay), reason };
        self.params.status.change_target(self.params.target, |facts| facts.trouble = Some(trouble));
    }

    /// What is with the writer has had its time. The route closes the writer, so that nothing of it can be written any
    /// more, and brings a new one.
    fn give_up(&mut self, failure: Failure) {
        let (target, generation) = (self.params.target, self.params.generation);
        tracing::warn!(route = %self.params.story.route, target = %self.name(), class = failure.class.name(),
            attempts = failure.attempts, reason = %failure.error, "the writer is replaced: its time is over");
        (self.silence.verdict, self.silence.given_up_at) = (Some(failure), self.answered);
        self.params.retries.forget(&What::Write(target));
        self.params.owner.renew.do_send(Renew { target, generation });
        self.finish_drain();
    }

    /// The old writer is closed: of each partition what was handed over first is given up, and the rest goes to the new one.
    pub(super) fn take_back(&mut self, ctx: &mut Context<Self>) {
        // what answered after all has not had its time
        let given_up_at = self.silence.given_up_at;
        let verdict = self.silence.verdict.take().filter(|_| self.answered == given_up_at);
        self.silence = Silence { answered: self.answered, ..Silence::default() };
        self.with_writer = super::hand_over::Window::new(self.params.share.capacity());
        self.envelopes.clear();
        for (ticket, handed) in &mut self.handed {
            let Some(feed) = self.feeds.get_mut(&handed.partition) else { continue };
            if !handed.refused {
                handed.refused = true;
                let positions = handed.batch.payload.positions_in(handed.range);
                feed.refused_before = true;
                feed.refused.held(*ticket, positions.filter_map(|position| u32::try_from(position).ok()).collect());
            }
        }
        let mut held: Vec<(TopicPartition, bool)> = Vec::new();
        let releasing: Vec<_> =
            self.feeds.iter().filter(|(_, feed)| feed.releasing.is_some()).map(|(tp, _)| tp.clone()).collect();
        for (partition, feed) in &mut self.feeds {
            let was_there = std::mem::take(&mut feed.with_writer) > 0;
            feed.quiet_since = None;
            feed.refused.stop_trying();
            // brokers do not know the new producer: what goes first goes alone, see `Feed::take`
            feed.acknowledged = None;
            if was_there {
                feed.refused.one_by_one();
            }
            // a dead letter goes its own way; an envelope was with the writer
            feed.diverting.take_if(|diversion| !diversion.is_letter());
            if !feed.refused.is_empty() && !feed.is_let_go() {
                feed.refused_before = true;
                held.push((partition.clone(), was_there && feed.diverting.is_none()));
            }
        }
        for (partition, was_there) in held {
            if self.feeds.get(&partition).is_some_and(|feed| feed.mode != Mode::Leaving) {
                self.leave(&partition);
            }
            match (&verdict, self.feeds.get(&partition).and_then(|feed| feed.refused.oldest())) {
                (Some(failure), Some((ticket, _))) if was_there => {
                    self.exhausted(&partition, ticket, failure.clone(), ctx);
                }
                _ => self.go_on(&partition, ctx),
            }
        }
        for partition in &releasing {
            self.finish_release(partition);
        }
        self.params.status.change_target(self.params.target, |facts| facts.trouble = None);
    }

    fn look_at_pace(&mut self, now: Duration) {
        self.count_slowed();
        let broker = self.params.pacer.is_throttled(now);
        let silence = &mut self.silence;
        let much = std::mem::take(&mut silence.slowed_for) >= SLOWED;
        let why = silence.slowed.take().filter(|_| much).or(broker.then_some(Why::Broker));
        let reason = why.map(|why| self.params.pacer.word(why));
        silence.calm = if reason.is_some() { 0 } else { silence.calm + 1 };
        let calm = silence.calm >= CALM;
        if reason.is_some() || calm {
            self.params.status.change_target(self.params.target, |facts| facts.throttled = reason);
        }
    }
}
