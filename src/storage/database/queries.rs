//! Every SQL statement, once, for both drivers.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use futures_util::TryStreamExt;
use sqlx::{
    ColumnIndex, Connection, Database as Driver, Decode, Encode, Executor, IntoArguments, Pool,
    Transaction, Type, pool::PoolConnection, query, query_as, query_scalar,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{
    Batch, Changes, Committed, Database, Delta, Listener, Page, Result, Stamp, StorageError,
    rows::{self, KeyRow, ModelRow, ProviderRow, RouteRow},
};
use crate::domain::{
    KeyHash, Model, ModelChange, Name, NewModel, NewProvider, Provider, ProviderChange, Route,
    UserKey,
};

/// A longer delta is dearer than reading everything again.
const LONGEST_DELTA: i64 = 5_000;
/// How many versions of the log are kept: what a replica can sleep through without a warm-up.
const KEPT_VERSIONS: i64 = 100_000;
/// Rows of a dump that travel together.
const BATCH: usize = 1_000;
/// The longest that a mutation or one step of a dump may take. Look-ups have a limit of their
/// own, `DATABASE_TIMEOUT`.
const PATIENCE: Duration = Duration::from_secs(10);

macro_rules! provider_columns {
    () => {
        "id, name, kind, base_url, api_key, is_active, created_at, updated_at"
    };
}

macro_rules! select_models {
    () => {
        "SELECT m.id, m.name, m.provider_id, p.name, m.provider_model_name, m.is_active, \
         m.created_at, m.updated_at FROM models m JOIN providers p ON p.id = m.provider_id "
    };
}

macro_rules! key_columns {
    () => {
        "id, name, key_prefix, is_active, created_at, updated_at"
    };
}

macro_rules! route_columns {
    () => {
        "m.name, coalesce(m.provider_model_name, m.name), p.name, p.kind, p.base_url, p.api_key"
    };
}

/// Where the two databases differ.
#[async_trait]
pub(super) trait Dialect: Driver {
    /// Opens a transaction that will write.
    const BEGIN_WRITE: &'static str;
    /// Opens a transaction whose reads all see the same moment.
    const BEGIN_SNAPSHOT: &'static str;

    /// Whether a failure is one of the server or the way to it, and not of what was asked.
    fn is_outage(code: &str) -> bool;
    /// Creates what is missing and migrates.
    async fn prepare(sql: &Sql<Self>) -> Result<()>;
    /// Opens a connection that hears of commits.
    async fn listen(sql: &Sql<Self>) -> Result<Option<Listener>>;
}

/// A database behind one driver.
pub(super) struct Sql<DB: Dialect> {
    pub(super) pool: Pool<DB>,
    pub(super) settings: crate::settings::DatabaseSettings,
    prepared: AtomicBool,
}

/// A connection that returns to the pool only when its work came to an end. One that was
/// abandoned half-way (by a time limit, say) is closed, so that a hanging server can't use up
/// the pool.
struct Lease<DB: Driver>(Option<PoolConnection<DB>>);

impl<DB: Driver> Lease<DB> {
    fn done(mut self) {
        drop(self.0.take());
    }
}

impl<DB: Driver> Deref for Lease<DB> {
    type Target = PoolConnection<DB>;

    #[allow(
        clippy::expect_used,
        reason = "only `done` and `drop` take it, and both end the lease"
    )]
    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("leased")
    }
}

impl<DB: Driver> DerefMut for Lease<DB> {
    #[allow(
        clippy::expect_used,
        reason = "only `done` and `drop` take it, and both end the lease"
    )]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("leased")
    }
}

impl<DB: Driver> Drop for Lease<DB> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// An open mutation: it holds the counter, so that versions become visible in order.
struct Mutation<'c, DB: Driver> {
    transaction: Transaction<'c, DB>,
    before: i64,
}

impl<DB: Dialect> Sql<DB> {
    pub(super) fn new(pool: Pool<DB>, settings: &crate::settings::DatabaseSettings) -> Self {
        Self {
            pool,
            settings: settings.clone(),
            prepared: AtomicBool::new(false),
        }
    }

    /// Runs `work` on a connection, within `limit`.
    async fn with<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut lease = timeout_at(deadline, self.lease()).await.map_err(late)??;
        let result = timeout_at(deadline, work(&mut lease)).await.map_err(late)?;
        lease.done();
        result
    }

    async fn lease(&self) -> Result<Lease<DB>> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(unavailable("the database has not been reached yet"));
        }
        let connection = self.pool.acquire().await.map_err(failure::<DB>)?;
        Ok(Lease(Some(connection)))
    }
}

fn late<E>(_: E) -> StorageError {
    unavailable("the database did not answer in time")
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    timeout(limit, work).await.map_err(late)?
}

pub(super) fn unavailable(reason: impl Into<String>) -> StorageError {
    StorageError::Unavailable {
        reason: reason.into(),
    }
}

/// Tells an outage from a defect. No text of the driver's reaches a caller in the first case.
pub(super) fn failure<DB: Dialect>(error: sqlx::Error) -> StorageError {
    let outage = match &error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| DB::is_outage(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    if outage {
        log::debug!("database: {error}");
        unavailable("the database cannot be reached")
    } else {
        StorageError::Broken {
            reason: format!("database: {error}"),
        }
    }
}

fn now() -> DateTime<Utc> {
    // PostgreSQL keeps microseconds; an answer shall show what is stored.
    Utc::now().trunc_subsecs(6)
}

fn last(page: Page) -> Uuid {
    page.after.unwrap_or(Uuid::max())
}

/// A name that is taken, told from every other failure.
fn name_taken<DB: Dialect>(kind: &'static str, name: &Name, error: sqlx::Error) -> StorageError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            StorageError::NameTaken {
                kind,
                name: name.as_str().to_owned(),
            }
        }
        _ => failure::<DB>(error),
    }
}

/// What every statement of this file needs of a driver.
macro_rules! for_every_driver {
    ($($attribute:meta)? ; impl $(($trait:ident))? { $($body:tt)* }) => {
        $(#[$attribute])?
        impl<DB> $($trait for)? Sql<DB>
        where
            DB: Dialect,
            DB::Arguments: IntoArguments<DB>,
            for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
            usize: ColumnIndex<DB::Row>,
            bool: Type<DB> + for<'r> Decode<'r, DB> + for<'q> Encode<'q, DB>,
            i64: Type<DB> + for<'r> Decode<'r, DB> + for<'q> Encode<'q, DB>,
            Uuid: Type<DB> + for<'r> Decode<'r, DB> + for<'q> Encode<'q, DB>,
            DateTime<Utc>: Type<DB> + for<'r> Decode<'r, DB> + for<'q> Encode<'q, DB>,
            String: Type<DB> + for<'r> Decode<'r, DB> + for<'q> Encode<'q, DB>,
            Option<String>: for<'q> Encode<'q, DB>,
        {
            $($body)*
        }
    };
}

for_every_driver! {; impl {
    async fn begin<'c>(&self, connection: &'c mut DB::Connection) -> Result<Mutation<'c, DB>> {
        let mut transaction = connection.begin_with(DB::BEGIN_WRITE).await.map_err(failure::<DB>)?;
        let before = query_scalar("UPDATE change_counter SET version = version RETURNING version")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failure::<DB>)?;
        Ok(Mutation { transaction, before })
    }

    /// Commits, and answers what the caches must hear.
    async fn commit<T>(&self, mut mutation: Mutation<'_, DB>, value: T) -> Result<Committed<T>> {
        let stamp = self.stamp_at(&mut mutation.transaction).await?;
        let entries = query_as::<DB, (String, String)>(
            "SELECT kind, entry FROM changes WHERE version > $1",
        )
        .bind(mutation.before)
        .fetch_all(&mut *mutation.transaction)
        .await
        .map_err(failure::<DB>)?;
        let entries = entries.into_iter().map(rows::entry).collect::<Result<_>>()?;
        mutation.transaction.commit().await.map_err(failure::<DB>)?;
        let changes = Changes { before: mutation.before, stamp, entries };
        Ok(Committed { value, changes })
    }

    async fn stamp_at(&self, connection: &mut DB::Connection) -> Result<Stamp> {
        let (epoch, version) =
            query_as("SELECT epoch, version FROM change_counter")
                .fetch_one(connection)
                .await
                .map_err(failure::<DB>)?;
        Ok(Stamp { epoch, version })
    }

    async fn provider_at(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<Option<Provider>> {
        query_as::<DB, ProviderRow>(concat!(
            "SELECT ", provider_columns!(), " FROM providers WHERE id = $1"
        ))
        .bind(id)
        .fetch_optional(connection)
        .await
        .map_err(failure::<DB>)?
        .map(rows::provider)
        .transpose()
    }

    async fn model_at(&self, connection: &mut DB::Connection, id: Uuid) -> Result<Option<Model>> {
        query_as::<DB, ModelRow>(concat!(select_models!(), "WHERE m.id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .map(rows::model)
            .transpose()
    }

    async fn key_at(&self, connection: &mut DB::Connection, id: Uuid) -> Result<Option<UserKey>> {
        query_as::<DB, KeyRow>(concat!("SELECT ", key_columns!(), " FROM user_keys WHERE id = $1"))
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .map(rows::key)
            .transpose()
    }

    async fn known_provider_name(
        &self,
        connection: &mut DB::Connection,
        id: Uuid,
    ) -> Result<String> {
        query_scalar("SELECT name FROM providers WHERE id = $1")
            .bind(id)
            .fetch_optional(connection)
            .await
            .map_err(failure::<DB>)?
            .ok_or(StorageError::UnknownProvider { id })
    }

    /// Whether the log can tell what changed after `version`.
    async fn is_told(&self, connection: &mut DB::Connection, version: i64) -> Result<bool> {
        let (length, oldest, all): (i64, i64, i64) = query_as(
            "SELECT count(*), coalesce(min(version), 0), count(CASE WHEN kind = 'all' THEN 1 END) \
             FROM changes WHERE version > $1",
        )
        .bind(version)
        .fetch_one(connection)
        .await
        .map_err(failure::<DB>)?;
        Ok(oldest == version + 1 && all == 0 && length <= LONGEST_DELTA)
    }

    async fn changed_keys(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<Vec<(KeyHash, bool)>> {
        let changed = query_as::<DB, (String, bool)>(
            "SELECT c.entry, coalesce(k.is_active, FALSE) \
             FROM (SELECT DISTINCT entry FROM changes WHERE version > $1 AND kind = 'key') c \
             LEFT JOIN user_keys k ON k.key_hash = c.entry",
        )
        .bind(version)
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        changed.into_iter().map(|(hash, active)| Ok((rows::hash(&hash)?, active))).collect()
    }

    async fn changed_routes(
        &self,
        connection: &mut DB::Connection,
        version: i64,
    ) -> Result<Vec<(String, Option<Route>)>> {
        let names = query_scalar::<DB, String>(
            "SELECT DISTINCT entry FROM changes WHERE version > $1 AND kind = 'route'",
        )
        .bind(version)
        .fetch_all(&mut *connection)
        .await
        .map_err(failure::<DB>)?;
        let active = query_as::<DB, RouteRow>(concat!(
            "SELECT ", route_columns!(), " FROM models m JOIN providers p ON p.id = m.provider_id \
             WHERE m.is_active AND p.is_active AND m.name IN \
             (SELECT entry FROM changes WHERE version > $1 AND kind = 'route')"
        ))
        .bind(version)
        .fetch_all(connection)
        .await
        .map_err(failure::<DB>)?;
        let mut active = active.into_iter().map(rows::route).collect::<Result<std::collections::HashMap<_, _>>>()?;
        Ok(names.into_iter().map(|name| { let route = active.remove(&name); (name, route) }).collect())
    }

    async fn dump_keys(
        &self,
        connection: &mut DB::Connection,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<()> {
        let mut stream =
            query_scalar::<DB, String>("SELECT key_hash FROM user_keys WHERE is_active")
                .fetch(connection);
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            within(PATIENCE, async {
                while batch.len() < BATCH {
                    let Some(hash) = stream.try_next().await.map_err(failure::<DB>)? else { break };
                    batch.push(rows::hash(&hash)?);
                }
                Ok(())
            })
            .await?;
            let ended = batch.len() < BATCH;
            send(batches, Batch::Keys(batch)).await?;
            if ended {
                return Ok(());
            }
        }
    }

    async fn dump_routes(
        &self,
        connection: &mut DB::Connection,
        batches: &mpsc::Sender<Batch>,
    ) -> Result<()> {
        let routes = within(PATIENCE, async {
            query_as::<DB, RouteRow>(concat!(
                "SELECT ", route_columns!(), " FROM models m JOIN providers p \
                 ON p.id = m.provider_id WHERE m.is_active AND p.is_active"
            ))
            .fetch_all(connection)
            .await
            .map_err(failure::<DB>)
        })
        .await?;
        for rows in routes.chunks(BATCH) {
            let routes = rows.iter().cloned().map(rows::route).collect::<Result<_>>()?;
            send(batches, Batch::Routes(routes)).await?;
        }
        Ok(())
    }
}}

async fn send(batches: &mpsc::Sender<Batch>, batch: Batch) -> Result<()> {
    batches
        .send(batch)
        .await
        .map_err(|_| unavailable("whoever wanted the dump has gone"))
}

for_every_driver! { async_trait; impl (Database) {
    async fn prepare(&self) -> Result<()> {
        DB::prepare(self).await?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    async fn is_key_active(&self, hash: KeyHash) -> Result<bool> {
        self.with(self.settings.timeout, async |connection| {
            let active = query_scalar("SELECT is_active FROM user_keys WHERE key_hash = $1")
                .bind(hash.to_hex())
                .fetch_optional(&mut *connection)
                .await
                .map_err(failure::<DB>)?;
            Ok(active.unwrap_or(false))
        })
        .await
    }

    async fn route(&self, model: &str) -> Result<Option<Route>> {
        self.with(self.settings.timeout, async |connection| {
            let row = query_as::<DB, RouteRow>(concat!(
                "SELECT ", route_columns!(), " FROM models m JOIN providers p \
                 ON p.id = m.provider_id WHERE m.name = $1 AND m.is_active AND p.is_active"
            ))
            .bind(model.to_owned())
            .fetch_optional(&mut *connection)
            .await
            .map_err(failure::<DB>)?;
            Ok(row.map(rows::route).transpose()?.map(|(_, route)| route))
        })
        .await
    }

    async fn stamp(&self) -> Result<Stamp> {
        self.with(self.settings.timeout, async |connection| {
            let stamp = self.stamp_at(connection).await?;
            Ok(stamp)
        })
        .await
    }

    async fn listen(&self) -> Result<Option<Listener>> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(unavailable("the database has not been reached yet"));
        }
        within(self.settings.timeout, DB::listen(self)).await
    }

    async fn changes_since(&self, version: i64) -> Result<Delta> {
        self.with(self.settings.timeout, async |connection| {
            let mut snapshot = connection.begin_with(DB::BEGIN_SNAPSHOT).await.map_err(failure::<DB>)?;
            let stamp = self.stamp_at(&mut snapshot).await?;
            let delta = if stamp.version == version {
                Delta::Entries { stamp, keys: Vec::new(), routes: Vec::new() }
            } else if self.is_told(&mut snapshot, version).await? {
                let keys = self.changed_keys(&mut snapshot, version).await?;
                let routes = self.changed_routes(&mut snapshot, version).await?;
                Delta::Entries { stamp, keys, routes }
            } else {
                Delta::Everything(stamp)
            };
            snapshot.commit().await.map_err(failure::<DB>)?;
            Ok(delta)
        })
        .await
    }

    async fn dump(&self, batches: mpsc::Sender<Batch>) -> Result<Stamp> {
        let mut lease = self.lease().await?;
        let mut snapshot = lease.begin_with(DB::BEGIN_SNAPSHOT).await.map_err(failure::<DB>)?;
        let stamp = within(PATIENCE, self.stamp_at(&mut snapshot)).await?;
        self.dump_routes(&mut snapshot, &batches).await?;
        self.dump_keys(&mut snapshot, &batches).await?;
        snapshot.commit().await.map_err(failure::<DB>)?;
        lease.done();
        Ok(stamp)
    }

    async fn prune_changes(&self) -> Result<()> {
        self.with(PATIENCE, async |connection| {
            query("DELETE FROM changes WHERE version <= (SELECT version FROM change_counter) - $1")
                .bind(KEPT_VERSIONS)
                .execute(&mut *connection)
                .await
                .map_err(failure::<DB>)?;
            Ok(())
        })
        .await
    }

    async fn providers(&self, page: Page) -> Result<Vec<Provider>> {
        self.with(PATIENCE, async |connection| {
            let providers = query_as::<DB, ProviderRow>(concat!(
                "SELECT ", provider_columns!(),
                " FROM providers WHERE id < $1 ORDER BY id DESC LIMIT $2"
            ))
            .bind(last(page))
            .bind(i64::from(page.limit))
            .fetch_all(&mut *connection)
            .await
            .map_err(failure::<DB>)?;
            providers.into_iter().map(rows::provider).collect()
        })
        .await
    }

    async fn provider(&self, id: Uuid) -> Result<Option<Provider>> {
        self.with(PATIENCE, async |connection| {
            let provider = self.provider_at(connection, id).await?;
            Ok(provider)
        })
        .await
    }

    async fn create_provider(&self, new: NewProvider) -> Result<Committed<Provider>> {
        self.with(PATIENCE, async |connection| {
            let created_at = now();
            let provider = Provider {
                id: Uuid::now_v7(),
                base_url: new.base_url.unwrap_or_else(|| new.kind.default_base_url()),
                name: new.name,
                kind: new.kind,
                api_key: new.api_key,
                is_active: true,
                created_at,
                updated_at: created_at,
            };
            let mut mutation = self.begin(connection).await?;
            query(concat!(
                "INSERT INTO providers (", provider_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            ))
            .bind(provider.id)
            .bind(provider.name.as_str().to_owned())
            .bind(provider.kind.as_str().to_owned())
            .bind(provider.base_url.as_str().to_owned())
            .bind(provider.api_key.expose().to_owned())
            .bind(provider.is_active)
            .bind(provider.created_at)
            .bind(provider.updated_at)
            .execute(&mut *mutation.transaction)
            .await
            .map_err(|error| name_taken::<DB>("provider", &provider.name, error))?;
            let committed = self.commit(mutation, provider).await?;
            Ok(committed)
        })
        .await
    }

    async fn update_provider(
        &self,
        id: Uuid,
        change: ProviderChange,
    ) -> Result<Option<Committed<Provider>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let Some(mut provider) = self.provider_at(&mut mutation.transaction, id).await? else {
                return Ok(None);
            };
            change.apply(&mut provider);
            provider.updated_at = now();
            query(
                "UPDATE providers SET name = $2, kind = $3, base_url = $4, api_key = $5, \
                 is_active = $6, updated_at = $7 WHERE id = $1",
            )
            .bind(id)
            .bind(provider.name.as_str().to_owned())
            .bind(provider.kind.as_str().to_owned())
            .bind(provider.base_url.as_str().to_owned())
            .bind(provider.api_key.expose().to_owned())
            .bind(provider.is_active)
            .bind(provider.updated_at)
            .execute(&mut *mutation.transaction)
            .await
            .map_err(|error| name_taken::<DB>("provider", &provider.name, error))?;
            let committed = self.commit(mutation, provider).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn delete_provider(&self, id: Uuid) -> Result<Option<Committed<()>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let models: Vec<String> =
                query_scalar("SELECT name FROM models WHERE provider_id = $1 ORDER BY name")
                    .bind(id)
                    .fetch_all(&mut *mutation.transaction)
                    .await
                    .map_err(failure::<DB>)?;
            if !models.is_empty() {
                return Err(StorageError::ProviderInUse { models });
            }
            let deleted = query_scalar::<DB, Uuid>("DELETE FROM providers WHERE id = $1 RETURNING id")
                .bind(id)
                .fetch_optional(&mut *mutation.transaction)
                .await
                .map_err(failure::<DB>)?;
            if deleted.is_none() {
                return Ok(None);
            }
            let committed = self.commit(mutation, ()).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn models(&self, page: Page) -> Result<Vec<Model>> {
        self.with(PATIENCE, async |connection| {
            let models = query_as::<DB, ModelRow>(concat!(
                select_models!(), "WHERE m.id < $1 ORDER BY m.id DESC LIMIT $2"
            ))
            .bind(last(page))
            .bind(i64::from(page.limit))
            .fetch_all(&mut *connection)
            .await
            .map_err(failure::<DB>)?;
            models.into_iter().map(rows::model).collect()
        })
        .await
    }

    async fn model(&self, id: Uuid) -> Result<Option<Model>> {
        self.with(PATIENCE, async |connection| {
            let model = self.model_at(connection, id).await?;
            Ok(model)
        })
        .await
    }

    async fn create_model(&self, new: NewModel) -> Result<Committed<Model>> {
        self.with(PATIENCE, async |connection| {
            let created_at = now();
            let mut mutation = self.begin(connection).await?;
            let provider_name =
                self.known_provider_name(&mut mutation.transaction, new.provider_id).await?;
            let model = Model {
                id: Uuid::now_v7(),
                name: new.name,
                provider_id: new.provider_id,
                provider_name,
                provider_model_name: new.provider_model_name,
                is_active: true,
                created_at,
                updated_at: created_at,
            };
            query(
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
            .execute(&mut *mutation.transaction)
            .await
            .map_err(|error| name_taken::<DB>("model", &model.name, error))?;
            let committed = self.commit(mutation, model).await?;
            Ok(committed)
        })
        .await
    }

    async fn update_model(
        &self,
        id: Uuid,
        change: ModelChange,
    ) -> Result<Option<Committed<Model>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let Some(mut model) = self.model_at(&mut mutation.transaction, id).await? else {
                return Ok(None);
            };
            change.apply(&mut model);
            model.updated_at = now();
            model.provider_name =
                self.known_provider_name(&mut mutation.transaction, model.provider_id).await?;
            query(
                "UPDATE models SET name = $2, provider_id = $3, provider_model_name = $4, \
                 is_active = $5, updated_at = $6 WHERE id = $1",
            )
            .bind(id)
            .bind(model.name.as_str().to_owned())
            .bind(model.provider_id)
            .bind(model.provider_model_name.clone().map(Name::into_string))
            .bind(model.is_active)
            .bind(model.updated_at)
            .execute(&mut *mutation.transaction)
            .await
            .map_err(|error| name_taken::<DB>("model", &model.name, error))?;
            let committed = self.commit(mutation, model).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn delete_model(&self, id: Uuid) -> Result<Option<Committed<()>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let deleted = query_scalar::<DB, Uuid>("DELETE FROM models WHERE id = $1 RETURNING id")
                .bind(id)
                .fetch_optional(&mut *mutation.transaction)
                .await
                .map_err(failure::<DB>)?;
            if deleted.is_none() {
                return Ok(None);
            }
            let committed = self.commit(mutation, ()).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn keys(&self, page: Page) -> Result<Vec<UserKey>> {
        self.with(PATIENCE, async |connection| {
            let keys = query_as::<DB, KeyRow>(concat!(
                "SELECT ", key_columns!(), " FROM user_keys WHERE id < $1 ORDER BY id DESC LIMIT $2"
            ))
            .bind(last(page))
            .bind(i64::from(page.limit))
            .fetch_all(&mut *connection)
            .await
            .map_err(failure::<DB>)?;
            keys.into_iter().map(rows::key).collect()
        })
        .await
    }

    async fn key(&self, id: Uuid) -> Result<Option<UserKey>> {
        self.with(PATIENCE, async |connection| {
            let key = self.key_at(connection, id).await?;
            Ok(key)
        })
        .await
    }

    async fn create_key(
        &self,
        name: Name,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Committed<UserKey>> {
        self.with(PATIENCE, async |connection| {
            let created_at = now();
            let key = UserKey {
                id: Uuid::now_v7(),
                name,
                key_prefix: prefix.to_owned(),
                is_active: true,
                created_at,
                updated_at: created_at,
            };
            let mut mutation = self.begin(connection).await?;
            query(
                "INSERT INTO user_keys (id, name, key_hash, key_prefix, is_active, created_at, \
                 updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(key.id)
            .bind(key.name.as_str().to_owned())
            .bind(hash.to_hex())
            .bind(key.key_prefix.clone())
            .bind(key.is_active)
            .bind(key.created_at)
            .bind(key.updated_at)
            .execute(&mut *mutation.transaction)
            .await
            .map_err(failure::<DB>)?;
            let committed = self.commit(mutation, key).await?;
            Ok(committed)
        })
        .await
    }

    async fn rename_key(&self, id: Uuid, name: Name) -> Result<Option<Committed<UserKey>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let Some(mut key) = self.key_at(&mut mutation.transaction, id).await? else {
                return Ok(None);
            };
            key.name = name;
            key.updated_at = now();
            query("UPDATE user_keys SET name = $2, updated_at = $3 WHERE id = $1")
                .bind(id)
                .bind(key.name.as_str().to_owned())
                .bind(key.updated_at)
                .execute(&mut *mutation.transaction)
                .await
                .map_err(failure::<DB>)?;
            let committed = self.commit(mutation, key).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn rotate_key(
        &self,
        id: Uuid,
        hash: KeyHash,
        prefix: &str,
    ) -> Result<Option<Committed<UserKey>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            let Some(mut key) = self.key_at(&mut mutation.transaction, id).await? else {
                return Ok(None);
            };
            if !key.is_active {
                return Err(StorageError::KeyRevoked);
            }
            key.key_prefix = prefix.to_owned();
            key.updated_at = now();
            query("UPDATE user_keys SET key_hash = $2, key_prefix = $3, updated_at = $4 WHERE id = $1")
                .bind(id)
                .bind(hash.to_hex())
                .bind(key.key_prefix.clone())
                .bind(key.updated_at)
                .execute(&mut *mutation.transaction)
                .await
                .map_err(failure::<DB>)?;
            let committed = self.commit(mutation, key).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn revoke_key(&self, id: Uuid) -> Result<Option<Committed<()>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            if self.key_at(&mut mutation.transaction, id).await?.is_none() {
                return Ok(None);
            }
            // A second revocation changes nothing, and its time stays the first one's.
            query("UPDATE user_keys SET is_active = FALSE, updated_at = $2 WHERE id = $1 AND is_active")
                .bind(id)
                .bind(now())
                .execute(&mut *mutation.transaction)
                .await
                .map_err(failure::<DB>)?;
            let committed = self.commit(mutation, ()).await?;
            Ok(Some(committed))
        })
        .await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}}
