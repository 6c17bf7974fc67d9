//! SQLite: pool options and migrations.

use std::{fs, io, path::Path, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Sqlite,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Listener, Result, StorageError,
    schema::migration_failure,
    sql::{Dialect, Sql, failure},
};
use crate::{settings::DatabaseSettings, storage::metrics::DatabaseCounts};

/// A database of a newer version is [`Sql::check_schema`]'s business.
static MIGRATIONS: Migrator = Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("migrations/sqlite")
};

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn open(
    path: &str,
    settings: &DatabaseSettings,
    counts: DatabaseCounts,
) -> Result<Sql<Sqlite>> {
    create_private(Path::new(path)).map_err(|error| StorageError::Broken {
        reason: format!("sqlite://{path} cannot be opened: {error}"),
    })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // A key that was shown once must survive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.timeout)
        .after_connect({
            let opened = counts.connections.clone();
            move |_, _| {
                opened.inc();
                Box::pin(async { Ok(()) })
            }
        })
        .connect_lazy_with(options);
    Ok(Sql::new(pool, settings, counts))
}

/// Creates the folder and an empty file that only its owner can read: it holds provider keys.
/// SQLite gives its journal files the same permissions.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = open_private(path)?;
    // One that was restored from a backup may be open to others.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    drop(file);
    Ok(())
}

fn open_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// sqlx takes no lock for SQLite's migrations, so processes that start together would run them
/// twice. This lock is held until the file is dropped.
async fn lock_migrations(sql: &Sql<Sqlite>) -> io::Result<fs::File> {
    let path = sql
        .pool
        .connect_options()
        .get_filename()
        .with_extension("migrating");
    let lock = tokio::task::spawn_blocking(move || {
        let file = open_private(&path)?;
        file.lock()?;
        Ok(file)
    });
    lock.await.map_err(io::Error::other)?
}

#[async_trait]
impl Dialect for Sqlite {
    const BEGIN_WRITE: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN";
    const IS_LISTED: &'static str = "IN (SELECT value FROM json_each($1))";

    fn is_outage(code: &str) -> bool {
        // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN; the low byte of an extended code.
        let primary = code.parse::<u32>().map_or(0, |code| code & 0xff);
        matches!(primary, 5 | 6 | 8 | 10 | 13 | 14)
    }

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    async fn prepare(sql: &Sql<Self>) -> Result<()> {
        let _lock = lock_migrations(sql)
            .await
            .map_err(|error| StorageError::Broken {
                reason: format!("the database's folder cannot be written: {error}"),
            })?;
        MIGRATIONS
            .run(&sql.pool)
            .await
            .map_err(migration_failure::<Self>)
    }

    /// Rows leave what they were in free parts of pages and in the write-ahead log.
    async fn scrub(sql: &Sql<Self>) -> Result<()> {
        for statement in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            sql.query(statement)
                .execute(&sql.pool)
                .await
                .map_err(failure::<Self>)?;
        }
        Ok(())
    }

    async fn listen(_: &Sql<Self>) -> Result<Option<Listener>> {
        Ok(None)
    }
}
