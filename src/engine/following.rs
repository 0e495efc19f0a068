//! The supervisor follows another plan while it runs: routes come, go, begin anew, or are told what changes for them.

use std::sync::Arc;

use actix::Context;

use super::board::Posted;
use super::lasting::Lasting;
use super::messages::Change;
use super::supervisor::{RouteSlot, Supervisor};
use super::view::{EventKind, Level};
use crate::plan::switches::Switches;
use crate::plan::{Plan, RoutePlan};

impl Supervisor {
    /// Does what a plan says from now on, with what people have switched by hand.
    pub(super) fn follow(&mut self, plan: &Plan, switches: &Switches, ctx: &mut Context<Self>) {
        let mut wanted = plan.clone();
        for ignored in switches.apply(&mut wanted) {
            tracing::warn!("{ignored}");
        }
        self.limits.follow(plan);
        self.drain = plan.limits.drain;
        self.flow.resize(&self.process, plan.limits.in_flight);
        let is_gone = |name: &&String| plan.routes.iter().all(|route| route.name != **name);
        let gone: Vec<String> = self.routes.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.retire(&name, ctx);
        }
        for (wanted, configured) in wanted.routes.into_iter().zip(&plan.routes) {
            self.follow_route(wanted, configured.clone(), ctx);
        }
    }

    /// A route that the config has no more finishes what is in flight, and goes.
    fn retire(&mut self, name: &str, ctx: &mut Context<Self>) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        (slot.removed, slot.next) = (true, None);
        if slot.ended {
            self.remove(name, ctx);
        } else if slot.enabled {
            self.switch(name, false, ctx);
        }
    }

    /// Nothing is left of a route that the config has no more.
    pub(super) fn remove(&mut self, name: &str, ctx: &mut Context<Self>) {
        self.routes.remove(name);
        self.board.take_down(name);
        tracing::info!(route = name, "is gone");
        let text = "the config has it no more, and what was in flight is finished";
        self.board.events.tell(EventKind::Reload, Level::Info, (Some(name), None), text);
        self.finish(ctx);
    }

    fn follow_route(&mut self, wanted: RoutePlan, configured: RoutePlan, ctx: &mut Context<Self>) {
        let (name, enabled) = (configured.name.clone(), wanted.enabled);
        let Some(slot) = self.routes.get_mut(&name) else {
            self.seat(wanted, configured);
            return self.start_route(&name, ctx);
        };
        slot.removed = false;
        if slot.plan.begins_anew_for(&wanted) {
            slot.next = Some((wanted, configured));
            if slot.ended {
                self.take_next(&name);
            } else if let Some(route) = &slot.route {
                route.addr().do_send(super::messages::Drain);
            } else if slot.enabled {
                self.leave(&name, ctx);
            }
        } else {
            slot.next = None;
            self.change(&name, &wanted, &configured);
        }
        if self.routes.get(&name).is_some_and(|slot| slot.enabled != enabled) {
            self.switch(&name, enabled, ctx);
        }
        self.post(&name);
    }

    /// A route goes on with another plan; where it runs, it is told.
    fn change(&mut self, name: &str, wanted: &RoutePlan, configured: &RoutePlan) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        let plan = Arc::new(slot.plan.followed_by(wanted));
        slot.configured = Arc::new(slot.configured.followed_by(configured));
        slot.lasting.follow(&plan, &self.limits);
        self.flow.resize(&slot.lasting.gate, plan.in_flight);
        slot.plan = plan.clone();
        if let Some(route) = &slot.route {
            route.addr().do_send(Change(plan));
        }
    }

    /// Nothing is left of what a route did: it does what comes next. What is known of its progress holds for the same source alone.
    pub(super) fn take_next(&mut self, name: &str) {
        let Some(slot) = self.routes.get_mut(name) else { return };
        let Some((wanted, configured)) = slot.next.take() else { return };
        if slot.plan.source.is_reached_as(&wanted.source) {
            self.change(name, &wanted, &configured);
        } else {
            (slot.plan, slot.configured) = (Arc::new(wanted), Arc::new(configured));
            slot.lasting = Lasting::new(&slot.plan, &self.limits, self.spread.clone(), self.board.events.clone());
            if !slot.enabled {
                slot.say_off();
            }
        }
        self.post(name);
    }

    /// Makes a place for a route; it does not begin yet.
    pub(super) fn seat(&mut self, plan: RoutePlan, configured: RoutePlan) {
        let (plan, name) = (Arc::new(plan), configured.name.clone());
        let lasting = Lasting::new(&plan, &self.limits, self.spread.clone(), self.board.events.clone());
        let (enabled, configured) = (plan.enabled, Arc::new(configured));
        let slot = RouteSlot {
            plan,
            configured,
            lasting,
            route: None,
            generation: 0,
            enabled,
            ended: !enabled,
            next: None,
            removed: false,
        };
        if !enabled {
            slot.say_off();
        }
        self.routes.insert(name.clone(), slot);
        self.post(&name);
    }

    /// Posts what is shown of a route.
    pub(super) fn post(&self, name: &str) {
        if let Some(slot) = self.routes.get(name) {
            let (configured, enabled, lasting) = (slot.configured.clone(), slot.enabled, slot.lasting.clone());
            self.board.post(Posted { configured, enabled, lasting });
        }
    }
}
