//! Counting without contention: each worker has numbers of its own, which it alone writes, and a
//! scrape adds them up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A number that one thread writes and any thread reads. Without another writer, adding to it takes
/// no locked instruction.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn add(&self, more: u64) {
        let sum = self.get().wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations, by the bucket that they fall into. It has one writer too. All of it lies together,
/// because of ten thousand of these each is out of the processor's cache when it is needed.
#[derive(Debug)]
pub(super) struct Durations<const BOUNDS: usize> {
    /// Upper ends in microseconds, ascending.
    bounds: &'static [u64; BOUNDS],
    sum: Count,
    above: Count,
    counts: [Count; BOUNDS],
}

impl<const BOUNDS: usize> Durations<BOUNDS> {
    pub(super) fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self {
            bounds,
            sum: Count::default(),
            above: Count::default(),
            counts: [const { Count::new() }; BOUNDS],
        }
    }

    pub(super) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < micros);
        self.counts.get(bucket).unwrap_or(&self.above).add(1);
        self.sum.add(micros);
    }
}

/// What several workers have observed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) sum_seconds: f64,
    pub(super) count: u64,
    /// Upper end in seconds, and how many lie between the one before and it.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// All of them have the same bounds.
    pub(super) fn of<'a, const BOUNDS: usize>(
        parts: impl Iterator<Item = &'a Durations<BOUNDS>> + Clone,
    ) -> Self {
        let bounds = parts.clone().next().map_or(&[][..], |part| part.bounds);
        let of = |bucket| {
            let counts = parts.clone().map(move |part: &Durations<BOUNDS>| {
                part.counts.get(bucket).unwrap_or(&part.above)
            });
            counts.map(Count::get).sum()
        };
        let ends = bounds.iter().map(|&micros| seconds(micros));
        let ends = ends.chain([f64::INFINITY]).enumerate();
        let buckets: Vec<_> = ends.map(|(bucket, end)| (end, of(bucket))).collect();
        Self {
            sum_seconds: seconds(parts.map(|part| part.sum.get()).sum()),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// Microseconds in `f64` are exact for as long as matters: 285 years.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Numbers by their labels, and for each of them the parts of all workers. A part is never taken
/// back: what a worker that is gone has counted still counts.
#[derive(Debug)]
pub(super) struct Parts<K, V>(Mutex<BTreeMap<K, Vec<Arc<V>>>>);

impl<K, V> Default for Parts<K, V> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<K: Ord + Clone, V> Parts<K, V> {
    /// Another worker's part.
    pub(super) fn add(&self, labels: K, part: V) -> Arc<V> {
        let part = Arc::new(part);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(labels).or_default().push(Arc::clone(&part));
        part
    }

    /// All there are now. Workers may add further ones while these are read.
    pub(super) fn all(&self) -> Vec<(K, Vec<Arc<V>>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = all.iter();
        all.map(|(labels, parts)| (labels.clone(), parts.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_reaches_to_it() {
        let bounds = &[10, 100];
        let (one, other) = (Durations::new(bounds), Durations::new(bounds));
        for micros in [0, 10, 11, 100, 101] {
            one.observe(Duration::from_micros(micros));
        }
        other.observe(Duration::from_secs(1));
        let both = Histogram::of([&one, &other].into_iter());
        let expected = Histogram {
            sum_seconds: 1.000_222,
            count: 6,
            buckets: vec![(0.000_01, 2), (0.000_1, 2), (f64::INFINITY, 2)],
        };
        assert_eq!(both, expected);
    }

    #[test]
    fn parts_of_the_same_labels_are_found_together() {
        let parts = Parts::default();
        let first = parts.add("a", Count::default());
        let second = parts.add("a", Count::default());
        parts.add("b", Count::default());
        first.add(1);
        second.add(2);
        let sums = parts.all().into_iter().map(|(labels, parts)| {
            let sum: u64 = parts.iter().map(|part| part.get()).sum();
            (labels, sum)
        });
        assert_eq!(sums.collect::<Vec<_>>(), [("a", 3), ("b", 0)]);
    }
}
