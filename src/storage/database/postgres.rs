//! PostgreSQL: pool options, migrations, and the connection that hears of commits.

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use sqlx::{
    PgPool, Postgres,
    migrate::{MigrateDatabase, Migrator},
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use url::Url;

use super::{
    Result, Stamp, StorageError,
    sql::{Dialect, PATIENCE, Sql, failure, unavailable, within},
};
use crate::settings::{DatabaseSettings, DatabaseUrl};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The longest that migrations may take, and wait for those of another replica. One that hung
/// with the lock would otherwise hold up every other for ever.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);
/// What the triggers notify.
const CHANNEL: &str = "llm_gateway_changes";
/// "invalid_catalog_name": the server is there, the database isn't.
const NO_SUCH_DATABASE: &str = "3D000";

pub(super) fn open(settings: &DatabaseSettings) -> Result<Sql<Postgres>> {
    let options = options(&settings.url)?;
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.timeout)
        // A pool that idles may shrink; a burst of look-ups should still find a connection.
        .min_connections(1)
        .connect_lazy_with(options);
    Ok(Sql::new(pool, settings))
}

fn address(url: &DatabaseUrl) -> Result<&Url> {
    match url {
        DatabaseUrl::Postgres(url) => Ok(url),
        DatabaseUrl::Sqlite(_) => Err(StorageError::Broken {
            reason: "DATABASE_LISTEN_URL must be a postgres:// address, as DATABASE_URL is"
                .to_owned(),
        }),
    }
}

fn options(url: &DatabaseUrl) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(address(url)?.as_str()).map_err(|error| {
        StorageError::Broken {
            reason: format!("the PostgreSQL address has an unusable option: {error}"),
        }
    })?;
    Ok(options.application_name("llm-gateway"))
}

/// A pool of one connection, straight to the server: what a transaction pooler can't carry
/// (advisory locks, `LISTEN`) happens there.
async fn direct(settings: &DatabaseSettings, limit: Duration) -> sqlx::Result<PgPool> {
    let options =
        options(&settings.listen_url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(limit)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(options)
        .await
}

fn is_missing(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(NO_SUCH_DATABASE))
}

#[async_trait]
impl Dialect for Postgres {
    // Named, so that a server's other default can't bring serialisation failures.
    const BEGIN_WRITE: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

    fn is_outage(code: &str) -> bool {
        // Classes: connection, wrong credentials, missing database, read-only (a standby),
        // rolled back for another's sake (deadlock), resources exhausted, operator intervention
        // (shutdown, cancelled), system error.
        ["08", "28", "3D", "25", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
    }

    async fn prepare(sql: &Sql<Self>) -> Result<()> {
        let limit = sql.settings.timeout;
        let pool = match direct(&sql.settings, limit).await {
            Err(error) if is_missing(&error) => {
                let url = address(&sql.settings.listen_url)?;
                let create = async {
                    let created = Postgres::create_database(url.as_str()).await;
                    created.map_err(failure::<Self>)
                };
                within(PATIENCE, create).await?;
                direct(&sql.settings, limit).await
            }
            result => result,
        }
        .map_err(failure::<Self>)?;
        let migrate = async {
            let migrated = MIGRATIONS.run(&pool).await;
            pool.close().await;
            migrated.map_err(|error| match error {
                sqlx::migrate::MigrateError::Execute(error) => failure::<Self>(error),
                error => StorageError::Broken {
                    reason: format!("migration: {error}"),
                },
            })
        };
        within(MIGRATION_LIMIT, migrate).await
    }

    async fn listen(sql: &Sql<Self>) -> Result<Option<Listener>> {
        let pool = direct(&sql.settings, sql.settings.timeout)
            .await
            .map_err(failure::<Self>)?;
        let mut connection = PgListener::connect_with(&pool)
            .await
            .map_err(failure::<Self>)?;
        // A silent reconnection would hide what was missed meanwhile.
        connection.eager_reconnect(false);
        connection.listen(CHANNEL).await.map_err(failure::<Self>)?;
        Ok(Some(Listener(connection)))
    }
}

/// A connection that hears of commits and reads the counter. Any error means that it is lost:
/// drop it and open another.
pub struct Listener(PgListener);

impl Listener {
    /// Waits for the next commit that changed something. Safe to abandon at any time.
    ///
    /// # Errors
    /// The connection is lost; what happened since is to be read from the log.
    pub async fn changed(&mut self) -> Result<()> {
        let heard = self.0.try_recv().await.map_err(failure::<Postgres>)?;
        // Several commits at once are one reason to look.
        while self.0.next_buffered().is_some() {}
        heard
            .map(drop)
            .ok_or_else(|| unavailable("the listening connection is lost"))
    }

    /// The newest version. Not to be abandoned half-way, except to drop the listener.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn stamp(&mut self) -> Result<Stamp> {
        let (epoch, version) = sqlx::query_as("SELECT epoch, version FROM change_counter")
            .fetch_one(&mut self.0)
            .await
            .map_err(failure::<Postgres>)?;
        Ok(Stamp { epoch, version })
    }
}
