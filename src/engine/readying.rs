//! How a target becomes ready for what it does not write yet: prepared on a thread that may block, tried again as its policy says,
//! and given its partitions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::task::spawn_blocking;

use super::clock::now;
use super::gaps::Resume;
use super::messages::Adopt;
use super::preparation::{Clients, Prepared, Ready, Request, Topics, prepare};
use super::retries::What;
use super::route::{Index, Route};
use super::view::{EventKind, Level};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::gap::{Gap, GapKind};
use crate::domain::state::Trouble;
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::Admin;
use crate::kafka::group::{Group, group_name};
use crate::plan::{RoutePlan, TargetPlan};

/// What was so when a preparation began.
struct Asked {
    /// Whether anybody still waits for it.
    expected: u64,
    /// The partitions that are prepared, and by which assignment they are copied here.
    assignments: HashMap<TopicPartition, Option<u64>>,
    /// Those that were written already.
    written: HashSet<TopicPartition>,
    /// The target's life, if it had one.
    life: Option<u64>,
}

/// The target's group, if that could be asked, the topics that were prepared, and what came of it.
type Answer = Result<(Option<Arc<Group>>, Topics, Result<Prepared, Fault>), Fault>;

impl Route {
    /// Makes a target ready for what it does not write yet, on a thread that may block.
    pub(super) fn prepare_target(&mut self, index: Index, ctx: &mut Context<Self>) {
        let Some(source) = self.source.clone() else { return };
        let slot = &mut self.targets[index];
        let (topics, partitions) = slot.to_prepare(&self.topics, &self.ownership);
        if slot.busy
            || slot.paused
            || slot.finishing
            || self.stopping.is_some()
            || (topics.is_empty() && slot.cast.is_some())
        {
            return;
        }
        slot.busy = true;
        let asked = Asked {
            expected: slot.expected,
            assignments: partitions.iter().map(|tp| (tp.clone(), self.ownership.assignment(tp))).collect(),
            written: slot.written.clone(),
            life: slot.cast.as_ref().map(|_| slot.generation),
        };
        // a partition that is waited for must not put off the look at others
        if !slot.rests() {
            slot.looked = Some(now());
        }
        let group = slot.group.clone();
        let request = self.request(index, topics, partitions);
        let work = spawn_blocking(move || {
            // a client that has nothing to do would still knock at a cluster that does not let it in
            let clients = connect(&request.route, &request.target, source, group)?;
            let prepared = prepare(&clients, &request);
            Ok((clients.group, request.topics, prepared))
        });
        ctx.spawn(work.into_actor(self).map(move |result, this, ctx| {
            let result = result.unwrap_or_else(|error| Err(Fault::new(FaultClass::Crash, error.to_string())));
            this.prepared(index, &asked, result, ctx);
        }));
    }

    fn request(&mut self, index: Index, topics: Topics, partitions: Vec<TopicPartition>) -> Request {
        let (slot, progress) = (&mut self.targets[index], &self.params.lasting.progress);
        let route = self.params.plan.clone();
        let withdrawn = Arc::<AtomicBool>::default();
        slot.withdrawn = withdrawn.clone();
        Request {
            target: route.targets[index].clone(),
            route,
            topics,
            known: each(&partitions, |tp| progress.known(index, tp)),
            former: each(&partitions, |tp| progress.former(index, tp)),
            running: slot.written.clone(),
            all: self.topics.clone(),
            first: !slot.prepared_once,
            leads: self.ownership.leads(&self.topics),
            withdrawn,
            lasting: self.params.lasting.clone(),
            index,
            partitions,
        }
    }

    /// What came of a preparation.
    fn prepared(&mut self, index: Index, asked: &Asked, result: Answer, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        if slot.expected != asked.expected {
            // it has another plan by now; and a client takes its time to close
            drop(spawn_blocking(move || drop(result)));
            return;
        }
        if slot.cast.as_ref().map(|_| slot.generation) != asked.life {
            return; // its actors died meanwhile: what follows from that is under way
        }
        if slot.paused {
            // begun before it was paused
            slot.busy = false;
            slot.group = result.ok().and_then(|(group, ..)| group).or_else(|| slot.group.take());
            return;
        }
        let outcome = result.and_then(|(group, topics, prepared)| {
            slot.group = group;
            prepared.map(|prepared| (topics, prepared))
        });
        let outcome = outcome.and_then(|(topics, mut prepared)| {
            // one that was taken away meanwhile may have gone on elsewhere, even if it is back
            let is_ours = |tp: &TopicPartition| {
                let is_held = asked.assignments.get(tp) == Some(&self.ownership.assignment(tp));
                is_held && self.topics.contains_key(&*tp.topic)
            };
            // nor is one of interest that was written then and has been let go of since: it is looked at anew
            let slot = &self.targets[index];
            let is_let_go = |tp: &TopicPartition| {
                slot.leaving.contains_key(tp) || (asked.written.contains(tp) && !slot.written.contains(tp))
            };
            prepared.partitions.retain(|ready| is_ours(&ready.partition) && !is_let_go(&ready.partition));
            prepared.stopped.retain(|(partition, ..)| is_ours(partition) && !is_let_go(partition));
            prepared.silent.retain(|partition, _| is_ours(partition));
            let silent = prepared.silent.pop_first().map(|(_, fault)| fault);
            self.adopt(index, &topics, prepared, silent.is_some(), ctx)?;
            Ok(silent)
        });
        match outcome {
            // the others have begun
            Ok(Some(silent)) => self.not_all_ready(index, silent, ctx),
            Ok(None) => {
                self.targets[index].busy = false;
                self.params.lasting.retries.works(&What::Prepare(index));
                // given meanwhile
                let was_asked = |tp: &TopicPartition| asked.assignments.contains_key(tp) || asked.written.contains(tp);
                if !self.ownership.of(&self.topics).iter().all(was_asked) {
                    self.prepare_target(index, ctx);
                }
            }
            // what is left of it is looked at anew
            Err(_) if self.targets[index].withdrawn.load(Relaxed) => {
                self.targets[index].busy = false;
                self.prepare_target(index, ctx);
            }
            Err(fault) => self.not_ready(index, fault, ctx),
        }
    }

    /// The target could not be prepared: it is tried again as its policy says, or as soon as its cluster answers.
    fn not_ready(&mut self, index: Index, fault: Fault, ctx: &mut Context<Self>) {
        let waits_for_cluster = fault.class == FaultClass::System;
        let delay = self.note_unready(index, fault);
        self.prepare_later(index, delay, waits_for_cluster, ctx);
    }

    /// It was prepared but for a partition of which the source says nothing: that the target answers is no reason to look again.
    fn not_all_ready(&mut self, index: Index, fault: Fault, ctx: &mut Context<Self>) {
        /// The source is asked for its topics as often, and a leader that is back had better not wait.
        const LONGEST: Duration = Duration::from_secs(10);
        let delay = self.note_unready(index, fault);
        self.prepare_later(index, delay.min(LONGEST), false, ctx);
    }

    fn note_unready(&mut self, index: Index, fault: Fault) -> Duration {
        let (attempt, delay) = self.params.lasting.retries.failed_again(&What::Prepare(index), fault.class);
        let reason = format!("it is not ready: {fault}");
        let next_attempt_at = Some(now() + delay);
        let trouble = Trouble { class: fault.class, attempt, next_attempt_at, reason };
        self.params.lasting.progress.targets[index].tally.retries.count(fault.class);
        self.params.lasting.status.change_target(index, |facts| facts.trouble = Some(trouble));
        self.targets[index].fault = Some(fault);
        delay
    }

    /// Prepares a target after a delay; or, if that is what it waits for, as soon as its cluster answers.
    pub(super) fn prepare_later(&mut self, index: Index, delay: Duration, or_answer: bool, ctx: &mut Context<Self>) {
        /// An attempt that fails at once must not be followed by the next at once, as long as the cluster answers.
        const LEAST: Duration = Duration::from_secs(2);
        self.targets[index].busy = true;
        let expected = self.targets[index].expected;
        let early = delay.min(LEAST);
        ctx.run_later(early, move |this, ctx| {
            if this.targets[index].expected != expected {
                return;
            }
            let rest = delay.saturating_sub(early);
            if !or_answer || rest.is_zero() {
                return Self::prepare_in(index, expected, rest, ctx);
            }
            let cluster = this.params.plan.targets[index].cluster.clone();
            let waiting = spawn_blocking(move || Admin::wait_until_it_answers(&cluster, rest));
            let began = now();
            ctx.spawn(waiting.into_actor(this).map(move |answers, _, ctx| {
                let answers = answers.unwrap_or(false);
                let left = if answers { Duration::ZERO } else { rest.saturating_sub(now().saturating_sub(began)) };
                Self::prepare_in(index, expected, left, ctx);
            }));
        });
    }

    fn prepare_in(index: Index, expected: u64, after: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(after, move |this, ctx| {
            if this.targets[index].expected == expected {
                this.targets[index].busy = false;
                this.prepare_target(index, ctx);
            }
        });
    }

    /// Gives a target its partitions; starts its actors if it has none. `is_part`: whether it waits for others.
    fn adopt(
        &mut self,
        index: Index,
        topics: &Topics,
        prepared: Prepared,
        is_part: bool,
        ctx: &Context<Self>,
    ) -> Result<(), Fault> {
        if self.stopping.is_some() {
            return Ok(());
        }
        let was_not_ready = self.targets[index].cast.is_none() || self.targets[index].fault.is_some();
        if self.targets[index].cast.is_none() {
            self.start_target(index, ctx)?;
        }
        if was_not_ready && !is_part {
            self.params.lasting.status.change_target(index, |facts| facts.trouble = None);
        }
        let name = self.params.plan.targets[index].name();
        let slot = &mut self.targets[index];
        // before the group has given it anything, nothing of it was begun
        slot.prepared_once |= !topics.is_empty();
        slot.fault = None;
        let before = std::mem::take(&mut slot.refused);
        slot.refused.extend(
            before.iter().filter(|(topic, _)| !topics.contains_key(*topic)).map(|(t, f)| (t.clone(), f.clone())),
        );
        for (topic, fault) in prepared.refused {
            if before.get(&topic) != Some(&fault) {
                tracing::error!(route = %self.params.plan.name, target = name, topic, "not copied: {fault}");
            }
            slot.refused.insert(topic, fault);
        }
        for (partition, gap, resume) in prepared.stopped {
            self.stop_at_gap(index, &partition, gap, &resume);
        }
        for ready in prepared.partitions {
            self.begin(index, ready);
        }
        self.tell_refused(index);
        Ok(())
    }

    fn stop_at_gap(&mut self, index: Index, partition: &TopicPartition, gap: Gap, resume: &Resume) {
        let (plan, slot) = (&self.params.plan, &mut self.targets[index]);
        let name = plan.targets[index].name();
        slot.gaps.insert(partition.clone(), stopped_by(plan, name, partition, &gap));
        self.params.lasting.progress.hold(index, partition, resume.from, &resume.note, resume.in_group);
        if slot.told.insert(partition.clone(), gap) != Some(gap) {
            self.found_gap(index, partition, &gap);
        }
        self.is_looked_at(index, partition);
    }

    /// Has the target begin with a partition, behind its gap where it has one.
    fn begin(&mut self, index: Index, ready: Ready) {
        let Ready { partition, topic, from, note, skipped } = ready;
        if let Some((gap, end)) = &skipped {
            self.found_gap(index, &partition, gap);
            if gap.kind != GapKind::Trimmed {
                self.params.lasting.progress.lower_goal(&partition, *end);
            }
        }
        let slot = &mut self.targets[index];
        slot.gaps.remove(&partition);
        slot.told.remove(&partition);
        if slot.written.insert(partition.clone()) {
            self.is_looked_at(index, &partition);
        }
        if let Some(producer) = self.targets[index].producer() {
            producer.do_send(Adopt { partition, topic, from, note });
        }
    }

    /// Counts that the source does not have what a target needs, and says so, and what is done about it.
    fn found_gap(&self, index: Index, partition: &TopicPartition, gap: &Gap) {
        let (plan, lasting) = (&self.params.plan, &self.params.lasting);
        lasting.progress.count_gap(index, partition);
        let (route, target, on_gap) = (&plan.name, plan.targets[index].name(), plan.on_gap.name());
        let (topic, number, kind) = (&partition.topic, partition.partition, gap.kind.name());
        let (from, to, resume) = (gap.from, gap.to, gap.resume);
        tracing::error!(%route, target, %topic, partition = number, kind, from, to, resume, on_gap, reason = %gap, "gap");
        let text = format!("{partition}: {gap}; on_gap: {on_gap}");
        lasting.status.tell_of(EventKind::Gap, Level::Error, Some(target), text);
    }
}

/// Why a partition stops, and what can be done about it.
fn stopped_by(plan: &RoutePlan, target: &str, partition: &TopicPartition, gap: &Gap) -> Fault {
    let group = group_name(&plan.name, target);
    let hint = format!("set `on_gap: skip` to go on behind it, or the offset of group {group} with Kafka's own tool");
    Fault::new(FaultClass::Config, format!("{partition} for target {target}: {gap}: {hint}"))
}

fn connect(
    route: &RoutePlan,
    target: &TargetPlan,
    source: Arc<Admin>,
    group: Option<Arc<Group>>,
) -> Result<Clients, Fault> {
    let group = match group {
        None if route.keeping.keeps_progress() => {
            Some(Arc::new(Group::open(&route.source, &group_name(&route.name, target.name()))?))
        }
        group => group,
    };
    Ok(Clients { source, target: Arc::new(Admin::open(&target.cluster)?), group })
}

/// What is known of each of these partitions, where something is.
fn each<T>(partitions: &[TopicPartition], known: impl Fn(&TopicPartition) -> Option<T>) -> HashMap<TopicPartition, T> {
    partitions.iter().filter_map(|partition| Some((partition.clone(), known(partition)?))).collect()
}
