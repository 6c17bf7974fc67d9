//! Three tiers behind one front: reads walk down the tiers, writes go to the database first and
//! are told to the cache warmer before they are acknowledged.

pub mod database;
mod error;
pub(crate) mod freshness;
mod gatherer;
mod lookup;
pub(crate) mod memory;
pub(crate) mod metrics;
mod pem;
pub(crate) mod redis_cache;
mod single_flight;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};
use uuid::Uuid;

pub use self::{database::Page, error::StorageError};
use self::{
    database::{Committed, Database, Result},
    freshness::Freshness,
    gatherer::{Bounds, Gatherer, Pace},
    lookup::Flights,
    memory::{Listing, Memory},
    metrics::{AllLookups, Condition, WarmerCounts},
    redis_cache::RedisCache,
    single_flight::SingleFlight,
};
use crate::{
    cache_warmer::{CacheWarmer, Tiers},
    domain::{
        Actor, AuditEntry, KeyHash, KeyIdentity, ListedModel, Model, ModelChange, Name, NewModel,
        NewProvider, PlainKey, Provider, ProviderChange, Route, UserKey,
    },
    fail_points::fail_point,
    metrics::Metrics,
    settings::Settings,
};

/// Different look-ups that may be under way at once, of keys and of routes. What comes above that
/// is refused, with 503, before it costs memory or the database anything. At about a kilobyte each,
/// and many times what comes in while the database answers once.
const MAX_FLIGHTS: usize = 5_000;

/// How long the start waits for the database to be ready before it goes on without it.
const FIRST_ATTEMPT: Duration = Duration::from_secs(10);

/// What the handlers see of keys, models and providers. Cheap to clone.
///
/// Its work runs on the runtime that opened it, beside the cache warmer, whichever thread asks: a
/// caller that goes away ends neither a look-up that others wait for nor a mutation between its
/// commit and its effect on the caches.
#[derive(Clone)]
pub struct Storage(Arc<Shared>);

struct Shared {
    memory: Arc<Memory>,
    freshness: Arc<Freshness>,
    redis: Option<Arc<RedisCache>>,
    database: Arc<dyn Database>,
    condition: Condition,
    lookups: Arc<AllLookups>,
    warmer: CacheWarmer,
    home: Handle,
    key_flights: Flights<KeyHash, Arc<KeyIdentity>>,
    route_flights: Flights<String, Arc<Route>>,
    listing_flights: Flights<Listing, Arc<[ListedModel]>>,
    gathered_keys: Gatherer<KeyHash, Arc<KeyIdentity>>,
    gathered_routes: Gatherer<String, Arc<Route>>,
    gathered_listings: Gatherer<Listing, Arc<[ListedModel]>>,
}

/// Whether this process can authenticate and route now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The database or a Redis that is known to be whole can be asked.
    Ready,
    /// Cut off from both; what is held is served until `STALE_GRACE` ends.
    Degraded,
    /// Nothing can be answered.
    Unavailable,
}

impl Storage {
    /// Opens the tiers and starts the cache warmer on the current runtime. A database that can't
    /// be reached is tried again in the background. `metrics` shows what they do.
    ///
    /// # Errors
    /// Settings that can't work, or a database that this program must not use.
    pub async fn open(settings: &Settings, metrics: &Metrics) -> Result<Self> {
        let database = database::connect(&settings.database, metrics)?;
        let redis = RedisCache::new(&settings.cache, &settings.database.keyring, metrics)?;
        let redis = redis.map(Arc::new);
        match timeout(FIRST_ATTEMPT, database.prepare()).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ StorageError::Unavailable { .. })) => {
                log::warn!("database: {error}; trying again in the background");
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => log::warn!("database: not ready yet; trying again in the background"),
        }
        let memory = Arc::new(Memory::new(settings.cache.memory_entries));
        let freshness = Arc::new(Freshness::new(settings.cache.stale_grace));
        let redis_is_whole = Arc::new(AtomicBool::new(false));
        let warmer = CacheWarmer::start(Tiers {
            memory: Arc::clone(&memory),
            freshness: Arc::clone(&freshness),
            redis: redis.clone(),
            redis_is_whole: Arc::clone(&redis_is_whole),
            database: Arc::clone(&database),
            rewarm_interval: settings.cache.rewarm_interval,
            counts: WarmerCounts::new(metrics, redis.as_deref()),
        });
        warmer.settled().await;
        let condition = Condition {
            memory: Arc::clone(&memory),
            freshness: Arc::clone(&freshness),
            redis: redis.clone(),
            redis_is_whole,
            database: Arc::clone(&database),
        };
        metrics.register(|registry| registry.register_collector(Box::new(condition.clone())));
        let lookups = Arc::new(AllLookups::new(metrics));
        let home = Handle::current();
        let pace = Pace::starting(Instant::now());
        let bounds = Bounds {
            waiting: MAX_FLIGHTS,
            // Of keys, routes and lists together fewer than there are connections, so that the cache
            // warmer needn't wait.
            statements: (settings.database.max_connections as usize / 3).max(1),
            patience: settings.database.timeout,
        };
        Ok(Self(Arc::new(Shared {
            memory,
            freshness,
            redis,
            gathered_keys: lookup::gather(&home, &pace, bounds, &database, &lookups),
            gathered_routes: lookup::gather(&home, &pace, bounds, &database, &lookups),
            gathered_listings: lookup::gather(&home, &pace, bounds, &database, &lookups),
            database,
            condition,
            lookups,
            warmer,
            home,
            key_flights: SingleFlight::new(MAX_FLIGHTS),
            route_flights: SingleFlight::new(MAX_FLIGHTS),
            listing_flights: SingleFlight::new(MAX_FLIGHTS),
        })))
    }

    /// Which active key has this hash. A warm answer makes no network hop.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where nobody can tell; such an answer is not remembered.
    pub async fn find_key(&self, hash: KeyHash) -> Result<Option<Arc<KeyIdentity>>> {
        if self.0.freshness.is_trusted()
            && let Some(held) = self.0.memory.keys.get(&hash)
        {
            self.0.lookups.keys.memory.inc();
            return Ok(held);
        }
        lookup::ask_below(&self.0, hash).await
    }

    /// The route of a model. A warm answer makes no network hop.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where nobody can tell; such an answer is not remembered.
    pub async fn find_route(&self, model: &str) -> Result<Option<Arc<Route>>> {
        if self.0.freshness.is_trusted()
            && let Some(held) = self.0.memory.routes.get(model)
        {
            self.0.lookups.routes.memory.inc();
            return Ok(held);
        }
        lookup::ask_below(&self.0, model.to_owned()).await
    }

    /// Every model that can be asked for, by name. The same tiers answer as for one route, under the
    /// same conditions: a caller who asks for the list again and again costs nobody below tier 1
    /// anything.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where nobody can tell.
    pub async fn listed_models(&self) -> Result<Arc<[ListedModel]>> {
        if self.0.freshness.is_trusted()
            && let Some(Some(held)) = self.0.memory.listing.get(&Listing)
        {
            self.0.lookups.listings.memory.inc();
            return Ok(held);
        }
        let found = lookup::ask_below(&self.0, Listing).await?;
        Ok(found.unwrap_or_default())
    }

    /// Whether this process can authenticate and route now.
    pub fn health(&self) -> Health {
        self.0.condition.health()
    }

    /// Waits until the cache warmer has ended. Unless [`Storage::close`] ended it, that is a
    /// defect: nothing that is held is trusted any more.
    pub async fn warmer_ended(&self) {
        self.0.warmer.ended().await;
    }

    /// Stops the cache warmer and closes every connection.
    pub async fn close(&self) {
        self.0.warmer.stop().await;
        self.0.database.close().await;
    }

    /// Runs `work` on the storage's own runtime, to its end.
    async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.0.home.spawn(work);
        task.await.unwrap_or_else(|error| {
            Err(StorageError::Broken {
                reason: format!("a storage task ended early: {error}"),
            })
        })
    }

    async fn read<T, F>(&self, work: impl FnOnce(Arc<dyn Database>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.at_home(work(Arc::clone(&self.0.database))).await
    }

    /// Commits, then waits until the caches know.
    async fn mutate<T, F>(&self, work: impl FnOnce(Arc<dyn Database>) -> F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<Option<Committed<T>>>> + Send + 'static,
    {
        let warmer = self.0.warmer.clone();
        let work = work(Arc::clone(&self.0.database));
        self.at_home(async move {
            let Some(committed) = work.await? else {
                return Ok(None);
            };
            fail_point!("committed");
            warmer.committed(committed.changes).await;
            Ok(Some(committed.value))
        })
        .await
    }

    /// A mutation that always has a result.
    async fn create<T, F>(&self, work: impl FnOnce(Arc<dyn Database>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Committed<T>>> + Send + 'static,
    {
        let created = self.mutate(|database| {
            let work = work(database);
            async move { work.await.map(Some) }
        });
        created.await?.ok_or_else(|| StorageError::Broken {
            reason: "a created item is missing".to_owned(),
        })
    }

    /// Providers, newest first.
    pub async fn providers(&self, page: Page) -> Result<Vec<Provider>> {
        self.read(|database| async move { database.providers(page).await })
            .await
    }

    /// One provider.
    pub async fn provider(&self, id: Uuid) -> Result<Option<Provider>> {
        self.read(|database| async move { database.provider(id).await })
            .await
    }

    /// Registers a provider.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`]
    pub async fn create_provider(&self, by: Actor, new: NewProvider) -> Result<Provider> {
        self.create(|database| async move { database.create_provider(&by, new).await })
            .await
    }

    /// Changes a provider. Its models' next requests use what it is now. An empty change leaves no
    /// trace.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`]
    pub async fn update_provider(
        &self,
        by: Actor,
        id: Uuid,
        change: ProviderChange,
    ) -> Result<Option<Provider>> {
        if change == ProviderChange::default() {
            return self.provider(id).await;
        }
        self.mutate(|database| async move { database.update_provider(&by, id, change).await })
            .await
    }

    /// Deletes a provider; `false` if there is none.
    ///
    /// # Errors
    /// [`StorageError::ProviderInUse`]
    pub async fn delete_provider(&self, by: Actor, id: Uuid) -> Result<bool> {
        let deleted =
            self.mutate(|database| async move { database.delete_provider(&by, id).await });
        Ok(deleted.await?.is_some())
    }

    /// Models, newest first.
    pub async fn models(&self, page: Page) -> Result<Vec<Model>> {
        self.read(|database| async move { database.models(page).await })
            .await
    }

    /// One model.
    pub async fn model(&self, id: Uuid) -> Result<Option<Model>> {
        self.read(|database| async move { database.model(id).await })
            .await
    }

    /// Maps a model. The next request that names it is served.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`], [`StorageError::UnknownProvider`]
    pub async fn create_model(&self, by: Actor, new: NewModel) -> Result<Model> {
        self.create(|database| async move { database.create_model(&by, new).await })
            .await
    }

    /// Changes a mapping. An empty change leaves no trace.
    ///
    /// # Errors
    /// [`StorageError::NameTaken`], [`StorageError::UnknownProvider`]
    pub async fn update_model(
        &self,
        by: Actor,
        id: Uuid,
        change: ModelChange,
    ) -> Result<Option<Model>> {
        if change == ModelChange::default() {
            return self.model(id).await;
        }
        self.mutate(|database| async move { database.update_model(&by, id, change).await })
            .await
    }

    /// Deletes a mapping; `false` if there is none.
    pub async fn delete_model(&self, by: Actor, id: Uuid) -> Result<bool> {
        let deleted = self.mutate(|database| async move { database.delete_model(&by, id).await });
        Ok(deleted.await?.is_some())
    }

    /// Who changed what, newest first.
    pub async fn audit(&self, page: Page) -> Result<Vec<AuditEntry>> {
        self.read(|database| async move { database.audit(page).await })
            .await
    }

    /// User keys, newest first.
    pub async fn keys(&self, page: Page) -> Result<Vec<UserKey>> {
        self.read(|database| async move { database.keys(page).await })
            .await
    }

    /// One user key.
    pub async fn key(&self, id: Uuid) -> Result<Option<UserKey>> {
        self.read(|database| async move { database.key(id).await })
            .await
    }

    /// Stores a key that was just generated. It works when this returns.
    pub async fn issue_key(&self, by: Actor, name: Name, key: &PlainKey) -> Result<UserKey> {
        let (hash, prefix) = (key.hash(), key.prefix().to_owned());
        self.create(|database| async move { database.create_key(&by, name, hash, &prefix).await })
            .await
    }

    /// Gives a key another name.
    pub async fn rename_key(&self, by: Actor, id: Uuid, name: Name) -> Result<Option<UserKey>> {
        self.mutate(|database| async move { database.rename_key(&by, id, name).await })
            .await
    }

    /// Puts another key under an id. The old one is refused when this returns.
    ///
    /// # Errors
    /// [`StorageError::KeyRevoked`]
    pub async fn rotate_key(&self, by: Actor, id: Uuid, key: &PlainKey) -> Result<Option<UserKey>> {
        let (hash, prefix) = (key.hash(), key.prefix().to_owned());
        self.mutate(|database| async move { database.rotate_key(&by, id, hash, &prefix).await })
            .await
    }

    /// Revokes a key for good; `false` if there is none. It is refused when this returns.
    pub async fn revoke_key(&self, by: Actor, id: Uuid) -> Result<bool> {
        let revoked = self.mutate(|database| async move { database.revoke_key(&by, id).await });
        Ok(revoked.await?.is_some())
    }
}
