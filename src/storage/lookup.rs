//! The walk down the tiers, written once for keys and for routes.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc, time::Instant};

use tokio::runtime::Handle;

use super::{
    Shared, StorageError,
    database::{Database, Result, Stamp},
    gatherer::{Bounds, Gatherer, Pace},
    memory::{Answers, Listing, Ticket},
    metrics::{AllLookups, LookupCounts, Tier},
    redis_cache::RedisCache,
    single_flight::SingleFlight,
};
use crate::domain::{KeyHash, KeyIdentity, ListedModel, Route};

/// What is found, or that there is none; and who says so.
type Answer<T> = (Option<T>, Tier);

/// Look-ups below memory that are under way.
pub(super) type Flights<K, T> = Arc<SingleFlight<K, Answer<T>>>;

/// Something that can be looked up: where each tier keeps it.
pub(super) trait Lookup: Clone + Hash + Eq + Send + Sync + 'static {
    /// What is found.
    type Found: Clone + Send + Sync + 'static;

    fn answers(shared: &Shared) -> &Answers<Self, Self::Found>;
    /// As it is kept in memory.
    fn for_memory(_: &Shared, found: Self::Found) -> Self::Found {
        found
    }
    fn counts(lookups: &AllLookups) -> &LookupCounts;
    fn flights(shared: &Shared) -> &Flights<Self, Self::Found>;
    fn in_redis(
        &self,
        redis: &RedisCache,
    ) -> impl Future<Output = Option<(Stamp, Option<Self::Found>)>> + Send;
    fn gatherer(shared: &Shared) -> &Gatherer<Self, Self::Found>;
    /// Asks for several in one statement.
    fn in_database(
        keys: Vec<Self>,
        database: Arc<dyn Database>,
    ) -> impl Future<Output = Result<HashMap<Self, Self::Found>>> + Send;
}

impl Lookup for KeyHash {
    type Found = Arc<KeyIdentity>;

    fn answers(shared: &Shared) -> &Answers<Self, Arc<KeyIdentity>> {
        &shared.memory.keys
    }

    fn counts(lookups: &AllLookups) -> &LookupCounts {
        &lookups.keys
    }

    fn flights(shared: &Shared) -> &Flights<Self, Arc<KeyIdentity>> {
        &shared.key_flights
    }

    async fn in_redis(&self, redis: &RedisCache) -> Option<(Stamp, Option<Arc<KeyIdentity>>)> {
        let (stamp, identity) = redis.key(*self).await?;
        Some((stamp, identity.map(Arc::new)))
    }

    fn gatherer(shared: &Shared) -> &Gatherer<Self, Arc<KeyIdentity>> {
        &shared.gathered_keys
    }

    async fn in_database(
        keys: Vec<Self>,
        database: Arc<dyn Database>,
    ) -> Result<HashMap<Self, Arc<KeyIdentity>>> {
        let active = database.active_keys(&keys).await?.into_iter();
        Ok(active
            .map(|(hash, identity)| (hash, Arc::new(identity)))
            .collect())
    }
}

impl Lookup for String {
    type Found = Arc<Route>;

    fn answers(shared: &Shared) -> &Answers<Self, Arc<Route>> {
        &shared.memory.routes
    }

    fn for_memory(shared: &Shared, route: Arc<Route>) -> Arc<Route> {
        shared.memory.destinations.share(route)
    }

    fn counts(lookups: &AllLookups) -> &LookupCounts {
        &lookups.routes
    }

    fn flights(shared: &Shared) -> &Flights<Self, Arc<Route>> {
        &shared.route_flights
    }

    async fn in_redis(&self, redis: &RedisCache) -> Option<(Stamp, Option<Arc<Route>>)> {
        let (stamp, route) = redis.route(self).await?;
        Some((stamp, route.map(Arc::new)))
    }

    fn gatherer(shared: &Shared) -> &Gatherer<Self, Arc<Route>> {
        &shared.gathered_routes
    }

    async fn in_database(
        models: Vec<Self>,
        database: Arc<dyn Database>,
    ) -> Result<HashMap<Self, Arc<Route>>> {
        let routes = database.routes(&models).await?.into_iter();
        Ok(routes
            .map(|(name, route)| (name, Arc::new(route)))
            .collect())
    }
}

impl Lookup for Listing {
    type Found = Arc<[ListedModel]>;

    fn answers(shared: &Shared) -> &Answers<Self, Self::Found> {
        &shared.memory.listing
    }

    fn counts(lookups: &AllLookups) -> &LookupCounts {
        &lookups.listings
    }

    fn flights(shared: &Shared) -> &Flights<Self, Self::Found> {
        &shared.listing_flights
    }

    async fn in_redis(&self, redis: &RedisCache) -> Option<(Stamp, Option<Self::Found>)> {
        let (stamp, models) = redis.listed_models().await?;
        Some((stamp, Some(models.into())))
    }

    fn gatherer(shared: &Shared) -> &Gatherer<Self, Self::Found> {
        &shared.gathered_listings
    }

    async fn in_database(
        _: Vec<Self>,
        database: Arc<dyn Database>,
    ) -> Result<HashMap<Self, Self::Found>> {
        let models = database.listed_models().await?;
        Ok(HashMap::from([(Self, models.into())]))
    }
}

/// Starts what gathers the look-ups of one kind that reach the database.
pub(super) fn gather<L: Lookup>(
    home: &Handle,
    pace: &Arc<Pace>,
    bounds: Bounds,
    database: &Arc<dyn Database>,
    lookups: &Arc<AllLookups>,
) -> Gatherer<L, L::Found> {
    let (database, lookups) = (Arc::clone(database), Arc::clone(lookups));
    let ask = move |keys| {
        L::counts(&lookups).statements.inc();
        L::in_database(keys, Arc::clone(&database))
    };
    Gatherer::start(home, pace, bounds, ask)
}

/// Asks the tiers below the first one, once for everybody who asks at the same time.
pub(super) async fn ask_below<L: Lookup>(shared: &Arc<Shared>, key: L) -> Result<Option<L::Found>> {
    let ticket = shared.memory.ticket();
    let work = {
        let (shared, key) = (Arc::clone(shared), key.clone());
        async move { walk(&shared, key, ticket).await }
    };
    let answer = L::flights(shared)
        .run(&shared.home, key, ticket, work)
        .await;
    let outcome = answer.as_ref().map(|(_, tier)| *tier);
    L::counts(&shared.lookups).below_memory(outcome);
    answer.map(|(found, _)| found)
}

async fn walk<L: Lookup>(shared: &Shared, key: L, ticket: Ticket) -> Result<Answer<L::Found>> {
    let ahead = match ask_redis(shared, &key, ticket).await {
        Some(Told::Current(answer)) => return Ok((answer, Tier::Redis)),
        Some(Told::Ahead(stamp, answer)) => Some((stamp, answer)),
        None => None,
    };
    // To find out for each request anew that nobody is there would take its time every time.
    if !shared.freshness.database_answers()
        && let Some(answer) = without_database(shared, &key, &ahead)
    {
        return Ok(answer);
    }
    match L::gatherer(shared).find(key.clone()).await {
        Ok(answer) => {
            remember(shared, ticket, key, &answer);
            Ok((answer, Tier::Database))
        }
        Err(outage @ StorageError::Unavailable { .. }) => {
            let ahead = match ahead {
                Some(ahead) => Some(ahead),
                // Behind what was heard of when it was asked, it may have caught up since.
                None => match ask_redis(shared, &key, ticket).await {
                    Some(Told::Current(answer)) => return Ok((answer, Tier::Redis)),
                    Some(Told::Ahead(stamp, answer)) => Some((stamp, answer)),
                    None => None,
                },
            };
            without_database(shared, &key, &ahead).ok_or(outage)
        }
        // A bound's refusal among them: it says nothing about the database.
        Err(error) => Err(error),
    }
}

fn remember<L: Lookup>(shared: &Shared, ticket: Ticket, key: L, answer: &Option<L::Found>) {
    let answer = answer.clone();
    let answer = answer.map(|found| L::for_memory(shared, found));
    let answers = L::answers(shared);
    shared.memory.fill(answers, ticket, key, answer);
}

/// What Redis that is ahead says, or else what is held.
fn without_database<L: Lookup>(
    shared: &Shared,
    key: &L,
    ahead: &Option<(Stamp, Option<L::Found>)>,
) -> Option<Answer<L::Found>> {
    let Some((stamp, answer)) = ahead else {
        return held(shared, key).map(|answer| (answer, Tier::Held));
    };
    shared.warmer.heard(*stamp);
    Some((answer.clone(), Tier::Redis))
}

/// What a Redis that can be relied on says.
enum Told<T> {
    /// At the very version that this replica has heard of.
    Current(Option<T>),
    /// At a later one: news on its way, or a backup of the database was restored. The database
    /// tells; Redis is believed where it can't be asked. Such an answer is not kept: tier 1 would
    /// mix two versions.
    Ahead(Stamp, Option<T>),
}

/// `None`: Redis is away, not whole, or behind what this replica has heard of.
async fn ask_redis<L: Lookup>(shared: &Shared, key: &L, ticket: Ticket) -> Option<Told<L::Found>> {
    let redis = shared.redis.as_ref()?;
    let asked = Instant::now();
    let (stamp, answer) = key.in_redis(redis).await?;
    match shared.freshness.known() {
        Some(known) if stamp == known => {
            remember(shared, ticket, key.clone(), &answer);
            shared.freshness.contacted(asked);
            Some(Told::Current(answer))
        }
        Some(known) if !stamp.covers(&known) => None,
        _ => Some(Told::Ahead(stamp, answer)),
    }
}

/// Cut off from everybody: what was held when contact was lost, for as long as that is allowed.
fn held<L: Lookup>(shared: &Shared, key: &L) -> Option<Option<L::Found>> {
    if !shared.freshness.is_within_grace() {
        return None;
    }
    L::answers(shared).get(key)
}
