//! Models: map, list, show, change, delete.

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
    domain::{Actor, Model, ModelChange, Name, NewModel},
    error::GatewayError,
    storage::Storage,
};

/// Body of `POST /admin/models`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapModel {
    #[serde(default)]
    #[schema(value_type = Name, required)]
    name: Field<Name>,
    /// Who serves it.
    #[serde(default)]
    #[schema(value_type = Uuid, required)]
    provider_id: Field<Uuid>,
    /// Left out or null: the same as `name`.
    #[serde(default)]
    #[schema(value_type = Option<Name>)]
    provider_model_name: Field<Name>,
}

/// Body of `PUT /admin/models/{id}`. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeModel {
    #[serde(default)]
    #[schema(value_type = Name)]
    name: Field<Name>,
    /// Who serves it.
    #[serde(default)]
    #[schema(value_type = Uuid)]
    provider_id: Field<Uuid>,
    /// Null: the same as `name`.
    #[serde(default)]
    #[schema(value_type = Option<Name>)]
    provider_model_name: Field<Name>,
    /// An inactive model can't be asked for.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Field<bool>,
}

/// A model as operators see it.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelMapping, examples(json!({
    "id": "0198c5a2-7f3e-7000-8000-000000000002",
    "name": "fast",
    "provider_id": "0198c5a2-7f3e-7000-8000-000000000001",
    "provider_name": "openai",
    "provider_model_name": "gpt-4o-mini",
    "is_active": true,
    "created_at": "2026-01-31T12:00:00.000000Z",
    "updated_at": "2026-01-31T12:00:00.000000Z",
})))]
pub(crate) struct ModelView {
    id: Uuid,
    name: String,
    provider_id: Uuid,
    provider_name: String,
    /// As it was given. Null means the same as `name`, now and after a change of `name`.
    #[schema(required)]
    provider_model_name: Option<String>,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

/// List model mappings
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/admin/models",
    operation_id = "listModelMappings",
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Vec<ModelView>,
        headers(("Link" = String, description = "The next page's address, if there is one (RFC 8288)."))))
)]
pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let models = storage.models(page.wanted()).await?;
    Ok(page.answer::<_, ModelView>(models))
}

/// Map a model to a provider
///
/// Programs ask for `name`; its provider is asked for `provider_model_name`.
#[utoipa::path(
    post,
    path = "/admin/models",
    operation_id = "mapModel",
    request_body(content = MapModel, examples(
        ("under another name" = (value = json!({
            "name": "fast", "provider_id": "0198c5a2-7f3e-7000-8000-000000000001",
            "provider_model_name": "gpt-4o-mini"}))),
        ("under its own name" = (value = json!({
            "name": "gpt-4o-mini", "provider_id": "0198c5a2-7f3e-7000-8000-000000000001"}))),
    )),
    responses(
        (status = 201, description = "It can be asked for.", body = ModelView),
        (status = 409, description = "Another model has this name."),
    )
)]
pub(super) async fn map(storage: Data<Storage>, by: Actor, body: JsonBody<MapModel>) -> Answer {
    let model = storage.create_model(by, body.0.try_into()?).await?;
    Ok(HttpResponse::Created().json(ModelView::from(model)))
}

/// Show a model mapping
#[utoipa::path(
    get,
    path = "/admin/models/{id}",
    operation_id = "showModelMapping",
    params(Id<Model>),
    responses((status = 200, description = "It is this.", body = ModelView))
)]
pub(super) async fn show(storage: Data<Storage>, id: Id<Model>) -> Answer {
    let model = id.found(storage.model(id.value).await?)?;
    Ok(HttpResponse::Ok().json(ModelView::from(model)))
}

/// Change a model mapping
///
/// What is left out stays as it is. Requests that come after the answer use what was changed.
#[utoipa::path(
    put,
    path = "/admin/models/{id}",
    operation_id = "changeModelMapping",
    params(Id<Model>),
    request_body(content = ChangeModel, examples(
        ("another model behind it" = (value = json!({"provider_model_name": "gpt-4.1-mini"}))),
        ("another provider" = (value = json!({"provider_id": "0198c5a2-7f3e-7000-8000-000000000001"}))),
        ("out of use" = (value = json!({"is_active": false}))),
    )),
    responses(
        (status = 200, description = "As it is now.", body = ModelView),
        (status = 409, description = "Another model has this name."),
    )
)]
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

/// Delete a model mapping
#[utoipa::path(
    delete,
    path = "/admin/models/{id}",
    operation_id = "deleteModelMapping",
    params(Id<Model>),
    responses((status = 204, description = "It can't be asked for any more."))
)]
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
