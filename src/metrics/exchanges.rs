//! What is counted of exchanges, at the end of each.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::{self, Write as _},
    rc::Rc,
    sync::Arc,
};

use actix_web::http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder,
        LabelValueEncoder, MetricEncoder, NoLabelSet,
    },
    metrics::{MetricType, gauge::Gauge},
    registry::Unit,
};

use super::{
    Metrics,
    single_writer::{Count, Durations, Histogram, Parts},
};
use crate::{
    endpoints::EndpointName,
    record::{Connection, Ended, Outcome},
};

/// Upper ends of the buckets of the gateway's own share, in microseconds: a request on warm caches
/// takes some 100 µs of processor time in all, one that asks the database some milliseconds.
const OVERHEAD: &[u64; 12] = &[
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 1_000_000,
];

/// The same of what providers take: from an embedding's milliseconds to the ten minutes that are
/// the longest wait by default.
const PROVIDER: &[u64; 15] = &[
    5_000,
    25_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// What all workers have counted of exchanges. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeMetrics(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Without those that [`Traffic::well`] counts.
    requests: Parts<(Target, Ending), Count>,
    traffic: Parts<Target, Traffic>,
    overhead: Parts<EndpointName, Overhead>,
    upstream: Parts<String, Upstream>,
    streams: Gauge,
}

/// What a request was for. The names are those of mapped models and their providers, or empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    endpoint: EndpointName,
    model: String,
    provider: String,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    status: Status,
    outcome: Outcome,
}

/// A status that is a label: providers choose theirs, so only those are told apart that have a
/// meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    /// No answer had begun.
    None,
    Known(u16),
    /// By its first digit.
    Other(u16),
}

impl From<Option<StatusCode>> for Status {
    fn from(status: Option<StatusCode>) -> Self {
        match status {
            None => Self::None,
            Some(status) if status.canonical_reason().is_some() => Self::Known(status.as_u16()),
            Some(status) => Self::Other(status.as_u16() / 100),
        }
    }
}

/// How nearly all of them end.
const WELL: Ending = Ending {
    status: Status::Known(200),
    outcome: Outcome::Complete,
};

/// What nearly every request adds to, in one place: with many models, every place is a wait for
/// memory.
#[derive(Debug)]
struct Traffic {
    /// Requests that ended [`WELL`].
    well: Count,
    bytes_in: Count,
    bytes_out: Count,
    first_byte: Durations<{ PROVIDER.len() }>,
    whole: Durations<{ PROVIDER.len() }>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            well: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            first_byte: Durations::new(PROVIDER),
            whole: Durations::new(PROVIDER),
        }
    }
}

#[derive(Debug)]
struct Overhead(Durations<{ OVERHEAD.len() }>);

impl Default for Overhead {
    fn default() -> Self {
        Self(Durations::new(OVERHEAD))
    }
}

/// By provider.
#[derive(Debug, Default)]
struct Upstream {
    opened: Count,
    reused: Count,
    retries: Count,
}

impl ExchangeMetrics {
    /// Shows them in `metrics`.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let shared = Arc::new(Shared::default());
        metrics.register(|registry| {
            registry.register(
                "streams_in_flight",
                "Streamed answers that are asked for or under way",
                shared.streams.clone(),
            );
            registry.register_collector(Box::new(Arc::clone(&shared)));
        });
        Self(shared)
    }
}

/// A streamed answer that counts as under way.
#[derive(Debug)]
pub(crate) struct Stream(Gauge);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What one worker counts with: for all it has met, its own parts, so that counting takes no lock
/// and makes no text.
#[derive(Debug)]
pub(crate) struct Counting {
    all: ExchangeMetrics,
    met: RefCell<Met>,
}

#[derive(Debug, Default)]
struct Met {
    endpoints: ByName<EndpointName, Endpoint>,
    providers: ByName<String, Rc<Provider>>,
}

/// Found by names that operators gave, so that nobody can choose colliding ones.
type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The parts for one endpoint.
#[derive(Debug)]
struct Endpoint {
    overhead: Arc<Overhead>,
    models: ByName<String, Series>,
}

/// The part for one provider.
#[derive(Debug)]
struct Provider {
    name: String,
    upstream: Arc<Upstream>,
}

/// The parts for one endpoint and model.
#[derive(Debug)]
struct Series {
    /// A model may be mapped to another one.
    provider: Rc<Provider>,
    traffic: Arc<Traffic>,
    /// Of those that didn't end [`WELL`].
    requests: Vec<(Ending, Arc<Count>)>,
}

impl Counting {
    pub(crate) fn new(all: ExchangeMetrics) -> Self {
        Self {
            all,
            met: RefCell::default(),
        }
    }

    /// A streamed answer is asked for, until the value goes.
    pub(crate) fn stream(&self) -> Stream {
        let streams = &self.all.0.streams;
        streams.inc();
        Stream(streams.clone())
    }

    /// Counts an exchange that is over.
    pub(crate) fn count(&self, ended: &Ended<'_>) {
        let (model, provider) = match ended.asked() {
            Some((model, route)) => (model, route.provider.name.as_str()),
            None => ("", ""),
        };
        let all = &*self.all.0;
        let Met {
            endpoints,
            providers,
        } = &mut *self.met.borrow_mut();
        let endpoint = endpoints
            .entry(ended.endpoint)
            .or_insert_with(|| Endpoint::new(all, ended.endpoint));
        if let Some(time) = ended.times.overhead {
            endpoint.overhead.0.observe(time);
        }
        match endpoint.models.get_mut(model) {
            Some(series) if series.provider.name == provider => series.count(all, model, ended),
            _ => {
                let provider = Provider::among(providers, all, provider);
                let mut series = Series::new(all, ended.endpoint, model, provider);
                series.count(all, model, ended);
                endpoint.models.insert(model.to_owned(), series);
            }
        }
    }
}

impl Endpoint {
    fn new(all: &Shared, name: EndpointName) -> Self {
        Self {
            overhead: all.overhead.add(name, Overhead::default()),
            models: ByName::default(),
        }
    }
}

impl Provider {
    /// The one of this name, met before or not.
    fn among(met: &mut ByName<String, Rc<Self>>, all: &Shared, name: &str) -> Rc<Self> {
        if let Some(provider) = met.get(name) {
            return Rc::clone(provider);
        }
        let provider = Rc::new(Self {
            name: name.to_owned(),
            upstream: all.upstream.add(name.to_owned(), Upstream::default()),
        });
        met.insert(name.to_owned(), Rc::clone(&provider));
        provider
    }

    fn count(&self, ended: &Ended<'_>) {
        match ended.connection() {
            Some(Connection::New) => self.upstream.opened.add(1),
            Some(Connection::Reused) => self.upstream.reused.add(1),
            None => {}
        }
        self.upstream.retries.add(ended.is_retried().into());
    }
}

impl Series {
    fn new(all: &Shared, endpoint: EndpointName, model: &str, provider: Rc<Provider>) -> Self {
        let target = Target {
            endpoint,
            model: model.to_owned(),
            provider: provider.name.clone(),
        };
        Self {
            provider,
            traffic: all.traffic.add(target, Traffic::default()),
            requests: Vec::new(),
        }
    }

    fn count(&mut self, all: &Shared, model: &str, ended: &Ended<'_>) {
        self.provider.count(ended);
        self.requests_with(all, model, ended).add(1);
        let traffic = &*self.traffic;
        traffic.bytes_in.add(ended.bytes_in());
        traffic.bytes_out.add(ended.bytes_out());
        traffic.whole.observe(ended.times.whole);
        if let Some(time) = ended.times.first_byte {
            traffic.first_byte.observe(time);
        }
    }

    fn requests_with(&mut self, all: &Shared, model: &str, ended: &Ended<'_>) -> &Count {
        let ending = Ending {
            status: ended.status().into(),
            outcome: ended.outcome,
        };
        if ending == WELL {
            return &self.traffic.well;
        }
        let met = self.requests.iter().position(|(met, _)| *met == ending);
        let met = met.unwrap_or_else(|| {
            let target = Target {
                endpoint: ended.endpoint,
                model: model.to_owned(),
                provider: self.provider.name.clone(),
            };
            let count = all.requests.add((target, ending), Count::default());
            self.requests.push((ending, count));
            self.requests.len() - 1
        });
        &self.requests[met].1
    }
}

impl Collector for Shared {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Once for both, so that they tell of the same series.
        let traffic = self.traffic.all();
        self.encode_requests(&mut encoder, &traffic)?;
        encode_traffic(&mut encoder, &traffic)?;
        self.encode_overhead(&mut encoder)?;
        self.encode_upstream(&mut encoder)
    }
}

impl Shared {
    fn encode_requests(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        traffic: &[(Target, Vec<Arc<Traffic>>)],
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "requests",
            "Requests that are over, by their status and by how they ended.",
            None,
            MetricType::Counter,
        )?;
        for (labels, parts) in self.requests.all() {
            counter(&mut family, &labels, &parts, |count| count)?;
        }
        for (target, parts) in traffic {
            // What never ended so has no such series.
            if parts.iter().any(|part| part.well.get() > 0) {
                counter(&mut family, &(target.clone(), WELL), parts, |part| {
                    &part.well
                })?;
            }
        }
        Ok(())
    }

    fn encode_overhead(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "overhead",
            "The gateway's own share of the time that requests took which a provider answered.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (endpoint, parts) in self.overhead.all() {
            histogram(&mut family, &[("endpoint", endpoint)], &parts, |part| {
                &part.0
            })?;
        }
        Ok(())
    }

    fn encode_upstream(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.upstream.all();
        let all = || all.iter().filter(|(provider, _)| !provider.is_empty());
        let mut family = encoder.encode_descriptor(
            "upstream_requests",
            "Requests by the kind of connection that carried them to their provider.",
            None,
            MetricType::Counter,
        )?;
        for (provider, parts) in all() {
            let labels = |connection| [("provider", provider.as_str()), ("connection", connection)];
            counter(&mut family, &labels("new"), parts, |part| &part.opened)?;
            counter(&mut family, &labels("reused"), parts, |part| &part.reused)?;
        }
        let mut family = encoder.encode_descriptor(
            "upstream_retries",
            "Requests that were sent once more, because a connection had died unanswered.",
            None,
            MetricType::Counter,
        )?;
        for (provider, parts) in all() {
            let labels = [("provider", provider.as_str())];
            counter(&mut family, &labels, parts, |part| &part.retries)?;
        }
        Ok(())
    }
}

fn encode_traffic(
    encoder: &mut DescriptorEncoder<'_>,
    traffic: &[(Target, Vec<Arc<Traffic>>)],
) -> fmt::Result {
    type Bytes = fn(&Traffic) -> &Count;
    let bytes: [(_, _, Bytes); 2] = [
        ("request_body", "Bytes of requests' bodies.", |part| {
            &part.bytes_in
        }),
        ("response_body", "Bytes of answers' bodies.", |part| {
            &part.bytes_out
        }),
    ];
    for (name, help, of) in bytes {
        let unit = Some(&Unit::Bytes);
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, parts) in traffic {
            counter(&mut family, labels, parts, of)?;
        }
    }
    type Times = fn(&Traffic) -> &Durations<{ PROVIDER.len() }>;
    let times: [(_, _, Times); 2] = [
        (
            "first_byte",
            "From a request's head to the first byte of the body of its provider's answer.",
            |part| &part.first_byte,
        ),
        (
            "request_duration",
            "From a request's head to the end of its answer.",
            |part| &part.whole,
        ),
    ];
    for (name, help, of) in times {
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, parts) in traffic {
            histogram(&mut family, labels, parts, of)?;
        }
    }
    Ok(())
}

fn counter<V>(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    parts: &[Arc<V>],
    of: impl Fn(&V) -> &Count,
) -> fmt::Result {
    let sum: u64 = parts.iter().map(|part| of(part).get()).sum();
    family
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, u64, u64>(&sum, None)
}

fn histogram<V, const BOUNDS: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    parts: &[Arc<V>],
    of: impl Fn(&V) -> &Durations<BOUNDS> + Copy,
) -> fmt::Result {
    let Histogram {
        sum_seconds,
        count,
        buckets,
    } = Histogram::of(parts.iter().map(|part| of(part)));
    if count == 0 {
        // What never has a value: not every endpoint has a provider.
        return Ok(());
    }
    family
        .encode_family(labels)?
        .encode_histogram::<NoLabelSet>(sum_seconds, count, &buckets, None)
}

impl EncodeLabelSet for Target {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("endpoint", self.endpoint).encode(encoder.encode_label())?;
        ("model", self.model.as_str()).encode(encoder.encode_label())?;
        ("provider", self.provider.as_str()).encode(encoder.encode_label())
    }
}

impl EncodeLabelSet for Ending {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("status", self.status).encode(encoder.encode_label())?;
        ("outcome", self.outcome.as_str()).encode(encoder.encode_label())
    }
}

impl EncodeLabelValue for EndpointName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::None => encoder.write_str("none"),
            Self::Known(status) => write!(encoder, "{status}"),
            Self::Other(class) => write!(encoder, "{class}xx"),
        }
    }
}
