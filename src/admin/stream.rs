//! Events as a stream of frames, in the format of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::problem::Complaint;
use crate::engine::events::{EventFilter, Events};
use crate::engine::view::Event;

/// How long there may be nothing to send before a comment is: proxies cut what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The first thing that is sent, so that the other side knows that it is heard; and after how many milliseconds to come back.
const GREETING: &str = ": events follow as they happen\nretry: 2000\n\n";
const BEAT: &str = ": nothing happened\n\n";

/// Where in the events of which process somebody is. An event's number alone is that of another event after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    process: Option<u32>,
    event: u64,
}

impl Place {
    /// Reads what a frame had as its id, or an event's number.
    pub(super) fn parse(id: &[u8]) -> Result<Self, Complaint> {
        let read = |text: &str| match text.split_once('-') {
            Some((process, event)) => {
                Some(Self { process: Some(u32::from_str_radix(process, 16).ok()?), event: event.parse().ok()? })
            }
            None => Some(Self { process: None, event: text.parse().ok()? }),
        };
        std::str::from_utf8(id).ok().and_then(read).ok_or_else(|| {
            let detail =
                "`Last-Event-ID` is the `id` of an event of this stream, or its number: send one, or leave it out";
            Complaint::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}

/// Somebody who listens.
pub(super) struct Listener {
    filter: EventFilter,
    process: u32,
    /// What is still to be sent of what was missed.
    missed: VecDeque<Event>,
    /// What has to be said before that.
    first: VecDeque<String>,
    receiver: Receiver<Event>,
}

impl Listener {
    /// Listens from now on, or from after a place on. `process` tells this process's events from another one's.
    pub(super) fn new(events: &Arc<Events>, filter: EventFilter, process: u32, after: Option<&Place>) -> Self {
        let mut first = VecDeque::from([GREETING.to_owned()]);
        let (missed, receiver) = match after {
            None => events.listen(None),
            Some(place) => {
                let newest = events.newest(&EventFilter::default(), 1).first().map_or(0, |event| event.id);
                let same = place.process.is_none_or(|other| other == process) && place.event <= newest;
                let after = if same { place.event } else { 0 };
                if !same {
                    first.push_back(lost("the engine was started again: what happened in between is not known"));
                }
                let (missed, receiver) = events.listen(Some(after));
                let forgotten = missed.first().map_or(0, |event| event.id - after - 1);
                if forgotten > 0 {
                    first.push_back(lost(&format!("{forgotten} events are not remembered any more")));
                }
                (missed, receiver)
            }
        };
        Self { filter, process, missed: missed.into(), first, receiver }
    }

    /// All that is to be sent, without end. `touch` is called for each frame; the seat is given back when nobody listens any more.
    pub(super) fn frames(
        self,
        seat: OwnedSemaphorePermit,
        touch: impl Fn(),
    ) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold((self, seat, touch), async |(mut listener, seat, touch)| {
            let frame = listener.next().await?;
            touch();
            Some((Ok(Bytes::from(frame)), (listener, seat, touch)))
        })
    }

    /// The next frame; nothing when there will be no event any more.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        while let Some(event) = self.missed.pop_front() {
            if self.filter.accepts(&event) {
                return Some(self.frame(&event));
            }
        }
        let beat = Instant::now() + HEARTBEAT;
        loop {
            match timeout_at(beat, self.receiver.recv()).await {
                Err(_) => return Some(BEAT.to_owned()),
                Ok(Ok(event)) if self.filter.accepts(&event) => return Some(self.frame(&event)),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(count))) => {
                    let why = format!("{count} events were missed, as the stream was not read: see /api/v1/events");
                    return Some(lost(&why));
                }
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    fn frame(&self, event: &Event) -> String {
        let data = serde_json::to_string(event).expect("an event is texts and numbers");
        format!("id: {:08x}-{}\ndata: {data}\n\n", self.process, event.id)
    }
}

fn lost(detail: &str) -> String {
    format!("event: lost\ndata: {}\n\n", serde_json::json!({ "detail": detail }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::view::{EventKind, Level};

    const PROCESS: u32 = 0xab;

    fn events(count: usize) -> Arc<Events> {
        let events = Events::new();
        tell(&events, count);
        events
    }

    fn tell(events: &Events, count: usize) {
        (0..count).for_each(|_| events.tell(EventKind::Order, Level::Info, (Some("orders"), None), "told"));
    }

    fn listen(events: &Arc<Events>, after: Option<&str>) -> Listener {
        let after = after.map(|id| Place::parse(id.as_bytes()).unwrap());
        Listener::new(events, EventFilter::default(), PROCESS, after.as_ref())
    }

    /// What is sent at once.
    async fn sent(listener: &mut Listener) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            match listener.next().await.unwrap() {
                beat if beat == BEAT => return sent,
                frame => sent.push(frame),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_heart_beats_every_15_seconds_also_while_others_are_told() {
        let events = events(0);
        let filter = EventFilter { route: Some("payments".to_owned()), target: None };
        let mut listener = Listener::new(&events, filter, PROCESS, None);
        assert_eq!(listener.next().await.unwrap(), GREETING);
        let began = Instant::now();
        tell(&events, 3);
        assert_eq!(listener.next().await.unwrap(), BEAT);
        assert_eq!(listener.next().await.unwrap(), BEAT);
        let after = began.elapsed();
        assert!((Duration::from_secs(30)..Duration::from_millis(30_010)).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_hears_what_was_missed() {
        let events = events(3);
        let mut listener = listen(&events, Some("000000ab-1"));
        tell(&events, 1);
        let sent = sent(&mut listener).await;
        let ids: Vec<&str> = sent[1..].iter().map(|frame| frame.lines().next().unwrap()).collect();
        assert_eq!(ids, ["id: 000000ab-2", "id: 000000ab-3", "id: 000000ab-4"]);
        assert_eq!(listen(&events, Some("4")).missed.len(), 0);
        assert_eq!(listen(&events, None).missed.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_to_another_process_is_told_and_hears_all() {
        let events = events(3);
        for elsewhere in ["000000ac-2", "17"] {
            let sent = sent(&mut listen(&events, Some(elsewhere))).await;
            assert!(sent[1].starts_with("event: lost\n") && sent[1].contains("started again"), "{sent:?}");
            assert_eq!(sent.len(), 5, "{sent:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_or_was_not_read_is_told_as_lost() {
        let events = events(1010);
        let sent_late = sent(&mut listen(&events, Some("4"))).await;
        assert!(sent_late[1].contains("6 events are not remembered"), "{}", sent_late[1]);
        assert_eq!(sent_late.len(), 1002);
        let mut slow = listen(&events, None);
        tell(&events, 300);
        let sent = sent(&mut slow).await;
        assert!(sent[1].starts_with("event: lost\n") && sent[1].contains("44 events were missed"), "{}", sent[1]);
        assert!(sent[2].starts_with("id: 000000ab-1055\n"), "{}", sent[2]);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for id in ["", "x", "-1", "1-", "12345678a-1", "1-2-3"] {
            assert!(Place::parse(id.as_bytes()).is_err(), "{id}");
        }
        assert!(Place::parse(b"\xff").is_err());
    }
}
