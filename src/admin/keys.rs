//! User keys: issue, list, show, rename, rotate, revoke. The plaintext is in the answer to the call that
//! made it, and nowhere else.

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
    domain::{Actor, Name, PlainKey, UserKey},
    storage::Storage,
};

/// Body of `POST /admin/keys`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueKey {
    /// Several keys may have the same.
    #[serde(default)]
    #[schema(value_type = Name, required)]
    name: Field<Name>,
}

/// Body of `PUT /admin/keys/{id}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenameKey {
    #[serde(default)]
    #[schema(value_type = Name)]
    name: Field<Name>,
}

/// A key as operators see it: neither plaintext nor hash.
#[derive(Serialize, ToSchema)]
#[schema(as = UserKey, examples(json!({
    "id": "0198c5a2-7f3e-7000-8000-000000000003",
    "name": "search team",
    "key_prefix": "sk-6f0c2d0e",
    "is_active": true,
    "created_at": "2026-01-31T12:00:00.000000Z",
    "updated_at": "2026-01-31T12:00:00.000000Z",
})))]
pub(crate) struct KeyView {
    id: Uuid,
    name: String,
    /// The first characters of the plaintext.
    key_prefix: String,
    /// False once it is revoked, for good.
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

/// A key in the one answer that shows its plaintext.
#[derive(Serialize, ToSchema)]
#[schema(as = NewUserKey)]
pub(crate) struct NewKeyView {
    #[serde(flatten)]
    view: KeyView,
    /// The plaintext, which no other answer has.
    key: String,
}

/// List user keys
///
/// Newest first, revoked ones included.
#[utoipa::path(
    get,
    path = "/admin/keys",
    operation_id = "listUserKeys",
    params(PageQuery),
    responses((status = 200, description = "A page of them.", body = Vec<KeyView>,
        headers(("Link" = String, description = "The next page's address, if there is one (RFC 8288)."))))
)]
pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let keys = storage.keys(page.wanted()).await?;
    Ok(page.answer::<_, KeyView>(keys))
}

/// Issue a user key
///
/// It works as soon as this is answered.
#[utoipa::path(
    post,
    path = "/admin/keys",
    operation_id = "issueUserKey",
    request_body(content = IssueKey, example = json!({"name": "search team"})),
    responses((status = 201, description = "The one answer that shows the key.", body = NewKeyView,
        example = json!({
            "id": "0198c5a2-7f3e-7000-8000-000000000003",
            "name": "search team",
            "key_prefix": "sk-6f0c2d0e",
            "is_active": true,
            "created_at": "2026-01-31T12:00:00.000000Z",
            "updated_at": "2026-01-31T12:00:00.000000Z",
            "key": "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e",
        })))
)]
pub(super) async fn issue(storage: Data<Storage>, by: Actor, body: JsonBody<IssueKey>) -> Answer {
    let name = body.0.name.required("name")?;
    let plain = PlainKey::generate();
    let key = storage.issue_key(by, name, &plain).await?;
    Ok(HttpResponse::Created().json(NewKeyView::new(plain, key)))
}

/// Show a user key
#[utoipa::path(
    get,
    path = "/admin/keys/{id}",
    operation_id = "showUserKey",
    params(Id<UserKey>),
    responses((status = 200, description = "It is this.", body = KeyView))
)]
pub(super) async fn show(storage: Data<Storage>, id: Id<UserKey>) -> Answer {
    let key = id.found(storage.key(id.value).await?)?;
    Ok(HttpResponse::Ok().json(KeyView::from(key)))
}

/// Rename a user key
///
/// The name is all there is to change about a key; an empty object changes nothing.
#[utoipa::path(
    put,
    path = "/admin/keys/{id}",
    operation_id = "renameUserKey",
    params(Id<UserKey>),
    request_body(content = RenameKey, example = json!({"name": "search team, batch jobs"})),
    responses((status = 200, description = "As it is now.", body = KeyView))
)]
pub(super) async fn rename(
    storage: Data<Storage>,
    by: Actor,
    id: Id<UserKey>,
    body: JsonBody<RenameKey>,
) -> Answer {
    let key = match body.0.name.optional("name")? {
        Some(name) => storage.rename_key(by, id.value, name).await?,
        None => storage.key(id.value).await?,
    };
    Ok(HttpResponse::Ok().json(KeyView::from(id.found(key)?)))
}

/// Rotate a user key
///
/// A new key under the same id. The old one is dead when this is answered.
#[utoipa::path(
    post,
    path = "/admin/keys/{id}/rotate",
    operation_id = "rotateUserKey",
    params(Id<UserKey>),
    responses(
        (status = 200, description = "The one answer that shows the new key.", body = NewKeyView,
            example = json!({
                "id": "0198c5a2-7f3e-7000-8000-000000000003",
                "name": "search team",
                "key_prefix": "sk-9a3e5c1f",
                "is_active": true,
                "created_at": "2026-01-31T12:00:00.000000Z",
                "updated_at": "2026-02-28T12:00:00.000000Z",
                "key": "sk-9a3e5c1f-0b2d-4e6a-8c7f-1d2e3f4a5b6c",
            })),
        (status = 409, description = "It is revoked, for good."),
    )
)]
pub(super) async fn rotate(storage: Data<Storage>, by: Actor, id: Id<UserKey>) -> Answer {
    let plain = PlainKey::generate();
    let key = id.found(storage.rotate_key(by, id.value, &plain).await?)?;
    Ok(HttpResponse::Ok().json(NewKeyView::new(plain, key)))
}

/// Revoke a user key
///
/// It is dead when this is answered, for good; it stays in the list. One that is revoked already
/// stays so: the call may be repeated.
#[utoipa::path(
    delete,
    path = "/admin/keys/{id}",
    operation_id = "revokeUserKey",
    params(Id<UserKey>),
    responses((status = 204, description = "It is revoked."))
)]
pub(super) async fn revoke(storage: Data<Storage>, by: Actor, id: Id<UserKey>) -> Answer {
    id.existed(storage.revoke_key(by, id.value).await?)?;
    Ok(HttpResponse::NoContent().finish())
}

impl NewKeyView {
    fn new(plain: PlainKey, key: UserKey) -> Self {
        Self {
            view: key.into(),
            key: plain.into_secret().expose().to_owned(),
        }
    }
}

impl From<UserKey> for KeyView {
    fn from(key: UserKey) -> Self {
        Self {
            id: key.id,
            name: key.name.into_string(),
            key_prefix: key.key_prefix,
            is_active: key.is_active,
            created_at: key.created_at,
            updated_at: key.updated_at,
        }
    }
}
