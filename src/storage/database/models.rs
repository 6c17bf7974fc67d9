//! Statements about models, and the routes that they make with their providers.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    Page, Result, for_every_driver,
    rows::{self, ListedRow, ModelRow, RouteRow},
    sql::{failure, json_list, last, name_taken},
};
use crate::domain::{ListedModel, Model, Name, Route};

macro_rules! select {
    () => {
        "SELECT m.id, m.name, m.provider_id, p.name, m.provider_model_name, m.is_active, \
         m.created_at, m.updated_at FROM models m JOIN providers p ON p.id = m.provider_id "
    };
}

/// A route exists only for an active model of an active provider.
macro_rules! select_routes {
    () => {
        "SELECT m.name, coalesce(m.provider_model_name, m.name), p.id, p.name, p.kind, p.base_url, \
         p.api_key, p.headers, p.connect_timeout_ms, p.response_timeout_ms, p.idle_timeout_ms, \
         m.created_at FROM models m JOIN providers p ON p.id = m.provider_id \
         WHERE m.is_active AND p.is_active"
    };
}

for_every_driver! {; impl {
    pub(super) async fn routes_among(
        &self,
        connection: &mut DB::Connection,
        models: &[String],
    ) -> Result<Vec<(String, Route)>> {
        let statement = format!(concat!(select_routes!(), " AND m.name {}"), DB::IS_LISTED);
        let rows = self.query_as::<RouteRow>(AssertSqlSafe(statement))
            .bind(json_list(models))
            .fetch_all(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(rows.into_iter().filter_map(|row| rows::readable_route(row, self.keyring())).collect())
    }

    /// The routes of models that changed after a version.
    pub(super) async fn routes_changed_since(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<Vec<RouteRow>> {
        self.query_as(concat!(
            select_routes!(),
            " AND m.name IN (SELECT entry FROM changes WHERE version > $1 AND kind = 'route')"
        ))
        .bind(version)
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)
    }

    pub(super) async fn all_routes(&self, connection: &mut DB::Connection) -> Result<Vec<RouteRow>> {
        self.query_as(select_routes!()).fetch_all(connection).await.map_err(failure::<DB>)
    }

    pub(super) async fn models_with_routes(
        &self,
        connection: &mut DB::Connection,
    ) -> Result<Vec<ListedModel>> {
        let rows = self.query_as::<ListedRow>(
            "SELECT m.name, p.kind, m.created_at FROM models m \
             JOIN providers p ON p.id = m.provider_id WHERE m.is_active AND p.is_active",
        )
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        let mut models: Vec<_> = rows.into_iter().filter_map(rows::listed_model).collect();
        // Databases order texts by their own rules.
        models.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(models)
    }

    pub(super) async fn list_models(
        &self,
        connection: &mut DB::Connection,
        page: Page,
    ) -> Result<Vec<Model>> {
        let rows = self.query_as::<ModelRow>(concat!(
            select!(), "WHERE m.id < $1 ORDER BY m.id DESC LIMIT $2"
        ))
        .bind(last(page))
        .bind(i64::from(page.limit))
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        rows.into_iter().map(rows::model).collect()
    }

    pub(super) async fn find_model(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<Model>> {
        self.query_as::<ModelRow>(concat!(select!(), "WHERE m.id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .map(rows::model)
            .transpose()
    }

    pub(super) async fn insert_model(
        &self,
        connection: &mut DB::Connection,
        model: &Model,
    ) -> Result<()> {
        self.query(
            "INSERT INTO models (id, name, provider_id, provider_model_name, is_active, \
             created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(model.id)
        .bind(model.name.as_str().to_owned())
        .bind(model.provider_id)
        .bind(model.provider_model_name.clone().map(Name::into_string))
        .bind(model.is_active)
        .bind(model.created_at)
        .bind(model.updated_at)
        .execute(connection)
        .await
        .map_err(|error| name_taken::<DB>("model", &model.name, error))?;
        Ok(())
    }

    pub(super) async fn store_model(
        &self,
        connection: &mut DB::Connection,
        model: &Model,
    ) -> Result<()> {
        self.query(
            "UPDATE models SET name = $2, provider_id = $3, provider_model_name = $4, \
             is_active = $5, updated_at = $6 WHERE id = $1",
        )
        .bind(model.id)
        .bind(model.name.as_str().to_owned())
        .bind(model.provider_id)
        .bind(model.provider_model_name.clone().map(Name::into_string))
        .bind(model.is_active)
        .bind(model.updated_at)
        .execute(connection)
        .await
        .map_err(|error| name_taken::<DB>("model", &model.name, error))?;
        Ok(())
    }

    pub(super) async fn remove_model(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<String>> {
        let deleted = self.query_scalar::<String>("DELETE FROM models WHERE id = $1 RETURNING name")
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?;
        Ok(deleted)
    }
}}
