//! Statements about providers.

use uuid::Uuid;

use super::{
    Page, Result, StorageError, for_every_driver,
    rows::{self, ProviderRow},
    sql::{failure, last, name_taken},
};
use crate::domain::Provider;

macro_rules! columns {
    () => {
        "id, name, kind, base_url, api_key, headers, connect_timeout_ms, response_timeout_ms, \
         idle_timeout_ms, is_active, created_at, updated_at"
    };
}

for_every_driver! {; impl {
    pub(super) async fn list_providers(
        &self,
        connection: &mut DB::Connection,
        page: Page,
    ) -> Result<Vec<Provider>> {
        let rows = self.query_as::<ProviderRow>(concat!(
            "SELECT ", columns!(), " FROM providers WHERE id < $1 ORDER BY id DESC LIMIT $2"
        ))
        .bind(last(page))
        .bind(i64::from(page.limit))
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        Ok(rows.into_iter().filter_map(|row| rows::readable_provider(row, self.keyring())).collect())
    }

    pub(super) async fn find_provider(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<Provider>> {
        self.query_as::<ProviderRow>(concat!("SELECT ", columns!(), " FROM providers WHERE id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .map(|row| rows::provider(row, self.keyring()))
            .transpose()
    }

    pub(super) async fn insert_provider(
        &self,
        connection: &mut DB::Connection,
        provider: &Provider,
    ) -> Result<()> {
        self.query(concat!(
            "INSERT INTO providers (", columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
        ))
        .bind(provider.id)
        .bind(provider.name.as_str().to_owned())
        .bind(provider.kind.as_str().to_owned())
        .bind(provider.base_url.as_str().to_owned())
        .bind(provider.api_key.stored().to_owned())
        .bind(provider.headers.stored().to_owned())
        .bind(rows::milliseconds(provider.timeouts.connect))
        .bind(rows::milliseconds(provider.timeouts.response))
        .bind(rows::milliseconds(provider.timeouts.idle))
        .bind(provider.is_active)
        .bind(provider.created_at)
        .bind(provider.updated_at)
        .execute(connection)
        .await
        .map_err(|error| name_taken::<DB>("provider", &provider.name, error))?;
        Ok(())
    }

    pub(super) async fn store_provider(
        &self,
        connection: &mut DB::Connection,
        provider: &Provider,
    ) -> Result<()> {
        self.query(
            "UPDATE providers SET name = $2, kind = $3, base_url = $4, api_key = $5, \
             headers = $6, connect_timeout_ms = $7, response_timeout_ms = $8, \
             idle_timeout_ms = $9, is_active = $10, updated_at = $11 WHERE id = $1",
        )
        .bind(provider.id)
        .bind(provider.name.as_str().to_owned())
        .bind(provider.kind.as_str().to_owned())
        .bind(provider.base_url.as_str().to_owned())
        .bind(provider.api_key.stored().to_owned())
        .bind(provider.headers.stored().to_owned())
        .bind(rows::milliseconds(provider.timeouts.connect))
        .bind(rows::milliseconds(provider.timeouts.response))
        .bind(rows::milliseconds(provider.timeouts.idle))
        .bind(provider.is_active)
        .bind(provider.updated_at)
        .execute(connection)
        .await
        .map_err(|error| name_taken::<DB>("provider", &provider.name, error))?;
        Ok(())
    }

    /// Deletes a provider that no model uses, and answers its name; `None` if there is none.
    pub(super) async fn remove_provider(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<String>> {
        let models: Vec<String> =
            self.query_scalar("SELECT name FROM models WHERE provider_id = $1 ORDER BY name")
                .bind(id)
                .fetch_all(&mut *connection)
                .await
                .map_err(failure::<DB>)?;
        if !models.is_empty() {
            return Err(StorageError::ProviderInUse { models });
        }
        let deleted = self.query_scalar::<String>("DELETE FROM providers WHERE id = $1 RETURNING name")
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(deleted)
    }

    pub(super) async fn provider_name(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<String> {
        self.query_scalar("SELECT name FROM providers WHERE id = $1")
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .ok_or(StorageError::UnknownProvider { id })
    }
}}
