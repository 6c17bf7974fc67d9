//! What operators see of requests: metrics, and the access log.

mod caches;
mod metrics;
