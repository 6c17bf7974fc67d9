//! `GET /healthz`: the process is alive. `GET /readyz`: it can authenticate and route now.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    endpoints::{Described, Operation, resources},
    error::GatewayError,
    server::Draining,
    storage::{Health, Storage},
};

/// How the process is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthView {
    /// `ok`, `ready` or `degraded`.
    status: &'static str,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
}

impl HealthView {
    const fn good(status: &'static str) -> Self {
        Self {
            status,
            reason: None,
        }
    }
}

/// Adds both endpoints. Neither needs a key, and neither says anything about the contents.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    for resource in resources("", operations()) {
        app.service(resource);
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::get(__path_alive, alive),
        Operation::get(__path_ready, ready),
    ]
}

/// Both of them, in the API's description.
pub(crate) fn described() -> impl Iterator<Item = Described> {
    operations().into_iter().map(|operation| {
        let refusals = match operation.path.as_str() {
            "/readyz" => vec![unavailable(), GatewayError::Draining],
            _ => Vec::new(),
        };
        operation.described(refusals)
    })
}

/// Liveness
///
/// The process is alive.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "alive",
    responses((status = 200, description = "It is.", body = HealthView, example = json!({"status": "ok"})))
)]
async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(HealthView::good("ok"))
}

/// Readiness
///
/// It can authenticate and route now. `degraded` is said while it is cut off from the database and
/// from Redis but within `STALE_GRACE`, because taking every replica out of service would make the
/// outage total. A gateway that is about to stop says so first, so that balancers turn elsewhere in
/// time.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    responses((status = 200, description = "It can.", body = HealthView, example = json!({"status": "ready"})))
)]
async fn ready(
    storage: web::Data<Storage>,
    draining: web::Data<Draining>,
) -> Result<HttpResponse, GatewayError> {
    if draining.has_begun() {
        return Err(GatewayError::Draining);
    }
    match storage.health() {
        Health::Ready => Ok(HttpResponse::Ok().json(HealthView::good("ready"))),
        Health::Degraded => Ok(HttpResponse::Ok().json(HealthView {
            status: "degraded",
            reason: Some(
                "neither the database nor Redis can be reached; what was known before is served until STALE_GRACE ends",
            ),
        })),
        Health::Unavailable => Err(unavailable()),
    }
}

fn unavailable() -> GatewayError {
    GatewayError::Unavailable {
        reason: "neither the database nor a whole Redis can be reached".to_owned(),
    }
}
