//! Statements about the audit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Page, Result, for_every_driver,
    sql::{failure, last, now},
};
use crate::domain::{Actor, AuditEntry, Deed};

/// Entries forgotten in one statement, which must come to its end in time.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

/// id, action, item_kind, item_id, item_name, fields, admin_key, peer, forwarded_for, created_at
type AuditRow = (
    Uuid,
    String,
    String,
    Option<Uuid>,
    Option<String>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    DateTime<Utc>,
);

macro_rules! columns {
    () => {
        "id, action, item_kind, item_id, item_name, fields, admin_key, peer, forwarded_for, \
         created_at"
    };
}

fn entry(row: AuditRow) -> AuditEntry {
    let (id, action, item_kind, item_id, item_name, fields, admin_key, peer, forwarded_for, at) =
        row;
    let fields = fields.split(',').filter(|field| !field.is_empty());
    AuditEntry {
        id,
        action,
        item_kind,
        item_id,
        item_name,
        fields: fields.map(str::to_owned).collect(),
        admin_key,
        peer,
        forwarded_for,
        created_at: at,
    }
}

for_every_driver! {; impl {
    /// To be called within the transaction that does it.
    pub(super) async fn record(
        &self,
        transaction: &mut DB::Connection,
        by: &Actor,
        deed: &Deed,
    ) -> Result<()> {
        self.query(concat!(
            "INSERT INTO audit (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        ))
        .bind(Uuid::now_v7())
        .bind(deed.action.to_owned())
        .bind(deed.item_kind.to_owned())
        .bind(deed.item_id)
        .bind(deed.item_name.clone())
        .bind(deed.fields.join(","))
        .bind(by.admin_key.map(|key| key.to_string()))
        .bind(by.peer.map(|peer| peer.to_string()))
        .bind(by.forwarded_for.clone())
        .bind(now())
        .execute(transaction)
        .await
        .map_err(failure::<DB>)?;
        Ok(())
    }

    pub(super) async fn list_audit(
        &self,
        connection: &mut DB::Connection,
        page: Page,
    ) -> Result<Vec<AuditEntry>> {
        let rows = self.query_as::<AuditRow>(concat!(
            "SELECT ", columns!(), " FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2"
        ))
        .bind(last(page))
        .bind(i64::from(page.limit))
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Forgets some of what is older than `AUDIT_RETENTION` (of zero, nothing); answers whether there
    /// was any.
    pub(super) async fn forget_old_audit(&self, connection: &mut DB::Connection) -> Result<bool> {
        let kept = self.settings.audit_retention;
        let oldest = match chrono::Duration::from_std(kept) {
            Ok(kept) => now().checked_sub_signed(kept),
            Err(_) => None,
        };
        let Some(oldest) = oldest.filter(|_| kept > Duration::ZERO) else {
            return Ok(false);
        };
        let forgotten = self.query_scalar::<Uuid>(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE created_at < $1 LIMIT $2) RETURNING id",
        )
            .bind(oldest)
            .bind(FORGOTTEN_AT_ONCE)
            .fetch_all(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(!forgotten.is_empty())
    }
}}
