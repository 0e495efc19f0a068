//! A route whose plan changes while it runs: targets come, go or begin anew, topics come and go, budgets are divided anew. What is not
//! touched by a change does not notice it.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::task::spawn_blocking;

use super::lasting::COMMIT_LONGEST;
use super::messages::{Change, Everybody};
use super::route::{Index, Route};
use super::target_slot::TargetSlot;
use super::view::{EventKind, Level};
use crate::domain::state::{Rest, TargetFacts};
use crate::plan::RoutePlan;

/// How long a target that begins anew may take to finish what its writer has: the rest is written again.
const FINISHING: Duration = Duration::from_secs(5);

impl Route {
    fn follow(&mut self, plan: &Arc<RoutePlan>, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.params.plan, plan.clone());
        self.divide();
        for (index, target) in plan.targets.iter().enumerate() {
            match before.targets.get(index) {
                None => self.seat(index, ctx),
                Some(old) if old.retired && !target.retired => self.return_to(index, ctx),
                Some(old) if !old.retired && target.retired => self.retire(index, ctx),
                Some(_) if target.retired => {}
                Some(old) if old.begins_anew_for(target) => self.begin_target_anew(index, ctx),
                // topics that were refused, or stand at a gap, may go on now
                Some(_) => {
                    self.targets[index].looked = None;
                    self.prepare_target(index, ctx);
                }
            }
        }
        if before.topics != plan.topics {
            self.look_at_topics(ctx);
        }
    }

    /// Divides the route's budget among its targets, once its own gate has it; what is in flight stays so.
    fn divide(&mut self) {
        let (plan, flow) = (&self.params.plan, &self.params.flow);
        let (shared, own) = plan.shares();
        flow.resize(&self.shared, shared);
        self.judge.resize(shared);
        for cast in self.targets.iter().filter_map(|slot| slot.cast.as_ref()) {
            flow.resize(&cast.share, own);
        }
        if let Some(router) = &self.router {
            router.addr().do_send(Everybody(plan.seated().count()));
        }
    }

    fn seat(&mut self, index: Index, ctx: &mut Context<Self>) {
        let target = &self.params.plan.targets[index];
        self.targets.push(TargetSlot::new(target.paused, target.retired));
        self.prepare_target(index, ctx);
    }

    /// A target that was one before, and is one again.
    fn return_to(&mut self, index: Index, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        slot.retired = false;
        slot.paused = self.params.plan.targets[index].paused;
        self.begin_target_anew(index, ctx);
    }

    /// A target that is none any more: what its writer has is finished and committed, and then nothing of it is left here.
    fn retire(&mut self, index: Index, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        slot.expect_nothing();
        (slot.retired, slot.paused) = (true, true);
        if slot.is_closing() {
            return; // what follows will see to it
        }
        if !self.finish_target(index, self.params.drain, ctx) {
            self.part_with(index, ctx);
        }
    }

    /// A target whose plan is another one: what its writer has is finished, and it begins anew.
    fn begin_target_anew(&mut self, index: Index, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        slot.expect_nothing();
        (slot.fault, slot.looked) = (None, None);
        slot.refused.clear();
        let (paused, closing, name) = (slot.paused, slot.is_closing(), self.params.plan.targets[index].name());
        tracing::info!(route = %self.params.plan.name, target = name, "begins anew: its config has changed");
        let finishes = self.finish_target(index, FINISHING.min(self.params.drain), ctx);
        let rest = if finishes { Rest::Finishing } else { Rest::Whole };
        let facts = TargetFacts { paused, rest, ..TargetFacts::default() };
        self.params.lasting.status.change_target(index, |known| *known = facts);
        // else it begins when that is through
        if !closing && !finishes {
            self.prepare_target(index, ctx);
        }
    }

    /// Nothing of a target that is none any more is in flight: its last watermarks are committed, and forgotten here.
    pub(super) fn part_with(&mut self, index: Index, ctx: &mut Context<Self>) {
        let (slot, lasting) = (&mut self.targets[index], self.params.lasting.clone());
        let group = slot.take_for_close();
        let mut offsets = lasting.progress.to_commit(index, false);
        offsets.retain(|(partition, ..)| self.ownership.owns(partition) || self.recalls.contains_key(partition));
        // it blocks, and so does the closing of the client
        let work = spawn_blocking(move || {
            let committed =
                group.as_ref().map_or(Ok(()), |group| lasting.commit(index, group, &offsets, COMMIT_LONGEST));
            drop(group);
            committed
        });
        ctx.spawn(work.into_actor(self).map(move |committed, this, ctx| {
            let (route, target) = (&this.params.plan.name, this.params.plan.targets[index].name());
            if let Ok(Err(fault)) = committed {
                tracing::warn!(%route, target, "its last watermarks are not committed: should it come back, some is copied again: {fault}");
            }
            if !this.targets[index].retired {
                return this.prepare_target(index, ctx); // it is back
            }
            this.params.lasting.progress.forget_target(index);
            tracing::info!(%route, target, "is no target any more");
            let text = "it is no target any more, and has finished what was in flight";
            this.params.lasting.status.tell_of(EventKind::Reload, Level::Info, Some(target), text);
        }));
    }
}

impl Handler<Change> for Route {
    type Result = ();

    fn handle(&mut self, Change(plan): Change, ctx: &mut Self::Context) {
        // a route that ends has its next life with it
        if self.stopping.is_none() {
            self.follow(&plan, ctx);
        }
    }
}
