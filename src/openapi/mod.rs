//! The API's description, `GET /openapi.json`, and a page that shows it. It is made of the tables that serve it, the types that
//! its bodies are read into and written from, and the refusals that it is answered with.

mod page;
mod refusals;
mod schemas;

use std::sync::OnceLock;

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, ServiceConfig},
};
use utoipa::{
    OpenApi,
    openapi::{
        Header, OpenApi as Document, PathItem, Ref, RefOr, SecurityRequirement,
        header::HeaderBuilder,
        path::{Operation as About, Paths},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use self::refusals::Form;
use crate::{
    admin,
    domain::{BaseUrl, FixedHeaders, Name, ProviderKind, Secret, Timeouts},
    endpoints::{Described, Operation, resources},
    error::{AnthropicEnvelope, Dialect, Envelope, GatewayError},
    health::{self, HealthView},
    metrics, proxy, request_id,
};

const ADMIN_KEY: &str = "adminKey";
const USER_KEY: &str = "userKey";
const X_API_KEY: &str = "xApiKey";

/// What no table has.
#[derive(OpenApi)]
#[openapi(
    info(title = "llm-gateway", description = include_str!("description.md")),
    servers((url = "/", description = "Where this description comes from.")),
    components(schemas(
        Envelope,
        AnthropicEnvelope,
        HealthView,
        Name,
        ProviderKind,
        Secret,
        BaseUrl,
        FixedHeaders,
        Timeouts,
    )),
    tags(
        (name = "OpenAI API", description = "For programs, with a user key."),
        (name = "Anthropic API", description = "For programs, with a user key in either header; for models whose provider speaks it."),
        (name = "Providers", description = "Who serves models, and with which key."),
        (name = "Model mappings", description = "What programs may ask for, and who serves it."),
        (name = "User keys", description = "Who may ask."),
        (name = "Audit", description = "Who changed what."),
        (name = "Metrics", description = "For Prometheus."),
        (name = "Health", description = "For balancers and supervisors."),
        (name = "Description", description = "This."),
    ),
)]
struct Frame;

/// Adds what is served here. It needs no key, since it holds no secret: it says what everybody can
/// read in the source.
pub(crate) fn configure(app: &mut ServiceConfig) {
    for resource in resources("", operations()).chain(resources("", page::operations())) {
        app.service(resource);
    }
}

fn operations() -> Vec<Operation> {
    vec![Operation::get(__path_show, show)]
}

/// Describe the API
///
/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "describe",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
async fn show() -> Result<HttpResponse, GatewayError> {
    let mut response = HttpResponse::Ok();
    response.insert_header(header::ContentType::json());
    Ok(response.body(json()?))
}

/// Made when it is first asked for, and once: who never asks has nothing of it in memory.
fn json() -> Result<Bytes, GatewayError> {
    static JSON: OnceLock<Bytes> = OnceLock::new();
    if let Some(json) = JSON.get() {
        return Ok(json.clone());
    }
    let json = document().to_json().map_err(|error| {
        log::error!("the API's description can't be written: {error}");
        GatewayError::Internal
    })?;
    Ok(JSON.get_or_init(|| Bytes::from(json)).clone())
}

fn document() -> Document {
    let mut document = Frame::openapi();
    for schemas in [admin::Schemas::openapi(), proxy::Schemas::openapi()] {
        document.merge(schemas);
    }
    for described in described() {
        add(&mut document.paths, described);
    }
    let components = document.components.get_or_insert_default();
    for (name, schema) in proxy::schemas() {
        components.schemas.insert(name.to_owned(), schema.into());
    }
    let request_id = RefOr::T(request_id_header());
    components.headers.insert(REQUEST_ID.to_owned(), request_id);
    for (name, scheme) in security_schemes() {
        components.add_security_scheme(name, scheme);
    }
    document
}

fn described() -> impl Iterator<Item = Described> {
    let own = operations().into_iter();
    proxy::described()
        .chain(admin::described())
        .chain([metrics::described()])
        .chain(health::described())
        .chain(own.map(|operation| operation.described(vec![GatewayError::Internal])))
        .chain(page::described())
}

fn add(paths: &mut Paths, described: Described) {
    let Described {
        path,
        method,
        mut about,
        refusals,
        dialect,
        is_relayed,
    } = described;
    refusals::add(
        &mut about,
        refusals,
        &Form {
            dialect,
            is_relayed,
        },
    );
    name_request_ids(&mut about);
    about.tags = Some(vec![tag(&path, dialect).to_owned()]);
    about.security = security(&path, dialect);
    let item = PathItem::new(method, about);
    match paths.paths.get_mut(&path) {
        Some(present) => present.merge_operations(item),
        None => {
            paths.paths.insert(path, item);
        }
    }
}

/// The name of the header among the components.
const REQUEST_ID: &str = "RequestId";

/// Every response carries it, whoever wrote the rest.
fn name_request_ids(about: &mut About) {
    let header = || RefOr::Ref(Ref::new(format!("#/components/headers/{REQUEST_ID}")));
    for response in about.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let name = request_id::HEADER.as_str().to_owned();
            response.headers.insert(name, header());
        }
    }
}

fn request_id_header() -> Header {
    HeaderBuilder::new()
        .schema(Some(schemas::uuid()))
        .description(Some(
            "Names this request in the gateway's log; say it when asking for help.",
        ))
        .build()
}

/// The part of the page that shows it; [`Frame`] has them all, in this order.
fn tag(path: &str, dialect: Dialect) -> &'static str {
    let mut segments = path.split('/').skip(1);
    match (segments.next(), segments.next(), dialect) {
        (Some("v1"), _, Dialect::OpenAi) => "OpenAI API",
        (Some("v1"), _, Dialect::Anthropic) => "Anthropic API",
        (Some("admin"), Some("models"), _) => "Model mappings",
        (Some("admin"), Some("keys"), _) => "User keys",
        (Some("admin"), Some("audit"), _) => "Audit",
        (Some("admin"), ..) => "Providers",
        (Some("metrics"), ..) => "Metrics",
        (Some("healthz" | "readyz"), ..) => "Health",
        _ => "Description",
    }
}

fn security(path: &str, dialect: Dialect) -> Option<Vec<SecurityRequirement>> {
    let names: &[&str] = match (path, dialect) {
        _ if path.starts_with("/admin/") || path == "/metrics" => &[ADMIN_KEY],
        _ if path.starts_with("/v1/models") => &[USER_KEY, X_API_KEY],
        (_, Dialect::Anthropic) => &[USER_KEY, X_API_KEY],
        _ if path.starts_with("/v1/") => &[USER_KEY],
        _ => return None,
    };
    let requirement = |name: &&str| SecurityRequirement::new(*name, [""; 0]);
    Some(names.iter().map(requirement).collect())
}

fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let bearer = |description: &str| {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(bearer.description(Some(description)).build())
    };
    let header = "A user key, as Anthropic's SDKs send theirs.";
    let header = ApiKey::Header(ApiKeyValue::with_description("x-api-key", header));
    [
        (ADMIN_KEY, bearer("The gateway's `ADMIN_KEY`.")),
        (USER_KEY, bearer("A key that `POST /admin/keys` issued.")),
        (X_API_KEY, SecurityScheme::ApiKey(header)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let mut ids: Vec<_> = described()
            .map(|described| described.about.operation_id.unwrap())
            .collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
