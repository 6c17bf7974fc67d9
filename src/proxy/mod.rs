//! The data path, `/v1`: from a caller's request to a provider's answer.

mod buffered_bytes;
mod caller;
mod cors;
mod described;
mod endpoints;
mod form;
mod form_request;
mod forward;
mod headers;
mod json;
mod json_request;
mod keep_alive;
mod model_request;
mod models;
mod overload;
mod probe;
mod relay;
mod request_body;
pub mod transport;
mod upstream;

use std::{sync::Arc, time::Duration};

use actix_web::{
    Resource,
    body::MessageBody,
    http::Method,
    web::{self, Bytes, ServiceConfig},
};

pub use self::{
    buffered_bytes::BufferedBytes,
    overload::{Overload, Refusals},
    probe::{Probe, probe},
    request_body::BodyLimits,
    upstream::Upstream,
};
pub(crate) use self::{
    described::{described, schemas},
    models::Schemas,
};
use self::{
    endpoints::{ENDPOINTS, Endpoint},
    forward::forward,
};
use crate::{
    domain::{Name, Route},
    endpoints::{EndpointName, noting, resource_in, route, serve, unknown_url},
    error::GatewayError,
    settings::Origins,
    storage::Storage,
};

/// Where everything here is.
const SCOPE: &str = "/v1";

/// Serves `/v1`. It belongs to one worker, because `upstream` does.
///
/// What is forwarded stands by itself, before the scope with the rest: a request passes one router
/// less, and no middleware that nobody has asked for.
pub fn configure(
    app: &mut ServiceConfig,
    storage: Storage,
    upstream: web::Data<Upstream>,
    limits: Limits,
    sse_keep_alive: Option<Duration>,
    cors_origins: &Origins,
) {
    app.app_data(web::Data::new(DataPath {
        storage,
        upstream,
        limits,
        sse_keep_alive,
    }));
    let cors = || cors::cors(cors_origins);
    for endpoint in &ENDPOINTS {
        let resource = forwarded(endpoint);
        match cors() {
            None => app.service(resource),
            Some(cors) => app.service(resource.wrap(cors)),
        };
    }
    let others = web::scope(SCOPE)
        // What is answered before routing goes on was here.
        .guard(noting(EndpointName::new(SCOPE)))
        .service(serve("/models", vec![models::listing()]))
        .service(serve("/models/{model:.+}", vec![models::showing()]))
        .default_service(web::to(unknown_url));
    match cors() {
        None => app.service(others),
        Some(cors) => app.service(others.wrap(cors)),
    };
}

fn forwarded(endpoint: &'static Endpoint) -> Resource {
    let handler = move |path, request, body| forward(endpoint, path, request, body);
    let path = format!("{SCOPE}{}", endpoint.path);
    let name = EndpointName::new(&path);
    resource_in(endpoint.dialect, name, &path, "POST").route(route([Method::POST]).to(handler))
}

/// The body for a provider that calls the model `model`: a door for `benches/` to what is private
/// otherwise. Not behind a feature, so that the benchmarks always build with everything else.
///
/// # Errors
/// As a request with this body would be refused.
#[doc(hidden)]
pub fn replace_model(body: Bytes, model: &str) -> Result<impl MessageBody + use<>, GatewayError> {
    Ok(json_request::parse(body, None)?.for_model(model).0)
}

/// What handling a request takes.
struct DataPath {
    storage: Storage,
    upstream: web::Data<Upstream>,
    limits: Limits,
    /// How often a streamed answer says that it is alive until its provider says something.
    sse_keep_alive: Option<Duration>,
}

/// How much is taken from callers, over all workers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests at once.
    pub overload: Overload,
    /// Their bodies.
    pub body: BodyLimits,
}

impl DataPath {
    /// The route of a model. What can't be a model's name is not looked up, so that nobody fills
    /// memory with long names.
    async fn find_route(&self, model: &str) -> Result<Arc<Route>, GatewayError> {
        let route = match Name::is_one(model) {
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
