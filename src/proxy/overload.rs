//! No more requests at once than the gateway can serve, whatever comes.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family},
};

use crate::{error::GatewayError, metrics::Metrics};

/// How often each limit has refused a request.
#[derive(Clone, Debug)]
pub struct Refusals(Family<[(&'static str, &'static str); 1], Counter>);

impl Refusals {
    /// Shows them in `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        let counts = Family::default();
        metrics.register(|registry| {
            registry.register(
                "overload_refusals",
                "Requests that were refused because a limit was reached, by the setting that it comes from",
                counts.clone(),
            );
        });
        Self(counts)
    }

    pub(super) fn by(&self, setting: &'static str) -> Counter {
        self.0.get_or_create_owned(&[("limit", setting)])
    }
}

/// How many requests are being answered, over all workers.
#[derive(Clone, Debug)]
pub struct Overload(Arc<Count>);

#[derive(Debug)]
struct Count {
    running: AtomicUsize,
    limit: usize,
    refused: Counter,
    /// Whether the log has told since there last was room.
    told: AtomicBool,
}

impl Overload {
    /// At most `limit` at once; `metrics` shows how many there are.
    pub fn new(limit: usize, refusals: &Refusals, metrics: &Metrics) -> Self {
        let count = Arc::new(Count {
            running: AtomicUsize::new(0),
            limit,
            refused: refusals.by("MAX_CONCURRENT_REQUESTS"),
            told: AtomicBool::new(false),
        });
        metrics.register(|registry| {
            registry.register(
                "requests_in_flight",
                "Requests for providers that are being answered, streams included",
                InFlight(Arc::clone(&count)),
            );
        });
        Self(count)
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
        self.0.refused.inc();
        Err(GatewayError::Overloaded)
    }
}

/// The number that is counted anyway, as a metric.
#[derive(Debug)]
struct InFlight(Arc<Count>);

impl EncodeMetric for InFlight {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // One that is just being refused is counted for a moment.
        let running = self.0.running.load(Ordering::Relaxed).min(self.0.limit);
        encoder.encode_gauge(&running)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
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
