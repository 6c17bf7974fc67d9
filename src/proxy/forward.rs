//! The one handler of everything that is forwarded: the whole path of a request, top-down.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    DataPath, caller::Caller, endpoints::Endpoint, model_request::ModelRequest, relay::relay,
    request_body,
};
use crate::error::{GatewayError, Refusal};

/// Forwards a request for `endpoint`, or refuses it in the words of the endpoint's API.
pub(super) async fn forward(
    endpoint: &'static Endpoint,
    path: web::Data<DataPath>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let answer = answer(endpoint, &path, &request, body).await;
    answer.map_err(|error| Refusal::new(error, endpoint.dialect, &request))
}

/// Streamed and whole answers are one case: bytes that arrive over time. Nothing of the body is
/// read before the caller is known, and nothing is done at all where too much is being done.
async fn answer(
    endpoint: &Endpoint,
    path: &DataPath,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, GatewayError> {
    let place = path.limits.overload.enter()?;
    let _caller = Caller::authenticate(&path.storage, request.headers(), endpoint.dialect).await?;
    // Its share of the memory is held until the body has been sent: until the answer begins.
    let (body, _share) = request_body::collect(request, body, &path.limits.body).await?;
    let asked = ModelRequest::parse(endpoint.model, request.headers(), body)?;
    let route = path.find_route(asked.model()).await?;
    log::debug!(
        "model {} (streamed: {}) goes to provider {}",
        asked.model(),
        asked.is_streamed(),
        route.provider_name,
    );
    let body = asked.for_model(&route.provider_model);
    let response = path.upstream.send(&route, request, body).await?;
    Ok(relay(
        response,
        request,
        route,
        path.upstream.idle_timeout(),
        place,
    ))
}
