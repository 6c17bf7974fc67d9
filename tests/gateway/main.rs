//! Black-box tests: the gateway as its callers, its operators and its providers see it. One file
//! per promise; what they share is in `support`.

// Tests may panic, and they run tasks of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod admin;
mod at_once;
mod lifecycle;
mod observability;
mod openapi;
mod operators;
mod proxy;
mod secrets;
mod support;
mod tls;
