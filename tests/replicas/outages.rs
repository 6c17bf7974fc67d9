//! Redis, PostgreSQL or both are away: what was allowed goes on being served, and nothing else.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join, stream};
use serde_json::json;

use crate::{
    site::{MODEL, Replica, Site},
    support::{client::Request, soon},
};

#[actix_web::test]
async fn without_redis_the_database_answers() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let key = replica.issue().await;
    replica.to_redis.cut();
    assert_eq!(replica.status(&key.key).await, 200);
    let new = replica.issue().await;
    assert_eq!(replica.status(&new.key).await, 200);
    replica.revoke(&key).await;
    assert_eq!(replica.status(&key.key).await, 401);
    replica.becomes(200, Some("ready")).await;

    replica.to_redis.mend();
    site.redis().await.holds(&[&new.key]).await;
}

#[actix_web::test]
async fn a_start_without_redis_serves_from_the_database() {
    let site = Site::new().await;
    let (to_redis, to_database) = site.cables();
    to_redis.cut();
    let replica = site.replica_behind(to_redis, to_database, &[]).await;
    replica
        .gateway
        .serve(crate::site::MODEL, &site.provider)
        .await;
    let key = replica.issue().await;
    assert_eq!(replica.status(&key.key).await, 200);
    replica.to_redis.mend();
    site.redis().await.whole().await;
}

#[actix_web::test]
async fn a_redis_that_hangs_costs_no_request_its_answer() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let keys = [replica.issue().await, replica.issue().await];
    replica.to_redis.freeze();
    for key in &keys {
        assert_eq!(replica.status(&key.key).await, 200);
    }
    let new = replica.issue().await;
    assert_eq!(replica.status(&new.key).await, 200);
    replica.revoke(&new).await;
    assert_eq!(replica.status(&new.key).await, 401);
}

/// Strangers with made-up keys, and a caller with made-up models.
async fn flood(replica: &Replica, key: &str) {
    let asking = (0..1_000).map(|number| async move {
        if number % 2 == 0 {
            let unknown = format!("sk-{number:08x}-ffff-4fff-8fff-ffffffffffff");
            assert_eq!(replica.status(&unknown).await, 401);
        } else {
            let unknown = format!("unknown-{number}");
            assert_eq!(replica.ask_for(key, &unknown).await.status(), 404);
        }
    });
    stream::iter(asking).buffer_unordered(50).collect().await
}

#[actix_web::test]
async fn a_flood_that_only_the_database_can_answer_keeps_nobody_from_a_first_request() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let caller = replica.issue().await;
    replica.to_redis.cut();
    let newcomers = async {
        for number in 0..20 {
            let key = replica.issue().await;
            let model = format!("new-{number}");
            assert_eq!(replica.ask_for(&key.key, &model).await.status(), 404);
            replica.gateway.serve(&model, &site.provider).await;
            assert_eq!(replica.ask_for(&key.key, &model).await.status(), 200);
            replica.revoke(&key).await;
            assert_eq!(replica.status(&key.key).await, 401);
        }
    };
    join(flood(&replica, &caller.key), newcomers).await;
}

#[actix_web::test]
async fn a_slow_redis_changes_nothing_but_the_time() {
    let site = Site::new().await;
    let replica = site.serving().await;
    replica.to_redis.slow_down(Duration::from_millis(50));
    for _ in 0..3 {
        let key = replica.issue().await;
        assert_eq!(replica.status(&key.key).await, 200);
        replica.revoke(&key).await;
        assert_eq!(replica.status(&key.key).await, 401);
    }
}

#[actix_web::test]
async fn without_the_database_the_caches_serve_and_admin_calls_change_nothing() {
    let site = Site::new().await;
    let (warm, cold) = (site.serving().await, site.replica(&[]).await);
    let key = warm.issue().await;
    assert_eq!(warm.status(&key.key).await, 200);
    site.redis().await.holds(&[&key.key]).await;
    warm.to_database.cut();
    cold.to_database.cut();
    // One has it in memory, the other asks Redis; both stay ready.
    for replica in [&warm, &cold] {
        assert_eq!(replica.status(&key.key).await, 200);
        assert_eq!(
            replica
                .status("sk-00000000-0000-4000-8000-000000000000")
                .await,
            401
        );
        let refused = replica
            .gateway
            .admin()
            .post("/admin/keys", json!({"name": "x"}))
            .await;
        assert_eq!(
            (refused.status(), refused.error_code().as_str()),
            (503, "unavailable")
        );
        assert!(refused.header("retry-after").is_some());
        let path = format!("/admin/keys/{}", key.id);
        assert_eq!(replica.gateway.admin().delete(&path).await.status(), 503);
        assert_eq!(replica.status(&key.key).await, 200);
        assert_eq!(replica.readiness().await.0, 200);
    }
    warm.to_database.mend();
    crate::support::soon("admin calls to work again", async {
        while warm.gateway.admin().get("/admin/keys").await.status() != 200 {}
    })
    .await;
    assert_eq!(
        warm.gateway
            .admin()
            .get("/admin/keys")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[actix_web::test]
async fn cut_off_from_both_a_replica_serves_what_it_held_and_says_so() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let (held, not_held) = (replica.issue().await, replica.issue().await);
    assert_eq!(replica.status(&held.key).await, 200);
    replica.to_redis.cut();
    replica.to_database.cut();
    replica.becomes(200, Some("degraded")).await;
    assert_eq!(replica.status(&held.key).await, 200);
    let refused = replica.ask(&not_held.key).await;
    assert_eq!(
        (refused.status(), refused.error_code().as_str()),
        (503, "unavailable")
    );
    assert!(refused.header("retry-after").is_some());

    replica.to_redis.mend();
    replica.to_database.mend();
    replica.becomes(200, Some("ready")).await;
    replica.answers(&not_held.key, 200).await;
}

#[actix_web::test]
async fn without_grace_a_replica_that_is_cut_off_answers_503() {
    let site = Site::new().await;
    let replica = site.replica(&[("STALE_GRACE", "0")]).await;
    replica
        .gateway
        .serve(crate::site::MODEL, &site.provider)
        .await;
    let key = replica.issue().await;
    assert_eq!(replica.status(&key.key).await, 200);
    replica.to_redis.cut();
    replica.to_database.cut();
    replica.becomes(503, None).await;
    let refused = replica.ask(&key.key).await;
    assert_eq!(
        (refused.status(), refused.error_code().as_str()),
        (503, "unavailable")
    );
}

#[actix_web::test]
async fn a_replica_cut_off_during_a_revocation_refuses_the_key_once_it_hears() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let key = one.issue().await;
    other.answers(&key.key, 200).await;
    other.to_database.cut();
    one.revoke(&key).await;
    // Its lease runs out within a second, and Redis knows already.
    other.answers(&key.key, 401).await;
    other.to_database.mend();
    assert_eq!(other.status(&key.key).await, 401);
}

#[actix_web::test]
async fn a_start_without_the_database_serves_from_a_whole_redis() {
    let site = Site::new().await;
    let first = site.serving().await;
    let key = first.issue().await;
    site.redis().await.holds(&[&key.key]).await;
    let (to_redis, to_database) = site.cables();
    to_database.cut();
    let replica = site.replica_behind(to_redis, to_database, &[]).await;
    assert_eq!(replica.status(&key.key).await, 200);
    assert_eq!(
        replica
            .status("sk-00000000-0000-4000-8000-000000000000")
            .await,
        401
    );
    assert_eq!(replica.readiness().await.0, 200);
    first.revoke(&key).await;
    replica.answers(&key.key, 401).await;

    replica.to_database.mend();
    crate::support::soon("the replica to reach the database", async {
        while replica.gateway.admin().get("/admin/keys").await.status() != 200 {}
    })
    .await;
    let new = replica.issue().await;
    assert_eq!(replica.status(&new.key).await, 200);
}

/// A backup was restored while nobody looked: Redis is ahead of the database, and of this replica
/// alone.
/// The names of the models that a caller is shown.
async fn models(replica: &Replica, key: &str) -> Vec<String> {
    let list = Request::get("/v1/models").bearer(key);
    let list = list.send_to(replica.gateway.address()).await;
    assert_eq!(list.status(), 200, "{}", list.text());
    let list = list.json();
    let data = list["data"].as_array().unwrap();
    let name = |model: &serde_json::Value| model["id"].as_str().unwrap().to_owned();
    data.iter().map(name).collect()
}

#[actix_web::test]
async fn the_list_of_models_needs_neither_the_database_nor_redis_alone() {
    let site = Site::new().await;
    let one = site.serving().await;
    let key = one.issue().await;
    assert_eq!(models(&one, &key.key).await, [MODEL]);
    site.redis().await.holds(&[&key.key]).await;

    // From the HASH of routes: nothing is held by a replica that starts now.
    let (to_redis, to_database) = site.cables();
    to_database.cut();
    let other = site
        .replica_behind(to_redis, to_database, &[("DATABASE_TIMEOUT", "300ms")])
        .await;
    assert_eq!(models(&other, &key.key).await, [MODEL]);
    // A change elsewhere arrives by Redis.
    one.gateway.serve("another", &site.provider).await;
    soon("the list to have both", async {
        while models(&other, &key.key).await != ["another", MODEL] {}
    })
    .await;

    // From the database.
    one.to_redis.cut();
    one.gateway.serve("a third", &site.provider).await;
    assert_eq!(models(&one, &key.key).await, ["a third", "another", MODEL]);

    // From memory, for as long as that is allowed.
    one.to_database.cut();
    one.becomes(200, Some("degraded")).await;
    assert_eq!(models(&one, &key.key).await, ["a third", "another", MODEL]);
}

#[actix_web::test]
async fn a_start_from_redis_does_not_outlive_an_older_database() {
    let site = Site::new().await;
    let key = {
        let first = site.serving().await;
        let key = first.issue().await;
        site.redis().await.comes_to_hold([key.key.as_str()]).await;
        key
    };
    let (to_redis, to_database) = site.cables();
    to_database.cut();
    let replica = site.replica_behind(to_redis, to_database, &[]).await;
    assert_eq!(replica.status(&key.key).await, 200);
    site.restore_without_keys().await;
    replica.to_database.mend();
    replica.answers(&key.key, 401).await;
    let new = replica.issue().await;
    assert_eq!(replica.status(&new.key).await, 200);
    site.redis().await.comes_to_hold([new.key.as_str()]).await;
}

/// What a replica heard of before it was cut off from both is not forgotten with the last of them.
#[actix_web::test]
async fn what_redis_was_ahead_of_is_not_served_once_redis_is_gone_too() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let (known_to_be_revoked, revoked) = (one.issue().await, one.issue().await);
    for key in [&known_to_be_revoked, &revoked] {
        other.answers(&key.key, 200).await;
    }
    other.to_database.cut();
    one.revoke(&revoked).await;
    one.revoke(&known_to_be_revoked).await;
    // At once, so that its lease has yet to end: a key that it doesn't hold is looked up in Redis.
    other
        .answers("sk-00000000-0000-4000-8000-000000000000", 401)
        .await;
    other.answers(&known_to_be_revoked.key, 401).await;
    other.to_redis.cut();
    other.becomes(200, Some("degraded")).await;
    for key in [&known_to_be_revoked, &revoked] {
        assert_ne!(other.status(&key.key).await, 200);
    }
}

/// So slow that the counter is never read in time; but it is read.
#[actix_web::test]
async fn a_database_that_is_slow_is_not_taken_for_one_that_is_away() {
    let site = Site::new().await;
    let (one, other) = (site.serving().await, site.replica(&[]).await);
    let (revoked, kept) = (one.issue().await, one.issue().await);
    for key in [&revoked, &kept] {
        other.answers(&key.key, 200).await;
    }
    other.to_redis.cut();
    other.to_database.slow_down(Duration::from_millis(250));
    one.revoke(&revoked).await;
    other.answers(&revoked.key, 401).await;
    assert_eq!(other.status(&kept.key).await, 200);
}
