//! What storage shows of itself. What it shows of outages is in `tests/replicas`.

use serde_json::json;

use crate::support::{
    client::Request, gateway::TestGateway, provider::ScriptedProvider, scrape::Scrape,
    script::Answer, soon, storage::TestStorage,
};

const LOOKUPS: &str = "llm_gateway_lookups_total";

fn answered(scrape: &Scrape, kind: &str, tier: &str) -> f64 {
    scrape.value(LOOKUPS, &[("kind", kind), ("tier", tier)])
}

/// By a tier below memory, whichever there is.
fn answered_below(scrape: &Scrape, kind: &str) -> f64 {
    answered(scrape, kind, "redis") + answered(scrape, kind, "database")
}

async fn ask(gateway: &TestGateway, key: &str, model: &str) -> u16 {
    let request = Request::post("/v1/chat/completions").bearer(key);
    let request = request.value(&json!({"model": model, "messages": []}));
    request.send_to(gateway.address()).await.status()
}

#[actix_rt::test]
async fn look_ups_are_counted_by_the_tier_that_answered() {
    let provider = ScriptedProvider::start().await;
    provider.otherwise(|_| Answer::json(200, "{}"));
    let gateway = TestGateway::start().await;
    gateway.serve("m", &provider).await;
    let key = gateway.user_key().await;
    for _ in 0..10 {
        assert_eq!(ask(&gateway, &key, "m").await, 200);
    }
    let scrape = gateway.metrics().await;
    for kind in ["key", "route"] {
        // A busy machine may let the lease run out in between.
        assert!(answered_below(&scrape, kind) >= 1.0);
        assert_eq!(scrape.sum(LOOKUPS, &[("kind", kind)]), 10.0);
    }
    assert!(answered(&scrape, "key", "memory") > 0.0 && answered(&scrape, "route", "memory") > 0.0);

    assert_eq!(ask(&gateway, &key, "unknown").await, 404);
    for _ in 0..3 {
        let list = Request::get("/v1/models").bearer(&key);
        assert_eq!(list.send_to(gateway.address()).await.status(), 200);
    }
    let scrape = gateway.metrics().await;
    assert_eq!(scrape.sum(LOOKUPS, &[("kind", "route")]), 11.0);
    assert_eq!(scrape.sum(LOOKUPS, &[("kind", "list")]), 3.0);
    let entries = |kind, what| {
        let labels = [("kind", kind), ("what", what)];
        scrape.value("llm_gateway_memory_entries", &labels)
    };
    assert_eq!(
        (entries("key", "known"), entries("key", "unknown")),
        (1.0, 0.0)
    );
    assert_eq!(
        (entries("route", "known"), entries("route", "unknown")),
        (1.0, 1.0)
    );
    for kind in ["key", "route", "list"] {
        let statements = scrape.value("llm_gateway_lookup_statements_total", &[("kind", kind)]);
        assert_eq!(statements, answered(&scrape, kind, "database"));
    }
}

/// A scrape once the first warm-up is over, which a call that comes before doesn't wait for.
async fn filled(gateway: &TestGateway) -> Scrape {
    loop {
        let scrape = gateway.metrics().await;
        let value = |name: &str| scrape.value(name, &[]);
        if !scrape.has("llm_gateway_redis_version")
            || value("llm_gateway_redis_version") == value("llm_gateway_known_version")
        {
            break scrape;
        }
    }
}

#[actix_rt::test]
async fn a_gateway_that_is_well_shows_so() {
    let gateway = TestGateway::start().await;
    let before = gateway.metrics().await;
    gateway.user_key().await;
    let scrape = soon("Redis to be filled", filled(&gateway)).await;
    let health = |state| scrape.value("llm_gateway_health", &[("state", state)]);
    assert_eq!(
        [health("ready"), health("degraded"), health("unavailable")],
        [1.0, 0.0, 0.0]
    );
    let value = |name: &str| scrape.value(name, &[]);
    let version = value("llm_gateway_known_version");
    assert_eq!(
        version,
        before.value("llm_gateway_known_version", &[]) + 1.0
    );
    assert_eq!(value("llm_gateway_memory_version"), version);
    let has_redis = scrape.has("llm_gateway_redis_connected");
    let uses_redis = matches!(*gateway.storage(), TestStorage::Postgres { .. });
    assert_eq!(has_redis, uses_redis);
    if has_redis {
        assert_eq!(value("llm_gateway_redis_version"), version);
        assert_eq!(value("llm_gateway_redis_connected"), 1.0);
        assert!(value("llm_gateway_redis_connections_opened_total") >= 2.0);
        let pushes = [("kind", "push"), ("outcome", "done")];
        assert!(scrape.value("llm_gateway_warmer_jobs_total", &pushes) >= 1.0);
    }
    let hearings = [("kind", "hearing"), ("outcome", "done")];
    assert!(scrape.value("llm_gateway_warmer_jobs_total", &hearings) >= 1.0);
    assert!(value("llm_gateway_database_contact_age_seconds") < 60.0);
    assert!(value("llm_gateway_contact_age_seconds") < 60.0);
    assert!(value("llm_gateway_database_connections_opened_total") >= 1.0);
    assert!(value("llm_gateway_database_connections") >= 1.0);
    assert_eq!(value("llm_gateway_database_connections_max"), 10.0);
    for errors in ["database", "redis"] {
        let name = format!("llm_gateway_{errors}_errors_total");
        assert_eq!(scrape.sum(&name, &[]), 0.0);
    }
}

#[actix_rt::test]
async fn wrong_admin_keys_are_counted_and_requests_without_one_are_not() {
    let gateway = TestGateway::start().await;
    let request = Request::get("/admin/keys");
    for stranger in [
        request.clone(),
        request.clone().bearer("wrong"),
        request.bearer("wrong too"),
    ] {
        assert_eq!(stranger.send_to(gateway.address()).await.status(), 401);
    }
    let scrape = gateway.metrics().await;
    let failures = scrape.value("llm_gateway_admin_login_failures_total", &[]);
    assert_eq!(failures, 2.0);
}
