//! What happens to PostgreSQL: what was allowed goes on being served, nothing else is, and changes
//! fail and leave nothing half done.

use sqlx::{Connection as _, PgConnection};

use crate::{cable::Cable, oracle::Trouble, site::Site};

#[actix_web::test]
async fn while_postgres_is_dead_redis_answers() {
    let site = Site::with(2).await;
    site.under_load(async {
        let killing = site.servers.strike("postgres", "kill");
        let lost = site.lose_database(killing).await;
        site.lease_passes().await;
        site.servers.strike("postgres", "start").await;
        site.find_database(lost).await;
    })
    .await;
}

#[actix_web::test]
async fn while_postgres_is_frozen_redis_answers() {
    let site = Site::with(2).await;
    site.under_load(async {
        let freezing = site.servers.strike("postgres", "freeze");
        let lost = site.lose_database(freezing).await;
        site.lease_passes().await;
        site.servers.strike("postgres", "wake").await;
        site.find_database(lost).await;
    })
    .await;
}

#[actix_web::test]
async fn a_postgres_that_restarts_costs_changes_and_no_answers() {
    let site = Site::with(3).await;
    site.under_load(async {
        for _ in 0..2 {
            let restarting = site.servers.strike("postgres", "restart");
            let lost = site.lose_database(restarting).await;
            site.find_database(lost).await;
            site.changes_pass(10).await;
        }
    })
    .await;
}

/// Others hold every connection that there is, those reserved for superusers included.
#[actix_web::test]
async fn without_a_free_connection_to_postgres_redis_answers() {
    let site = Site::with(2).await;
    site.limit_connections().await;
    site.under_load(async {
        let mut held = Vec::new();
        let taking = site.take_every_connection(&mut held);
        let lost = site.lose_database(taking).await;
        site.lease_passes().await;
        drop(held);
        site.find_database(lost).await;
    })
    .await;
}

impl Site {
    /// To a number that is quickly taken.
    async fn limit_connections(&self) {
        let mut database = self.servers.database().await;
        for statement in [
            "ALTER SYSTEM SET max_connections = 40",
            "ALTER SYSTEM SET max_worker_processes = 0",
        ] {
            sqlx::raw_sql(statement)
                .execute(&mut database)
                .await
                .unwrap();
        }
        database.close().await.unwrap();
        self.servers.strike("postgres", "restart").await;
        for replica in &self.replicas {
            replica.reaches_database().await;
        }
    }

    /// As long as a gateway has one, it is taken away, and the next free one is ours.
    async fn take_every_connection(&self, held: &mut Vec<PgConnection>) {
        held.push(self.servers.database().await);
        loop {
            while let Ok(another) = PgConnection::connect(&self.servers.database_url).await {
                held.push(another);
            }
            let ended: i64 = sqlx::query_scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE application_name = 'llm-gateway'",
            )
            .fetch_one(&mut held[0])
            .await
            .unwrap();
            if ended == 0 {
                return;
            }
        }
    }
}

/// The counter is then read through the pool, so no replica is later than its lease.
#[actix_web::test]
async fn without_its_listening_connection_a_replica_hears_within_its_lease() {
    let site = Site::with(3).await;
    site.under_load_and_no_change_fails(async {
        for replica in &site.replicas[1..] {
            replica.to_listener.cut();
        }
        site.lease_passes().await;
        site.changes_pass(20).await;
        for replica in &site.replicas[1..] {
            replica.to_listener.freeze();
        }
        site.lease_passes().await;
        site.changes_pass(20).await;
        for replica in &site.replicas[1..] {
            replica.to_listener.mend();
        }
    })
    .await;
}

/// The one who revoked is the only one who knows. A replica that can't hear goes by Redis, so Redis
/// must be told without the database.
#[actix_web::test]
async fn a_postgres_that_dies_right_after_a_commit_takes_no_change_with_it() {
    let site = Site::with(2).await;
    let (one, deaf) = (&site.replicas[0], &site.replicas[1]);
    site.under_load(async {
        let quiet = site.changing.write().await;
        let key = site.issue(0).await.expect("a key");
        site.everywhere(&key, 200).await;
        let losing = async { deaf.lose_database(Cable::cut) };
        let deaf_already = site.trouble(&[1], Trouble::Deaf, losing).await;
        one.arm("committed");
        let lost = site.lose_database(async {
            one.reached("committed").await;
            site.servers.strike("postgres", "kill").await;
            one.release("committed");
        });
        let (lost, revoked) = futures_util::join!(lost, site.revoke(0, &key));
        assert!(revoked);
        drop(quiet);
        site.lease_passes().await;
        for replica in site.all() {
            assert_eq!(site.ask(replica, &key).await, Some(401));
        }
        deaf.find_database();
        site.servers.strike("postgres", "start").await;
        site.find_database(lost).await;
        site.over(deaf_already);
    })
    .await;
}
