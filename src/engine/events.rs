//! What happened lately: a bounded memory that the API answers from, and that others may listen to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::clock::wall;
use super::messages::End;
use super::view::{Event, EventKind, Level};

/// So many events are remembered.
pub const REMEMBERED: usize = 1000;
/// Whoever listens may be so many behind before some are lost to it.
const BEHIND: usize = 256;

/// The kinds of actors that are made anew, and the thread that reads for them.
const ACTORS: [&str; 7] = ["route", "router", "consumer", "target", "catch-up", "dead-letters", "reader"];

/// The events of a process.
#[derive(Debug)]
pub struct Events {
    inner: Mutex<Inner>,
    sender: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    next: u64,
    restarts: BTreeMap<(&'static str, &'static str), u64>,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Those of this route alone.
    pub route: Option<String>,
    /// Those of this target alone.
    pub target: Option<String>,
}

impl EventFilter {
    /// Whether an event is asked for.
    pub fn accepts(&self, event: &Event) -> bool {
        let accepts = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        accepts(&self.route, &event.route) && accepts(&self.target, &event.target)
    }
}

impl Events {
    /// Nothing happened yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), sender: broadcast::channel(BEHIND).0 })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event of a route, or of one of its targets.
    pub fn tell(&self, kind: EventKind, level: Level, place: (Option<&str>, Option<&str>), text: impl Into<String>) {
        let (route, target) = (place.0.map(str::to_owned), place.1.map(str::to_owned));
        let mut inner = self.inner();
        inner.next += 1;
        let event = Event { id: inner.next, at: wall(), kind, level, route, target, text: text.into() };
        if inner.events.len() == REMEMBERED {
            inner.events.pop_front();
        }
        inner.events.push_back(event.clone());
        // under the lock, so that they are heard in their order; that nobody listens is no fault
        let _ = self.sender.send(event);
    }

    /// Counts an actor that is made anew, over all routes.
    pub fn count_restart(&self, actor: &'static str, end: End) {
        *self.inner().restarts.entry((actor, end.name())).or_default() += 1;
    }

    /// How often actors were made anew, by their kind and how they had come to their end.
    pub fn restarts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let kinds = ACTORS.into_iter().flat_map(|actor| End::ALL.map(|end| ((actor, end.name()), 0)));
        let mut restarts: BTreeMap<_, _> = kinds.collect();
        restarts.extend(self.inner().restarts.iter());
        restarts
    }

    /// The newest events that are asked for, newest first.
    pub fn newest(&self, filter: &EventFilter, most: usize) -> Vec<Event> {
        self.inner().events.iter().rev().filter(|event| filter.accepts(event)).take(most).cloned().collect()
    }

    /// All events after that with the number `after`, oldest first, as far as they are remembered; and those to come.
    pub fn listen(&self, after: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let inner = self.inner();
        let missed = after
            .map_or_else(Vec::new, |after| inner.events.iter().filter(|event| event.id > after).cloned().collect());
        (missed, self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_the_oldest_are_forgotten() {
        let events = Events::new();
        for number in 0..REMEMBERED + 5 {
            let target = if number % 2 == 0 { "even" } else { "odd" };
            events.tell(EventKind::State, Level::Info, (Some("orders"), Some(target)), number.to_string());
        }
        let all = events.newest(&EventFilter::default(), usize::MAX);
        assert_eq!((all.len(), all[0].text.as_str(), all[999].text.as_str()), (REMEMBERED, "1004", "5"));
        let even = EventFilter { route: Some("orders".to_owned()), target: Some("even".to_owned()) };
        let texts: Vec<String> = events.newest(&even, 2).into_iter().map(|event| event.text).collect();
        assert_eq!(texts, ["1004", "1002"]);
        assert!(events.newest(&EventFilter { route: Some("none".to_owned()), target: None }, 9).is_empty());
    }

    #[test]
    fn whoever_listens_misses_nothing_in_between() {
        let events = Events::new();
        let tell = |text: &str| events.tell(EventKind::Order, Level::Info, (None, None), text);
        tell("one");
        tell("two");
        let (missed, mut receiver) = events.listen(Some(1));
        tell("three");
        let heard: Vec<u64> = missed.iter().map(|event| event.id).chain([receiver.try_recv().unwrap().id]).collect();
        assert_eq!(heard, [2, 3]);
    }
}
