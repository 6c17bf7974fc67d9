//! The audit: who changed what. Read only.

use actix_web::web::Data;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Answer, item::utc, page::PageQuery};
use crate::{domain::AuditEntry, storage::Storage};

/// An entry as operators see it.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry, examples(json!({
    "id": "0198c5a2-7f3e-7000-8000-000000000004",
    "created_at": "2026-01-31T12:00:00.000000Z",
    "action": "update",
    "item_kind": "provider",
    "item_id": "0198c5a2-7f3e-7000-8000-000000000001",
    "item_name": "openai",
    "fields": ["api_key"],
    "admin_key": "bc4a1875",
    "peer": "10.0.0.7",
    "forwarded_for": "198.51.100.4",
})))]
pub(crate) struct AuditView {
    id: Uuid,
    #[serde(serialize_with = "utc")]
    created_at: DateTime<Utc>,
    /// `create`, `update`, `delete`, `rotate`, `revoke` or `seal`; later versions may have more.
    action: String,
    /// `provider`, `model`, `key` or `encryption`; later versions may have more.
    item_kind: String,
    #[schema(required)]
    item_id: Option<Uuid>,
    /// As it was called then.
    #[schema(required)]
    item_name: Option<String>,
    /// Names of the fields that were given; never values.
    fields: Vec<String>,
    /// The fingerprint of the admin key, which the log names at the start. Null for the command line.
    #[schema(required)]
    admin_key: Option<String>,
    /// The other end of the connection.
    #[schema(required)]
    peer: Option<String>,
    /// What `X-Forwarded-For` said.
    #[schema(required)]
    forwarded_for: Option<String>,
}

/// List the audit
///
/// Who changed what, newest first.
#[utoipa::path(
    get,
    path = "/admin/audit",
    operation_id = "listAudit",
    params(PageQuery),
    responses((status = 200, description = "A page of it.", body = Vec<AuditView>,
        headers(("Link" = String, description = "The next page's address, if there is one (RFC 8288)."))))
)]
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
