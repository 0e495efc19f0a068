//! Clients that are slow, silent, or many: none of them keeps others out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::harness::{Reply, Request, Served};

const BANDWIDTH: &str = "/api/v1/routes/orders/targets/shanghai/bandwidth";

/// Whether the other side has closed, and how: what it said before that.
fn closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is still open: {error}"),
        Ok(_) => {}
    }
    String::from_utf8(said).unwrap()
}

#[test]
fn who_sends_half_of_a_head_or_nothing_is_let_go_after_5_seconds() {
    let served = Served::open();
    let starts = ["", "G", "GET /healthz HTTP/1.1\r\nHost: local"];
    let streams: Vec<TcpStream> = starts
        .iter()
        .map(|start| {
            let mut stream = served.connect();
            stream.write_all(start.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
            stream
        })
        .collect();
    served.still_answers();
    for mut stream in streams {
        let said = closed(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    served.still_answers();
}

#[test]
fn who_does_not_send_the_body_is_told_that_it_is_late() {
    let served = Served::open();
    let mut stream = served.connect();
    let head = format!(
        "PUT {BANDWIDTH} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{{\"rate\":",
        served.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    let reply = Reply::read(&mut stream).unwrap();
    assert_eq!(reply.status, 408, "{reply:?}");
    assert!(reply.problem(BANDWIDTH).contains("within 5 s"), "{reply:?}");
    served.still_answers();
}

#[test]
fn a_request_that_is_broken_off_is_nobodys_trouble() {
    let served = Served::open();
    let text = Request { method: "PUT", path: BANDWIDTH, body: "{\"rate\":\"5MiB/s\"}", ..Request::default() };
    let text = text.text(served.address);
    for sent in 1..text.len() {
        let mut stream = TcpStream::connect(served.address).unwrap();
        stream.write_all(&text.as_bytes()[..sent]).unwrap();
    }
    served.still_answers();
    assert_eq!(*served.kept.lock().unwrap(), [], "nothing was done");
}

/// The HTTP library gives a second request all the time there is.
#[test]
fn a_connection_that_nothing_goes_over_is_cut() {
    let served = Served::open();
    let get = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    let half_of_a_second = format!("{get}GET /hea");
    let endless_body = format!(
        "POST /api/v1/routes/payments/stop HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        served.address
    );
    let streams = [get, half_of_a_second, endless_body].map(|text| {
        let mut stream = served.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    });
    for mut stream in streams {
        let said = closed(&mut stream);
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
    served.still_answers();
}

#[test]
fn who_asks_and_does_not_read_is_cut() {
    let served = Served::open();
    let mut stream = served.connect();
    let get = format!("GET /api/v1/openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    stream.set_write_timeout(Some(Duration::from_secs(40))).unwrap();
    let cut = (0..100_000).find_map(|_| stream.write_all(get.as_bytes()).err()).unwrap();
    assert!(matches!(cut.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{cut}");
    served.still_answers();
}

#[test]
fn more_connections_than_are_served_wait_for_their_turn() {
    let served = Served::open();
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    served.still_answers();
    drop(silent);
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = served.connect();
            let text = Request { path: "/api/v1/routes", ..Request::default() }.text(served.address);
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    for mut stream in asked {
        assert_eq!(Reply::read(&mut stream).unwrap().status, 200);
    }
    let mut kept = served.connect();
    let get = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    for _ in 0..3 {
        kept.write_all(get.as_bytes()).unwrap();
        let mut answer = [0; 512];
        let length = kept.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "a connection is kept for the next request");
    }
}
