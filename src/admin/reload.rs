//! The config is read again.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};

use super::problem::Complaint;
use super::server::State;
use crate::engine::view::ChangesView;

/// Reads the config again, and follows what differs, which is not waited for. A config that is wrong changes nothing.
#[utoipa::path(post, path = "/api/v1/reload", operation_id = "reload", tag = "config",
    responses(
        (status = 200, description = "It is read; this is what it changes.", body = ChangesView),
        (status = 422, description = "It is wrong, and changes nothing.", body = super::problem::Problem,
            content_type = "application/problem+json")))]
pub(super) async fn reload(state: Data<State>) -> Result<Json<ChangesView>, Complaint> {
    let handle = state.handle.clone();
    // it is seen through whether or not somebody still waits for the answer
    let done = actix_web::rt::spawn(async move { handle.reload().await }).await;
    let lost = |_| Complaint::new(StatusCode::INTERNAL_SERVER_ERROR, "it was lost: look at the events");
    Ok(Json(ChangesView { changes: done.map_err(lost)?? }))
}
