//! What a rolling upgrade and the first start of many replicas do to a PostgreSQL that they share.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

use crate::{
    older::migrate_to,
    site::Site,
    support::{client::Request, gateway::TestGateway, soon, storage::TestStorage},
};

/// More than a first rollout usually has, so that they do meet.
const AT_ONCE: usize = 8;
/// `DATABASE_TIMEOUT` by default.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);

/// PostgreSQL and Redis, and no database there yet.
async fn to_be_created() -> TestStorage {
    let storage = TestStorage::postgres().await;
    if let TestStorage::Postgres { server, name, .. } = &storage {
        let mut connection = PgConnection::connect(server).await.unwrap();
        let statement = AssertSqlSafe(format!("DROP DATABASE {name}"));
        connection.execute(statement).await.unwrap();
    }
    storage
}

async fn start_together(storage: TestStorage) -> Vec<TestGateway> {
    let storage = Arc::new(storage);
    let starts = (0..AT_ONCE).map(|_| TestGateway::start_on(Arc::clone(&storage), &[]));
    join_all(starts).await
}

async fn becomes_ready(gateway: &TestGateway) {
    let ready = Request::get("/readyz");
    let asks = async { while ready.send_to(gateway.address()).await.status() != 200 {} };
    soon("the gateway to be ready", asks).await;
}

/// All are ready, and what one of them issues the others know.
async fn all_work(gateways: &[TestGateway]) {
    for gateway in gateways {
        becomes_ready(gateway).await;
    }
    let key = gateways[0].user_key().await;
    for gateway in gateways {
        let listed = Request::get("/v1/models")
            .bearer(&key)
            .send_to(gateway.address())
            .await;
        assert_eq!(listed.status(), 200);
    }
}

#[actix_web::test]
async fn replicas_that_start_at_once_on_an_empty_database_migrate_it_once() {
    let gateways = start_together(TestStorage::postgres().await).await;
    all_work(&gateways).await;
}

#[actix_web::test]
async fn replicas_that_start_at_once_on_an_empty_server_create_their_database_once() {
    let gateways = start_together(to_be_created().await).await;
    all_work(&gateways).await;
}

#[actix_web::test]
async fn a_migration_that_waits_for_a_table_holds_up_no_look_up_for_long() {
    let storage = TestStorage::postgres().await;
    migrate_to(&storage, 1).await;
    let mut backup = PgConnection::connect(&storage.url()).await.unwrap();
    // As `pg_dump` does, for as long as it takes.
    let mut transaction = backup.begin().await.unwrap();
    transaction
        .execute("LOCK TABLE providers IN ACCESS SHARE MODE")
        .await
        .unwrap();

    let storage = Arc::new(storage);
    let mut other = PgConnection::connect(&storage.url()).await.unwrap();
    let gateway = TestGateway::start_on(Arc::clone(&storage), &[]).await;
    gateway.logged("lock timeout").await;
    for _ in 0..3 {
        let look_up = other.execute("SELECT id FROM providers");
        assert!(timeout(LOOK_UP_LIMIT, look_up).await.is_ok());
    }
    transaction.rollback().await.unwrap();
    becomes_ready(&gateway).await;
}

/// As in a rolling upgrade: the newer version migrates beside replicas that know nothing of it.
#[actix_web::test]
async fn a_running_replica_goes_on_while_a_newer_version_adds_to_the_tables() {
    let site = Site::new().await;
    let running = site.serving().await;
    let before = running.issue().await;
    running.answers(&before.key, 200).await;
    site.storage
        .execute(
            "ALTER TABLE providers ADD COLUMN newer TEXT NOT NULL DEFAULT ''; \
             ALTER TABLE models ADD COLUMN newer TEXT NOT NULL DEFAULT ''; \
             ALTER TABLE user_keys ADD COLUMN newer TEXT NOT NULL DEFAULT ''; \
             ALTER TABLE audit ADD COLUMN newer TEXT NOT NULL DEFAULT ''; \
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9001, 'newer', TRUE, '', 0)",
        )
        .await;
    let after = running.issue().await;
    running.revoke(&before).await;
    running.gateway.serve("another", &site.provider).await;
    assert_eq!(running.status(&after.key).await, 200);
    assert_eq!(running.status(&before.key).await, 401);
    // One that is started anew meanwhile, because its machine went away, is as good.
    let started = site.replica(&[]).await;
    started.answers(&after.key, 200).await;
    started.answers(&before.key, 401).await;
    assert_eq!(started.ask_for(&after.key, "another").await.status(), 200);
}
