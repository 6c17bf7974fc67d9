//! Providers: register, list, show, change, delete.

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
    domain::{BaseUrl, Name, NewProvider, Provider, ProviderChange, ProviderKind, Secret},
    error::GatewayError,
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
    is_active: Field<bool>,
}

/// A provider as operators see it: without its key.
#[derive(Serialize)]
struct ProviderView {
    id: Uuid,
    name: String,
    kind: ProviderKind,
    base_url: String,
    api_key_preview: String,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let providers = storage.providers(page.wanted()).await?;
    Ok(page.answer::<_, ProviderView>(providers))
}

pub(super) async fn register(storage: Data<Storage>, body: JsonBody<RegisterProvider>) -> Answer {
    let provider = storage.create_provider(body.0.try_into()?).await?;
    Ok(HttpResponse::Created().json(ProviderView::from(provider)))
}

pub(super) async fn show(storage: Data<Storage>, id: Id<Provider>) -> Answer {
    let provider = id.found(storage.provider(id.value).await?)?;
    Ok(HttpResponse::Ok().json(ProviderView::from(provider)))
}

pub(super) async fn change(
    storage: Data<Storage>,
    id: Id<Provider>,
    body: JsonBody<ChangeProvider>,
) -> Answer {
    let change = body.0.try_into()?;
    let provider = id.found(storage.update_provider(id.value, change).await?)?;
    Ok(HttpResponse::Ok().json(ProviderView::from(provider)))
}

pub(super) async fn delete(storage: Data<Storage>, id: Id<Provider>) -> Answer {
    id.existed(storage.delete_provider(id.value).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

impl TryFrom<RegisterProvider> for NewProvider {
    type Error = GatewayError;

    fn try_from(body: RegisterProvider) -> Result<Self, GatewayError> {
        Ok(Self {
            name: body.name.required("name")?,
            kind: body.kind.required("kind")?,
            api_key: body.api_key.required("api_key")?,
            base_url: body.base_url.nullable("base_url")?.flatten(),
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
            api_key_preview: provider.api_key.preview(),
            is_active: provider.is_active,
            created_at: provider.created_at,
            updated_at: provider.updated_at,
        }
    }
}
