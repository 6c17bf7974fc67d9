//! The one handler of everything that is forwarded: the whole path of a request, top-down.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::{
    DataPath,
    caller::Caller,
    endpoints::Endpoint,
    keep_alive::{Exchange, answer_at_once},
    model_request::ModelRequest,
    relay::{Held, relay},
    request_body,
};
use crate::{
    error::{GatewayError, Refusal},
    record::Record,
};

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
    path: &web::Data<DataPath>,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, GatewayError> {
    let place = path.limits.overload.enter()?;
    let record = Record::of(request).ok_or(GatewayError::Internal)?;
    let caller = Caller::authenticate(&path.storage, request.headers(), endpoint.dialect).await?;
    record.note_key(Arc::clone(caller.key()));
    // Its share of the memory is held until the body has been sent: as a rule, until the answer begins.
    let (body, share) = request_body::collect(request, body, &path.limits.body, &record).await?;
    let asked = ModelRequest::parse(endpoint.model, request.headers(), body)?;
    let route = path.find_route(asked.model()).await?;
    log::debug!(
        "model {} (streamed: {}) goes to provider {}",
        asked.model(),
        asked.is_streamed(),
        route.provider.name,
    );
    let is_streamed = asked.is_streamed();
    let (body, model) = asked.for_model(&route.provider_model);
    record.note_model(model, Arc::clone(&route), is_streamed);
    let keep_alive = path.sse_keep_alive.filter(|_| is_streamed);
    let mut held = Held {
        place,
        share: None,
        record,
    };
    if let Some(every) = keep_alive {
        let exchange = Exchange {
            path: path.clone(),
            request: request.clone(),
            dialect: endpoint.dialect,
            route,
            body,
            share,
            held,
        };
        return Ok(answer_at_once(exchange, every));
    }
    let response = path
        .upstream
        .send(&route, request, body, &held.record)
        .await?;
    held.share = Some(share).filter(|_| response.content.is_request_on_its_way());
    let idle_timeout = path.upstream.idle_timeout(&route);
    Ok(relay(response, request, route, idle_timeout, held))
}
