//! Partitions that targets let go of while they run: to be another process's, or to be begun with anew because the source does not
//! have what comes next. What was begun is finished first, so that the watermarks are final.

use std::collections::HashSet;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler};

use super::messages::{Child, ChildGone, End, Finish, Forget, Release, Released};
use super::refusals::millis;
use super::retries::What;
use super::route::{Index, Route};
use super::target_slot::TargetSlot;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::TopicIds;
use crate::plan::Selected;

/// A partition that is to be given back.
#[derive(Debug)]
pub(super) struct Recall {
    /// The targets that still have something of it under way.
    holders: HashSet<Index>,
    /// Which recall it is: what is late of another one is not of this.
    number: u64,
}

impl Route {
    /// Has all targets let go of partitions that are to be another process's.
    pub(super) fn recall_for_others(&mut self, partitions: &[TopicPartition], ctx: &mut Context<Self>) {
        for partition in partitions {
            self.stop_shared_read(partition);
            let holders = (0..self.targets.len()).filter(|index| self.releases(*index, partition)).collect();
            self.recalled += 1;
            self.recalls.insert(partition.clone(), Recall { holders, number: self.recalled });
            let (late, number) = (partition.clone(), self.recalled);
            ctx.run_later(self.patience(), move |this, ctx| this.overdue(&late, number, ctx));
        }
        self.go_on_with_recalls(ctx);
    }

    /// A read can't go on where it is: it is looked why. `target`: the one whose own read it is; `None` for the shared read.
    pub(super) fn lost_read(
        &mut self,
        partition: &TopicPartition,
        target: Option<Index>,
        fault: &Fault,
        ctx: &mut Context<Self>,
    ) {
        if self.stopping.is_some() || !self.ownership.owns(partition) || self.recalls.contains_key(partition) {
            return;
        }
        // it may be a moment's trouble, and where nothing is found it must not be looked for again and again
        let what = What::Read(target, partition.clone());
        let (attempt, delay) = self.params.lasting.retries.failed_again(&what, FaultClass::System);
        tracing::warn!(route = %self.name(), %partition, attempt, retry_ms = millis(delay), "the source is looked at: {fault}");
        let (status, reason) = (&self.params.lasting.status, fault.reason.clone());
        if let Some(index) = target {
            status.change_target(index, |facts| drop(facts.unreadable.insert(partition.clone(), reason)));
            return self.leave(index, partition, Finish::Read, delay);
        }
        self.begin_anew(partition, Finish::Read, delay, ctx);
        self.params.lasting.status.change(|facts| drop(facts.unreadable.insert(partition.clone(), reason)));
    }

    /// Topics that have other ids than those that are copied are others: what is read of them now is read at the wrong offsets.
    pub(super) fn compare_ids(&mut self, ids: &TopicIds, ctx: &mut Context<Self>) {
        for partition in self.params.lasting.progress.recreated(ids) {
            let reads = self
                .targets
                .iter()
                .any(|slot| slot.written.contains(&partition) && !slot.leaving.contains_key(&partition));
            if reads && !self.recalls.contains_key(&partition) {
                tracing::warn!(route = %self.name(), %partition, "the source is looked at: the topic is another one of that name");
                self.begin_anew(&partition, Finish::WithWriter, Duration::ZERO, ctx);
            }
        }
    }

    /// What was deleted, or is not selected any more, is not read any more, and not waited for. What is there again is made ready as
    /// any other.
    pub(super) fn forget_missing(&mut self, ctx: &mut Context<Self>) {
        let is_there =
            |tp: &TopicPartition| self.topics.get(&*tp.topic).is_some_and(|partitions| tp.partition < *partitions);
        let back: Vec<_> = self.deleted.iter().filter(|tp| is_there(tp)).cloned().collect();
        let gone: Vec<_> = self.consumers.keys().filter(|tp| !is_there(tp)).cloned().collect();
        for partition in back {
            self.deleted.remove(&partition);
            self.broken.remove(&partition);
        }
        self.deselected.retain(|tp| !is_there(tp));
        for partition in gone {
            if self.params.plan.topics.select(&partition.topic) != Selected::Yes {
                tracing::info!(route = %self.params.plan.name, %partition, "it is not selected any more");
                self.begin_anew(&partition, Finish::WithWriter, Duration::ZERO, ctx);
                self.deselected.insert(partition);
                continue;
            }
            self.begin_anew(&partition, Finish::Read, Duration::ZERO, ctx);
            let alias = &self.params.plan.source.alias;
            tracing::warn!(route = %self.params.plan.name, %partition, "cluster {alias} does not have it any more: it was deleted");
            let fault = Fault::new(
                FaultClass::Config,
                format!("cluster {alias} does not have {partition} any more: it was deleted"),
            );
            self.broken.insert(partition.clone(), fault);
            self.deleted.insert(partition);
        }
    }

    /// What is not selected any more is not spoken of any more, once all that was begun of it is finished and committed.
    pub(super) fn forget_deselected(&mut self) {
        let (targets, progress) = (&self.targets, &self.params.lasting.progress);
        if self.deselected.is_empty() || targets.iter().any(TargetSlot::is_committing) {
            return;
        }
        let open: HashSet<TopicPartition> = (0..targets.len())
            .flat_map(|target| progress.to_commit(target, false))
            .map(|(partition, ..)| partition)
            .chain(targets.iter().flat_map(|slot| slot.written.iter().cloned()))
            .collect();
        self.deselected.retain(|partition| {
            let stays = open.contains(partition);
            if !stays {
                progress.drop_partition(partition);
            }
            stays
        });
    }

    fn stop_shared_read(&mut self, partition: &TopicPartition) {
        self.params.lasting.progress.end_live(partition);
        self.consumers.remove(partition);
        // that it ends is no accident
        self.generations.remove(partition);
        self.stands.remove(partition);
        self.broken.remove(partition);
        self.params.lasting.status.change(|facts| drop(facts.unreadable.remove(partition)));
    }

    /// Ends the shared read of a partition, and has each target begin with it anew once it has let go of it: they do not wait for
    /// each other.
    fn begin_anew(&mut self, partition: &TopicPartition, finish: Finish, delay: Duration, ctx: &mut Context<Self>) {
        self.stop_shared_read(partition);
        self.forget_followers(partition);
        for index in 0..self.targets.len() {
            self.leave(index, partition, finish, delay);
        }
        if let Err(fault) = self.spawn_consumers(ctx) {
            tracing::error!(route = %self.name(), "{fault}");
        }
    }

    /// Has a target let go of a partition; it is made ready for it anew after that.
    fn leave(&mut self, index: Index, partition: &TopicPartition, finish: Finish, delay: Duration) {
        let slot = &mut self.targets[index];
        let Some(producer) = slot.producer().cloned() else { return };
        if slot.written.contains(partition) {
            slot.leaving.insert(partition.clone(), delay);
            producer.do_send(Release { partition: partition.clone(), finish });
        }
    }

    /// A target has let go of a partition, and is to be made ready for it anew.
    fn has_left(&mut self, index: Index, partition: &TopicPartition, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        let Some(delay) = slot.leaving.get(partition).copied() else { return };
        slot.written.remove(partition);
        let (partition, generation) = (partition.clone(), slot.generation);
        ctx.run_later(delay, move |this, ctx| {
            let slot = &mut this.targets[index];
            if slot.generation == generation && slot.leaving.remove(&partition).is_some() {
                this.prepare_target(index, ctx);
            }
        });
    }

    /// It is known how it is with a partition that could not be read.
    pub(super) fn is_looked_at(&self, index: Index, partition: &TopicPartition) {
        let status = &self.params.lasting.status;
        status.change_target(index, |facts| drop(facts.unreadable.remove(partition)));
        status.change(|facts| drop(facts.unreadable.remove(partition)));
    }

    /// Has a target let go of a partition; says whether that has to be waited for.
    fn releases(&mut self, index: Index, partition: &TopicPartition) -> bool {
        self.targets[index].forget(partition);
        self.tell_refused(index);
        match self.targets[index].producer() {
            Some(producer) => {
                producer.do_send(Release { partition: partition.clone(), finish: Finish::WithWriter });
                true
            }
            None => self.targets[index].is_closing(),
        }
    }

    /// A target holds nothing any more of what it had to let go of.
    pub(super) fn has_released_all(&mut self, index: Index, ctx: &mut Context<Self>) {
        for recall in self.recalls.values_mut() {
            recall.holders.remove(&index);
        }
        self.go_on_with_recalls(ctx);
    }

    /// Partitions that nobody has anything of any more are given back.
    pub(super) fn go_on_with_recalls(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_none() {
            let free = self.recalls.iter().filter(|(_, recall)| recall.holders.is_empty());
            let free = free.map(|(partition, _)| partition.clone()).collect();
            self.give_back(free, ctx);
        }
    }

    pub(super) fn forget_followers(&self, partition: &TopicPartition) {
        if let Some(router) = &self.router {
            router.addr().do_send(Forget(partition.clone()));
        }
    }

    /// How long a target may take to finish what it has to let go of: the others' records of the same partition wait for it.
    fn patience(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(10);
        self.params.drain.min(LONGEST)
    }

    /// The targets that still have something of a partition with their writers are ended: what a writer has can't be taken back
    /// in part.
    fn overdue(&mut self, partition: &TopicPartition, number: u64, ctx: &mut Context<Self>) {
        let Some(recall) = self.recalls.get(partition).filter(|recall| recall.number == number) else { return };
        for index in recall.holders.clone() {
            let seconds = self.patience().as_secs();
            let reason = format!("{partition}: it did not finish in {seconds} s what it has to let go of");
            let (child, generation) = (Child::Target(index), self.targets[index].generation);
            let fault = Some(Fault::new(FaultClass::System, reason));
            ctx.notify(ChildGone { child, actor: "target", generation, end: End::Stopped, fault });
        }
    }
}

impl Handler<Released> for Route {
    type Result = ();

    fn handle(&mut self, released: Released, ctx: &mut Self::Context) {
        let Released { target, partition, generation } = released;
        if generation != self.targets[target].generation || self.stopping.is_some() {
            return;
        }
        self.has_left(target, &partition, ctx);
        if let Some(recall) = self.recalls.get_mut(&partition) {
            recall.holders.remove(&target);
            self.go_on_with_recalls(ctx);
        }
    }
}
