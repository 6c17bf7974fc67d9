//! Providers: register, list, show, change, delete.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web::Data};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Answer,
    body::{Field, JsonBody},
    item::{Id, utc},
    page::PageQuery,
};
use crate::{
    domain::{
        Actor, BaseUrl, FixedHeaders, Name, NewProvider, Provider, ProviderChange, ProviderKind,
        Secret, Timeouts, duration::show_duration,
    },
    error::GatewayError,
    proxy::{Probe, Upstream, probe},
    storage::Storage,
};

/// Body of `POST /admin/providers`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterProvider {
    #[serde(default)]
    #[schema(value_type = Name, required)]
    name: Field<Name>,
    #[serde(default)]
    #[schema(value_type = ProviderKind, required)]
    kind: Field<ProviderKind>,
    /// Kinds that need no key (`api_key_required` is false) do without, or with null.
    #[serde(default)]
    #[schema(value_type = Option<Secret>)]
    api_key: Field<Secret>,
    /// Left out or null: the kind's own address.
    #[serde(default)]
    #[schema(value_type = Option<BaseUrl>)]
    base_url: Field<BaseUrl>,
    /// Left out or null: none.
    #[serde(default)]
    #[schema(value_type = Option<FixedHeaders>)]
    headers: Field<FixedHeaders>,
    /// Left out or null: those of the settings.
    #[serde(default)]
    #[schema(value_type = Option<Timeouts>)]
    timeouts: Field<Timeouts>,
}

/// Body of `PUT /admin/providers/{id}`. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeProvider {
    #[serde(default)]
    #[schema(value_type = Name)]
    name: Field<Name>,
    #[serde(default)]
    #[schema(value_type = ProviderKind)]
    kind: Field<ProviderKind>,
    #[serde(default)]
    #[schema(value_type = Secret)]
    api_key: Field<Secret>,
    /// Null: back to the kind's own address. Another origin needs `api_key` in the same call.
    #[serde(default)]
    #[schema(value_type = Option<BaseUrl>)]
    base_url: Field<BaseUrl>,
    /// Null: none any more.
    #[serde(default)]
    #[schema(value_type = Option<FixedHeaders>)]
    headers: Field<FixedHeaders>,
    /// Null: back to those of the settings.
    #[serde(default)]
    #[schema(value_type = Option<Timeouts>)]
    timeouts: Field<Timeouts>,
    /// An inactive provider serves no model.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Field<bool>,
}

/// A provider as operators see it: without its key.
#[derive(Serialize, ToSchema)]
#[schema(as = Provider, examples(json!({
    "id": "0198c5a2-7f3e-7000-8000-000000000001",
    "name": "openai",
    "kind": "openai",
    "base_url": "https://api.openai.com/v1",
    "api_key_preview": "sk-p…3f9a",
    "headers_preview": {},
    "timeouts": {"connect": null, "response": "2m", "idle": null},
    "is_active": true,
    "created_at": "2026-01-31T12:00:00.000000Z",
    "updated_at": "2026-01-31T12:00:00.000000Z",
})))]
pub(crate) struct ProviderView {
    id: Uuid,
    name: String,
    kind: ProviderKind,
    base_url: String,
    /// Its first and last four characters; `…` alone where it is short, nothing where there is none.
    api_key_preview: String,
    /// Values may be secrets, so they are shown as a key is.
    headers_preview: BTreeMap<String, String>,
    #[schema(inline)]
    timeouts: TimeoutsView,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

/// Null where the settings decide.
#[derive(Serialize, ToSchema)]
struct TimeoutsView {
    #[schema(required)]
    connect: Option<String>,
    #[schema(required)]
    response: Option<String>,
    #[schema(required)]
    idle: Option<String>,
}

/// What came of asking a provider for its models.
#[derive(Serialize, ToSchema)]
#[schema(as = ProviderTest, examples(
    json!({"ok": true, "status": 200, "latency_ms": 212, "models": ["gpt-4o", "gpt-4o-mini"], "error": null}),
    json!({"ok": false, "status": 401, "latency_ms": 187, "models": [], "error": {
        "code": "upstream_error", "message": "The provider of this model answered with status 401."}}),
))]
pub(crate) struct TestView {
    ok: bool,
    /// The provider's; null where no answer came.
    #[schema(required)]
    status: Option<u16>,
    latency_ms: u64,
    models: Vec<String>,
    /// Null where all is well.
    #[schema(required, inline)]
    error: Option<TestError>,
}

/// Why there is no list, in the words in which callers would be told.
#[derive(Serialize, ToSchema)]
struct TestError {
    code: &'static str,
    message: String,
}

/// List providers
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/admin/providers",
    operation_id = "listProviders",
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Vec<ProviderView>,
        headers(("Link" = String, description = "The next page's address, if there is one (RFC 8288)."))))
)]
pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let providers = storage.providers(page.wanted()).await?;
    Ok(page.answer::<_, ProviderView>(providers))
}

/// Register a provider
#[utoipa::path(
    post,
    path = "/admin/providers",
    operation_id = "registerProvider",
    request_body(content = RegisterProvider, examples(
        ("of a kind" = (summary = "At the kind's own address", value = json!({
            "name": "openai", "kind": "openai", "api_key": "sk-the-providers-own-key"}))),
        ("elsewhere" = (summary = "At an address of its own, with headers and time limits", value = json!({
            "name": "in-house", "kind": "custom", "api_key": "sk-the-providers-own-key",
            "base_url": "http://127.0.0.1:9000/v1", "headers": {"x-team": "search"},
            "timeouts": {"connect": "2s", "response": "120s"}}))),
        ("without a key" = (summary = "On one's own machine", value = json!({
            "name": "local", "kind": "ollama"}))),
    )),
    responses(
        (status = 201, description = "It is registered.", body = ProviderView),
        (status = 409, description = "Another provider has this name."),
    )
)]
pub(super) async fn register(
    storage: Data<Storage>,
    by: Actor,
    body: JsonBody<RegisterProvider>,
) -> Answer {
    let provider = storage.create_provider(by, body.0.try_into()?).await?;
    Ok(HttpResponse::Created().json(ProviderView::from(provider)))
}

/// Show a provider
#[utoipa::path(
    get,
    path = "/admin/providers/{id}",
    operation_id = "showProvider",
    params(Id<Provider>),
    responses((status = 200, description = "It is this.", body = ProviderView))
)]
pub(super) async fn show(storage: Data<Storage>, id: Id<Provider>) -> Answer {
    let provider = id.found(storage.provider(id.value).await?)?;
    Ok(HttpResponse::Ok().json(ProviderView::from(provider)))
}

/// Change a provider
///
/// What is left out stays as it is. Requests that come after the answer use what was changed.
#[utoipa::path(
    put,
    path = "/admin/providers/{id}",
    operation_id = "changeProvider",
    params(Id<Provider>),
    request_body(content = ChangeProvider, examples(
        ("another key" = (value = json!({"api_key": "sk-another-of-the-providers-keys"}))),
        ("another address" = (value = json!({
            "base_url": "https://llm.example.com/v1", "api_key": "sk-the-key-for-that-address"}))),
        ("out of use" = (value = json!({"is_active": false}))),
        ("back to the defaults" = (value = json!({"headers": null, "timeouts": null}))),
    )),
    responses(
        (status = 200, description = "As it is now.", body = ProviderView),
        (status = 409, description = "Another provider has this name."),
    )
)]
pub(super) async fn change(
    storage: Data<Storage>,
    by: Actor,
    id: Id<Provider>,
    body: JsonBody<ChangeProvider>,
) -> Answer {
    let change = body.0.try_into()?;
    let provider = id.found(storage.update_provider(by, id.value, change).await?)?;
    Ok(HttpResponse::Ok().json(ProviderView::from(provider)))
}

/// Test a provider
///
/// Asks it for its list of models, with its key and headers. Answers 200 whatever came of it: the
/// test took place.
#[utoipa::path(
    post,
    path = "/admin/providers/{id}/test",
    operation_id = "testProvider",
    params(Id<Provider>),
    responses((status = 200, description = "What came of it.", body = TestView))
)]
pub(super) async fn test(
    storage: Data<Storage>,
    upstream: Data<Upstream>,
    id: Id<Provider>,
) -> Answer {
    let provider = id.found(storage.provider(id.value).await?)?;
    let probe = probe(&upstream, &provider).await;
    Ok(HttpResponse::Ok().json(TestView::from(probe)))
}

/// Delete a provider
#[utoipa::path(
    delete,
    path = "/admin/providers/{id}",
    operation_id = "deleteProvider",
    params(Id<Provider>),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 409, description = "Models still use it; the message names them."),
    )
)]
pub(super) async fn delete(storage: Data<Storage>, by: Actor, id: Id<Provider>) -> Answer {
    id.existed(storage.delete_provider(by, id.value).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

impl TryFrom<RegisterProvider> for NewProvider {
    type Error = GatewayError;

    fn try_from(body: RegisterProvider) -> Result<Self, GatewayError> {
        let (name, kind) = (body.name.required("name")?, body.kind.required("kind")?);
        let api_key = match kind.needs_key() {
            true => body.api_key.required("api_key")?,
            false => body
                .api_key
                .nullable("api_key")?
                .flatten()
                .unwrap_or_default(),
        };
        Ok(Self {
            name,
            kind,
            api_key,
            base_url: body.base_url.nullable("base_url")?.flatten(),
            headers: body
                .headers
                .nullable("headers")?
                .flatten()
                .unwrap_or_default(),
            timeouts: body
                .timeouts
                .nullable("timeouts")?
                .flatten()
                .unwrap_or_default(),
        })
    }
}

impl TryFrom<ChangeProvider> for ProviderChange {
    type Error = GatewayError;

    fn try_from(body: ChangeProvider) -> Result<Self, GatewayError> {
        Ok(Self {
            name: body.name.optional("name")?,
            kind: body.kind.optional("kind")?,
            api_key: body.api_key.optional("api_key")?,
            base_url: body.base_url.nullable("base_url")?,
            headers: body
                .headers
                .nullable("headers")?
                .map(Option::unwrap_or_default),
            timeouts: body
                .timeouts
                .nullable("timeouts")?
                .map(Option::unwrap_or_default),
            is_active: body.is_active.optional("is_active")?,
        })
    }
}

impl From<Provider> for ProviderView {
    fn from(provider: Provider) -> Self {
        Self {
            id: provider.id,
            name: provider.name.into_string(),
            kind: provider.kind,
            base_url: provider.base_url.to_string(),
            api_key_preview: match provider.api_key.is_empty() {
                true => String::new(),
                false => provider.api_key.preview(),
            },
            headers_preview: provider.headers.previews(),
            timeouts: TimeoutsView::from(provider.timeouts),
            is_active: provider.is_active,
            created_at: provider.created_at,
            updated_at: provider.updated_at,
        }
    }
}

impl From<Probe> for TestView {
    fn from(probe: Probe) -> Self {
        let error = probe.models.as_ref().err().map(|error| TestError {
            code: error.code(),
            message: error.to_string(),
        });
        Self {
            ok: error.is_none(),
            status: probe.status.map(|status| status.as_u16()),
            latency_ms: u64::try_from(probe.latency.as_millis()).unwrap_or(u64::MAX),
            models: probe.models.unwrap_or_default(),
            error,
        }
    }
}

impl From<Timeouts> for TimeoutsView {
    fn from(timeouts: Timeouts) -> Self {
        Self {
            connect: timeouts.connect.map(show_duration),
            response: timeouts.response.map(show_duration),
            idle: timeouts.idle.map(show_duration),
        }
    }
}
