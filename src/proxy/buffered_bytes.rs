//! How many bytes of request bodies are held, over all workers. One body is bounded by
//! `MAX_BODY_BYTES`; that times the number of requests is more memory than any machine has.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use prometheus_client::metrics::counter::Counter;

use super::overload::Refusals;
use crate::error::GatewayError;

/// The bound of all bodies together.
#[derive(Clone, Debug)]
pub struct BufferedBytes(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    held: AtomicUsize,
    limit: usize,
    refused: Counter,
    /// Whether the log has told since there last was room.
    told: AtomicBool,
}

impl BufferedBytes {
    /// At most `limit` at once.
    pub fn new(limit: usize, refusals: &Refusals) -> Self {
        Self(Arc::new(Budget {
            held: AtomicUsize::new(0),
            limit,
            refused: refusals.by("MAX_BUFFERED_BYTES"),
            told: AtomicBool::new(false),
        }))
    }

    /// A share that holds nothing yet.
    pub(super) fn share(&self) -> Share {
        Share {
            budget: Arc::clone(&self.0),
            bytes: 0,
        }
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> Result<(), GatewayError> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.limit {
            return Ok(());
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        Err(self.refusal())
    }

    fn refusal(&self) -> GatewayError {
        self.refused.inc();
        if !self.told.swap(true, Ordering::Relaxed) {
            log::warn!(
                "request bodies hold as much memory as MAX_BUFFERED_BYTES={} allows; more are refused",
                self.limit
            );
        }
        GatewayError::BodyMemoryFull
    }
}

/// What one body holds of the budget, given back when it goes.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Makes room for a body of `bytes` in all.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), GatewayError> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            self.budget.take(more)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Refuses a body of which it is known beforehand that there is no room for it. None is taken
    /// yet: what is declared may never come.
    pub(super) fn expect(&self, bytes: usize) -> Result<(), GatewayError> {
        let held = self.budget.held.load(Ordering::Relaxed);
        match held.saturating_add(bytes) <= self.budget.limit {
            true => Ok(()),
            false => Err(self.budget.refusal()),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let before = self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        // Half empty: told again at every single vacancy, an overload would fill the log.
        if before <= self.budget.limit / 2 && self.budget.told.load(Ordering::Relaxed) {
            self.budget.told.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_is_held_is_given_back() {
        let refusals = Refusals::new(&Metrics::default());
        let budget = BufferedBytes::new(10, &refusals);
        let mut first = budget.share();
        assert!(first.grow_to(4).is_ok());
        assert!(first.grow_to(6).is_ok());
        assert!(first.grow_to(5).is_ok());
        let mut second = budget.share();
        assert!(second.expect(4).is_ok());
        assert_eq!(second.expect(5), Err(GatewayError::BodyMemoryFull));
        assert_eq!(second.grow_to(5), Err(GatewayError::BodyMemoryFull));
        assert!(second.grow_to(4).is_ok());
        drop(first);
        assert!(second.grow_to(10).is_ok());
        drop(second);
        assert!(budget.share().expect(10).is_ok());
        assert!(budget.share().expect(usize::MAX).is_err());
        assert_eq!(refusals.by("MAX_BUFFERED_BYTES").get(), 3);
    }
}
