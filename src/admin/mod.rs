//! The control API, `/admin`: operators manage providers, models and user keys. The guard is on
//! the whole scope, so a route added to the table is closed to strangers by default.

mod actor;
mod audit;
mod body;
mod failed_logins;
mod guard;
mod item;
mod keys;
mod models;
mod page;
mod provider_kinds;
mod providers;

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    dev::HttpServiceFactory,
    http::header,
    middleware::{DefaultHeaders, from_fn},
    web::{self, delete, post, put},
};

pub use self::guard::AdminGuard;
pub(crate) use self::guard::require_admin_key;
use crate::{
    endpoints::{get, resource, unknown_url},
    error::GatewayError,
};

/// What an admin call answers.
type Answer = Result<HttpResponse, GatewayError>;

/// Everything under `/admin`. The handlers expect [`Storage`](crate::storage::Storage) and
/// [`Upstream`](crate::proxy::Upstream) as application data.
pub fn scope(guard: Arc<AdminGuard>) -> impl HttpServiceFactory {
    web::scope("/admin")
        .service(
            resource("/providers", "GET, HEAD, POST")
                .route(get().to(providers::list))
                .route(post().to(providers::register)),
        )
        .service(
            resource("/providers/{id}", "GET, HEAD, PUT, DELETE")
                .route(get().to(providers::show))
                .route(put().to(providers::change))
                .route(delete().to(providers::delete)),
        )
        .service(resource("/providers/{id}/test", "POST").route(post().to(providers::test)))
        .service(resource("/provider-kinds", "GET, HEAD").route(get().to(provider_kinds::list)))
        .service(
            resource("/models", "GET, HEAD, POST")
                .route(get().to(models::list))
                .route(post().to(models::map)),
        )
        .service(
            resource("/models/{id}", "GET, HEAD, PUT, DELETE")
                .route(get().to(models::show))
                .route(put().to(models::change))
                .route(delete().to(models::delete)),
        )
        .service(
            resource("/keys", "GET, HEAD, POST")
                .route(get().to(keys::list))
                .route(post().to(keys::issue)),
        )
        .service(
            resource("/keys/{id}", "GET, HEAD, PUT, DELETE")
                .route(get().to(keys::show))
                .route(put().to(keys::rename))
                .route(delete().to(keys::revoke)),
        )
        .service(resource("/audit", "GET, HEAD").route(get().to(audit::list)))
        .service(resource("/keys/{id}/rotate", "POST").route(post().to(keys::rotate)))
        .default_service(web::to(unknown_url))
        .wrap(from_fn(move |request, next| {
            guard::require_admin_key(Arc::clone(&guard), request, next)
        }))
        // Some answers hold a key; none is worth keeping.
        .wrap(DefaultHeaders::new().add((header::CACHE_CONTROL, "no-store")))
}
