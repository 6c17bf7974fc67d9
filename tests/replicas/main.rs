//! What several gateways on one PostgreSQL and one Redis promise, and what they do while one of
//! these is away. Needs both: `DATABASE_URL` and `REDIS_URL`, as `scripts/test.sh` sets them, and
//! is therefore not part of a plain `cargo test`: `cargo test --test replicas`.

// Tests may panic, and they run tasks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod cable;
mod caches;
mod metrics;
mod older;
mod outages;
mod site;
#[path = "../gateway/support/mod.rs"]
#[allow(dead_code, reason = "the gateway's own tests use the rest")]
mod support;
mod upgrades;

use support::storage;
