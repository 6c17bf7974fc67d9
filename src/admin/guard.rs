//! Lets only those pass who have an admin key. A wrong key is answered late and logged; a right one
//! passes at once, whatever else comes from the same address.

use std::{net::IpAddr, sync::Arc, time::Instant};

use actix_web::{
    Error, HttpMessage,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use prometheus_client::metrics::counter::Counter;
use tokio::{sync::Semaphore, time::sleep};

use super::failed_logins::FailedLogins;
use crate::{bearer::bearer_token, domain::AdminKeys, error::GatewayError, metrics::Metrics};

/// Refusals that may wait at once: each holds a connection and nothing else. One more is answered
/// without a delay and its connection closed, so that strangers can't fill the server by waiting.
const MAX_WAITING: usize = 100;

/// The admin keys, and what is known of those who tried others. One for all workers.
#[derive(Debug)]
pub struct AdminGuard {
    keys: AdminKeys,
    failed: FailedLogins,
    failures: Counter,
    waiting: Semaphore,
}

impl AdminGuard {
    /// Lets those pass who have one of `keys`. `metrics` shows how often others were tried.
    pub fn new(keys: AdminKeys, metrics: &Metrics) -> Self {
        let failures = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "admin_login_failures",
                "Wrong admin keys that were tried",
                failures.clone(),
            );
        });
        Self {
            keys,
            failed: FailedLogins::default(),
            failures,
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Waits as long as the peer's record asks for. A request without any key guesses nothing, so
    /// it leaves no record.
    async fn refuse(&self, peer: Option<IpAddr>, is_a_guess: bool) -> GatewayError {
        if is_a_guess {
            self.failures.inc();
        }
        let failure = match peer {
            Some(peer) if is_a_guess => self.failed.note(peer, Instant::now()),
            _ => return GatewayError::InvalidAdminKey,
        };
        if let Some(line) = failure.line {
            log::warn!("admin: {line}");
        }
        if failure.delay.is_zero() {
            return GatewayError::InvalidAdminKey;
        }
        match self.waiting.try_acquire() {
            Ok(_place) => {
                sleep(failure.delay).await;
                GatewayError::InvalidAdminKey
            }
            Err(_) => GatewayError::TooManyWrongAdminKeys,
        }
    }
}

/// Refuses a request without an admin key before anything else of it is looked at.
pub(crate) async fn require_admin_key<B: MessageBody>(
    guard: Arc<AdminGuard>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let token = bearer_token(request.headers()).filter(|token| !token.is_empty());
    let Some(key) = token.and_then(|token| guard.keys.find(token)) else {
        let peer = request.peer_addr().map(|address| address.ip());
        let refusal = guard.refuse(peer, token.is_some()).await;
        // An answer rather than an `Err`, so that outer middleware sees a response.
        return Ok(request.error_response(refusal).map_into_right_body());
    };
    request.extensions_mut().insert(key);
    next.call(request)
        .await
        .map(ServiceResponse::map_into_left_body)
}
