//! `POST /v1/chat/completions`: the whole path of a request, top-down.

use actix_web::{HttpRequest, HttpResponse, web};

use super::{DataPath, caller::Caller, chat_request::ChatRequest, relay::relay, request_body};
use crate::error::GatewayError;

/// Streamed and whole answers are one case: bytes that arrive over time.
pub(super) async fn chat_completions(
    _caller: Caller,
    path: web::Data<DataPath>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, GatewayError> {
    let body = request_body::collect(&request, body, path.body_limits).await?;
    let chat = ChatRequest::parse(body)?;
    let route = path.find_route(chat.model()).await?;
    log::debug!(
        "model {} (streamed: {}) goes to provider {}",
        chat.model(),
        chat.is_streamed(),
        route.provider_name,
    );
    let body = chat.for_model(&route.provider_model);
    let response = path.upstream.send(&route, &request, body).await?;
    Ok(relay(
        response,
        &request,
        route,
        path.upstream.idle_timeout(),
    ))
}
