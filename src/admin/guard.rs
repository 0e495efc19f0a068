//! Who may ask, and for what: looked at before anything else, for every path.
//!
//! Everything needs the token, where there is one, but for what is named as [`OPEN`] and the console's files, which show nothing of the
//! engine by themselves: a path that is spelled in some other way is not open.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use super::ask::{LONGEST_BODY, too_large};
use super::connections::Connection;
use super::console;
use super::problem::Complaint;
use super::server::State;

/// What is shown without a token.
pub(super) const OPEN: &[&str] = &["/healthz", "/readyz"];

/// The way of every request, and of its answer.
pub(super) async fn around(
    state: Data<State>,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection: Option<Arc<Connection>> = request.conn_data().cloned();
    let touch = || connection.iter().for_each(|connection| connection.touch());
    touch();
    let path = match request.uri().path() {
        // it was asked for by a host's name alone
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let mut answer = match check(&request, &state) {
        Ok(()) => next.call(request).await?,
        Err(complaint) => request.into_response(complaint.answer(&path)),
    };
    if let Some(error) = answer.response().error() {
        let response = worded(error, &path);
        answer = answer.into_response(response);
    }
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    touch();
    Ok(answer)
}

/// An error as the problem that it is, with its path.
fn worded(error: &Error, path: &str) -> HttpResponse {
    match error.as_error::<Complaint>() {
        Some(complaint) => complaint.answer(path),
        // what the HTTP library does not like by itself
        None => Complaint::new(error.as_response_error().status_code(), error.to_string()).answer(path),
    }
}

fn is_open(path: &str) -> bool {
    OPEN.contains(&path) || console::has(path)
}

fn check(request: &ServiceRequest, state: &State) -> Result<(), Complaint> {
    let headers = request.headers();
    if state.is_local {
        check_host(request.uri(), headers)?;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        check_origin(headers)?;
    }
    if let Some(token) = state.token.as_ref().filter(|_| !is_open(request.uri().path())) {
        check_token(headers, token.expose_secret())?;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
    if length.is_some_and(|length: u64| length > LONGEST_BODY as u64) {
        return Err(too_large());
    }
    Ok(())
}

/// Without a token all that protects the API is that it is reached from this machine alone. A page of a foreign name that leads here
/// would be read by a browser as its own; but it can't choose the name that is asked for.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Complaint> {
    let named = headers.get_all(header::HOST).map(|host| host.to_str().ok());
    let mut asked = uri.authority().map(|authority| Some(authority.as_str())).into_iter().chain(named);
    if asked.all(|host| host.is_some_and(is_this_machine)) {
        return Ok(());
    }
    let detail = "without `admin.token` this is for localhost and 127.0.0.1 alone: ask by one of these, or set a token";
    Err(Complaint::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    !host.contains('@')
        && (name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()))
}

/// What changes something must not come from another site's page.
fn check_origin(headers: &HeaderMap) -> Result<(), Complaint> {
    let texts = |name: HeaderName| headers.get_all(name).map(|value| value.to_str().unwrap_or_default());
    let host = texts(header::HOST).next().unwrap_or_default();
    let foreign = texts(header::ORIGIN).any(|origin| !is_same(origin, host))
        || texts(HeaderName::from_static("sec-fetch-site")).any(|site| !matches!(site, "same-origin" | "none"));
    if !foreign {
        return Ok(());
    }
    let detail =
        "this comes from a page of another site, and is refused; a proxy in between has to leave `Host` as it is";
    Err(Complaint::new(StatusCode::FORBIDDEN, detail))
}

/// Whether an origin is that of the host that is asked, the port included.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority: &str| authority.strip_suffix(usual).unwrap_or(authority).to_ascii_lowercase();
    !host.is_empty() && bare(authority) == bare(host)
}

fn check_token(headers: &HeaderMap, token: &str) -> Result<(), Complaint> {
    let mut given = headers.get_all(header::AUTHORIZATION);
    let refuse = |detail, challenge| {
        Err(Complaint::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, challenge))
    };
    let (Some(value), None) = (given.next(), given.next()) else {
        return refuse("a token is needed: send that of `admin.token` as `Authorization: Bearer TOKEN`", "Bearer");
    };
    let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
    let shown = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer")).map(|(_, shown)| shown.trim());
    // in constant time: how long it takes must not tell how much of it is right
    if shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(token.as_bytes()))) {
        return Ok(());
    }
    refuse(
        "this token is not the right one: send that of `admin.token` as `Authorization: Bearer TOKEN`",
        "Bearer error=\"invalid_token\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for host in ["localhost", "LocalHost:8686", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8686", "127.1.2.3:80"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "localhost.",
            "localhost.evil.test",
            "evil.test:8686",
            "127.0.0.1.evil.test",
            "0.0.0.0:8686",
            "10.0.0.1",
            "[::]:1",
            "localhost@evil.test",
            "evil.test@localhost",
            "127.1",
            "::1",
            "a b",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (origin, host) in [
            ("http://127.0.0.1:8686", "127.0.0.1:8686"),
            ("http://Relay.test", "relay.test"),
            ("http://relay.test:80", "relay.test"),
            ("https://relay.test", "relay.test:443"),
        ] {
            assert!(is_same(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "127.0.0.1:8686"),
            ("http://127.0.0.1:8687", "127.0.0.1:8686"),
            ("http://localhost:8686", "127.0.0.1:8686"),
            ("https://relay.test", "relay.test:80"),
            ("http://relay.test.evil.test", "relay.test"),
            ("http://", ""),
            ("file://127.0.0.1:8686", "127.0.0.1:8686"),
            ("", ""),
        ] {
            assert!(!is_same(origin, host), "{origin} {host}");
        }
    }
}
