//! `GET /healthz`: the process is alive. `GET /readyz`: it can authenticate and route now.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::{
    endpoints::{get, resource},
    error::GatewayError,
    server::Draining,
    storage::{Health, Storage},
};

/// Adds both endpoints. Neither needs a key, and neither says anything about the contents.
pub(crate) fn configure(app: &mut web::ServiceConfig) {
    app.service(resource("/healthz", "GET, HEAD").route(get().to(alive)))
        .service(resource("/readyz", "GET, HEAD").route(get().to(ready)));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// 200 `ready`; 200 `degraded` while cut off from the database and Redis but within
/// `STALE_GRACE`, because taking every replica out of service would make the outage total; else
/// 503 with the reason.
///
/// A gateway that is about to stop says so first, so that balancers turn elsewhere in time.
async fn ready(
    storage: web::Data<Storage>,
    draining: web::Data<Draining>,
) -> Result<HttpResponse, GatewayError> {
    if draining.has_begun() {
        return Err(GatewayError::Draining);
    }
    match storage.health() {
        Health::Ready => Ok(HttpResponse::Ok().json(json!({"status": "ready"}))),
        Health::Degraded => Ok(HttpResponse::Ok().json(json!({
            "status": "degraded",
            "reason": "neither the database nor Redis can be reached; what was known before is served until STALE_GRACE ends",
        }))),
        Health::Unavailable => Err(GatewayError::Unavailable {
            reason: "neither the database nor a whole Redis can be reached".to_owned(),
        }),
    }
}
