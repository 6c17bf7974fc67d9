//! What operators see of requests: metrics, and the access log.

mod access_log;
mod caches;
mod ids;
mod lines;
mod metrics;
mod requests;
