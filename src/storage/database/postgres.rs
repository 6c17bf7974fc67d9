//! PostgreSQL: pool options, migrations, and the connection that hears of commits.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor, PgConnection, PgPool, Postgres, Row as _,
    migrate::{MigrateDatabase, MigrateError, Migrator},
    postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgSslMode},
    raw_sql,
};
use url::Url;

use super::{
    Result, Stamp, StorageError,
    schema::migration_failure,
    sql::{Dialect, PATIENCE, Sql, failure, unavailable, within},
};
use crate::{
    settings::{DatabaseSettings, DatabaseUrl, PostgresTls},
    storage::{metrics::DatabaseCounts, pem},
};

/// Without sqlx's own lock, which belongs to a session. A database of a newer version is
/// [`Sql::check_schema`]'s business.
static MIGRATIONS: Migrator = Migrator {
    locking: false,
    ignore_missing: true,
    ..sqlx::migrate!("migrations/postgres")
};

/// The longest that migrations may take, and wait for those of another replica. One that hung
/// with the lock would otherwise hold up every other for ever.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);
/// Held until the transaction ends, in whatever session a pooler runs it. The number is any that
/// others are unlikely to use in this database.
const LOCK_MIGRATIONS: &str = "SELECT pg_advisory_xact_lock(7811600942345511)";
/// Once that is held: the longest that a migration may wait for a table, behind a `pg_dump` for
/// example. Every look-up queues behind it meanwhile, and they have `DATABASE_TIMEOUT`, 2 s by
/// default. It is tried again in the background. And nobody need hear at every start that the list of
/// migrations is there already.
const FOR_MIGRATIONS: &str =
    "SET LOCAL lock_timeout = '1s'; SET LOCAL client_min_messages = 'warning'";
/// What every session is asked to start with, to tell a server from a pooler: the server complies,
/// a pooler refuses or ignores it, because the session that it lends out has begun already. It
/// formats floating-point numbers, of which there are none here, in a way that nobody wants.
const TELL_TALE: i8 = -7;
/// As `sslrootcert`: the system's authorities. They are what sqlx trusts without that parameter.
const TRUST_SYSTEM: &str = "system";
/// What the triggers notify.
const CHANNEL: &str = "llm_gateway_changes";
/// "invalid_catalog_name": the server is there, the database isn't.
const NO_SUCH_DATABASE: &str = "3D000";
/// How a server refuses to create a database that another replica is creating, or has just created:
/// "unique_violation", "duplicate_database", "object_in_use" (the template).
const BEING_CREATED: [&str; 3] = ["23505", "42P04", "55006"];
/// "lock_not_available": somebody else has held it for longer than we wait.
const LOCKED: &str = "55P03";

pub(super) fn open(settings: &DatabaseSettings, counts: DatabaseCounts) -> Result<Sql<Postgres>> {
    check_files("DATABASE_URL", address(&settings.url)?)?;
    check_files("DATABASE_LISTEN_URL", address(&settings.listen_url)?)?;
    let pooled = Arc::new(AtomicBool::new(keeps_no_statements(&settings.url)));
    let (found, opened) = (Arc::clone(&pooled), counts.connections.clone());
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.timeout)
        // A pool that idles may shrink; a burst of look-ups should still find a connection.
        .min_connections(1)
        .after_connect(move |connection, _| {
            let found = Arc::clone(&found);
            opened.inc();
            Box::pin(async move {
                if !is_direct(connection).await? {
                    found.store(true, Ordering::Release);
                }
                Ok(())
            })
        })
        .connect_lazy_with(options(&settings.url)?);
    Ok(Sql {
        pooled,
        ..Sql::new(pool, settings, counts)
    })
}

/// Whether the address has the parameter by which users of sqlx say that there is a pooler.
fn keeps_no_statements(url: &DatabaseUrl) -> bool {
    let DatabaseUrl::Postgres(url) = url else {
        return false;
    };
    url.query_pairs()
        .any(|(name, value)| name == "statement-cache-capacity" && value.parse() == Ok(0))
}

/// Whether the session is this connection's own.
async fn is_direct<'c>(connection: impl Executor<'c, Database = Postgres>) -> sqlx::Result<bool> {
    let shown = connection
        .fetch_one(raw_sql("SHOW extra_float_digits"))
        .await?;
    Ok(shown.try_get::<String, _>(0)? == TELL_TALE.to_string())
}

/// Whether a pooler refused the session for [`TELL_TALE`].
fn refuses_tell_tale(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().contains("extra_float_digits"))
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

/// Looks at the files that an address names; `variable` is its own name.
fn check_files(variable: &str, url: &Url) -> Result<()> {
    let PostgresTls { root_cert, client } = PostgresTls::of(url);
    // The driver takes the text of a certificate as well as its file's path.
    let is_path = |text: &String| !text.starts_with("-----BEGIN");
    let what = |parameter: &str| format!("{variable}: {parameter}");
    if let Some(path) = root_cert.filter(|root| root != TRUST_SYSTEM && is_path(root)) {
        pem::certificates(&what("sslrootcert"), &path)?;
    }
    if let Some((cert, key)) = client {
        if is_path(&cert) {
            pem::certificates(&what("sslcert"), &cert)?;
        }
        if is_path(&key) {
            pem::private_key(&what("sslkey"), &key)?;
        }
    }
    Ok(())
}

/// What libpq understands by an address, where sqlx understands less of it.
fn options(url: &DatabaseUrl) -> Result<PgConnectOptions> {
    let url = address(url)?;
    let root_cert = PostgresTls::of(url).root_cert;
    let trusts_system = root_cert.as_deref() == Some(TRUST_SYSTEM);
    let parsed = if trusts_system {
        let bare = PostgresTls::without_root_cert(url);
        PgConnectOptions::from_str(bare.as_str())
            .map(|options| options.ssl_mode(PgSslMode::VerifyFull))
    } else {
        PgConnectOptions::from_str(url.as_str())
    };
    let mut options = parsed.map_err(|error| StorageError::Broken {
        reason: format!("the PostgreSQL address has an unusable option: {error}"),
    })?;
    if root_cert.is_some() && matches!(options.get_ssl_mode(), PgSslMode::Require) {
        options = options.ssl_mode(PgSslMode::VerifyCa);
    }
    Ok(options
        .application_name("llm-gateway")
        .extra_float_digits(TELL_TALE))
}

/// A pool of one connection, past the pooler that may be in front of the server.
async fn direct(settings: &DatabaseSettings, limit: Duration) -> sqlx::Result<PgPool> {
    let options =
        options(&settings.listen_url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let open = |options| {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limit)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_with(options)
    };
    match open(options.clone()).await {
        Err(error) if refuses_tell_tale(&error) => open(options.extra_float_digits(None)).await,
        result => result,
    }
}

/// All migrations in one transaction, so that a lock of the transaction's is enough.
async fn migrate(connection: &mut PgConnection) -> std::result::Result<(), MigrateError> {
    let mut transaction = connection.begin().await?;
    transaction.execute(raw_sql(LOCK_MIGRATIONS)).await?;
    transaction.execute(raw_sql(FOR_MIGRATIONS)).await?;
    let migrated = MIGRATIONS.run_direct(None, &mut *transaction, false).await;
    // A pooler's next client must not find them.
    transaction.clear_cached_statements().await?;
    migrated?;
    Ok(transaction.commit().await?)
}

/// Connects as look-ups will, and finds out whether there is a pooler in between.
async fn greet(sql: &Sql<Postgres>) -> sqlx::Result<()> {
    let greeted = match sql.pool.acquire().await {
        Err(error) if refuses_tell_tale(&error) => {
            let options = PgConnectOptions::clone(&sql.pool.connect_options());
            sql.pool
                .set_connect_options(options.extra_float_digits(None));
            sql.pool.acquire().await
        }
        result => result,
    };
    greeted?;
    if sql.pooled.load(Ordering::Acquire) && !sql.prepared.load(Ordering::Acquire) {
        log::info!("database: connections go through a pooler; each statement gets a transaction");
    }
    Ok(())
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| codes.contains(&&*code))
}

/// Creates the database. Where another replica is at it, that is an outage: it is tried again.
async fn create(url: &DatabaseUrl) -> Result<()> {
    let url = options(url)?.to_url_lossy();
    match Postgres::create_database(url.as_str()).await {
        Err(error) if has_code(&error, &BEING_CREATED) => {
            Err(unavailable("another process is creating the database"))
        }
        created => created.map_err(failure::<Postgres>),
    }
}

/// Names are of any script. In a database that can't hold them all, one that it can't hold would
/// fail the look-ups of all who are asked for in the same statement.
async fn check_encoding(connection: &mut PgConnection) -> Result<()> {
    let shown = async {
        let row = connection.fetch_one(raw_sql("SHOW server_encoding"));
        row.await?.try_get::<String, _>(0)
    };
    match shown.await.map_err(failure::<Postgres>)?.as_str() {
        // The latter keeps bytes as they come.
        "UTF8" | "SQL_ASCII" => Ok(()),
        other => Err(StorageError::Broken {
            reason: format!(
                "the database has the encoding {other}, which can't hold every name; create it with \
                 ENCODING 'UTF8' TEMPLATE template0"
            ),
        }),
    }
}

#[async_trait]
impl Dialect for Postgres {
    // Named, so that a server's other default can't bring serialisation failures. And whoever holds
    // the counter and falls silent, frozen or cut off, loses it: half of [`PATIENCE`], so that
    // those who wait for it meanwhile still have time for what they came for.
    const BEGIN_WRITE: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
                                       SET LOCAL idle_in_transaction_session_timeout = '5s'";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    // Turned into an array first, which the index is asked for however large the table.
    const IS_LISTED: &'static str = "= ANY (ARRAY(SELECT json_array_elements_text($1::JSON)))";

    fn is_outage(code: &str) -> bool {
        // Classes: connection, wrong credentials, missing database, read-only (a standby),
        // rolled back for another's sake (deadlock), resources exhausted, operator intervention
        // (shutdown, cancelled), system error.
        ["08", "28", "3D", "25", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
            || code == LOCKED
    }

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn prepare(sql: &Sql<Self>) -> Result<()> {
        let limit = sql.settings.timeout;
        let pool = match direct(&sql.settings, limit).await {
            Err(error) if has_code(&error, &[NO_SUCH_DATABASE]) => {
                within(PATIENCE, create(&sql.settings.listen_url)).await?;
                direct(&sql.settings, limit).await
            }
            result => result,
        }
        .map_err(failure::<Self>)?;
        let migrate = async {
            let mut connection = pool.acquire().await.map_err(failure::<Self>)?;
            check_encoding(&mut connection).await?;
            let migrated = migrate(&mut connection).await;
            // Without a word of farewell the server would log an error; without an answer, so be it.
            let _ = connection.close().await;
            migrated.map_err(migration_failure::<Self>)
        };
        within(MIGRATION_LIMIT, migrate).await?;
        greet(sql).await.map_err(failure::<Self>)
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
        if is_direct(&mut connection).await.map_err(failure::<Self>)? {
            connection.listen(CHANNEL).await.map_err(failure::<Self>)?;
        } else {
            // `LISTEN` would belong to a session that others are lent, too.
            log::warn!(
                "database: notifications don't come through a pooler, so the change counter is \
                 polled; set DATABASE_LISTEN_URL to PostgreSQL's direct address"
            );
        }
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
        // In one round trip and with nothing prepared, which works behind a pooler as well.
        let read = async {
            let row = self
                .0
                .fetch_one(raw_sql("SELECT epoch, version FROM change_counter"))
                .await?;
            Ok(Stamp {
                epoch: row.try_get(0)?,
                version: row.try_get(1)?,
            })
        };
        read.await.map_err(failure::<Postgres>)
    }
}
