//! `GET /v1/models` and `GET /v1/models/{model}`: what callers may ask for, in OpenAI's form.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{DataPath, caller::Caller, unknown_model};
use crate::{
    domain::ProviderKind,
    error::{Dialect, GatewayError},
};

/// <https://platform.openai.com/docs/api-reference/models/object>
#[derive(Serialize)]
struct ModelView<'a> {
    id: &'a str,
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

#[derive(Serialize)]
struct ListView<'a> {
    object: &'static str,
    data: Vec<ModelView<'a>>,
}

/// Every model that can be asked for, by name.
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

/// One model, found as a request that names it would find it.
pub(super) async fn show(
    path: web::Data<DataPath>,
    request: HttpRequest,
) -> Result<HttpResponse, GatewayError> {
    authenticate(&path, &request).await?;
    let name = name(&request)?;
    let route = path.find_route(&name).await?;
    Ok(HttpResponse::Ok().json(ModelView::new(&name, route.kind, route.created_at)))
}

/// The key comes in either header: Anthropic's SDK asks for models too.
async fn authenticate(path: &DataPath, request: &HttpRequest) -> Result<Caller, GatewayError> {
    Caller::authenticate(&path.storage, request.headers(), Dialect::Anthropic).await
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
