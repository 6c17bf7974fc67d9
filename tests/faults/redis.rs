//! What happens to Redis: the database answers meanwhile, nothing fails, and Redis is right again
//! soon after it is back.

use std::time::Duration;

use ::redis::cmd;

use crate::site::{Plan, Site};

/// Changes that are made while Redis is away.
const CHANGES: usize = 30;

impl Site {
    async fn tell_redis(&self, command: &[&str]) {
        let mut redis = self.servers.redis().await;
        let mut question = cmd(command[0]);
        let answer = question.arg(&command[1..]).exec_async(&mut redis).await;
        answer.unwrap();
    }
}

#[actix_web::test]
async fn while_redis_is_dead_the_database_answers() {
    let site = Site::with(2).await;
    site.under_load_and_no_change_fails(async {
        site.servers.strike("redis", "kill").await;
        site.lease_passes().await;
        site.changes_pass(CHANGES).await;
        site.servers.strike("redis", "start").await;
        site.redis_is_right_under_load().await;
    })
    .await;
}

#[actix_web::test]
async fn a_redis_that_is_frozen_holds_up_nothing_and_is_right_when_it_wakes() {
    let site = Site::with(2).await;
    site.under_load_and_no_change_fails(async {
        site.servers.strike("redis", "freeze").await;
        site.lease_passes().await;
        site.changes_pass(CHANGES).await;
        site.servers.strike("redis", "wake").await;
        site.redis_is_right_under_load().await;
    })
    .await;
}

#[actix_web::test]
async fn a_redis_that_is_emptied_again_and_again_is_filled_again() {
    let site = Site::with(3).await;
    site.under_load_and_no_change_fails(async {
        for _ in 0..5 {
            site.tell_redis(&["FLUSHALL"]).await;
            site.changes_pass(5).await;
            site.redis_is_right_under_load().await;
        }
    })
    .await;
}

#[actix_web::test]
async fn a_redis_that_comes_back_empty_is_filled_again() {
    let site = Site::with(3).await;
    site.under_load_and_no_change_fails(async {
        for _ in 0..3 {
            site.servers.strike("redis", "kill").await;
            site.servers.strike("redis", "start").await;
            site.changes_pass(5).await;
            site.redis_is_right_under_load().await;
        }
    })
    .await;
}

impl Site {
    /// 50 ms each way.
    async fn slow_redis_down(&self) {
        for replica in &self.replicas {
            replica.to_redis.slow_down(Duration::from_millis(50));
        }
        self.lease_passes().await;
        self.changes_pass(CHANGES).await;
        for replica in &self.replicas {
            replica.to_redis.mend();
        }
        self.redis_is_right_under_load().await;
    }
}

/// Look-ups wait for it no longer than that, so the database answers.
#[actix_web::test]
async fn a_redis_that_is_too_slow_costs_time_and_nothing_else() {
    let plan = Plan::replicas(2).all("CACHE_TIMEOUT", "100ms");
    let site = plan.open().await;
    site.under_load_and_no_change_fails(site.slow_redis_down())
        .await;
}

/// A look-up in it takes so long that changes are heard of meanwhile, and long before it knows of
/// them itself.
#[actix_web::test]
async fn a_redis_that_is_slow_brings_back_nothing_that_ended_meanwhile() {
    let site = Site::with(3).await;
    site.under_load_and_no_change_fails(site.slow_redis_down())
        .await;
}

/// Out of memory, and told not to evict anything.
#[actix_web::test]
async fn a_redis_that_refuses_writes_is_not_believed_until_it_takes_them() {
    let site = Site::with(2).await;
    site.under_load_and_no_change_fails(async {
        site.tell_redis(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
            .await;
        site.tell_redis(&["CONFIG", "SET", "maxmemory", "1"]).await;
        site.lease_passes().await;
        site.changes_pass(CHANGES).await;
        site.tell_redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
        site.redis_is_right_under_load().await;
    })
    .await;
}
