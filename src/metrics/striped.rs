//! Counters for what every request does: threads that count at once don't wait for each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use prometheus_client::metrics::counter::{Atomic, Counter};

/// A counter of which each thread has a part of its own, in a cache line of its own. To count costs
/// about what it costs to count in a local variable; to read, a sum.
pub(crate) type StripedCounter = Counter<u64, Striped>;

/// As many workers as most machines have cores; more of them share. At 128 bytes each.
const STRIPES: usize = 16;

/// The parts of a [`StripedCounter`].
#[derive(Debug, Default)]
pub(crate) struct Striped([CachePadded<AtomicU64>; STRIPES]);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Atomic<u64> for Striped {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// Answers what this thread's part was before.
    fn inc_by(&self, count: u64) -> u64 {
        // A thread that is ending has no place any more, and counts all the same.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or_default();
        self.0[stripe].fetch_add(count, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|part| part.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let counter = StripedCounter::default();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for _ in 0..100 {
                        counter.inc();
                    }
                });
            }
        });
        assert_eq!(counter.get(), 200 * STRIPES as u64);
    }
}
