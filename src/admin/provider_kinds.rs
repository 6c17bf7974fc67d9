//! Provider kinds: list.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::domain::ProviderKind;

/// A kind as operators see it.
#[derive(Serialize, ToSchema)]
#[schema(as = ProviderKindEntry, examples(json!({
    "name": "anthropic",
    "base_url": "https://api.anthropic.com/v1",
    "api_key_header": "x-api-key",
    "api_key_prefix": "",
    "api_key_required": true,
    "headers": {"anthropic-version": "2023-06-01"},
})))]
pub(crate) struct KindView {
    name: &'static str,
    /// Null where each provider has to have its own.
    #[schema(required)]
    base_url: Option<String>,
    api_key_header: &'static str,
    /// What stands before the key in that header.
    api_key_prefix: &'static str,
    api_key_required: bool,
    /// Sent where a request has no such header of its own.
    headers: BTreeMap<&'static str, &'static str>,
}

/// List the kinds of providers
///
/// What each decides: the address, how the key is sent, headers.
#[utoipa::path(
    get,
    path = "/admin/provider-kinds",
    operation_id = "listProviderKinds",
    responses((status = 200, description = "All of them.", body = Vec<KindView>))
)]
pub(super) async fn list() -> Answer {
    let kinds: Vec<_> = ProviderKind::all().map(KindView::from).collect();
    Ok(HttpResponse::Ok().json(kinds))
}

impl From<ProviderKind> for KindView {
    fn from(kind: ProviderKind) -> Self {
        let key = kind.key_header();
        Self {
            name: kind.as_str(),
            base_url: kind.default_base_url().map(|url| url.to_string()),
            api_key_header: key.name,
            api_key_prefix: key.prefix,
            api_key_required: kind.needs_key(),
            headers: kind.default_headers().iter().copied().collect(),
        }
    }
}
