//! The description of the API, made from its code.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{events, guard, history, probes, problem, reload, routes};

#[derive(OpenApi)]
#[openapi(
    info(title = "anabranch", description = "How a running engine is looked at, and told what to do."),
    paths(
        probes::healthz,
        probes::readyz,
        probes::metrics,
        routes::list,
        routes::show,
        routes::start,
        routes::stop,
        routes::pause,
        routes::resume,
        routes::throttle,
        reload::reload,
        history::show,
        events::list,
        events::stream,
        show,
    ),
    components(schemas(problem::Problem)),
    tags(
        (name = "probes", description = "For those who start and stop processes; no token is needed."),
        (name = "metrics", description = "For Prometheus."),
        (name = "routes", description = "One source cluster, a selection of its topics, and the targets they go to."),
        (name = "targets", description = "Clusters that a route writes to."),
        (name = "events", description = "What happened lately."),
        (name = "config", description = "What the engine is to do, as its file says."),
        (name = "about", description = "This description."),
    ),
    modifiers(&Common),
)]
struct Description;

/// The description, as OpenAPI 3.1.
pub fn document() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// This description, as OpenAPI 3.1.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "describe", tag = "about",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)))]
pub(super) async fn show() -> HttpResponse {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| document().to_json().expect("what is made of types can be written down"));
    HttpResponse::Ok().content_type(ContentType::json()).body(TEXT.as_str())
}

/// What all operations have in common, or all of a kind.
struct Common;

const TOKEN: &str = "token";

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("That of `admin.token`, where the config has one."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
        for (path, item) in &mut document.paths.paths {
            let methods = [
                (HttpMethod::Get, &mut item.get),
                (HttpMethod::Post, &mut item.post),
                (HttpMethod::Put, &mut item.put),
            ];
            for (method, operation) in methods {
                if let Some(operation) = operation {
                    complete(path, &method, operation);
                }
            }
        }
    }
}

/// Adds what may be answered besides what is asked for, and what has to be shown.
fn complete(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let (guarded, reads) = (!guard::OPEN.contains(&path), *method == HttpMethod::Get);
    let parameters = operation.parameters.is_some();
    let body = operation.request_body.is_some();
    if guarded {
        // or none, where the config has no token
        let either = [SecurityRequirement::default(), SecurityRequirement::new::<_, [&str; 0], &str>(TOKEN, [])];
        operation.security = Some(either.into());
    }
    let answers = [
        (true, 400, "The request is not what is asked for."),
        (guarded, 401, "The token is missing, or not the right one."),
        (!reads, 403, "It comes from a page of another site."),
        (parameters, 404, "There is no such route or target."),
        (body, 408, "The body did not come in time."),
        (true, 413, "The body is longer than 16 KiB."),
        (body, 415, "The body is not JSON."),
        (true, 421, "Without a token, it was asked for by another name than localhost."),
        (body, 422, "The rate is none, or has no effect."),
        (!reads, 500, "What was ordered could not be written down, and was not done."),
        (path == "/metrics", 500, "They could not be collected."),
        (!reads, 503, "The engine is draining."),
        (path == "/readyz", 503, "Some route does not run; `waiting` tells which, and why."),
        (path.ends_with("/stream"), 503, "Too many streams are open."),
    ];
    for (_, status, description) in answers.into_iter().filter(|(applies, ..)| *applies) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content(problem::CONTENT_TYPE, content).build();
        operation.responses.responses.insert(status.to_string(), response.into());
    }
}
