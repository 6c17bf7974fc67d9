//! `GET /metrics`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, CACHE_CONTROL},
    web::Data,
};

use super::{Format, Metrics};
use crate::error::GatewayError;

/// Everything that is counted, in the format that the scraper asks for.
pub(crate) async fn show(
    metrics: Data<Metrics>,
    request: HttpRequest,
) -> Result<HttpResponse, GatewayError> {
    let format = wanted(&request);
    let text = metrics.encode(format).map_err(|_| {
        log::error!("the metrics can't be written as {format:?}");
        GatewayError::Internal
    })?;
    Ok(HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text))
}

/// Scrapers that know OpenMetrics name it, and rank it first.
fn wanted(request: &HttpRequest) -> Format {
    let knows_open_metrics = request.headers().get_all(ACCEPT).any(|accepted| {
        let accepted = accepted.to_str().unwrap_or_default();
        accepted.contains("application/openmetrics-text")
    });
    match knows_open_metrics {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}
