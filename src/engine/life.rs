//! The life of an actor as its parent sees it: its address, a way to end it, and whether it still answers.
//!
//! An actor that hangs would keep its mailbox, and the batches in it, for ever. So each runs as a task that can be
//! aborted: then it, its mailbox and all that they hold are gone, and no late word of it can come.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use tokio::task::AbortHandle;

use super::messages::Ping;

/// A running actor; it ends when this is dropped.
#[derive(Debug)]
pub struct Life<A: Actor> {
    addr: Addr<A>,
    task: AbortHandle,
    pulse: Arc<Pulse>,
}

/// Whether an actor handles its messages.
#[derive(Debug)]
pub struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
    /// Checks in a row that found no answer.
    silent: AtomicU64,
    /// Where the actor reads; negative while it does not, or waits on purpose.
    reads_at: AtomicI64,
}

impl Default for Pulse {
    fn default() -> Self {
        let (asked, answered, silent) = Default::default();
        Self { asked, answered, silent, reads_at: AtomicI64::new(-1) }
    }
}

impl Pulse {
    /// The actor's answer to a [`Ping`].
    pub fn beat(&self) {
        self.answered.store(self.asked.load(Relaxed), Relaxed);
    }

    /// Where the actor waits for the source to give it something; `None` if it waits for something else, on purpose.
    pub fn reads_at(&self, offset: Option<i64>) {
        self.reads_at.store(offset.unwrap_or(-1), Relaxed);
    }
}

/// How often actors are asked whether they still answer, and how many answers may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// The time between two rounds. Rounds are counted, and not the time: a process that was stopped and continued
    /// finds that much time has passed, and none of its actors has had any.
    pub every: Duration,
    /// So many rounds without an answer are a hang.
    pub most: u64,
    stall: Duration,
}

impl Rounds {
    /// For actors that may be silent for `stall`.
    pub fn within(stall: Duration) -> Self {
        const ROUNDS: u32 = 10;
        Self { every: stall / ROUNDS, most: u64::from(ROUNDS), stall }
    }

    /// How long nothing may move.
    pub fn stall(self) -> Duration {
        self.stall
    }
}

impl<A: Actor<Context = Context<A>> + Handler<Ping>> Life<A> {
    /// Starts an actor.
    pub fn begin(actor: A) -> Self {
        let ctx = Context::new();
        let addr = ctx.address();
        let task = actix::spawn(ctx.into_future(actor)).abort_handle();
        Self { addr, task, pulse: Arc::default() }
    }

    /// Its address.
    pub fn addr(&self) -> &Addr<A> {
        &self.addr
    }

    /// Where it waited for the source when it answered last, if it did.
    pub fn position(&self) -> Option<i64> {
        Some(self.pulse.reads_at.load(Relaxed)).filter(|offset| *offset >= 0)
    }

    /// Asks for a sign of life; says whether the actor hangs.
    pub fn hangs(&self, rounds: Rounds) -> bool {
        if self.pulse.answered.load(Relaxed) == self.pulse.asked.load(Relaxed) {
            self.pulse.silent.store(0, Relaxed);
            self.pulse.asked.fetch_add(1, Relaxed);
            self.addr.do_send(Ping(self.pulse.clone()));
            return false;
        }
        self.pulse.silent.fetch_add(1, Relaxed) + 1 >= rounds.most
    }
}

impl<A: Actor> Drop for Life<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
