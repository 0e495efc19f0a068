//! Flow control: permits for bytes in flight.
//!
//! A batch owns its permit; dropping the batch, anywhere and for any reason, gives the bytes back. Gates nest
//! (process, route, catching-up target) and a permit passes all of its gates or none. Waiting is first come, first
//! served within a lane; live reads go before those that catch up.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

pub use crate::domain::bandwidth::Urgency;
use crate::domain::batch::{Permit, RecordBatch};

/// The process's permits.
#[derive(Debug, Default)]
pub struct Flow {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    live: VecDeque<Waiter>,
    catch_up: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    lane: Lane,
    bytes: u64,
    granted: oneshot::Sender<FlowPermit>,
}

/// A bound on bytes in flight.
#[derive(Debug)]
pub struct Gate {
    capacity: AtomicU64,
    /// Written under the flow's lock only; read anywhere.
    used: AtomicU64,
    peak: AtomicU64,
}

impl Gate {
    /// A gate for this many bytes.
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self { capacity: AtomicU64::new(capacity), used: AtomicU64::new(0), peak: AtomicU64::new(0) })
    }

    /// Bytes in flight now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that ever were in flight.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The bound.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.used() + bytes <= self.capacity()
    }

    fn take(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A way to permits: through which gates, and how urgently.
#[derive(Clone, Debug)]
pub struct Lane {
    flow: Arc<Flow>,
    gates: Arc<[Arc<Gate>]>,
    urgency: Urgency,
}

impl Lane {
    /// A lane through these gates.
    pub fn new(flow: &Arc<Flow>, gates: impl Into<Arc<[Arc<Gate>]>>, urgency: Urgency) -> Self {
        Self { flow: flow.clone(), gates: gates.into(), urgency }
    }

    /// Waits for a permit of `bytes`. Where that is more than a gate can ever give, the permit takes the whole gate: a
    /// record larger than the budget travels alone.
    pub fn acquire(&self, bytes: u64) -> oneshot::Receiver<FlowPermit> {
        let (granted, permit) = oneshot::channel();
        let waiter = Waiter { lane: self.clone(), bytes, granted };
        self.flow.with(|waiting| match self.urgency {
            Urgency::Live => waiting.live.push_back(waiter),
            Urgency::CatchUp => waiting.catch_up.push_back(waiter),
        });
        permit
    }

    /// A permit of `bytes` at once, where its gates have room and nobody waits for one, in whatever lane.
    pub fn try_acquire(&self, bytes: u64) -> Option<FlowPermit> {
        let waiting = self.flow.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let charged = self.charged(bytes);
        let is_free = waiting.live.is_empty() && waiting.catch_up.is_empty();
        if !is_free || !self.gates.iter().all(|gate| gate.has_room(charged)) {
            return None;
        }
        Some(self.clone().pass(bytes, charged))
    }

    /// A permit for gates that have room for it. To be called with the flow's lock.
    fn pass(self, bytes: u64, charged: u64) -> FlowPermit {
        self.gates.iter().for_each(|gate| gate.take(charged));
        FlowPermit { flow: self.flow, gates: Mutex::new(self.gates), bytes, charged }
    }

    /// What a permit of `bytes` would be charged now.
    fn charged(&self, bytes: u64) -> u64 {
        self.gates.iter().map(|gate| gate.capacity()).fold(bytes, u64::min)
    }

    /// Whether somebody in this lane waits for a permit.
    pub fn waits(&self) -> bool {
        let waiting = self.flow.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = match self.urgency {
            Urgency::Live => &waiting.live,
            Urgency::CatchUp => &waiting.catch_up,
        };
        queue.iter().any(|waiter| Arc::ptr_eq(&waiter.lane.gates, &self.gates))
    }
}

impl Flow {
    /// Gives a gate another bound. What is in flight stays so, even if it is more: then nothing more passes until it is less.
    pub fn resize(&self, gate: &Gate, capacity: u64) {
        self.with(|_| gate.capacity.store(capacity, Ordering::Relaxed));
    }

    /// Changes something, then grants what can be granted. Permits are sent after the lock is released: a receiver
    /// that is gone drops its permit, and that takes the lock again.
    fn with(&self, change: impl FnOnce(&mut Waiting)) {
        let mut granted = Vec::new();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut waiting);
            let mut full: Vec<*const Gate> = Vec::new();
            grant(&mut waiting.live, &mut full, &mut granted);
            grant(&mut waiting.catch_up, &mut full, &mut granted);
        }
        for (sender, permit) in granted {
            drop(sender.send(permit));
        }
    }
}

/// Grants in order. A waiter that finds a gate full keeps those behind it from passing that gate, or a large request
/// would never get through.
fn grant(
    queue: &mut VecDeque<Waiter>,
    full: &mut Vec<*const Gate>,
    granted: &mut Vec<(oneshot::Sender<FlowPermit>, FlowPermit)>,
) {
    let mut left = VecDeque::new();
    for waiter in queue.drain(..) {
        let (gates, charged) = (&waiter.lane.gates, waiter.lane.charged(waiter.bytes));
        let lacking = gates.iter().filter(|gate| !gate.has_room(charged)).map(Arc::as_ptr);
        let before = full.len();
        let behind = gates.iter().any(|gate| full.contains(&Arc::as_ptr(gate)));
        full.extend(lacking);
        if waiter.granted.is_closed() {
            full.truncate(before);
        } else if behind || full.len() > before {
            left.push_back(waiter);
        } else {
            granted.push((waiter.granted, waiter.lane.pass(waiter.bytes, charged)));
        }
    }
    *queue = left;
}

/// The right to hold bytes in flight; given back when dropped.
#[derive(Debug)]
pub struct FlowPermit {
    flow: Arc<Flow>,
    gates: Mutex<Arc<[Arc<Gate>]>>,
    bytes: u64,
    /// What the gates were charged: less than `bytes` where that is more than they can give.
    charged: u64,
}

impl FlowPermit {
    fn gates(&self) -> MutexGuard<'_, Arc<[Arc<Gate>]>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, bytes: u64) {
        let gates = self.gates().clone();
        self.flow.with(|_| gates.iter().for_each(|gate| gate.give_back(bytes)));
    }

    /// Lets go of the gates that it passed, and counts at those of another lane, whether they have room or not: what one
    /// target alone still holds of the shared read is not to be missed by the others.
    pub fn move_to(&self, lane: &Lane) {
        self.flow.with(|_| {
            let mut gates = self.gates();
            if Arc::ptr_eq(&gates, &lane.gates) {
                return;
            }
            let former = std::mem::replace(&mut *gates, lane.gates.clone());
            former.iter().for_each(|gate| gate.give_back(self.charged));
            lane.gates.iter().for_each(|gate| gate.take(self.charged));
        });
    }
}

/// Moves a batch's permit to another lane.
pub fn move_permit(batch: &RecordBatch, lane: &Lane) {
    if let Some(permit) = batch.permit().as_any().downcast_ref::<FlowPermit>() {
        permit.move_to(lane);
    }
}

impl Permit for FlowPermit {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn shrink_to(&mut self, bytes: u64) {
        self.bytes = self.bytes.min(bytes);
        if bytes < self.charged {
            self.give_back(self.charged - bytes);
            self.charged = bytes;
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for FlowPermit {
    fn drop(&mut self) {
        if self.charged > 0 {
            self.give_back(self.charged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> (Arc<Gate>, Lane, Lane) {
        let flow = Arc::default();
        let route = Gate::new(100);
        let live = Lane::new(&flow, [route.clone()], Urgency::Live);
        let catch_up = Lane::new(&flow, [route.clone(), Gate::new(40)], Urgency::CatchUp);
        (route, live, catch_up)
    }

    #[test]
    fn who_does_not_wait_gets_one_only_where_nobody_does() {
        let (route, live, catch_up) = lanes();
        let first = catch_up.try_acquire(70).unwrap();
        assert_eq!((first.bytes(), route.used()), (70, 40), "no more than its gate");
        assert!(catch_up.try_acquire(1).is_none() && live.try_acquire(61).is_none());
        let waiting = catch_up.acquire(1);
        assert!(live.try_acquire(1).is_none(), "somebody waits");
        drop(waiting);
        drop(first);
        assert_eq!(live.try_acquire(100).map(|permit| permit.bytes()), Some(100));
        assert_eq!(route.used(), 0);
    }

    #[test]
    fn permits_are_bounded_shrunk_and_given_back() {
        let (route, live, _) = lanes();
        let mut first = live.acquire(80).try_recv().unwrap();
        let mut second = live.acquire(30);
        assert!(second.try_recv().is_err() && live.waits());
        first.shrink_to(70);
        assert_eq!(second.try_recv().unwrap().bytes(), 30);
        drop(first);
        assert_eq!((route.used(), route.peak()), (0, 100));
    }

    #[test]
    fn live_reads_go_first_and_catching_up_has_a_gate_of_its_own() {
        let (route, live, catch_up) = lanes();
        let held = live.acquire(100).try_recv().unwrap();
        let mut behind = catch_up.acquire(1000);
        let mut ahead = live.acquire(70);
        drop(held);
        let ahead = ahead.try_recv().unwrap();
        assert!(behind.try_recv().is_err(), "40 do not fit beside 70");
        drop(ahead);
        let behind = behind.try_recv().unwrap();
        assert_eq!((behind.bytes(), route.used()), (1000, 40), "all that its gate can give");
        drop(behind);
        assert_eq!(route.used(), 0);
    }

    #[test]
    fn a_large_request_is_not_starved_by_small_ones() {
        let (_, live, _) = lanes();
        let held = live.acquire(50).try_recv().unwrap();
        let mut large = live.acquire(90);
        let mut small = live.acquire(10);
        assert!(small.try_recv().is_err(), "it came later");
        drop(held);
        let large = large.try_recv().unwrap();
        assert!(small.try_recv().is_ok());
        drop(large);
    }

    #[test]
    fn what_one_target_alone_still_holds_makes_room_for_the_shared_read() {
        let flow = Arc::default();
        let (route, shared, own) = (Gate::new(100), Gate::new(50), Gate::new(20));
        let live = Lane::new(&flow, [route.clone(), shared.clone()], Urgency::Live);
        let catch_up = Lane::new(&flow, [route.clone(), own.clone()], Urgency::CatchUp);
        let held = live.acquire(50).try_recv().unwrap();
        let mut next = live.acquire(40);
        assert!(next.try_recv().is_err());
        held.move_to(&catch_up);
        held.move_to(&catch_up);
        assert_eq!((route.used(), shared.used(), own.used()), (90, 40, 50));
        let next = next.try_recv().unwrap();
        drop((held, next));
        assert_eq!((route.used(), shared.used(), own.used()), (0, 0, 0));
    }

    #[test]
    fn a_gate_that_is_made_larger_or_smaller_bounds_what_comes_next() {
        let (route, live, _) = lanes();
        let held = live.acquire(90).try_recv().unwrap();
        let mut next = live.acquire(60);
        live.flow.resize(&route, 150);
        let next = next.try_recv().unwrap();
        live.flow.resize(&route, 50);
        let mut late = live.acquire(200);
        drop(held);
        assert!(late.try_recv().is_err(), "60 are more than 50");
        drop(next);
        let late = late.try_recv().unwrap();
        assert_eq!((late.bytes(), route.used()), (200, 50), "what it waits for is what the gate can give now");
        drop(late);
        assert_eq!((route.used(), route.capacity()), (0, 50));
    }

    #[test]
    fn a_waiter_that_left_holds_up_nobody() {
        let (_, live, _) = lanes();
        let held = live.acquire(50).try_recv().unwrap();
        drop(live.acquire(90));
        assert!(live.acquire(10).try_recv().is_ok());
        drop(held);
    }
}
