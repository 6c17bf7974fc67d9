//! The data path, `/v1`: from a caller's request to a provider's answer.

mod caller;
mod chat_completions;
mod chat_request;
mod headers;
mod idle_timer;
mod json;
mod relay;
mod request_body;
pub mod transport;
mod upstream;

use std::sync::Arc;

use actix_web::{HttpRequest, Scope, web};

pub use self::{request_body::BodyLimits, upstream::Upstream};
use crate::{
    domain::{Name, Route},
    endpoints::{resource, unknown_url},
    error::GatewayError,
    storage::Storage,
};

/// The scope `/v1`. It belongs to one worker, because `upstream` does.
pub fn scope(storage: Storage, upstream: Upstream, body_limits: BodyLimits) -> Scope {
    let path = DataPath {
        storage,
        upstream,
        body_limits,
    };
    web::scope("/v1")
        .app_data(web::Data::new(path))
        .service(
            resource("/chat/completions", "POST")
                .route(web::post().to(chat_completions::chat_completions)),
        )
        .default_service(web::to(unknown_url))
}

/// What handling a request takes.
struct DataPath {
    storage: Storage,
    upstream: Upstream,
    body_limits: BodyLimits,
}

impl DataPath {
    fn of(request: &HttpRequest) -> Result<&web::Data<Self>, GatewayError> {
        request
            .app_data::<web::Data<Self>>()
            .ok_or(GatewayError::Internal)
    }

    /// The route of a model. What can't be a model's name is not looked up, so that nobody fills
    /// memory with long names.
    async fn find_route(&self, model: &str) -> Result<Arc<Route>, GatewayError> {
        let is_a_name = Name::parse(model).is_ok_and(|name| name.as_str() == model);
        let route = match is_a_name {
            true => self.storage.find_route(model).await?,
            false => None,
        };
        route.ok_or_else(|| unknown_model(model))
    }
}

/// Names the model as the caller wrote it, as far as a name can be long.
fn unknown_model(model: &str) -> GatewayError {
    let model = match model.char_indices().nth(Name::MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &model[..end]),
        None => model.to_owned(),
    };
    GatewayError::UnknownModel { model }
}
