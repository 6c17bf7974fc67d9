//! One replica of three is cut off from Redis, from PostgreSQL, or from both, by connections that
//! break and by connections that hang, while the others go on changing keys.

use std::time::Duration;

use crate::{
    cable::Cable,
    oracle::Trouble,
    site::{Plan, Site},
};

/// How a cable fails.
const WAYS: [fn(&Cable); 2] = [Cable::cut, Cable::freeze];
const ALONE: usize = 0;

#[actix_web::test]
async fn a_replica_cut_off_from_redis_asks_the_database() {
    let site = Site::with(3).await;
    let alone = &site.replicas[ALONE];
    site.under_load_and_no_change_fails(async {
        for way in WAYS {
            way(&alone.to_redis);
            site.lease_passes().await;
            site.changes_pass(20).await;
            alone.to_redis.mend();
            site.redis_is_right_under_load().await;
        }
    })
    .await;
}

#[actix_web::test]
async fn a_replica_cut_off_from_the_database_asks_redis() {
    let site = Site::with(3).await;
    let alone = &site.replicas[ALONE];
    site.under_load(async {
        for way in WAYS {
            let losing = async { alone.lose_database(way) };
            let deaf = site.trouble(&[ALONE], Trouble::Deaf, losing).await;
            site.lease_passes().await;
            site.changes_pass(20).await;
            alone.find_database();
            alone.reaches_database().await;
            site.over(deaf);
        }
    })
    .await;
}

#[actix_web::test]
async fn a_replica_cut_off_from_both_serves_what_it_held_and_nothing_after_its_grace() {
    let grace = Duration::from_secs(8);
    let site = Plan::replicas(3).all("STALE_GRACE", "8s").open().await;
    let alone = &site.replicas[ALONE];
    site.under_load(async {
        for way in WAYS {
            let losing = async {
                way(&alone.to_redis);
                alone.lose_database(way);
                alone.becomes("degraded").await;
            };
            let cut_off = Trouble::CutOff { grace };
            // Who knows that something changed, and not what, has nothing left to serve.
            let quiet = site.changing.write().await;
            site.all_is_heard().await;
            let cut_off = site.trouble(&[ALONE], cut_off, losing).await;
            drop(quiet);
            let steady = site.pool.borrow().steady()[0].clone();
            assert_eq!(site.ask(ALONE, &steady).await, Some(200));
            site.changes_pass(10).await;
            alone.becomes("unavailable").await;
            assert_eq!(site.ask(ALONE, &steady).await, Some(503));
            site.changes_pass(10).await;
            alone.to_redis.mend();
            alone.find_database();
            alone.becomes("ready").await;
            alone.reaches_database().await;
            site.over(cut_off);
            site.redis_is_right_under_load().await;
        }
    })
    .await;
}
