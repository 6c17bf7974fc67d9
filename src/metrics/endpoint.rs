//! `GET /metrics`.

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::header::{ACCEPT, CACHE_CONTROL},
    web::Data,
};

use super::{Format, Metrics};
use crate::{
    endpoints::{Described, Operation, serve},
    error::GatewayError,
};

/// What serves it; whoever adds it sees to it that the right people alone come.
pub(crate) fn resource() -> Resource {
    serve("/metrics", vec![operation()])
}

fn operation() -> Operation {
    Operation::get(__path_show, show)
}

/// The same in the API's description.
pub(crate) fn described() -> Described {
    operation().described(vec![GatewayError::InvalidAdminKey, GatewayError::Internal])
}

/// Show the metrics
///
/// Everything that is counted, in Prometheus' own format, or in OpenMetrics 1.0 for a scraper that
/// asks for it. At `METRICS_ADDR`, where that is set, it needs no key, and nothing else serves it.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "showMetrics",
    responses((status = 200, description = "All of them.", content(
        (String = "text/plain"),
        (String = "application/openmetrics-text"),
    )))
)]
async fn show(metrics: Data<Metrics>, request: HttpRequest) -> Result<HttpResponse, GatewayError> {
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
