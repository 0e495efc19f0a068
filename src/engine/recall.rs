//! Partitions that targets let go of while they run: to be another process's, or to be begun with anew because the source does not
//! have what comes next. What is with the writers is finished first, so that the watermarks are final.

use std::collections::{BTreeMap, HashSet};

use actix::{AsyncContext, Context, Handler};

use super::messages::{Child, ChildGone, End, Forget, Release, Released};
use super::refusals::millis;
use super::retries::What;
use super::route::{Index, Route};
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::topic_partition::TopicPartition;

/// A partition that targets are to let go of.
#[derive(Debug)]
pub(super) struct Recall {
    /// The targets that still have something of it under way.
    holders: HashSet<Index>,
    then: Then,
}

/// What follows once nobody has anything of it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    /// It is given back to the group.
    GiveBack,
    /// These targets begin with it anew, where the source has something for them. `shared`: the shared read as well.
    Begin { targets: Vec<Index>, shared: bool },
}

impl Route {
    /// Has all targets let go of partitions that are to be another process's.
    pub(super) fn recall_for_others(&mut self, partitions: &[TopicPartition], ctx: &mut Context<Self>) {
        for partition in partitions {
            self.stop_shared_read(partition);
            self.recall(partition, (0..self.targets.len()).collect(), Then::GiveBack, ctx);
        }
        self.go_on_with_recalls(ctx);
    }

    /// Has a target, or all of them and the shared read, begin with a partition anew: whether the source has what it needs is
    /// looked at then.
    pub(super) fn look_again(&mut self, partition: &TopicPartition, target: Option<Index>, ctx: &mut Context<Self>) {
        if self.stopping.is_some() || self.recalls.contains_key(partition) || !self.ownership.owns(partition) {
            return;
        }
        let targets: Vec<Index> = target.map_or_else(|| (0..self.targets.len()).collect(), |target| vec![target]);
        if target.is_none() {
            self.stop_shared_read(partition);
            // nobody reads it before that is known
            self.resting.insert(partition.clone());
        }
        let then = Then::Begin { targets: targets.clone(), shared: target.is_none() };
        self.recall(partition, targets, then, ctx);
        self.go_on_with_recalls(ctx);
    }

    /// A read can't go on where it is: at once it is looked why; where that helps for no longer than the next read, after a while.
    pub(super) fn lost_read(
        &mut self,
        partition: &TopicPartition,
        target: Option<Index>,
        fault: &Fault,
        ctx: &mut Context<Self>,
    ) {
        let (attempt, delay) =
            self.params.lasting.retries.failed_again(&What::Read(target, partition.clone()), FaultClass::System);
        tracing::warn!(route = %self.name(), %partition, attempt, "the source is looked at: {fault}");
        if attempt <= 1 {
            return self.look_again(partition, target, ctx);
        }
        tracing::debug!(route = %self.name(), %partition, delay_ms = millis(delay), "again and again");
        let partition = partition.clone();
        ctx.run_later(delay, move |this, ctx| this.look_again(&partition, target, ctx));
    }

    /// Partitions of topics that are not the same any more.
    pub(super) fn recreated(&mut self, ids: &BTreeMap<String, String>) -> HashSet<TopicPartition> {
        let is_other =
            |topic: &str| matches!((self.ids.get(topic), ids.get(topic)), (Some(was), Some(is)) if was != is);
        let mut partitions = self.ownership.of(&self.topics);
        partitions.retain(|partition| is_other(&partition.topic));
        // what is not there now may come back, as another
        self.ids.extend(ids.iter().map(|(topic, id)| (topic.clone(), id.clone())));
        partitions.into_iter().collect()
    }

    fn stop_shared_read(&mut self, partition: &TopicPartition) {
        self.consumers.remove(partition);
        self.stands.remove(partition);
        self.broken.remove(partition);
        self.params.lasting.status.change(|facts| drop(facts.unreadable.remove(partition)));
    }

    fn recall(&mut self, partition: &TopicPartition, targets: Vec<Index>, then: Then, ctx: &mut Context<Self>) {
        let holders = targets.into_iter().filter(|index| self.releases(*index, partition)).collect();
        self.recalls.insert(partition.clone(), Recall { holders, then });
        let late = partition.clone();
        ctx.run_later(self.params.drain, move |this, ctx| this.overdue(&late, ctx));
    }

    /// Has a target let go of a partition; says whether that has to be waited for.
    fn releases(&mut self, index: Index, partition: &TopicPartition) -> bool {
        self.targets[index].forget(partition);
        self.tell_refused(index);
        match self.targets[index].producer() {
            Some(producer) => {
                producer.do_send(Release(partition.clone()));
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

    /// Whatever follows for partitions that nobody has anything of any more.
    pub(super) fn go_on_with_recalls(&mut self, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let free = self.recalls.iter().filter(|(_, recall)| recall.holders.is_empty());
        let free: Vec<(TopicPartition, Then)> = free.map(|(tp, recall)| (tp.clone(), recall.then.clone())).collect();
        let others: Vec<TopicPartition> =
            free.iter().filter(|(_, then)| *then == Then::GiveBack).map(|(partition, _)| partition.clone()).collect();
        self.give_back(others, ctx);
        for (partition, then) in free {
            if let Then::Begin { targets, shared } = then {
                self.begin_anew(&partition, &targets, shared, ctx);
            }
        }
    }

    fn begin_anew(&mut self, partition: &TopicPartition, targets: &[Index], shared: bool, ctx: &mut Context<Self>) {
        self.recalls.remove(partition);
        if shared {
            self.forget_followers(partition);
            self.resting.remove(partition);
            if let Err(fault) = self.spawn_consumers(ctx) {
                tracing::error!(route = %self.name(), "{fault}");
            }
        }
        for target in targets {
            self.prepare_target(*target, ctx);
        }
    }

    pub(super) fn forget_followers(&self, partition: &TopicPartition) {
        if let Some(router) = &self.router {
            router.addr().do_send(Forget(partition.clone()));
        }
    }

    /// The targets that still have something of a partition with their writers are ended: what a writer has can't be taken back
    /// in part.
    fn overdue(&mut self, partition: &TopicPartition, ctx: &mut Context<Self>) {
        let Some(recall) = self.recalls.get(partition) else { return };
        for index in recall.holders.clone() {
            let seconds = self.params.drain.as_secs();
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
        if released.generation == self.targets[released.target].generation
            && let Some(recall) = self.recalls.get_mut(&released.partition)
        {
            recall.holders.remove(&released.target);
            self.go_on_with_recalls(ctx);
        }
    }
}
