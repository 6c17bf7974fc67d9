//! `GET /v1/models` and `GET /v1/models/{model}`: what callers may ask for, in OpenAI's form.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{DataPath, caller::Caller, unknown_model};
use crate::{
    domain::ProviderKind,
    endpoints::{Described, Operation},
    error::{Dialect, GatewayError},
    record::Record,
};

/// The schemas that both operations speak of.
#[derive(OpenApi)]
#[openapi(components(schemas(ModelView, ListView)))]
pub(crate) struct Schemas;

/// <https://platform.openai.com/docs/api-reference/models/object>
#[derive(Serialize, ToSchema)]
#[schema(as = Model, examples(json!({
    "id": "gpt-4o-mini", "object": "model", "created": 1_769_860_800, "owned_by": "openai"})))]
struct ModelView<'a> {
    id: &'a str,
    /// Always `model`.
    object: &'static str,
    /// In seconds since 1970.
    created: i64,
    /// What serves it, by the kind of its provider: the names that operators give to providers are
    /// no business of callers.
    owned_by: &'static str,
}

impl<'a> ModelView<'a> {
    fn new(name: &'a str, kind: ProviderKind, created_at: DateTime<Utc>) -> Self {
        Self {
            id: name,
            object: "model",
            created: created_at.timestamp(),
            owned_by: kind.as_str(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelList)]
struct ListView<'a> {
    /// Always `list`.
    object: &'static str,
    data: Vec<ModelView<'a>>,
}

/// `GET /v1/models`
pub(super) fn listing() -> Operation {
    Operation::get(__path_list, list)
}

/// `GET /v1/models/{model}`
pub(super) fn showing() -> Operation {
    Operation::get(__path_show, show)
}

/// Both of them, in the API's description.
pub(super) fn described() -> impl Iterator<Item = Described> {
    let refusals = || {
        vec![
            GatewayError::InvalidUserKey,
            GatewayError::ConflictingUserKeys,
            GatewayError::Internal,
            GatewayError::Unavailable {
                reason: "the database does not answer".to_owned(),
            },
        ]
    };
    let mut showing = showing().described(refusals());
    showing.refusals.push(unknown_model("gpt-5o"));
    [listing().described(refusals()), showing].into_iter()
}

/// List the models
///
/// Every model that can be asked for, by name.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    responses((status = 200, description = "All of them.", body = ListView))
)]
pub(super) async fn list(
    path: web::Data<DataPath>,
    request: HttpRequest,
) -> Result<HttpResponse, GatewayError> {
    authenticate(&path, &request).await?;
    let models = path.storage.listed_models().await?;
    let data = models
        .iter()
        .map(|model| ModelView::new(&model.name, model.kind, model.created_at));
    Ok(HttpResponse::Ok().json(ListView {
        object: "list",
        data: data.collect(),
    }))
}

/// Show a model
///
/// It is found as a request that names it would find it.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "showModel",
    params(("model" = String, Path, description = "Its name; a `/` in it may be written as it is or as `%2F`.")),
    responses((status = 200, description = "It is this.", body = ModelView))
)]
pub(super) async fn show(
    path: web::Data<DataPath>,
    request: HttpRequest,
) -> Result<HttpResponse, GatewayError> {
    authenticate(&path, &request).await?;
    let name = name(&request)?;
    let route = path.find_route(&name).await?;
    Ok(HttpResponse::Ok().json(ModelView::new(&name, route.provider.kind, route.created_at)))
}

/// The key comes in either header: Anthropic's SDK asks for models too.
async fn authenticate(path: &DataPath, request: &HttpRequest) -> Result<(), GatewayError> {
    let headers = request.headers();
    let caller = Caller::authenticate(&path.storage, headers, Dialect::Anthropic).await?;
    if let Some(record) = Record::of(request) {
        record.note_key(Arc::clone(caller.key()));
    }
    Ok(())
}

/// All that follows `/v1/models/`, in which `/` may be written as it is or as `%2F`. The router's own
/// idea of it leaves some `%XX` as they are.
fn name(request: &HttpRequest) -> Result<String, GatewayError> {
    let written = request
        .uri()
        .path()
        .splitn(4, '/')
        .nth(3)
        .unwrap_or_default();
    match percent_decode_str(written).decode_utf8() {
        Ok(name) => Ok(name.into_owned()),
        Err(_) => Err(unknown_model(written)),
    }
}
