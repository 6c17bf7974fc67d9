//! What storage shows of itself: what was looked up and who answered, how far the caches are, and
//! who can be reached.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Unit,
};

use super::{
    Health, StorageError,
    database::{Database, Result},
    freshness::Freshness,
    memory::{Answers, Memory},
    redis_cache::RedisCache,
};
use crate::metrics::{Metrics, StripedCounter};

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Who answered a look-up, or why nobody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// Redis.
    Redis,
    /// The database.
    Database,
    /// Memory, while cut off from both.
    Held,
}

/// What is counted of look-ups of one kind.
#[derive(Debug)]
pub(super) struct LookupCounts {
    /// Answered by memory, by far the most.
    pub(super) memory: StripedCounter,
    redis: StripedCounter,
    database: StripedCounter,
    held: StripedCounter,
    refused: StripedCounter,
    unavailable: StripedCounter,
    /// What was asked of the database for them.
    pub(super) statements: Counter,
}

impl LookupCounts {
    /// Counts the outcome of a look-up that memory couldn't answer.
    pub(super) fn below_memory(&self, outcome: std::result::Result<Tier, &StorageError>) {
        let counter = match outcome {
            Ok(Tier::Redis) => &self.redis,
            Ok(Tier::Database) => &self.database,
            Ok(Tier::Held) => &self.held,
            Err(StorageError::TooManyLookUps) => &self.refused,
            Err(_) => &self.unavailable,
        };
        counter.inc();
    }
}

/// The counts of every kind of look-up.
#[derive(Debug)]
pub(super) struct AllLookups {
    pub(super) keys: LookupCounts,
    pub(super) routes: LookupCounts,
    pub(super) listings: LookupCounts,
}

impl AllLookups {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let lookups = Family::<Labels<2>, StripedCounter>::default();
        let statements = Family::<Labels<1>, Counter>::default();
        let of = |kind| {
            let by = |tier| lookups.get_or_create_owned(&[("kind", kind), ("tier", tier)]);
            LookupCounts {
                memory: by("memory"),
                redis: by("redis"),
                database: by("database"),
                held: by("held"),
                refused: by("refused"),
                unavailable: by("unavailable"),
                statements: statements.get_or_create_owned(&[("kind", kind)]),
            }
        };
        let all = Self {
            keys: of("key"),
            routes: of("route"),
            listings: of("list"),
        };
        metrics.register(|registry| {
            registry.register(
                "lookups",
                "Look-ups by what was looked up and the tier that answered; held: memory, cut off from the others",
                lookups.clone(),
            );
            registry.register(
                "lookup_statements",
                "Statements that asked the database for look-ups, each for all that waited",
                statements.clone(),
            );
        });
        all
    }
}

/// What the cache warmer counts.
#[derive(Debug)]
pub(crate) struct WarmerCounts {
    pub(crate) hearings: Outcomes,
    pub(crate) pushes: Outcomes,
    pub(crate) warm_ups: Outcomes,
    pub(crate) prunings: Outcomes,
    /// Up to which version memory has been brought.
    pub(crate) memory_version: Gauge,
    /// The version that Redis was at when it was last seen.
    pub(crate) redis_version: Gauge,
    pub(crate) redis_write_errors: Counter,
}

/// How often something was done, and how often it failed.
#[derive(Debug)]
pub(crate) struct Outcomes {
    done: Counter,
    failed: Counter,
}

impl Outcomes {
    pub(crate) fn count(&self, succeeded: bool) {
        let counter = if succeeded { &self.done } else { &self.failed };
        counter.inc();
    }
}

impl WarmerCounts {
    /// `redis`: what belongs to it is shown where it is used alone.
    pub(crate) fn new(metrics: &Metrics, redis: Option<&RedisCache>) -> Self {
        let jobs = Family::<Labels<2>, Counter>::default();
        let of = |kind| {
            let ended = |outcome| jobs.get_or_create_owned(&[("kind", kind), ("outcome", outcome)]);
            Outcomes {
                done: ended("done"),
                failed: ended("failed"),
            }
        };
        let unseen = || Outcomes {
            done: Counter::default(),
            failed: Counter::default(),
        };
        let counts = Self {
            hearings: of("hearing"),
            pushes: redis.map_or_else(unseen, |_| of("push")),
            warm_ups: redis.map_or_else(unseen, |_| of("warm_up")),
            prunings: of("pruning"),
            memory_version: Gauge::default(),
            redis_version: Gauge::default(),
            redis_write_errors: redis.map_or_else(Counter::default, |redis| {
                redis.counts().write_errors.clone()
            }),
        };
        metrics.register(|registry| {
            registry.register(
                "warmer_jobs",
                "What the cache warmer has done: hearing of changes, pushing them to Redis, filling Redis whole, pruning",
                jobs.clone(),
            );
            registry.register(
                "memory_version",
                "The newest change that has been taken out of memory",
                counts.memory_version.clone(),
            );
            if redis.is_some() {
                registry.register(
                    "redis_version",
                    "The newest change that Redis held when the cache warmer last saw it",
                    counts.redis_version.clone(),
                );
            }
        });
        counts
    }
}

/// What is counted of the way to Redis.
#[derive(Debug, Default)]
pub(crate) struct RedisCounts {
    pub(super) connections: Counter,
    pub(super) lookup_errors: Counter,
    pub(super) write_errors: Counter,
}

impl RedisCounts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let errors = Family::<Labels<1>, Counter>::default();
        let by = |what| errors.get_or_create_owned(&[("what", what)]);
        let counts = Self {
            connections: Counter::default(),
            lookup_errors: by("lookup"),
            write_errors: by("write"),
        };
        metrics.register(|registry| {
            registry.register(
                "redis_errors",
                "What Redis refused, or did not answer in time",
                errors.clone(),
            );
            registry.register(
                "redis_connections_opened",
                "Connections to Redis that were opened",
                counts.connections.clone(),
            );
        });
        counts
    }
}

/// What is counted of the way to the database.
#[derive(Clone, Debug, Default)]
pub(super) struct DatabaseCounts {
    pub(super) connections: Counter,
    away: Counter,
    broken: Counter,
}

impl DatabaseCounts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let errors = Family::<Labels<1>, Counter>::default();
        let by = |reason| errors.get_or_create_owned(&[("reason", reason)]);
        let counts = Self {
            connections: Counter::default(),
            away: by("unavailable"),
            broken: by("broken"),
        };
        metrics.register(|registry| {
            registry.register(
                "database_errors",
                "What the database did not do: it could not be reached in time, or what it said can't be used",
                errors.clone(),
            );
            registry.register(
                "database_connections_opened",
                "Connections to the database that were opened, but for those that hear of changes",
                counts.connections.clone(),
            );
        });
        counts
    }

    /// Passes a result on, and counts it if it is the database's failure.
    pub(super) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        let counter = match &result {
            Err(StorageError::Unavailable { .. }) => &self.away,
            Err(StorageError::Broken { .. }) => &self.broken,
            _ => return result,
        };
        counter.inc();
        result
    }
}

/// What is read at each scrape.
#[derive(Clone)]
pub(super) struct Condition {
    pub(super) memory: Arc<Memory>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) redis: Option<Arc<RedisCache>>,
    pub(super) redis_is_whole: Arc<AtomicBool>,
    pub(super) database: Arc<dyn Database>,
}

impl Condition {
    /// Whether this process can authenticate and route now.
    pub(super) fn health(&self) -> Health {
        let redis_answers = self.redis_is_connected() && self.redis_is_whole();
        if self.freshness.is_trusted() || redis_answers {
            Health::Ready
        } else if self.freshness.is_within_grace() {
            Health::Degraded
        } else {
            Health::Unavailable
        }
    }

    fn redis_is_connected(&self) -> bool {
        self.redis
            .as_ref()
            .is_some_and(|redis| redis.is_connected())
    }

    fn redis_is_whole(&self) -> bool {
        self.redis_is_whole.load(Ordering::Acquire)
    }

    fn show_health(&self, shown: &mut Shown<'_>) -> fmt::Result {
        let now = self.health();
        let states = [
            ("ready", Health::Ready),
            ("degraded", Health::Degraded),
            ("unavailable", Health::Unavailable),
        ];
        let states = states.map(|(name, state)| ([("state", name)], u64::from(now == state)));
        shown.family("health", "What /readyz says, but for a drain.", &states)
    }

    fn show_memory(&self, shown: &mut Shown<'_>) -> fmt::Result {
        fn of<K, V>(kind: &'static str, answers: &Answers<K, V>) -> [(Labels<2>, u64); 2]
        where
            K: std::hash::Hash + Eq + Clone,
            V: Clone,
        {
            let (present, absent) = answers.sizes();
            [("known", present), ("unknown", absent)]
                .map(|(what, size)| ([("kind", kind), ("what", what)], size as u64))
        }
        let sizes = [
            of("key", &self.memory.keys),
            of("route", &self.memory.routes),
        ];
        shown.family(
            "memory_entries",
            "What memory holds: keys and routes that there are, and names that are known to be nobody's.",
            sizes.as_flattened(),
        )
    }

    fn show_freshness(&self, shown: &mut Shown<'_>) -> fmt::Result {
        if let Some(known) = self.freshness.known() {
            shown.gauge(
                "known_version",
                "The newest change that was heard of, from anyone.",
                known.version,
            )?;
        }
        let (heard, contact) = (self.freshness.since_heard(), self.freshness.since_contact());
        if let Some(age) = heard {
            shown.seconds(
                "database_contact_age",
                "Since the database was last asked for changes and answered.",
                age.as_secs_f64(),
            )?;
        }
        if let Some(age) = contact {
            shown.seconds(
                "contact_age",
                "Since the last contact with anybody who knew as much: STALE_GRACE counts from it.",
                age.as_secs_f64(),
            )?;
        }
        Ok(())
    }

    fn show_redis(&self, shown: &mut Shown<'_>) -> fmt::Result {
        if self.redis.is_none() {
            return Ok(());
        }
        shown.gauge(
            "redis_connected",
            "Whether look-ups are sent to Redis.",
            i64::from(self.redis_is_connected()),
        )?;
        shown.gauge(
            "redis_whole",
            "Whether Redis held all that it should when the cache warmer last saw it.",
            i64::from(self.redis_is_whole()),
        )
    }

    fn show_pool(&self, shown: &mut Shown<'_>) -> fmt::Result {
        let pool = self.database.connections();
        shown.family(
            "database_connections",
            "Connections of the pool, of at most DATABASE_MAX_CONNECTIONS.",
            &[
                ([("state", "in_use")], pool.in_use.into()),
                ([("state", "idle")], pool.idle.into()),
            ],
        )?;
        shown.gauge(
            "database_connections_max",
            "DATABASE_MAX_CONNECTIONS.",
            i64::from(pool.most),
        )
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").finish_non_exhaustive()
    }
}

impl Collector for Condition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut shown = Shown(encoder);
        self.show_health(&mut shown)?;
        self.show_memory(&mut shown)?;
        self.show_freshness(&mut shown)?;
        self.show_redis(&mut shown)?;
        self.show_pool(&mut shown)
    }
}

/// Where gauges are written that nobody keeps.
struct Shown<'a>(DescriptorEncoder<'a>);

impl Shown<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let encoder = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn family<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: &[(Labels<N>, u64)],
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(*value).encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }
}
