//! Routes and their targets: how they are, and what is switched by hand.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};

use super::ask::{self, Bandwidth, name};
use super::problem::Complaint;
use super::server::State;
use crate::config::parse_rate;
use crate::engine::handle::{Handle, Refusal};
use crate::engine::view::{RouteDetail, RouteView, RoutesView};

/// All routes, in the order of their names.
#[utoipa::path(get, path = "/api/v1/routes", operation_id = "list_routes", tag = "routes",
    responses((status = 200, description = "The routes of the config, switched-off ones included.", body = RoutesView)))]
pub(super) async fn list(state: Data<State>) -> Json<RoutesView> {
    Json(state.handle.routes())
}

/// A route with its partitions, and how far each target has them.
#[utoipa::path(get, path = "/api/v1/routes/{route}", operation_id = "show_route", tag = "routes",
    params(("route" = String, Path, description = "Its name in the config.")),
    responses((status = 200, description = "The route.", body = RouteDetail)))]
pub(super) async fn show(state: Data<State>, route: Path<String>) -> Result<Json<RouteDetail>, Complaint> {
    Ok(Json(state.handle.route(&name(&route))?))
}

/// Switches a route on.
#[utoipa::path(post, path = "/api/v1/routes/{route}/start", operation_id = "start_route", tag = "routes",
    params(("route" = String, Path, description = "Its name in the config.")),
    responses((status = 200, description = "It is switched on; this is how it is now.", body = RouteView)))]
pub(super) async fn start(state: Data<State>, route: Path<String>) -> Ordered {
    switch(&state, &route, true).await
}

/// Switches a route off. It finishes what is in flight, which is not waited for.
#[utoipa::path(post, path = "/api/v1/routes/{route}/stop", operation_id = "stop_route", tag = "routes",
    params(("route" = String, Path, description = "Its name in the config.")),
    responses((status = 200, description = "It is switched off; this is how it is now.", body = RouteView)))]
pub(super) async fn stop(state: Data<State>, route: Path<String>) -> Ordered {
    switch(&state, &route, false).await
}

/// Pauses a target. It finishes what its writer has, which is not waited for.
#[utoipa::path(post, path = "/api/v1/routes/{route}/targets/{target}/pause", operation_id = "pause_target", tag = "targets",
    params(("route" = String, Path, description = "The route's name in the config."),
        ("target" = String, Path, description = "The alias of the target's cluster.")),
    responses((status = 200, description = "It is paused; this is how its route is now.", body = RouteView)))]
pub(super) async fn pause(state: Data<State>, names: Path<(String, String)>) -> Ordered {
    hold(&state, &names, true).await
}

/// Lets a target that is paused go on.
#[utoipa::path(post, path = "/api/v1/routes/{route}/targets/{target}/resume", operation_id = "resume_target", tag = "targets",
    params(("route" = String, Path, description = "The route's name in the config."),
        ("target" = String, Path, description = "The alias of the target's cluster.")),
    responses((status = 200, description = "It goes on; this is how its route is now.", body = RouteView)))]
pub(super) async fn resume(state: Data<State>, names: Path<(String, String)>) -> Ordered {
    hold(&state, &names, false).await
}

/// Sets the most bytes per second that a route writes to a target.
#[utoipa::path(put, path = "/api/v1/routes/{route}/targets/{target}/bandwidth", operation_id = "set_bandwidth", tag = "targets",
    params(("route" = String, Path, description = "The route's name in the config."),
        ("target" = String, Path, description = "The alias of the target's cluster.")),
    request_body = Bandwidth,
    responses((status = 200, description = "It is set; this is how its route is now.", body = RouteView)))]
pub(super) async fn throttle(state: Data<State>, names: Path<(String, String)>, body: ask::Json<Bandwidth>) -> Ordered {
    let text = &body.0.rate;
    let rate = parse_rate(text).map_err(|why| Complaint::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let (route, target) = (name(&names.0), name(&names.1));
    order(&state, route.clone(), async move |handle| handle.throttle(&route, &target, rate).await).await
}

/// How the route is after an order.
type Ordered = Result<Json<RouteView>, Complaint>;

async fn switch(state: &State, route: &str, enabled: bool) -> Ordered {
    let route = name(route);
    order(state, route.clone(), async move |handle| handle.switch(&route, enabled).await).await
}

async fn hold(state: &State, names: &(String, String), paused: bool) -> Ordered {
    let (route, target) = (name(&names.0), name(&names.1));
    order(state, route.clone(), async move |handle| handle.pause(&route, &target, paused).await).await
}

/// Gives an order, and says how its route is then.
async fn order<F>(state: &State, route: String, order: F) -> Ordered
where
    F: AsyncFnOnce(Handle) -> Result<(), Refusal> + 'static,
{
    see_through(state, order, "the order was lost: look how the route is").await?;
    Ok(Json(state.handle.route(&route)?.route))
}

/// Has the engine do something, and sees it through whether or not somebody still waits for the answer: what is written down and not
/// followed would be followed by the next start. `lost`: what is said where nobody knows what came of it.
pub(super) async fn see_through<F, T>(state: &State, order: F, lost: &str) -> Result<T, Complaint>
where
    F: AsyncFnOnce(Handle) -> Result<T, Refusal> + 'static,
    T: 'static,
{
    let handle = state.handle.clone();
    let done = actix_web::rt::spawn(async move { order(handle).await }).await;
    Ok(done.map_err(|_| Complaint::new(StatusCode::INTERNAL_SERVER_ERROR, lost))??)
}
