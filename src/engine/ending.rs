//! How a route ends: when everything is copied, when it is told to, or to be started again.

use std::collections::HashSet;
use std::time::Duration;

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;

use super::clock::now;
use super::messages::Seek;
use super::refusals::millis;
use super::route::{Route, RouteEnded, Then};
use super::target_slot::TargetSlot;
use crate::domain::fault::FaultClass;
use crate::domain::topic_partition::TopicPartition;

/// How long the last commit and the closing of the clients may take.
const CLOSING: Duration = Duration::from_secs(10);
/// How long a route that is to be started again waits for what is in flight.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a route stops.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    undone: Vec<String>,
    then: Then,
    closing: bool,
}

impl Route {
    /// Ends the route once every target has everything that it can have.
    pub(super) fn stop_if_caught_up(&mut self, ctx: &mut Context<Self>) {
        let mut undone: Vec<String> = self.broken.values().map(|fault| fault.reason.clone()).collect();
        if let Some(fault) = self.source_fault.as_ref().filter(|fault| fault.class == FaultClass::Config) {
            undone.push(fault.reason.clone());
            if !self.discovered {
                return self.stop(undone, Then::Nothing, ctx);
            }
        } else if !self.discovered {
            return;
        } else if self.topics.is_empty() {
            undone.push(format!("no topic of cluster {} matches", self.params.plan.source.alias));
        }
        for (index, slot) in self.targets.iter().enumerate().filter(|(_, slot)| !slot.retired) {
            if let Some(fault) = slot.hopeless() {
                undone.push(fault.reason.clone());
                continue;
            }
            if slot.paused {
                undone.push(format!("target {} is paused", self.params.plan.targets[index].name()));
                continue;
            }
            if !slot.is_running() {
                return;
            }
            undone.extend(slot.refused().map(|fault| fault.reason.clone()));
            // what waits until somebody changes something is not waited for
            let stuck = self.params.lasting.status.stuck(index);
            let counts =
                |tp: &TopicPartition| !self.broken.contains_key(tp) && !slot.refuses(tp) && !stuck.contains_key(tp);
            if self.source_fault.is_none() && !self.params.lasting.progress.reached(index, counts) {
                return;
            }
            let name = self.params.plan.targets[index].name();
            undone.extend(stuck.into_values().map(|reason| format!("target {name}: {reason}")));
        }
        undone.dedup();
        self.stop(undone, Then::Nothing, ctx);
    }

    /// Ends without a drain and without a commit, to be started again: it may not act any more.
    pub(super) fn end_at_once(&mut self, then: Then, ctx: &mut Context<Self>) {
        if self.stopping.is_none() {
            self.params.lasting.retire();
            self.stopping = Some(Stopping { undone: Vec::new(), then, closing: false });
            self.close(false, ctx);
        }
    }

    /// Stops reading, lets the targets finish, commits, closes.
    pub(super) fn stop(&mut self, undone: Vec<String>, then: Then, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping { undone, then, closing: false });
        self.params.lasting.status.change(|facts| facts.draining = true);
        for consumer in self.consumers.values() {
            consumer.addr().do_send(Seek(None));
        }
        for target in &mut self.targets {
            target.drain();
        }
        let longest = if then == Then::Nothing { self.params.drain } else { self.params.drain.min(AGAIN) };
        ctx.run_later(longest, |this, ctx| this.close(true, ctx));
        self.close_if_drained(ctx);
    }

    pub(super) fn close_if_drained(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() && self.targets.iter().all(TargetSlot::is_drained) {
            self.close(false, ctx);
        }
    }

    /// The last commit; then the writers are closed and the route is over.
    fn close(&mut self, late: bool, ctx: &mut Context<Self>) {
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| !stopping.closing) else { return };
        stopping.closing = true;
        if late && stopping.then == Then::Nothing {
            let seconds = self.params.drain.as_secs();
            stopping.undone.push(format!("the drain took longer than {seconds} s: what was in flight is copied again"));
        }
        let mut stopping = stopping.clone();
        let (route, lasting) = (self.name().to_owned(), self.params.lasting.clone());
        let targets: Vec<_> = self.targets.iter_mut().map(TargetSlot::take_for_close).collect();
        let source = self.source.take();
        let closing = stopping.clone();
        // What was lost to others is still known here, and they have gone on from there; what is on its way to them is not lost.
        let (ownership, recalled) = (self.ownership.clone(), self.recalls.keys().cloned().collect::<HashSet<_>>());
        // every client is closed there, too: that blocks
        let until = now() + CLOSING;
        let work = spawn_blocking(move || {
            lasting.close_writers();
            for (target, group) in targets.into_iter().enumerate() {
                let mut offsets = lasting.progress.to_commit(target, false);
                offsets.retain(|(partition, ..)| ownership.owns(partition) || recalled.contains(partition));
                if let Some(group) = group
                    && let Err(fault) = lasting.commit(target, &group, &offsets, until.saturating_sub(now()))
                {
                    stopping.undone.push(format!("watermarks could not be committed: {fault}"));
                }
            }
            drop(source);
            if stopping.then == Then::Nothing {
                lasting.leave();
            }
            stopping
        });
        // a writer takes as long as it takes to be closed
        let work = tokio::time::timeout(CLOSING, work);
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let Stopping { undone, then, .. } = match result {
                Ok(Ok(stopping)) => stopping,
                Ok(Err(_)) | Err(_) => {
                    let mut late = closing.clone();
                    late.undone.push("the last watermarks could not be committed in time".to_owned());
                    late
                }
            };
            if then == Then::Nothing {
                this.tell_totals();
                this.params.lasting.status.change(|facts| facts.ended = true);
            }
            let generation = this.params.generation;
            this.params.owner.do_send(RouteEnded { route: route.clone(), undone, then, generation });
            ctx.stop();
        }));
    }

    /// What each target came to, for those who read the log.
    fn tell_totals(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let read = &self.params.lasting.progress.read;
        let gaps = self.params.lasting.progress.gaps();
        let source_throttled_ms = self.reader.as_ref().map_or(0, |reader| reader.throttled_ms());
        let fallbacks = &self.params.lasting.progress.fallbacks;
        tracing::info!(route = %self.name(), records = read.records(), bytes = read.bytes(), source_throttled_ms, gaps,
            %fallbacks, "source closed");
        for (index, plan) in self.params.plan.seated() {
            let Some(stats) = self.params.lasting.progress.targets.get(index) else { continue };
            let (written, tally) = (&stats.written, &stats.tally);
            tracing::info!(
                route = %self.name(),
                target = plan.name(),
                records = written.records(),
                bytes = written.bytes(),
                refused = tally.refused.load(Relaxed),
                retries = tally.retries.total(),
                dead_lettered = tally.dead_lettered.load(Relaxed),
                dropped = tally.dropped.load(Relaxed),
                kept = tally.kept.load(Relaxed),
                throttled_ms = millis(tally.throttled.total()),
                detached = tally.detached.load(Relaxed),
                restarts = tally.restarts.load(Relaxed),
                timed_out = tally.timed_out.load(Relaxed),
                gaps = tally.gaps.load(Relaxed),
                "target closed"
            );
        }
    }
}
