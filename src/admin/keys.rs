//! User keys: issue, list, show, rename, rotate, revoke. The plaintext is in the answer to the call that
//! made it, and nowhere else.

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
    domain::{Actor, Name, PlainKey, UserKey},
    storage::Storage,
};

/// Body of `POST /admin/keys`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IssueKey {
    name: Field<Name>,
}

/// Body of `PUT /admin/keys/{id}`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RenameKey {
    name: Field<Name>,
}

/// A key as operators see it: neither plaintext nor hash.
#[derive(Serialize)]
struct KeyView {
    id: Uuid,
    name: String,
    key_prefix: String,
    is_active: bool,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "utc")]
    updated_at: DateTime<Utc>,
}

/// A key in the one answer that shows its plaintext.
#[derive(Serialize)]
struct NewKeyView {
    #[serde(flatten)]
    view: KeyView,
    key: String,
}

pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let keys = storage.keys(page.wanted()).await?;
    Ok(page.answer::<_, KeyView>(keys))
}

pub(super) async fn issue(storage: Data<Storage>, by: Actor, body: JsonBody<IssueKey>) -> Answer {
    let name = body.0.name.required("name")?;
    let plain = PlainKey::generate();
    let key = storage.issue_key(by, name, &plain).await?;
    Ok(HttpResponse::Created().json(NewKeyView::new(plain, key)))
}

pub(super) async fn show(storage: Data<Storage>, id: Id<UserKey>) -> Answer {
    let key = id.found(storage.key(id.value).await?)?;
    Ok(HttpResponse::Ok().json(KeyView::from(key)))
}

/// Changes the name, all there is to change about a key; an empty body changes nothing.
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

pub(super) async fn rotate(storage: Data<Storage>, by: Actor, id: Id<UserKey>) -> Answer {
    let plain = PlainKey::generate();
    let key = id.found(storage.rotate_key(by, id.value, &plain).await?)?;
    Ok(HttpResponse::Ok().json(NewKeyView::new(plain, key)))
}

/// A key that is revoked already stays so: the call may be repeated.
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
