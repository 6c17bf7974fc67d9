//! Whether the gateway is about to stop, known to every worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// From the signal to stop until the end: balancers are told to send no more, and every answer
/// says that its connection ends with it, so that a balancer keeps none that is about to be closed.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// There is no way back.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
