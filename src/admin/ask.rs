//! What a request brings along: names in its path, its query, its body.

use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Query};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::problem::{Complaint, legible};
use crate::engine::events::REMEMBERED;

/// No body that means something is longer.
pub(super) const LONGEST_BODY: usize = 16 << 10;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(5);
/// Names of routes and targets are shorter, and those that are not are not repeated to their end.
const LONGEST_NAME: usize = 100;
const USUAL_EVENTS: usize = 100;

/// A name from a path or a query: what is no name finds nothing, and is repeated in an answer.
pub(super) fn name(raw: &str) -> String {
    legible(raw, LONGEST_NAME).into_owned()
}

/// A body: JSON of a certain shape.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    type Error = Complaint;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Complaint>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = request.mime_type().ok().flatten().is_some_and(|kind| kind.essence_str() == "application/json");
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                let detail = "the body has to be JSON, and say so: `Content-Type: application/json`";
                return Err(Complaint::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
            let late =
                |_| Complaint::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 5 s; send it again");
            let body = timeout(BODY, body).await.map_err(late)?.map_err(|error| broken(&error))?;
            parse(&body).map(Self)
        })
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Complaint> {
    let bad = |detail: &str| Complaint::new(StatusCode::BAD_REQUEST, detail);
    match body.trim_ascii_start().first() {
        None => Err(bad("the body is empty: send a JSON object")),
        // a list of the values alone would be taken, too
        Some(first) if *first != b'{' => Err(bad("the body has to be a JSON object: it begins with something else")),
        Some(_) => {
            serde_json::from_slice(body).map_err(|error| bad(&format!("the body is not what is asked for: {error}")))
        }
    }
}

fn broken(error: &actix_web::Error) -> Complaint {
    match error.as_error() {
        Some(PayloadError::Overflow) => too_large(),
        _ => Complaint::new(StatusCode::BAD_REQUEST, format!("the body can't be read: {error}; send it again")),
    }
}

/// A body that is longer than any that means something.
pub(super) fn too_large() -> Complaint {
    Complaint::new(StatusCode::PAYLOAD_TOO_LARGE, "a body may have 16 KiB at most: send less")
}

/// What a rate is set by.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bandwidth {
    /// Bytes per second, from 1KiB/s to 1TiB/s, such as `20MiB/s`; or `unlimited`.
    #[schema(example = "20MiB/s", pattern = r"^(unlimited|[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B/s)$")]
    pub(super) rate: String,
}

/// Which events are to be shown.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Those of this route alone.
    pub(super) route: Option<String>,
    /// Those of this target alone.
    pub(super) target: Option<String>,
    /// So many at most; 100 when left out.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

impl EventsQuery {
    /// So many at most.
    pub(super) fn limit(&self) -> Result<usize, Complaint> {
        let Some(text) = self.limit.as_deref() else { return Ok(USUAL_EVENTS) };
        let wrong = || {
            let detail = format!("`limit` is {}: write a number from 1 to {REMEMBERED}", name(text));
            Complaint::new(StatusCode::BAD_REQUEST, detail)
        };
        text.parse().ok().filter(|limit| (1..=REMEMBERED).contains(limit)).ok_or_else(wrong)
    }
}

/// Which events are to be sent as they happen.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Those of this route alone.
    pub(super) route: Option<String>,
    /// Those of this target alone.
    pub(super) target: Option<String>,
}

/// A request's query, of a certain shape.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Complaint> {
    Query::from_query(request.query_string()).map(Query::into_inner).map_err(|error| {
        let detail = format!("the query is not what is asked for: {error}");
        Complaint::new(StatusCode::BAD_REQUEST, detail)
    })
}
