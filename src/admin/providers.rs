//! Providers: register, list, show, change, delete.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web::Data};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
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
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RegisterProvider {
    name: Field<Name>,
    kind: Field<ProviderKind>,
    api_key: Field<Secret>,
    /// Left out or null: the kind's own address.
    base_url: Field<BaseUrl>,
    /// Left out or null: none.
    headers: Field<FixedHeaders>,
    /// Left out or null: those of the settings.
    timeouts: Field<Timeouts>,
}

/// Body of `PUT /admin/providers/{id}`. What is left out stays as it is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ChangeProvider {
    name: Field<Name>,
    kind: Field<ProviderKind>,
    api_key: Field<Secret>,
    /// Null: back to the kind's own address.
    base_url: Field<BaseUrl>,
    /// Null: none any more.
    headers: Field<FixedHeaders>,
    /// Null: back to those of the settings.
    timeouts: Field<Timeouts>,
    is_active: Field<bool>,
}

/// A provider as operators see it: without its key.
#[derive(Serialize)]
struct ProviderView {
    id: Uuid,
    name: String,
    kind: ProviderKind,
    base_url: String,
    /// Empty where there is no key.
    api_key_preview: String,
    /// Values may be secrets, so they are shown as a key is.
    headers_preview: BTreeMap<String, String>,
    timeouts: TimeoutsView,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

/// Null where the settings decide.
#[derive(Serialize)]
struct TimeoutsView {
    connect: Option<String>,
    response: Option<String>,
    idle: Option<String>,
}

/// What came of asking a provider for its models.
#[derive(Serialize)]
struct TestView {
    ok: bool,
    /// The provider's; null where no answer came.
    status: Option<u16>,
    latency_ms: u64,
    models: Vec<String>,
    /// Null where all is well.
    error: Option<TestError>,
}

/// Why there is no list, in the words in which callers would be told.
#[derive(Serialize)]
struct TestError {
    code: &'static str,
    message: String,
}

pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let providers = storage.providers(page.wanted()).await?;
    Ok(page.answer::<_, ProviderView>(providers))
}

pub(super) async fn register(
    storage: Data<Storage>,
    by: Actor,
    body: JsonBody<RegisterProvider>,
) -> Answer {
    let provider = storage.create_provider(by, body.0.try_into()?).await?;
    Ok(HttpResponse::Created().json(ProviderView::from(provider)))
}

pub(super) async fn show(storage: Data<Storage>, id: Id<Provider>) -> Answer {
    let provider = id.found(storage.provider(id.value).await?)?;
    Ok(HttpResponse::Ok().json(ProviderView::from(provider)))
}

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

/// Answers 200 whatever came of it: the test took place.
pub(super) async fn test(
    storage: Data<Storage>,
    upstream: Data<Upstream>,
    id: Id<Provider>,
) -> Answer {
    let provider = id.found(storage.provider(id.value).await?)?;
    let probe = probe(&upstream, &provider).await;
    Ok(HttpResponse::Ok().json(TestView::from(probe)))
}

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
