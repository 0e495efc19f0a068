//! The config is read again.

use actix_web::web::{Data, Json};

use super::problem::Complaint;
use super::routes::see_through;
use super::server::State;
use crate::engine::handle::Handle;
use crate::engine::view::ChangesView;

/// Reads the config again, and follows what differs, which is not waited for. A config that is wrong changes nothing.
#[utoipa::path(post, path = "/api/v1/reload", operation_id = "reload", tag = "config",
    responses(
        (status = 200, description = "It is read; this is what it changes.", body = ChangesView),
        (status = 422, description = "It is wrong, and changes nothing.", body = super::problem::Problem,
            content_type = "application/problem+json")))]
pub(super) async fn reload(state: Data<State>) -> Result<Json<ChangesView>, Complaint> {
    let reload = async |handle: Handle| handle.reload().await;
    Ok(Json(ChangesView { changes: see_through(&state, reload, "it was lost: look at the events").await? }))
}
