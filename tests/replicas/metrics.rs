//! What metrics show of a replica that can't reach Redis, the database or both.

use crate::{
    site::{Replica, Site},
    support::{scrape::Scrape, soon},
};

const LOOKUPS: &str = "llm_gateway_lookups_total";

/// Waits until what is counted is as it has to be.
async fn shows(replica: &Replica, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    soon(what, async {
        loop {
            let scrape = replica.gateway.metrics().await;
            if is_so(&scrape) {
                return scrape;
            }
        }
    })
    .await
}

fn jobs(scrape: &Scrape, job: &str, outcome: &str) -> f64 {
    let labels = [("kind", job), ("outcome", outcome)];
    scrape.value("llm_gateway_warmer_jobs_total", &labels)
}

#[actix_web::test]
async fn a_redis_that_is_away_and_comes_back_shows_in_metrics() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let key = replica.issue().await;
    let is_used = |scrape: &Scrape| {
        scrape.value("llm_gateway_redis_connected", &[]) == 1.0
            && scrape.value("llm_gateway_redis_whole", &[]) == 1.0
    };
    let before = shows(&replica, "Redis to be used", is_used).await;
    replica.to_redis.cut();
    let is_away = |scrape: &Scrape| {
        scrape.value("llm_gateway_redis_connected", &[]) == 0.0
            && scrape.value("llm_gateway_redis_errors_total", &[("what", "write")]) > 0.0
            && jobs(scrape, "push", "failed") > 0.0
    };
    shows(&replica, "Redis to be away", is_away).await;
    assert_eq!(replica.status(&key.key).await, 200);
    let by_database = [("kind", "key"), ("tier", "database")];
    let scrape = replica.gateway.metrics().await;
    assert_eq!(scrape.value(LOOKUPS, &by_database), 1.0);
    assert_eq!(
        scrape.value("llm_gateway_health", &[("state", "ready")]),
        1.0
    );
    // Redis is behind what was changed meanwhile, until it is back.
    replica.issue().await;
    let lag = |scrape: &Scrape| {
        scrape.value("llm_gateway_known_version", &[])
            - scrape.value("llm_gateway_redis_version", &[])
    };
    assert_eq!(lag(&replica.gateway.metrics().await), 1.0);
    replica.to_redis.mend();
    let after = shows(&replica, "Redis to be back", is_used).await;
    assert_eq!(lag(&after), 0.0);
    let opened = "llm_gateway_redis_connections_opened_total";
    assert!(after.value(opened, &[]) > before.value(opened, &[]));
}

#[actix_web::test]
async fn a_replica_that_is_cut_off_from_both_shows_so_in_metrics() {
    let site = Site::new().await;
    let replica = site.serving().await;
    let (held, other) = (replica.issue().await, replica.issue().await);
    replica.answers(&held.key, 200).await;
    replica.to_redis.cut();
    replica.to_database.cut();
    let health = |scrape: &Scrape, state| scrape.value("llm_gateway_health", &[("state", state)]);
    let is_degraded = |scrape: &Scrape| health(scrape, "degraded") == 1.0;
    let scrape = shows(&replica, "the replica to be degraded", is_degraded).await;
    assert_eq!(health(&scrape, "ready"), 0.0);
    assert!(jobs(&scrape, "hearing", "failed") > 0.0);
    let away = [("reason", "unavailable")];
    assert!(scrape.value("llm_gateway_database_errors_total", &away) > 0.0);
    // Longer than the lease: that is what it is to be degraded. Redis may have been asked later.
    let age = scrape.value("llm_gateway_database_contact_age_seconds", &[]);
    let contact = scrape.value("llm_gateway_contact_age_seconds", &[]);
    assert!(age >= 1.0 && contact > 0.0 && contact <= age);
    assert_eq!(replica.status(&held.key).await, 200);
    assert_eq!(replica.status(&other.key).await, 503);
    let scrape = replica.gateway.metrics().await;
    for tier in ["held", "unavailable"] {
        let labels = [("kind", "key"), ("tier", tier)];
        assert_eq!(scrape.value(LOOKUPS, &labels), 1.0, "{tier}");
    }
    replica.to_redis.mend();
    replica.to_database.mend();
    let is_ready = |scrape: &Scrape| {
        health(scrape, "ready") == 1.0
            && scrape.value("llm_gateway_database_contact_age_seconds", &[]) < 1.0
    };
    shows(&replica, "the replica to be ready", is_ready).await;
}
