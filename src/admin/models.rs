//! Models: map, list, show, change, delete.

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
    domain::{Actor, Model, ModelChange, Name, NewModel},
    error::GatewayError,
    storage::Storage,
};

/// Body of `POST /admin/models`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MapModel {
    name: Field<Name>,
    provider_id: Field<Uuid>,
    /// Left out or null: the same as `name`.
    provider_model_name: Field<Name>,
}

/// Body of `PUT /admin/models/{id}`. What is left out stays as it is.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ChangeModel {
    name: Field<Name>,
    provider_id: Field<Uuid>,
    /// Null: the same as `name`.
    provider_model_name: Field<Name>,
    is_active: Field<bool>,
}

/// A model as operators see it.
#[derive(Serialize)]
struct ModelView {
    id: Uuid,
    name: String,
    provider_id: Uuid,
    provider_name: String,
    /// As it was given. Null means the same as `name`, now and after a change of `name`.
    provider_model_name: Option<String>,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let models = storage.models(page.wanted()).await?;
    Ok(page.answer::<_, ModelView>(models))
}

pub(super) async fn map(storage: Data<Storage>, by: Actor, body: JsonBody<MapModel>) -> Answer {
    let model = storage.create_model(by, body.0.try_into()?).await?;
    Ok(HttpResponse::Created().json(ModelView::from(model)))
}

pub(super) async fn show(storage: Data<Storage>, id: Id<Model>) -> Answer {
    let model = id.found(storage.model(id.value).await?)?;
    Ok(HttpResponse::Ok().json(ModelView::from(model)))
}

pub(super) async fn change(
    storage: Data<Storage>,
    by: Actor,
    id: Id<Model>,
    body: JsonBody<ChangeModel>,
) -> Answer {
    let change = body.0.try_into()?;
    let model = id.found(storage.update_model(by, id.value, change).await?)?;
    Ok(HttpResponse::Ok().json(ModelView::from(model)))
}

pub(super) async fn delete(storage: Data<Storage>, by: Actor, id: Id<Model>) -> Answer {
    id.existed(storage.delete_model(by, id.value).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

impl TryFrom<MapModel> for NewModel {
    type Error = GatewayError;

    fn try_from(body: MapModel) -> Result<Self, GatewayError> {
        Ok(Self {
            name: body.name.required("name")?,
            provider_id: body.provider_id.required("provider_id")?,
            provider_model_name: body
                .provider_model_name
                .nullable("provider_model_name")?
                .flatten(),
        })
    }
}

impl TryFrom<ChangeModel> for ModelChange {
    type Error = GatewayError;

    fn try_from(body: ChangeModel) -> Result<Self, GatewayError> {
        Ok(Self {
            name: body.name.optional("name")?,
            provider_id: body.provider_id.optional("provider_id")?,
            provider_model_name: body.provider_model_name.nullable("provider_model_name")?,
            is_active: body.is_active.optional("is_active")?,
        })
    }
}

impl From<Model> for ModelView {
    fn from(model: Model) -> Self {
        Self {
            id: model.id,
            name: model.name.into_string(),
            provider_id: model.provider_id,
            provider_name: model.provider_name,
            provider_model_name: model.provider_model_name.map(Name::into_string),
            is_active: model.is_active,
            created_at: model.created_at,
            updated_at: model.updated_at,
        }
    }
}
