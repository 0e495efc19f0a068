//! The commands' side of the API, against the server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use anabranch::admin::client::{Client, ClientError};
use anabranch::engine::events::EventFilter;
use secrecy::SecretString;

use super::harness::{How, Served, TOKEN};

fn client(served: &Served, token: Option<&str>) -> Client {
    Client::new(&served.address.to_string(), token.map(SecretString::from)).unwrap()
}

#[test]
fn it_asks_for_all_that_there_is() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    let client = client(&served, Some(TOKEN));
    let names: Vec<String> = client.routes().unwrap().routes.into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["orders", "payments"]);
    assert_eq!(client.route("payments").unwrap().route.state, "off");
    assert!(client.start("payments").unwrap().enabled);
    assert!(!client.stop("payments").unwrap().enabled);
    assert!(client.pause("orders", "shanghai").unwrap().targets[1].paused);
    assert!(!client.resume("orders", "shanghai").unwrap().targets[1].paused);
    assert_eq!(client.throttle("orders", "shanghai", "5MiB/s").unwrap().targets[1].bandwidth, "5MiB/s");
    let filter = EventFilter { route: Some("orders".to_owned()), target: Some("shanghai".to_owned()) };
    let texts: Vec<String> = client.events(&filter, 1000).unwrap().into_iter().map(|event| event.text).collect();
    assert!(texts.iter().any(|text| text == "resumed by hand"), "{texts:?}");
    assert_eq!(client.events(&EventFilter::default(), 1).unwrap().len(), 1);
}

#[test]
fn a_refusal_is_told_as_the_engine_words_it() {
    let served = Served::start(How { token: Some(TOKEN), ..How::default() });
    let good = client(&served, Some(TOKEN));
    let told = |answer: Result<(), ClientError>, expected: u16, fragment: &str| match answer.unwrap_err() {
        ClientError::Refused { status, detail } => {
            assert_eq!(status, expected, "{detail}");
            assert!(detail.contains(fragment) && !detail.contains('\n'), "{detail}");
        }
        other => panic!("{other}"),
    };
    told(good.route("order").map(drop), 404, "the routes are: orders, payments");
    told(good.start("../routes").map(drop), 404, "there is no route ../routes;");
    told(good.pause("orders", "to kyo?").map(drop), 404, "has no target to kyo?");
    told(good.throttle("orders", "shanghai", "fast").map(drop), 422, "such as 20MiB/s");
    told(good.events(&EventFilter { route: Some("a&b".to_owned()), target: None }, 1).map(drop), 404, "no route a&b");
    told(client(&served, None).routes().map(drop), 401, "`admin.token`");
    told(client(&served, Some("not-the-right-one")).routes().map(drop), 401, "not the right one");
    let shown = format!("{good:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[test]
fn where_no_engine_answers_it_says_what_to_look_at() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::new(&free.to_string(), None).unwrap().routes().unwrap_err().to_string();
    let expected = format!("no engine answers at http://{free}: is it running? see `admin.listen` and `--admin` (");
    assert!(error.starts_with(&expected) && error.contains("refused") && !error.contains('\n'), "{error}");
    // somebody, but no engine
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&listener.local_addr().unwrap().to_string(), None).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let error = client.routes().unwrap_err();
        assert!(matches!(error, ClientError::Strange { .. }), "{error:?}");
        assert!(
            error.to_string().contains("is no engine of this version") && !error.to_string().contains('\n'),
            "{error}"
        );
        server.join().unwrap();
    }
}
