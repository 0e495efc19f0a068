//! What happened lately, as a list, and as a stream of what happens.

use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};

use super::ask::{EventsQuery, StreamQuery, name, query};
use super::connections::Connection;
use super::problem::Complaint;
use super::server::State;
use super::stream::{Listener, Place};
use crate::engine::events::EventFilter;
use crate::engine::handle::{Handle, Refusal};
use crate::engine::view::EventsView;

/// The events that are remembered, newest first: the last 1000 of this process.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "list_events", tag = "events", params(EventsQuery),
    responses((status = 200, description = "Those that were asked for.", body = EventsView)))]
pub(super) async fn list(state: Data<State>, request: HttpRequest) -> Result<Json<EventsView>, Complaint> {
    let asked: EventsQuery = query(&request)?;
    let most = asked.limit()?;
    let filter = filter(&state.handle, asked.route, asked.target)?;
    Ok(Json(EventsView { events: state.handle.events().newest(&filter, most) }))
}

/// Events as they happen: server-sent events, each with an `Event` as its data. One named `lost` says in its `detail` that some
/// were missed. Every 15 s without one a comment shows that somebody is there.
#[utoipa::path(get, path = "/api/v1/events/stream", operation_id = "stream_events", tag = "events",
    params(StreamQuery, ("Last-Event-ID" = Option<String>, Header,
        description = "The id of the last event that was seen: those after it are sent first, as far as they are remembered.")),
    responses((status = 200, description = "Events, until one side closes.", body = String, content_type = "text/event-stream")))]
pub(super) async fn stream(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Complaint> {
    let asked: StreamQuery = query(&request)?;
    let filter = filter(&state.handle, asked.route, asked.target)?;
    let after = request.headers().get("Last-Event-ID").map(|id| Place::parse(id.as_bytes())).transpose()?;
    let seat = state.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many streams are open: close some, or ask /api/v1/events now and then";
        Complaint::new(StatusCode::SERVICE_UNAVAILABLE, detail).with(header::RETRY_AFTER, "15")
    })?;
    let connection: Option<Arc<Connection>> = request.conn_data().cloned();
    let touch = move || {
        if let Some(connection) = &connection {
            connection.touch();
        }
    };
    let listener = Listener::new(state.handle.events(), filter, state.process, after.as_ref());
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        // a proxy that collects an answer before it passes it on would hold events back
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(listener.frames(seat, touch)))
}

/// A filter by names that are known: by others there would be nothing, without a word. An empty name filters nothing.
fn filter(handle: &Handle, route: Option<String>, target: Option<String>) -> Result<EventFilter, Complaint> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| name(&text));
    let asked = EventFilter { route: given(route), target: given(target) };
    if !handle.events().newest(&asked, 1).is_empty() {
        return Ok(asked); // it may be none any more, and something is known of it all the same
    }
    let routes = match &asked.route {
        Some(route) => vec![handle.route(route)?.route],
        None => handle.routes().routes,
    };
    if let Some(target) = &asked.target {
        let mut known: Vec<&str> =
            routes.iter().flat_map(|route| &route.targets).map(|target| target.name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        if !known.contains(&target.as_str()) {
            let hint = format!("the targets are: {}", known.join(", "));
            return Err(match &asked.route {
                Some(route) => Refusal::UnknownTarget { route: route.clone(), name: target.clone(), hint }.into(),
                None => Complaint::new(StatusCode::NOT_FOUND, format!("no route has a target {target}; {hint}")),
            });
        }
    }
    Ok(asked)
}
