//! Databases as an older version of the program left them.

use std::path::Path;

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, migrate::Migrator,
    sqlite::SqliteConnectOptions,
};

use super::storage::TestStorage;

/// Makes the tables what they were when `version` was the newest migration.
pub(crate) async fn migrate_to(storage: &TestStorage, version: i64) {
    match storage {
        TestStorage::Sqlite { folder } => {
            std::fs::create_dir_all(folder).unwrap();
            let options = SqliteConnectOptions::new().filename(folder.join("gateway.db"));
            let mut connection = options.create_if_missing(true).connect().await.unwrap();
            let migrations = migrations("sqlite").await;
            migrations.run_to(version, &mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        TestStorage::Postgres { .. } => {
            let mut connection = PgConnection::connect(&storage.url()).await.unwrap();
            let migrations = migrations("postgres").await;
            migrations.run_to(version, &mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

async fn migrations(kind: &str) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(kind);
    Migrator::new(folder.as_path()).await.unwrap()
}
