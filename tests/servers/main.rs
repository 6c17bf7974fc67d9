//! The gateway on the servers that production has: PostgreSQL behind PgBouncer, PostgreSQL and
//! Redis with TLS, a Redis Cluster. Needs
//! what `scripts/services.sh` and `scripts/servers.sh` start, as `scripts/test.sh` does, and is
//! therefore not part of a plain `cargo test`: `cargo test --test servers`.

// Tests may panic, and they run tasks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../replicas/cable.rs"]
#[allow(dead_code, reason = "the tests of replicas use the rest")]
mod cable;
mod cluster;
mod pooler;
#[path = "../replicas/site.rs"]
#[allow(dead_code, reason = "the tests of replicas use the rest")]
mod site;
#[path = "../gateway/support/mod.rs"]
#[allow(dead_code, reason = "the gateway's own tests use the rest")]
mod support;
mod tls;

use std::env;

use serde_json::json;

use crate::{
    site::{MODEL, Replica},
    support::soon,
};

/// A well-formed key that nobody was issued.
const UNKNOWN_KEY: &str = "sk-00000000-0000-4000-8000-000000000000";

/// An address from `scripts/servers.sh env`.
fn server(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/servers.sh up"))
}

/// Two replicas on the same servers: what one does, both keep to.
async fn work_together(one: &Replica, other: &Replica) {
    let key = one.issue().await;
    assert_eq!(one.status(&key.key).await, 200);
    other.answers(&key.key, 200).await;
    assert_eq!(other.status(UNKNOWN_KEY).await, 401);

    let rotate = format!("/admin/keys/{}/rotate", key.id);
    let rotated = other.gateway.admin().post(&rotate, json!({})).await;
    let rotated = rotated.text_of("key");
    assert_eq!(other.status(&key.key).await, 401);
    assert_eq!(other.status(&rotated).await, 200);
    one.answers(&key.key, 401).await;
    one.answers(&rotated, 200).await;

    one.revoke(&key).await;
    assert_eq!(one.status(&rotated).await, 401);
    other.answers(&rotated, 401).await;

    let key = other.issue().await;
    assert_eq!(other.ask_for(&key.key, "later").await.status(), 404);
    let models = one.gateway.admin().get("/admin/models").await.json();
    let model = models[0]["id"].as_str().unwrap();
    let path = format!("/admin/models/{model}");
    one.gateway
        .admin()
        .put(&path, json!({"name": "later"}))
        .await;
    soon("the renamed model to be served", async {
        while other.ask_for(&key.key, "later").await.status() != 200 {}
    })
    .await;
    one.gateway.admin().put(&path, json!({"name": MODEL})).await;
    other.answers(&key.key, 200).await;
}
