//! Whether the process is alive, whether it does what it is there for, and its metrics: for those who start, stop and watch processes.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Complaint, Waiting};
use super::server::State;
use crate::domain::state::RouteState;
use crate::engine::view::RouteView;
use crate::telemetry::Metrics;

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Health = Health { status: "ok" };

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "probes",
    responses((status = 200, description = "It is alive.", body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(OK)
}

/// Whether every route runs that is switched on.
#[utoipa::path(get, path = "/readyz", tag = "probes",
    responses((status = 200, description = "Every route runs that is switched on.", body = Health)))]
pub(super) async fn readyz(state: Data<State>) -> Result<Json<Health>, Complaint> {
    let waiting = waiting(state.handle.routes().routes);
    if waiting.is_empty() {
        return Ok(Json(OK));
    }
    let line = |route: &Waiting| match route.reason.as_str() {
        "" => format!("route {} is {}", route.route, route.state),
        reason => format!("route {} is {}: {reason}", route.route, route.state),
    };
    let detail: Vec<String> = waiting.iter().map(line).collect();
    Err(Complaint::new(StatusCode::SERVICE_UNAVAILABLE, detail.join("; ")).waiting(waiting))
}

/// The metrics, as text for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "metrics",
    responses((status = 200, description = "All metrics, as they are now.", body = String, content_type = "text/plain; version=0.0.4; charset=utf-8")))]
pub(super) async fn metrics(state: Data<State>) -> Result<HttpResponse, Complaint> {
    let scraped = web::block(move || state.metrics.scrape()).await;
    let failed = |error: String| Complaint::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    let text = scraped.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(Metrics::CONTENT_TYPE).body(text))
}

/// The routes that are switched on and do not run.
fn waiting(routes: Vec<RouteView>) -> Vec<Waiting> {
    let waits = |route: &RouteView| route.enabled && route.state != RouteState::Running.name();
    let waiting = |route: RouteView| Waiting { route: route.name, state: route.state, reason: route.reason };
    routes.into_iter().filter(waits).map(waiting).collect()
}
