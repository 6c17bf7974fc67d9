//! The audit: who changed what. Read only.

use actix_web::web::Data;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, item::utc, page::PageQuery};
use crate::{domain::AuditEntry, storage::Storage};

/// An entry as operators see it.
#[derive(Serialize)]
struct AuditView {
    id: Uuid,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    action: String,
    item_kind: String,
    item_id: Option<Uuid>,
    item_name: Option<String>,
    /// Names; never values.
    fields: Vec<String>,
    admin_key: Option<String>,
    peer: Option<String>,
    forwarded_for: Option<String>,
}

pub(super) async fn list(storage: Data<Storage>, page: PageQuery) -> Answer {
    let entries = storage.audit(page.wanted()).await?;
    Ok(page.answer::<_, AuditView>(entries))
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            created_at: entry.created_at,
            action: entry.action,
            item_kind: entry.item_kind,
            item_id: entry.item_id,
            item_name: entry.item_name,
            fields: entry.fields,
            admin_key: entry.admin_key,
            peer: entry.peer,
            forwarded_for: entry.forwarded_for,
        }
    }
}
