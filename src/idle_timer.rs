//! How long nothing has come or gone, without a timer set for each piece that does.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// Measures how long a peer lets us wait for its bytes, or for room for ours.
pub(crate) struct IdleTimer {
    limit: Duration,
    waiting_since: Option<Instant>,
    /// Set at the first wait and left to run: most pieces come long before it fires, and moving it
    /// for each would cost more than relaying them.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting_since: None,
            sleep: None,
        }
    }

    pub(crate) fn stop(&mut self) {
        self.waiting_since = None;
    }

    /// Starts measuring, or goes on; ready with the limit once it is exceeded.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let Some(deadline) = since.checked_add(self.limit) else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(self.limit);
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
