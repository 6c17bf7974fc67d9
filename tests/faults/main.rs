//! Gateways as processes of their own, on a PostgreSQL and a Redis of their own, and everything that
//! can happen to these: killed, frozen, emptied, cut off, and at marked points in the middle of a
//! change. Meanwhile keys are issued, rotated and revoked under load, and every single answer is
//! judged by what was allowed at that moment: `oracle.rs`.
//!
//! Not part of a plain `cargo test`: `scripts/test.sh test-faults`, or
//! `cargo test --features fail-points --test faults`.

// Tests may panic, and they run tasks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod clocks;
mod freezes;
mod kills;
mod load;
mod oracle;
mod partitions;
mod postgres;
mod redis;
mod replica;
mod servers;
mod site;
mod starts;

#[path = "../replicas/cable.rs"]
mod cable;
#[path = "../../examples/drill/http.rs"]
mod http;
#[path = "../gateway/support/mod.rs"]
#[allow(dead_code, reason = "the gateway's own tests use the rest")]
mod support;
