//! Table rows, and the domain values that they hold.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Entry, Result, StorageError};
use crate::domain::{
    BaseUrl, Destination, Invalid, KeyHash, KeyIdentity, Keyring, ListedModel, Model, Name,
    Provider, ProviderKind, Route, Timeouts, UserKey,
};

/// Milliseconds: connect, response, idle.
type Limits = (Option<i64>, Option<i64>, Option<i64>);
/// id, name, kind, base_url, api_key, headers, connect_timeout_ms, response_timeout_ms,
/// idle_timeout_ms, is_active, created_at, updated_at
pub(super) type ProviderRow = (
    Uuid,
    String,
    String,
    String,
    String,
    String,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    bool,
    DateTime<Utc>,
    DateTime<Utc>,
);
/// id, name, provider_id, provider_name, provider_model_name, is_active, created_at, updated_at
pub(super) type ModelRow = (
    Uuid,
    String,
    Uuid,
    String,
    Option<String>,
    bool,
    DateTime<Utc>,
    DateTime<Utc>,
);
/// name, kind of the provider, created_at
pub(super) type ListedRow = (String, String, DateTime<Utc>);
/// id, name, key_prefix, is_active, created_at, updated_at
pub(super) type KeyRow = (Uuid, String, String, bool, DateTime<Utc>, DateTime<Utc>);
/// key_hash, id, name
pub(super) type IdentityRow = (String, Uuid, String);
/// model name, name at the provider, provider id, provider name, kind, base_url, api_key, headers,
/// connect_timeout_ms, response_timeout_ms, idle_timeout_ms, created_at of the model
pub(super) type RouteRow = (
    String,
    String,
    Uuid,
    String,
    String,
    String,
    String,
    String,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    DateTime<Utc>,
);

/// A value in the database that the program would not have written.
fn broken(column: &'static str) -> impl Fn(Invalid) -> StorageError {
    move |problem| StorageError::Broken {
        reason: format!("database: column {column} {problem}"),
    }
}

fn name(text: &str) -> Result<Name> {
    Name::parse(text).map_err(broken("name"))
}

fn kind(text: &str) -> Result<ProviderKind> {
    ProviderKind::parse(text).map_err(broken("kind"))
}

fn base_url(text: &str) -> Result<BaseUrl> {
    BaseUrl::parse(text).map_err(broken("base_url"))
}

fn timeouts((connect, response, idle): Limits) -> Timeouts {
    let limit = |ms: Option<i64>| {
        ms.and_then(|ms| u64::try_from(ms).ok())
            .map(Duration::from_millis)
    };
    Timeouts {
        connect: limit(connect),
        response: limit(response),
        idle: limit(idle),
    }
}

pub(super) fn milliseconds(limit: Option<Duration>) -> Option<i64> {
    limit.map(|limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
}

pub(super) fn hash(text: &str) -> Result<KeyHash> {
    KeyHash::from_hex(text).map_err(broken("key_hash"))
}

pub(super) fn provider(row: ProviderRow, keyring: &Keyring) -> Result<Provider> {
    let (id, row_name, row_kind, url, api_key, row_headers, connect, response, idle, ..) = row;
    let (.., is_active, created_at, updated_at) = row;
    Ok(Provider {
        id,
        name: name(&row_name)?,
        kind: kind(&row_kind)?,
        base_url: base_url(&url)?,
        api_key: keyring.open(id, api_key),
        headers: keyring.open(id, row_headers.clone()),
        timeouts: timeouts((connect, response, idle)),
        is_active,
        created_at,
        updated_at,
    })
}

pub(super) fn model(row: ModelRow) -> Result<Model> {
    let (id, row_name, provider_id, provider_name, there, is_active, created_at, updated_at) = row;
    Ok(Model {
        id,
        name: name(&row_name)?,
        provider_id,
        provider_name,
        provider_model_name: there.as_deref().map(name).transpose()?,
        is_active,
        created_at,
        updated_at,
    })
}

pub(super) fn key(row: KeyRow) -> Result<UserKey> {
    let (id, row_name, key_prefix, is_active, created_at, updated_at) = row;
    Ok(UserKey {
        id,
        name: name(&row_name)?,
        key_prefix,
        is_active,
        created_at,
        updated_at,
    })
}

pub(super) fn identity((key_hash, id, name): IdentityRow) -> Result<(KeyHash, KeyIdentity)> {
    Ok((hash(&key_hash)?, KeyIdentity::new(id, &name)))
}

fn route(row: RouteRow, keyring: &Keyring) -> Result<(String, Route)> {
    let (
        model,
        provider_model,
        provider_id,
        provider_name,
        row_kind,
        url,
        api_key,
        row_headers,
        ..,
    ) = row;
    let (.., connect, response, idle, created_at) = row;
    let provider = Destination {
        id: provider_id,
        name: provider_name,
        kind: kind(&row_kind)?,
        base_url: base_url(&url)?,
        api_key: keyring.open(provider_id, api_key),
        headers: keyring.open(provider_id, row_headers),
        timeouts: timeouts((connect, response, idle)),
    };
    let route = Route {
        provider: Arc::new(provider),
        provider_model,
        created_at,
    };
    Ok((model, route))
}

/// A row that can't be read (a newer version of this program may know more kinds) is a route that
/// doesn't exist; what else changed must be heard of all the same. One whose key can't be opened is
/// a route: another replica may have what opens it.
pub(super) fn readable_route(row: RouteRow, keyring: &Keyring) -> Option<(String, Route)> {
    let model = row.0.clone();
    let read = route(row, keyring);
    readable("the route of model", &model, read)
}

/// A kind that can't be read has no route either.
pub(super) fn listed_model((name, row_kind, created_at): ListedRow) -> Option<ListedModel> {
    let kind = kind(&row_kind).ok()?;
    Some(ListedModel {
        name,
        kind,
        created_at,
    })
}

fn readable<T>(what: &str, name: &str, read: Result<T>) -> Option<T> {
    read.inspect_err(|error| log::error!("{what} `{name}` is left out: {error}"))
        .ok()
}

pub(super) fn readable_provider(row: ProviderRow, keyring: &Keyring) -> Option<Provider> {
    let name = row.1.clone();
    readable("provider", &name, provider(row, keyring))
}

pub(super) fn entry((kind, entry): (String, String)) -> Result<Entry> {
    match kind.as_str() {
        "key" => Ok(Entry::Key(hash(&entry)?)),
        "route" => Ok(Entry::Route(entry)),
        _ => Ok(Entry::Everything),
    }
}
