//! A route that several processes share: what its group gives it, it copies; what is taken from it, it finishes, commits and gives
//! back; and where its place is lost, it ends at once, without another word to anybody.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::task::spawn_blocking;

use super::clock::now;
use super::lasting::COMMIT_LONGEST;
use super::messages::MemberNews;
use super::route::{Route, Then};
use super::target_slot::TargetSlot;
use super::view::{EventKind, Level};
use crate::domain::fault::Fault;
use crate::domain::retry::CHECK;
use crate::domain::state::{Place, Trouble};
use crate::domain::topic_partition::TopicPartition;
use crate::kafka::admin::OffsetAt;
use crate::kafka::group::Group;
use crate::kafka::membership::MemberEvent;

impl Route {
    /// Tells the group which topics there are to share out; joins it, if that was not done yet.
    pub(super) fn share(&mut self, ctx: &Context<Self>) -> Result<(), Fault> {
        if !self.params.plan.keeping.is_shared() {
            return Ok(());
        }
        let membership = self.params.lasting.membership(&self.params.plan, self.params.drain)?;
        membership.set_topics(self.topics.keys().cloned().collect());
        if !self.attends {
            self.attends = true;
            self.params.lasting.status.change(|facts| facts.place = Place::Waiting);
            let me = ctx.address();
            // on the member's thread; rare
            membership.attend(Arc::new(move |event| me.do_send(MemberNews(event))));
        }
        Ok(())
    }

    /// What a former life of this route had may have been taken away while nobody was there to hear of it.
    fn holds(&mut self, partitions: Vec<(TopicPartition, u64)>, ctx: &mut Context<Self>) {
        self.params.lasting.progress.keep_only(&partitions);
        if !partitions.is_empty() {
            self.given(partitions, ctx);
        }
    }

    fn given(&mut self, partitions: Vec<(TopicPartition, u64)>, ctx: &mut Context<Self>) {
        tracing::info!(route = %self.name(), partitions = %names(partitions.iter().map(|(partition, _)| partition)), "given");
        self.tell_share("given", partitions.iter().map(|(partition, _)| partition));
        for (partition, assignment) in &partitions {
            self.params.lasting.progress.given(partition, *assignment);
        }
        self.ownership.given(partitions);
        self.params.lasting.status.change(|facts| facts.place = Place::Settled);
        if let Err(fault) = self.spawn_consumers(ctx) {
            tracing::error!(route = %self.name(), "{fault}");
        }
        for target in 0..self.targets.len() {
            self.prepare_target(target, ctx);
        }
    }

    fn tell_share<'a>(&self, what: &str, partitions: impl Iterator<Item = &'a TopicPartition>) {
        let text = format!("{what}: {}", names(partitions));
        self.params.lasting.status.tell_of(EventKind::Share, Level::Info, None, text);
    }

    /// Partitions are to be another process's: nothing more is read of them, and what is in flight is finished.
    fn taken(&mut self, partitions: &[TopicPartition], ctx: &mut Context<Self>) {
        tracing::info!(route = %self.name(), partitions = %names(partitions.iter()), "taken");
        self.tell_share("taken", partitions.iter());
        for partition in partitions {
            self.ownership.taken(partition);
            self.resting.remove(partition);
        }
        self.recall_for_others(partitions, ctx);
    }

    /// What is finished is committed, and given back: whoever gets it next starts there.
    pub(super) fn give_back(&mut self, done: Vec<TopicPartition>, ctx: &mut Context<Self>) {
        const AGAIN: Duration = Duration::from_millis(20);
        if done.is_empty() {
            return;
        }
        if self.targets.iter().any(TargetSlot::is_committing) {
            // an older commit must not come after this one
            ctx.run_later(AGAIN, Self::go_on_with_recalls);
            return;
        }
        for partition in &done {
            self.recalls.remove(partition);
            self.forget_followers(partition);
        }
        let groups: Vec<_> = self.targets.iter().map(TargetSlot::group).collect();
        let (lasting, route) = (self.params.lasting.clone(), self.name().to_owned());
        let work = spawn_blocking(move || {
            for (target, group) in groups.into_iter().enumerate() {
                let mut offsets = lasting.progress.to_commit(target, false);
                offsets.retain(|(partition, ..)| done.contains(partition));
                if let Some(group) = group
                    && let Err(fault) = lasting.commit(target, &group, &offsets, COMMIT_LONGEST)
                {
                    tracing::warn!(%route, "watermarks are not committed, and what is above the last ones is copied again: {fault}");
                }
            }
            done
        });
        ctx.spawn(work.into_actor(self).map(|done, this, _| {
            let Ok(done) = done else { return };
            for partition in &done {
                this.params.lasting.progress.taken(partition);
            }
            tracing::info!(route = %this.name(), partitions = %names(done.iter()), "given back");
            if let Ok(membership) = this.params.lasting.membership(&this.params.plan, this.params.drain) {
                membership.give_back(done);
            }
        }));
    }

    /// It may not act any more: others may have gone on from what it committed last.
    fn lost(&mut self, why: &str, ctx: &mut Context<Self>) {
        tracing::error!(route = %self.name(), reason = why, "fenced");
        // nothing that is known of them counts any more, whoever asks
        for partition in self.ownership.of(&self.topics).iter().chain(self.recalls.keys()) {
            self.params.lasting.progress.taken(partition);
        }
        // a member that crashes is a failure of this process, and counts as one
        let then = if self.params.lasting.has_crashed_member() { Then::Again } else { Then::Rejoin };
        self.end_at_once(then, ctx);
    }

    fn troubled(&self, fault: &Fault) {
        tracing::warn!(route = %self.name(), class = fault.class.name(), "it can't join its group: {fault}");
        let next_attempt_at = Some(now() + CHECK);
        let trouble = Trouble { class: fault.class, attempt: 1, next_attempt_at, reason: fault.reason.clone() };
        self.params.lasting.status.change(|facts| facts.place = Place::Refused(trouble));
    }

    /// For a route that ends when all is copied: how far those got that have the other partitions.
    pub(super) fn look_elsewhere(&self) {
        let partitions = self.params.lasting.progress.goals_elsewhere();
        let Some(source) = self.source.clone() else { return };
        if !self.params.plan.keeping.is_shared() || partitions.is_empty() {
            return;
        }
        let groups: Vec<_> = self.targets.iter().map(TargetSlot::group).collect();
        let progress = self.params.lasting.progress.clone();
        let look = move || {
            let of = |(target, group): (_, Option<Arc<Group>>)| Some((target, group?.committed(&partitions).ok()?));
            let committed: Vec<_> = groups.into_iter().enumerate().filter_map(of).collect();
            // the ends are asked for later, so that none is below what was copied of the same log; a source that does not answer is told
            // elsewhere
            if let Ok((ends, _)) = source.offsets_of_some(&partitions, OffsetAt::Latest) {
                for (target, offsets) in committed {
                    progress.committed_elsewhere(target, offsets, &ends);
                }
            }
        };
        drop(spawn_blocking(look));
    }
}

fn names<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> String {
    let mut names: Vec<String> = partitions.map(ToString::to_string).collect();
    names.sort();
    names.join(" ")
}

impl Handler<MemberNews> for Route {
    type Result = ();

    fn handle(&mut self, MemberNews(event): MemberNews, ctx: &mut Self::Context) {
        match event {
            // what it loses while it ends is not committed: the lease is looked at before
            _ if self.stopping.is_some() => {}
            MemberEvent::Holds(partitions) => self.holds(partitions, ctx),
            MemberEvent::Given(partitions) => self.given(partitions, ctx),
            MemberEvent::Taken(partitions) => self.taken(&partitions, ctx),
            MemberEvent::Lost(why) => self.lost(&why, ctx),
            MemberEvent::Trouble(fault) => self.troubled(&fault),
        }
    }
}
