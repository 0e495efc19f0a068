//! A target that somebody pauses: what its writer has is finished, its watermarks stay committed, and it is written no more until
//! it is resumed. Nobody else notices.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::task::spawn_blocking;

use super::messages::{Pause, TargetReady};
use super::route::{Index, Route};
use crate::domain::state::{Rest, TargetFacts};

impl Route {
    fn pause(&mut self, index: Index, ctx: &mut Context<Self>) {
        self.targets[index].paused = true;
        self.finish_target(index, self.params.drain, ctx);
        let rest = if self.targets[index].finishing { Rest::Finishing } else { Rest::Whole };
        let facts = TargetFacts { paused: true, rest, ..TargetFacts::default() };
        self.params.lasting.status.change_target(index, |known| *known = facts);
    }

    /// Has a target finish what its writer has, and then ends its actors; says whether there is anything to be finished.
    pub(super) fn finish_target(&mut self, index: Index, longest: Duration, ctx: &mut Context<Self>) -> bool {
        let slot = &mut self.targets[index];
        if slot.finishing || !slot.is_running() || self.stopping.is_some() {
            return slot.finishing;
        }
        slot.finishing = true;
        // nothing more comes from the shared read, whose followers do not wait for this one
        if let Some(router) = &self.router {
            router.addr().do_send(TargetReady { target: index, producer: None });
        }
        let slot = &mut self.targets[index];
        slot.drain();
        let generation = slot.generation;
        ctx.run_later(longest, move |this, ctx| this.finished(index, generation, ctx));
        true
    }

    /// A target that rests, or begins anew, has finished what its writer had, or has had its time: its actors end, and the writer is closed.
    pub(super) fn finished(&mut self, index: Index, generation: u64, ctx: &mut Context<Self>) {
        let slot = &mut self.targets[index];
        if !slot.finishing || slot.generation != generation || self.stopping.is_some() {
            return;
        }
        let Some(cast) = slot.end_life() else { return };
        // what an ended life held is nobody's load
        self.params.lasting.progress.targets[index].begin();
        let (writer, lasting) = (cast.writer.clone(), self.params.lasting.clone());
        drop(cast);
        let closing = spawn_blocking(move || lasting.close(&writer));
        ctx.spawn(closing.into_actor(self).map(move |_, this, ctx| {
            let slot = &mut this.targets[index];
            (slot.closing, slot.busy) = (false, false);
            let slot_is_retired = slot.retired;
            this.params.lasting.status.change_target(index, |facts| *facts = facts.forgotten());
            this.has_released_all(index, ctx);
            if slot_is_retired {
                return this.part_with(index, ctx);
            }
            this.commit_target(index, false, false, ctx);
            // it may have been resumed meanwhile
            this.prepare_target(index, ctx);
        }));
    }

    fn resume(&mut self, index: Index, ctx: &mut Context<Self>) {
        self.targets[index].paused = false;
        self.params.lasting.status.change_target(index, |facts| *facts = TargetFacts::default());
        self.prepare_target(index, ctx);
    }
}

impl Handler<Pause> for Route {
    type Result = ();

    fn handle(&mut self, Pause { target, paused }: Pause, ctx: &mut Self::Context) {
        let Some(slot) = self.targets.get(target) else { return };
        match (slot.paused, paused) {
            (false, true) => self.pause(target, ctx),
            (true, false) => self.resume(target, ctx),
            _ => {}
        }
    }
}
