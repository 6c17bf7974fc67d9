//! The control API, `/admin`: operators manage providers, models and user keys. The guard is on
//! the whole scope, so a route added to the table is closed to strangers by default.

mod actor;
mod audit;
mod body;
mod described;
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
    HttpResponse, Scope,
    dev::HttpServiceFactory,
    http::header,
    middleware::{DefaultHeaders, from_fn},
    web,
};
use utoipa::OpenApi;

pub(crate) use self::described::described;
pub use self::guard::AdminGuard;
pub(crate) use self::guard::require_admin_key;
use crate::{
    endpoints::{EndpointName, Operation, noting, resources, unknown_url},
    error::GatewayError,
};

/// What an admin call answers.
type Answer = Result<HttpResponse, GatewayError>;

/// Where everything here is.
const SCOPE: &str = "/admin";

/// All that operators can do.
fn operations() -> Vec<Operation> {
    vec![
        Operation::get(providers::__path_list, providers::list),
        Operation::post(providers::__path_register, providers::register),
        Operation::get(providers::__path_show, providers::show),
        Operation::put(providers::__path_change, providers::change),
        Operation::delete(providers::__path_delete, providers::delete),
        Operation::post(providers::__path_test, providers::test),
        Operation::get(provider_kinds::__path_list, provider_kinds::list),
        Operation::get(models::__path_list, models::list),
        Operation::post(models::__path_map, models::map),
        Operation::get(models::__path_show, models::show),
        Operation::put(models::__path_change, models::change),
        Operation::delete(models::__path_delete, models::delete),
        Operation::get(keys::__path_list, keys::list),
        Operation::post(keys::__path_issue, keys::issue),
        Operation::get(keys::__path_show, keys::show),
        Operation::put(keys::__path_rename, keys::rename),
        Operation::delete(keys::__path_revoke, keys::revoke),
        Operation::post(keys::__path_rotate, keys::rotate),
        Operation::get(audit::__path_list, audit::list),
    ]
}

/// The schemas that [`operations`] speak of.
#[derive(OpenApi)]
#[openapi(components(schemas(
    providers::RegisterProvider,
    providers::ChangeProvider,
    providers::ProviderView,
    providers::TestView,
    provider_kinds::KindView,
    models::MapModel,
    models::ChangeModel,
    models::ModelView,
    keys::IssueKey,
    keys::RenameKey,
    keys::KeyView,
    keys::NewKeyView,
    audit::AuditView,
)))]
pub(crate) struct Schemas;

/// Everything under `/admin`. The handlers expect [`Storage`](crate::storage::Storage) and
/// [`Upstream`](crate::proxy::Upstream) as application data.
pub fn scope(guard: Arc<AdminGuard>) -> impl HttpServiceFactory {
    resources(SCOPE, operations())
        .fold(web::scope(SCOPE), Scope::service)
        // Who is refused before routing goes on was here.
        .guard(noting(EndpointName::new(SCOPE)))
        .default_service(web::to(unknown_url))
        .wrap(from_fn(move |request, next| {
            guard::require_admin_key(Arc::clone(&guard), request, next)
        }))
        // Some answers hold a key; none is worth keeping.
        .wrap(DefaultHeaders::new().add((header::CACHE_CONTROL, "no-store")))
}
