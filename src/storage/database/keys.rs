//! Statements about user keys.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Page, Result, for_every_driver,
    rows::{self, IdentityRow, KeyRow},
    sql::{failure, json_list, last, now},
};
use crate::domain::{KeyHash, KeyIdentity, UserKey};

macro_rules! columns {
    () => {
        "id, name, key_prefix, is_active, created_at, updated_at"
    };
}

for_every_driver! {; impl {
    pub(super) async fn active_among(
        &self,
        connection: &mut DB::Connection,
        hashes: &[KeyHash],
    ) -> Result<Vec<(KeyHash, KeyIdentity)>> {
        let statement = format!(
            "SELECT key_hash, id, name FROM user_keys WHERE is_active AND key_hash {}",
            DB::IS_LISTED
        );
        let active = self.query_as::<IdentityRow>(AssertSqlSafe(statement))
            .bind(json_list(hashes.iter().map(|hash| hash.to_hex())))
            .fetch_all(connection)
            .await
            .map_err(failure::<DB>)?;
        active.into_iter().map(rows::identity).collect()
    }

    pub(super) async fn list_keys(
        &self,
        connection: &mut DB::Connection,
        page: Page,
    ) -> Result<Vec<UserKey>> {
        let rows = self.query_as::<KeyRow>(concat!(
            "SELECT ", columns!(), " FROM user_keys WHERE id < $1 ORDER BY id DESC LIMIT $2"
        ))
        .bind(last(page))
        .bind(i64::from(page.limit))
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        rows.into_iter().map(rows::key).collect()
    }

    pub(super) async fn find_key(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<UserKey>> {
        self.query_as::<KeyRow>(concat!("SELECT ", columns!(), " FROM user_keys WHERE id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .map(rows::key)
            .transpose()
    }

    pub(super) async fn insert_key(
        &self,
        connection: &mut DB::Connection,
        key: &UserKey,
        hash: KeyHash,
    ) -> Result<()> {
        self.query(concat!(
            "INSERT INTO user_keys (", columns!(), ", key_hash) VALUES ($1, $2, $3, $4, $5, $6, $7)"
        ))
        .bind(key.id)
        .bind(key.name.as_str().to_owned())
        .bind(key.key_prefix.clone())
        .bind(key.is_active)
        .bind(key.created_at)
        .bind(key.updated_at)
        .bind(hash.to_hex())
        .execute(connection)
        .await
        .map_err(failure::<DB>)?;
        Ok(())
    }

    pub(super) async fn store_key_name(
        &self,
        connection: &mut DB::Connection,
        key: &UserKey,
    ) -> Result<()> {
        self.query("UPDATE user_keys SET name = $2, updated_at = $3 WHERE id = $1")
            .bind(key.id)
            .bind(key.name.as_str().to_owned())
            .bind(key.updated_at)
            .execute(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(())
    }

    pub(super) async fn store_key_hash(
        &self,
        connection: &mut DB::Connection,
        key: &UserKey,
        hash: KeyHash,
    ) -> Result<()> {
        self.query("UPDATE user_keys SET key_hash = $2, key_prefix = $3, updated_at = $4 WHERE id = $1")
            .bind(key.id)
            .bind(hash.to_hex())
            .bind(key.key_prefix.clone())
            .bind(key.updated_at)
            .execute(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(())
    }

    /// Switches an active key off. A second revocation changes nothing, and its time stays the
    /// first one's.
    pub(super) async fn deactivate_key(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<()> {
        self.query("UPDATE user_keys SET is_active = FALSE, updated_at = $2 WHERE id = $1 AND is_active")
            .bind(id)
            .bind(now())
            .execute(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(())
    }
}}
