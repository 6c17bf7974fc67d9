//! A database behind one driver: its pool, time limits, and the protocol of a mutation.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use sqlx::{
    Connection, Database as Driver, FromRow, Pool, SqlSafeStr, Transaction,
    database::HasStatementCache,
    migrate::Migrator,
    pool::PoolConnection,
    query::{Query, QueryAs, QueryScalar},
};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::{Changes, Committed, Listener, Page, Result, StorageError, for_every_driver};
use crate::{
    domain::{Actor, Deed, Name},
    fail_points::fail_point,
    settings::DatabaseSettings,
    storage::metrics::DatabaseCounts,
};

/// The longest that a mutation, a list or one step of a dump may take. Look-ups have a limit of
/// their own, `DATABASE_TIMEOUT`.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where the two databases differ.
#[async_trait]
pub(super) trait Dialect: Driver + HasStatementCache {
    /// Opens a transaction that will write.
    const BEGIN_WRITE: &'static str;
    /// Opens a transaction whose reads all see the same moment.
    const BEGIN_SNAPSHOT: &'static str;
    /// Whether the text before it is in the first parameter, a [`json_list`]. A list as one value
    /// keeps the statement the same whatever its length.
    const IS_LISTED: &'static str;

    /// Whether a failure is one of the server or the way to it, and not of what was asked.
    fn is_outage(code: &str) -> bool;
    /// What this program knows to make of the tables.
    fn migrations() -> &'static Migrator;
    /// Creates what is missing and migrates.
    async fn prepare(sql: &Sql<Self>) -> Result<()>;
    /// Removes what the database's own files still hold of values that were overwritten, as far as
    /// that is a client's business.
    async fn scrub(_: &Sql<Self>) -> Result<()> {
        Ok(())
    }
    /// Opens a connection that hears of commits.
    async fn listen(sql: &Sql<Self>) -> Result<Option<Listener>>;
}

/// A database behind one driver.
pub(super) struct Sql<DB: Dialect> {
    pub(super) pool: Pool<DB>,
    pub(super) settings: DatabaseSettings,
    pub(super) counts: DatabaseCounts,
    pub(super) prepared: AtomicBool,
    /// Whether connections go through a pooler that may give each transaction another session.
    /// Set before the first connection that does so is used.
    pub(super) pooled: Arc<AtomicBool>,
}

/// A connection that returns to the pool only when its work came to an end. One that was
/// abandoned half-way (by a time limit, say) is closed, so that a hanging server can't use up
/// the pool.
pub(super) struct Lease<DB: Driver>(Option<PoolConnection<DB>>);

impl<DB: Driver> Lease<DB> {
    pub(super) fn done(mut self) {
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
pub(super) struct Mutation<'c, DB: Driver> {
    transaction: Transaction<'c, DB>,
    before: i64,
}

impl<DB: Dialect> Sql<DB> {
    pub(super) fn new(pool: Pool<DB>, settings: &DatabaseSettings, counts: DatabaseCounts) -> Self {
        Self {
            pool,
            settings: settings.clone(),
            counts,
            prepared: AtomicBool::new(false),
            pooled: Arc::default(),
        }
    }

    fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Acquire)
    }

    /// As sqlx's function of this name. Every statement goes through one of these three: behind a
    /// pooler a statement that is kept by its name would be found by others, or not at all.
    #[allow(clippy::disallowed_methods, reason = "here is where it belongs")]
    pub(super) fn query<'q>(&self, sql: impl SqlSafeStr) -> Query<'q, DB, DB::Arguments> {
        sqlx::query(sql).persistent(!self.is_pooled())
    }

    /// As sqlx's function of this name.
    #[allow(clippy::disallowed_methods, reason = "here is where it belongs")]
    pub(super) fn query_as<'q, T>(&self, sql: impl SqlSafeStr) -> QueryAs<'q, DB, T, DB::Arguments>
    where
        T: for<'r> FromRow<'r, DB::Row>,
    {
        sqlx::query_as(sql).persistent(!self.is_pooled())
    }

    /// As sqlx's function of this name.
    #[allow(clippy::disallowed_methods, reason = "here is where it belongs")]
    pub(super) fn query_scalar<'q, T>(
        &self,
        sql: impl SqlSafeStr,
    ) -> QueryScalar<'q, DB, T, DB::Arguments>
    where
        (T,): for<'r> FromRow<'r, DB::Row>,
    {
        sqlx::query_scalar(sql).persistent(!self.is_pooled())
    }

    /// Runs `work`, statements outside a transaction, on a connection, within `limit`. Behind a
    /// pooler they get one: a statement is parsed in one round trip and run in the next, and only
    /// within a transaction do both surely reach the same session.
    pub(super) async fn statements<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T>,
    ) -> Result<T> {
        self.with(limit, async |connection| {
            if !self.is_pooled() {
                return work(connection).await;
            }
            let mut transaction = connection.begin().await.map_err(failure::<DB>)?;
            let answer = work(&mut transaction).await?;
            transaction.commit().await.map_err(failure::<DB>)?;
            Ok(answer)
        })
        .await
    }

    /// Runs `work`, which opens a transaction, on a connection, within `limit`.
    pub(super) async fn with<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let run = async {
            let mut lease = timeout_at(deadline, self.lease()).await.map_err(late)??;
            let result = timeout_at(deadline, work(&mut lease)).await.map_err(late)?;
            lease.done();
            result
        };
        self.counts.watch(run.await)
    }

    pub(super) async fn lease(&self) -> Result<Lease<DB>> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(unavailable("the database has not been reached yet"));
        }
        self.connection().await
    }

    async fn connection(&self) -> Result<Lease<DB>> {
        let connection = self.pool.acquire().await.map_err(failure::<DB>)?;
        Ok(Lease(Some(connection)))
    }

    /// As [`Sql::with`], before the database is ready for everything else.
    pub(super) async fn early<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T>,
    ) -> Result<T> {
        let run = async {
            let mut lease = self.connection().await?;
            let result = work(&mut lease).await;
            lease.done();
            result
        };
        self.counts
            .watch(timeout(PATIENCE, run).await.map_err(late).flatten())
    }
}

fn late<E>(_: E) -> StorageError {
    unavailable("the database did not answer in time")
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    timeout(limit, work).await.map_err(late)?
}

pub(super) fn unavailable(reason: impl Into<String>) -> StorageError {
    StorageError::Unavailable {
        reason: reason.into(),
        cause: None,
    }
}

/// Tells an outage from a defect. The driver's own words are for the log alone.
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
        // Those of the pool say nothing that the reason doesn't.
        let is_telling = !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed);
        StorageError::Unavailable {
            reason: "the database cannot be reached".to_owned(),
            cause: is_telling.then(|| one_line(&error)),
        }
    } else {
        StorageError::Broken {
            reason: format!("database: {error}"),
        }
    }
}

fn one_line(error: &sqlx::Error) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

/// Texts as one parameter, for [`Dialect::IS_LISTED`]. The drivers have no type for lists in common.
pub(super) fn json_list(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let texts = texts.into_iter();
    let list = texts.map(|text| serde_json::Value::from(text.as_ref()));
    serde_json::Value::from_iter(list).to_string()
}

pub(super) fn now() -> DateTime<Utc> {
    // PostgreSQL keeps microseconds; an answer shall show what is stored.
    Utc::now().trunc_subsecs(6)
}

pub(super) fn last(page: Page) -> Uuid {
    page.after.unwrap_or(Uuid::max())
}

/// A name that is taken, told from every other failure.
pub(super) fn name_taken<DB: Dialect>(
    kind: &'static str,
    name: &Name,
    error: sqlx::Error,
) -> StorageError {
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

for_every_driver! {; impl {
    /// Runs `work` as one transaction and commits it; `None` means that there was nothing to do it
    /// to. The audit is told in the same transaction. Answers what the caches must hear.
    pub(super) async fn mutate<T>(
        &self,
        by: &Actor,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<Option<(T, Deed)>>,
    ) -> Result<Option<Committed<T>>> {
        self.with(PATIENCE, async |connection| {
            let mut mutation = self.begin(connection).await?;
            match work(&mut mutation.transaction).await? {
                Some((value, deed)) => {
                    self.record(&mut mutation.transaction, by, &deed).await?;
                    self.commit(mutation, value).await.map(Some)
                }
                None => Ok(None),
            }
        })
        .await
    }

    /// Runs `work` as one transaction before the database is ready for everything else. The log
    /// tells the caches.
    pub(super) async fn early_mutation<T>(
        &self,
        work: impl AsyncFnOnce(&mut DB::Connection) -> Result<T>,
    ) -> Result<T> {
        self.early(async |connection| {
            let mut mutation = self.begin(connection).await?;
            let value = work(&mut mutation.transaction).await?;
            mutation.transaction.commit().await.map_err(failure::<DB>)?;
            Ok(value)
        })
        .await
    }

    async fn begin<'c>(&self, connection: &'c mut DB::Connection) -> Result<Mutation<'c, DB>> {
        let mut transaction = connection.begin_with(DB::BEGIN_WRITE).await.map_err(failure::<DB>)?;
        let before = self.query_scalar("UPDATE change_counter SET version = version RETURNING version")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failure::<DB>)?;
        fail_point!("counter-held");
        Ok(Mutation { transaction, before })
    }

    /// Commits, and answers what the caches must hear.
    async fn commit<T>(&self, mut mutation: Mutation<'_, DB>, value: T) -> Result<Committed<T>> {
        let delta = self.read_delta(&mut mutation.transaction, mutation.before).await?;
        mutation.transaction.commit().await.map_err(failure::<DB>)?;
        let changes = Changes { before: mutation.before, delta };
        Ok(Committed { value, changes })
    }
}}
