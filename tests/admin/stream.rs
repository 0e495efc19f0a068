//! Events as they happen, over a connection that stays.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::harness::{How, Request, Served, TOKEN, close, soon};

/// A stream, as it is read.
struct Listening(BufReader<TcpStream>);

/// A frame that has data: its id, its name, and its data.
#[derive(Debug, Default)]
struct Frame {
    id: String,
    name: String,
    data: Value,
}

impl Listening {
    fn open(served: &Served, query: &str, headers: &[(&str, &str)]) -> Self {
        let stream = served.connect();
        let path = format!("/api/v1/events/stream{query}");
        let request = Request { path: &path, headers, ..Request::default() };
        (&stream).write_all(request.text(served.address).as_bytes()).unwrap();
        let mut listening = Self(BufReader::new(stream));
        let status = listening.line();
        assert!(status.contains(" 200 "), "{status}");
        let greeting = std::iter::repeat_with(|| listening.line()).find(|line| line.starts_with("retry: "));
        assert_eq!(greeting.unwrap(), "retry: 2000");
        listening
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream was closed");
        line.trim_end().to_owned()
    }

    /// The next frame with data. The lines of the chunks that carry it are passed over.
    fn next(&mut self) -> Frame {
        let mut frame = Frame::default();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut frame.id),
                Some(("event", name)) => name.clone_into(&mut frame.name),
                Some(("data", data)) => {
                    frame.data = serde_json::from_str(data).unwrap();
                    return frame;
                }
                _ => {}
            }
        }
    }

    /// The next order that is told.
    fn order(&mut self) -> Frame {
        std::iter::repeat_with(|| self.next()).find(|frame| frame.data["kind"] == "order").unwrap()
    }
}

const PAUSE: &str = "/api/v1/routes/orders/targets/shanghai/pause";
const RESUME: &str = "/api/v1/routes/orders/targets/shanghai/resume";

#[test]
fn an_event_is_heard_as_it_happens_and_none_is_missed_by_who_comes_back() {
    let served = Served::open();
    let mut listening = Listening::open(&served, "", &[]);
    served.post(PAUSE);
    let heard = listening.order();
    assert_eq!((&heard.data["text"], &heard.data["target"]), (&"paused by hand".into(), &"shanghai".into()));
    assert!(heard.id.ends_with(&format!("-{}", heard.data["id"])) && heard.name.is_empty(), "{heard:?}");
    drop(listening);
    served.post(RESUME);
    let mut again = Listening::open(&served, "", &[("Last-Event-ID", &heard.id)]);
    let first = again.next();
    assert_eq!(first.data["id"].as_u64().unwrap(), heard.data["id"].as_u64().unwrap() + 1, "{first:?}");
    let missed = if first.data["kind"] == "order" { first } else { again.order() };
    assert_eq!(missed.data["text"], "resumed by hand");
    served.post(PAUSE);
    assert_eq!(again.order().data["text"], "paused by hand", "and goes on");
}

#[test]
fn a_stream_is_of_what_was_asked_for() {
    let served = Served::open();
    let mut listening = Listening::open(&served, "?route=payments", &[]);
    served.post(PAUSE);
    served.post("/api/v1/routes/payments/start");
    assert_eq!(listening.order().data["route"], "payments");
}

#[test]
fn who_comes_back_after_a_restart_is_told() {
    let served = Served::open();
    served.post(PAUSE);
    let mut listening = Listening::open(&served, "", &[("Last-Event-ID", "0badcafe-123456")]);
    let lost = listening.next();
    assert_eq!(lost.name, "lost");
    assert!(lost.data["detail"].as_str().unwrap().contains("started again"), "{lost:?}");
    assert_eq!(listening.order().data["text"], "paused by hand");
}

#[test]
fn there_are_so_many_streams_and_room_for_the_rest() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    let token = [("Authorization", "Bearer a-token-of-some-length")];
    let mut streams: Vec<Listening> = (0..64).map(|_| Listening::open(&served, "", &token)).collect();
    let path = "/api/v1/events/stream";
    let one_more = served.ask(&Request { path, headers: &token, ..Request::default() });
    assert_eq!((one_more.status, one_more.header("retry-after")), (503, "15"));
    assert!(one_more.problem(path).contains("too many streams"));
    served.still_answers();
    close(streams.pop().unwrap().0.get_ref());
    // long before a heartbeat finds nobody there
    soon("its seat is given back", || {
        let stream = served.connect();
        let request = Request { path, headers: &token, ..Request::default() }.text(served.address);
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        BufReader::new(&stream).read_line(&mut status).unwrap();
        status.contains(" 200 ").then_some(())
    });
}

/// Though nothing else would be kept for so long.
#[test]
fn a_stream_in_which_nothing_happens_is_kept() {
    let served = Served::start(How { idle: true, ..How::default() });
    let mut listening = Listening::open(&served, "", &[]);
    for _ in 0..2 {
        let beat = std::iter::repeat_with(|| listening.line()).find(|line| line.starts_with(": "));
        assert_eq!(beat.unwrap(), ": nothing happened");
    }
    served.post("/api/v1/routes/payments/start");
    assert_eq!(listening.order().data["route"], "payments");
}

#[test]
fn a_stream_ends_with_the_api() {
    let served = Served::open();
    let mut listening = Listening::open(&served, "", &[]);
    served.stop_api();
    soon("the stream is closed", || {
        let mut line = String::new();
        // cut off or closed: both are an end
        listening.0.read_line(&mut line).map_or(Some(()), |length| (length == 0).then_some(()))
    });
}
