//! The control API in the API's description: what each operation can be refused with.

use utoipa::openapi::{HttpMethod, path::Operation as About};
use uuid::Uuid;

use super::{body, operations, page};
use crate::{
    endpoints::{Described, Operation},
    error::GatewayError,
    storage::StorageError,
};

/// Everything that operators can do.
pub(crate) fn described() -> impl Iterator<Item = Described> {
    operations().into_iter().map(describe)
}

fn describe(operation: Operation) -> Described {
    let mut described = operation.described(Vec::new());
    described.refusals = refusals(&described.path, &described.method, &described.about);
    described
}

fn refusals(path: &str, method: &HttpMethod, about: &About) -> Vec<GatewayError> {
    let mut refusals = vec![
        GatewayError::InvalidAdminKey,
        GatewayError::Internal,
        GatewayError::Unavailable {
            reason: "the database does not answer".to_owned(),
        },
    ];
    let kind = kind(path);
    if path.contains("{id}") {
        refusals.push(GatewayError::UnknownId {
            kind,
            id: Some(Uuid::nil()),
        });
    } else if about.parameters.is_some() {
        refusals.extend(page::refusals());
    }
    if about.request_body.is_some() {
        refusals.extend(body::refusals());
    }
    if about.responses.responses.contains_key("409") {
        refusals.push(conflict(kind, method, path).into());
    }
    refusals
}

fn kind(path: &str) -> &'static str {
    match path.split('/').nth(2) {
        Some("providers") => "provider",
        Some("models") => "model",
        _ => "key",
    }
}

fn conflict(kind: &'static str, method: &HttpMethod, path: &str) -> StorageError {
    match method {
        HttpMethod::Delete => StorageError::ProviderInUse {
            models: vec!["fast".to_owned()],
        },
        _ if path.ends_with("/rotate") => StorageError::KeyRevoked,
        _ => StorageError::NameTaken {
            kind,
            name: "openai".to_owned(),
        },
    }
}
