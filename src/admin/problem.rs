//! What is answered where something is wrong: problem details, as RFC 9457 has them.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::handle::Refusal;

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// No answer is longer than people read.
const LONGEST_DETAIL: usize = 2000;
/// No path is repeated to its end.
const LONGEST_INSTANCE: usize = 200;

/// What is wrong with a request, or with what it asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    /// The status, in words.
    #[schema(example = "Not Found")]
    pub title: String,
    /// The status.
    #[schema(example = 404, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong, and what to do about it.
    #[schema(example = "there is no route order; the routes are: orders, payments")]
    pub detail: String,
    /// The path that was asked for.
    #[schema(example = "/api/v1/routes/order")]
    pub instance: String,
    /// With `/readyz` alone: the routes that do not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
}

/// A route that is switched on, and does not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// The route.
    pub route: String,
    /// How it is: starting, degraded, draining, stopped or failed.
    #[schema(example = "degraded")]
    pub state: String,
    /// Why, for people; may be empty.
    pub reason: String,
}

/// A problem on its way to who asked.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    problem: Box<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Complaint {
    pub(super) fn new(status: StatusCode, detail: impl AsRef<str>) -> Self {
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Unknown").to_owned(),
            status: status.as_u16(),
            detail: legible(detail.as_ref(), LONGEST_DETAIL).into_owned(),
            instance: String::new(),
            waiting: Vec::new(),
        };
        Self { problem: Box::new(problem), header: None }
    }

    /// With a header that belongs to its status.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// With the routes that do not run.
    pub(super) fn waiting(mut self, waiting: Vec<Waiting>) -> Self {
        self.problem.waiting = waiting;
        self
    }

    /// As the answer to a request for this path.
    pub(super) fn answer(&self, path: &str) -> HttpResponse {
        let mut problem = Problem::clone(&self.problem);
        problem.instance = legible(path, LONGEST_INSTANCE).into_owned();
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CONTENT_TYPE, CONTENT_TYPE));
        if let Some((name, value)) = &self.header {
            response.insert_header((name.clone(), value.clone()));
        }
        response.json(problem)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.detail)
    }
}

impl ResponseError for Complaint {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Without its path, which the guard knows and puts in.
    fn error_response(&self) -> HttpResponse {
        self.answer("")
    }
}

impl From<Refusal> for Complaint {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::UnknownRoute { .. } | Refusal::UnknownTarget { .. } => StatusCode::NOT_FOUND,
            Refusal::BadRate(_) | Refusal::BadConfig(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::NotKept(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // a config may have several mistakes, each in a line of its own
        Self::new(status, refusal.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; "))
    }
}

/// What others wrote, so that it can be shown in one line, and on a terminal.
pub(super) fn legible(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest && !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut short: String = text.chars().take(longest).map(shown).collect();
    if text.chars().nth(longest).is_some() {
        short.push('…');
    }
    Cow::Owned(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status() {
        let status = |refusal: Refusal| Complaint::from(refusal).status_code().as_u16();
        assert_eq!(status(Refusal::BadRate("too much".to_owned())), 422);
        assert_eq!(status(Refusal::BadConfig("routes: is empty".to_owned())), 422);
        assert_eq!(status(Refusal::Draining), 503);
        assert_eq!(status(Refusal::NotKept(std::io::Error::other("full"))), 500);
        let (name, hint) = ("x".to_owned(), "the routes are: y".to_owned());
        assert_eq!(status(Refusal::UnknownRoute { name, hint }), 404);
    }

    #[test]
    fn what_others_wrote_stays_in_its_line() {
        assert_eq!(legible("orders", 6), "orders");
        assert_eq!(legible("a\n\u{1b}[31mb", 80), "a\u{fffd}\u{fffd}[31mb");
        assert_eq!(legible("größer", 3), "grö…");
    }
}
