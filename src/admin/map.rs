//! Which path and method leads where. Whatever is not here is a 404 or a 405.

use std::future::ready;

use actix_web::dev::Handler;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpResponse, Resource, Responder, Route};

use super::problem::Complaint;
use super::{console, events, history, openapi, probes, reload, routes};

/// All that there is.
pub(super) fn resources(config: &mut ServiceConfig) {
    config
        .service(read("/healthz", probes::healthz))
        .service(read("/readyz", probes::readyz))
        .service(read("/metrics", probes::metrics))
        .service(read("/api/v1/routes", routes::list))
        .service(read("/api/v1/routes/{route}", routes::show))
        .service(read("/api/v1/routes/{route}/history", history::show))
        .service(post("/api/v1/routes/{route}/start", routes::start))
        .service(post("/api/v1/routes/{route}/stop", routes::stop))
        .service(post("/api/v1/routes/{route}/targets/{target}/pause", routes::pause))
        .service(post("/api/v1/routes/{route}/targets/{target}/resume", routes::resume))
        .service(
            web::resource("/api/v1/routes/{route}/targets/{target}/bandwidth")
                .route(web::put().to(routes::throttle))
                .default_service(other_methods("PUT")),
        )
        .service(post("/api/v1/reload", reload::reload))
        .service(read("/api/v1/events", events::list))
        .service(
            // a HEAD would have to listen without end
            web::resource("/api/v1/events/stream")
                .route(web::get().to(events::stream))
                .default_service(other_methods("GET")),
        )
        .service(read("/api/v1/openapi.json", openapi::show))
        .configure(console::resources)
        .default_service(web::to(nothing_here));
}

/// What is there for GET, and so for HEAD.
pub(super) fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(other_methods("GET, HEAD"))
}

fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(other_methods("POST"))
}

fn other_methods(allowed: &'static str) -> Route {
    web::to(move || ready(refuse_method(allowed)))
}

fn refuse_method(allowed: &'static str) -> Result<HttpResponse, Complaint> {
    let detail = format!("this can't be done here: the methods of this path are {allowed}");
    Err(Complaint::new(StatusCode::METHOD_NOT_ALLOWED, detail).with(header::ALLOW, allowed))
}

async fn nothing_here() -> Result<HttpResponse, Complaint> {
    let detail = "there is nothing at this path: /api/v1/openapi.json tells what there is";
    Err(Complaint::new(StatusCode::NOT_FOUND, detail))
}
