//! No more requests at once than the gateway can serve, whatever comes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::error::GatewayError;

/// How many requests are being answered, over all workers.
#[derive(Clone, Debug)]
pub struct Overload(Arc<Count>);

#[derive(Debug)]
struct Count {
    running: AtomicUsize,
    limit: usize,
    /// Whether the log has told since there last was room.
    told: AtomicBool,
}

impl Overload {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Count {
            running: AtomicUsize::new(0),
            limit,
            told: AtomicBool::new(false),
        }))
    }

    /// A place, or a refusal at once: who waits here only makes everybody later.
    pub(super) fn enter(&self) -> Result<Place, GatewayError> {
        let before = self.0.running.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.0));
        if before < self.0.limit {
            return Ok(place);
        }
        if !self.0.told.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{} requests are being answered, as many as MAX_CONCURRENT_REQUESTS allows; more are refused",
                self.0.limit
            );
        }
        Err(GatewayError::Overloaded)
    }
}

/// The right to be answered, given back when it goes.
#[derive(Debug)]
pub(super) struct Place(Arc<Count>);

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.running.fetch_sub(1, Ordering::Relaxed);
        // Half empty: told again at every single vacancy, an overload would fill the log.
        if before <= self.0.limit / 2 && self.0.told.load(Ordering::Relaxed) {
            self.0.told.store(false, Ordering::Relaxed);
        }
    }
}
