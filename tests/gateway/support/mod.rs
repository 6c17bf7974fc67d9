//! What the black-box tests share: a provider that does as it is told, a client that sees every
//! byte, and addresses where nothing answers.

pub(crate) mod client;
pub(crate) mod dead_ends;
pub(crate) mod described;
pub(crate) mod evidence;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod provider;
pub(crate) mod scrape;
pub(crate) mod script;
pub(crate) mod storage;
pub(crate) mod tls;
pub(crate) mod wire;

mod self_tests;

use std::time::Duration;

/// How long a test waits for what has to happen. Only a test that fails waits that long, so it is
/// generous enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what has to happen, and fails the test, naming it, if it doesn't.
pub(crate) async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happening).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
