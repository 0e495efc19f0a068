//! A target's place in its route: prepared, running, or waiting to be tried again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use actix::{ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;

use super::cast::Cast;
use super::children::is_escalated;
use super::clock::now;
use super::lasting::COMMIT_LONGEST;
use super::life::Rounds;
use super::messages::{Child, ChildGone, Drain, TargetReady};
use super::ownership::Ownership;
use super::preparation::Topics;
use super::progress::{Noted, Progress};
use super::route::{Index, Route};
use super::target_producer::TargetProducer;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::gap::Gap;
use crate::domain::retry::CHECK;
use crate::domain::state::{TargetFacts, Trouble};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::group::Group;

/// A target's actors, its clients, and what keeps it from being written.
#[allow(clippy::struct_excessive_bools)] // each says one thing, and they are independent
#[derive(Default)]
pub(super) struct TargetSlot {
    /// Its watermarks on the source; once it was prepared, and where progress is kept.
    pub(super) group: Option<Arc<Group>>,
    /// When topics that were refused were looked at last.
    pub(super) looked: Option<Duration>,
    pub(super) cast: Option<Cast>,
    pub(super) generation: u64,
    /// Whether its preparation is under way, or waits for its next attempt.
    pub(super) busy: bool,
    /// Withdraws the preparation that is under way.
    pub(super) withdrawn: Arc<AtomicBool>,
    pub(super) prepared_once: bool,
    /// Partitions that are written.
    pub(super) written: HashSet<TopicPartition>,
    /// Those of them that it is to let go of, and how long after that it is made ready for them anew.
    pub(super) leaving: HashMap<TopicPartition, Duration>,
    pub(super) refused: BTreeMap<String, Fault>,
    /// Partitions that can't be read for this target until somebody changes something.
    pub(super) gaps: BTreeMap<TopicPartition, Fault>,
    /// Gaps that were told, and are there still.
    pub(super) told: BTreeMap<TopicPartition, Gap>,
    pub(super) fault: Option<Fault>,
    committing: bool,
    /// Its actors are gone, and its writer is being closed.
    pub(super) closing: bool,
    /// Whether somebody has paused it, or it is none any more.
    pub(super) paused: bool,
    /// Whether it is none of the route's any more.
    pub(super) retired: bool,
    /// How often what was under way to make it ready was given up.
    pub(super) expected: u64,
    /// Whether what its writer has is being finished, and then its actors end.
    pub(super) finishing: bool,
    drained: bool,
}

impl TargetSlot {
    pub(super) fn new(paused: bool, retired: bool) -> Self {
        Self { paused: paused || retired, retired, ..Self::default() }
    }

    /// What is under way to make it ready, or waits for its next attempt, is of no interest any more.
    pub(super) fn expect_nothing(&mut self) {
        self.expected += 1;
        self.withdrawn.store(true, Relaxed);
        self.busy = self.closing;
    }

    pub(super) fn producer(&self) -> Option<&Addr<TargetProducer>> {
        self.cast.as_ref().map(|cast| cast.producer.addr())
    }

    pub(super) fn is_running(&self) -> bool {
        self.cast.is_some()
    }

    /// Why this target will not be written until somebody changes something.
    pub(super) fn hopeless(&self) -> Option<&Fault> {
        self.fault.as_ref().filter(|fault| fault.class == FaultClass::Config && self.cast.is_none())
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &Fault> {
        self.refused.values().chain(self.gaps.values())
    }

    pub(super) fn refuses(&self, partition: &TopicPartition) -> bool {
        self.refused.contains_key(&*partition.topic) || self.gaps.contains_key(partition)
    }

    /// The first of its actors that hangs, and which life it is in.
    pub(super) fn hung(&self, rounds: Rounds) -> Option<(&'static str, u64)> {
        let cast = self.cast.as_ref()?;
        let hung = [
            ("target", cast.producer.hangs(rounds)),
            ("catch-up", cast.catch_up.hangs(rounds)),
            ("dead-letters", cast.letters.hangs(rounds)),
        ];
        hung.into_iter().find(|(_, hangs)| *hangs).map(|(actor, _)| (actor, self.generation))
    }

    pub(super) fn drain(&mut self) {
        match &self.cast {
            Some(cast) => {
                // a life that was paused has said so, too
                self.drained = false;
                cast.catch_up.addr().do_send(Drain);
                cast.producer.addr().do_send(Drain);
            }
            None => self.drained = true,
        }
    }

    /// A word of an earlier life changes nothing.
    pub(super) fn drained(&mut self, generation: u64) {
        self.drained |= generation == self.generation;
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// A partition is not copied to it here any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.written.remove(partition);
        self.leaving.remove(partition);
        self.gaps.remove(partition);
        self.withdrawn.store(true, Relaxed);
    }

    /// Ends the life of its actors, on purpose; their writer is still to be closed.
    pub(super) fn end_life(&mut self) -> Option<Cast> {
        let cast = self.cast.take()?;
        self.written.clear();
        self.leaving.clear();
        (self.busy, self.closing) = (true, true);
        (self.finishing, self.drained) = (false, false);
        Some(cast)
    }

    /// Whether it has no actors, and their writer may still be at work.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether a commit is under way.
    pub(super) fn is_committing(&self) -> bool {
        self.committing
    }

    /// Its watermarks on the source.
    pub(super) fn group(&self) -> Option<Arc<Group>> {
        self.group.clone()
    }

    /// Its watermarks' client: closing it blocks.
    pub(super) fn take_for_close(&mut self) -> Option<Arc<Group>> {
        self.group.take()
    }

    /// Whether what was refused, or stands at a gap, was looked at a moment ago.
    pub(super) fn rests(&self) -> bool {
        self.looked.is_some_and(|at| now().saturating_sub(at) < CHECK)
    }

    /// The topics of which not all is written that is copied here, with what is copied of them. Those that were refused are
    /// looked at again now and then.
    pub(super) fn to_prepare(&self, topics: &Topics, ownership: &Ownership) -> (Topics, Vec<TopicPartition>) {
        let stopped = |name: &str| self.refused.contains_key(name) || self.gaps.keys().any(|gap| *gap.topic == *name);
        let rests = self.rests();
        let mut owned = ownership.of(topics);
        owned.retain(|partition| !self.leaving.contains_key(partition));
        let missing: HashSet<Arc<str>> = owned
            .iter()
            .filter(|partition| !self.written.contains(*partition))
            .filter(|partition| !(rests && stopped(&partition.topic)))
            .map(|partition| partition.topic.clone())
            .collect();
        owned.retain(|partition| missing.contains(&partition.topic));
        let topics = topics.iter().filter(|(name, _)| missing.contains(name.as_str()));
        (topics.map(|(name, partitions)| (name.clone(), *partitions)).collect(), owned)
    }
}

impl Route {
    pub(super) fn tell_refused(&self, index: Index) {
        let slot = &self.targets[index];
        let topics = slot.refused.iter().map(|(topic, fault)| (topic.clone(), fault.reason.clone()));
        let gaps = slot.gaps.iter().map(|(partition, fault)| (partition.to_string(), fault.reason.clone()));
        let refused = topics.chain(gaps).collect();
        let alive = slot.cast.is_some();
        self.params.lasting.status.change_target(index, |facts| {
            facts.refused = refused;
            facts.alive = alive;
        });
    }

    /// A partition can't be read for a target.
    pub(super) fn gap(&mut self, index: Index, partition: TopicPartition, fault: Fault) {
        let known = &mut self.targets[index].gaps;
        if known.get(&partition) != Some(&fault) {
            let (route, target) = (&self.params.plan.name, self.params.plan.targets[index].name());
            tracing::error!(%route, target, %partition, "this partition stops: {fault}");
            known.insert(partition, fault);
        }
        self.tell_refused(index);
    }

    /// It can again.
    pub(super) fn no_gap(&mut self, index: Index, partition: &TopicPartition) {
        // one that stands at a gap is not read
        let slot = &mut self.targets[index];
        if !slot.told.contains_key(partition) && slot.gaps.remove(partition).is_some() {
            self.tell_refused(index);
        }
    }

    /// A target's actor is gone: all go, the writer is closed, and a new generation starts from the watermarks.
    pub(super) fn target_gone(&mut self, index: Index, gone: ChildGone, ctx: &mut Context<Self>) {
        if self.targets[index].generation != gone.generation {
            return;
        }
        // the others go with it: no late word of this life comes after this
        let Some(cast) = self.targets[index].end_life() else { return };
        if let Some(router) = &self.router {
            router.addr().do_send(TargetReady { target: index, producer: None });
        }
        let (attempt, delay) = self.made_anew(&gone);
        let slot = &mut self.targets[index];
        let group = if is_escalated(attempt) { slot.group.take() } else { None };
        let stats = &self.params.lasting.progress.targets[index];
        stats.tally.restarts.fetch_add(1, Relaxed);
        let (class, reason) = match gone.fault {
            Some(fault) => (fault.class, fault.reason),
            None => (FaultClass::Crash, format!("its {} {}", gone.actor, gone.end.name())),
        };
        let trouble = Trouble { class, attempt, next_attempt_at: Some(now() + delay), reason };
        self.params.lasting.status.change_target(index, |facts| {
            *facts = TargetFacts { trouble: Some(trouble), ..facts.forgotten() };
        });
        let (writer, lasting) = (cast.writer.clone(), self.params.lasting.clone());
        drop(cast);
        // two writers of one target would break the order: the old one has to be closed first
        let closing = spawn_blocking(move || {
            lasting.close(&writer);
            drop(group);
        });
        ctx.spawn(closing.into_actor(self).map(move |_, this, ctx| {
            this.targets[index].closing = false;
            this.has_released_all(index, ctx);
            if this.targets[index].retired {
                return this.part_with(index, ctx);
            }
            this.prepare_later(index, delay, false, ctx);
        }));
    }

    /// A target's writer has had its time: what is with it is taken back, and a new one takes its place.
    pub(super) fn renew_writer(&mut self, index: Index, generation: u64, ctx: &mut Context<Self>) {
        let slot = &self.targets[index];
        let Some(cast) = slot.cast.as_ref().filter(|_| slot.generation == generation) else { return };
        let (writer, lasting) = (cast.writer.clone(), self.params.lasting.clone());
        let closing = spawn_blocking(move || lasting.close(&writer));
        ctx.spawn(closing.into_actor(self).map(move |_, this, ctx| {
            if this.targets[index].generation != generation || this.stopping.is_some() {
                return;
            }
            let Some(producer) = this.targets[index].producer().cloned() else { return };
            match this.open_writer(index, &producer) {
                Ok(writer) => {
                    if let Some(cast) = &mut this.targets[index].cast {
                        cast.writer = writer;
                        cast.equip();
                    }
                }
                Err(fault) => {
                    let (child, end) = (Child::Target(index), super::messages::End::Stopped);
                    ctx.notify(ChildGone { child, actor: "target", generation, end, fault: Some(fault) });
                }
            }
        }));
    }

    /// Commits the watermarks of a target that have risen, or all of them. `check`: and looks whether they are still there: a process
    /// that was frozen in the very moment between its last look at its lease and the request may have put them back.
    pub(super) fn commit_target(&mut self, index: Index, all: bool, check: bool, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        let Some(group) = slot.group.clone() else { return };
        let mut offsets = self.params.lasting.progress.to_commit(index, all);
        // what is to be given back is committed when it is through
        offsets.retain(|(partition, ..)| self.ownership.owns(partition));
        let mut checked = if check { self.params.lasting.progress.all_committed(index) } else { Vec::new() };
        checked.retain(|partition| self.ownership.owns(partition));
        if slot.committing || (offsets.is_empty() && !check && !all) {
            return;
        }
        slot.committing = true;
        let (lasting, route, plan) = (self.params.lasting.clone(), self.name().to_owned(), self.params.plan.clone());
        let work = spawn_blocking(move || {
            if all {
                offsets.extend(still_held(&lasting.progress, index, &group)?);
            }
            lasting.commit(index, &group, &offsets, COMMIT_LONGEST)?;
            if check && lasting.may_act() {
                let found = group.committed(&checked)?;
                for (partition, committed, found) in lasting.progress.put_back(index, &found) {
                    tracing::warn!(%route, target = plan.targets[index].name(), %partition, committed, found,
                        "a watermark was put back by somebody else, and is committed again");
                }
            }
            Ok::<(), Fault>(())
        });
        ctx.spawn(work.into_actor(self).map(move |result, this, _| {
            this.targets[index].committing = false;
            if let Ok(Err(fault)) = result {
                tracing::warn!(route = %this.name(), "watermarks are not committed: {fault}");
            }
        }));
    }
}

/// What is committed for partitions that stand at a gap, where nobody has set anything else: it would expire as all others.
fn still_held(progress: &Progress, index: Index, group: &Group) -> Result<Vec<Noted>, Fault> {
    let mut held = progress.held(index);
    if !held.is_empty() {
        let partitions: Vec<TopicPartition> = held.iter().map(|(partition, ..)| partition.clone()).collect();
        let found = group.committed_with_notes(&partitions)?;
        held.retain(|(partition, at, note)| {
            found.get(partition).is_some_and(|found| found.0 == *at && found.1 == *note)
        });
    }
    Ok(held)
}
