//! Tier 1, in the process: what this replica was told, bounded in size.
//!
//! Requests read and fill it; the cache warmer alone takes entries out. It keeps entries until
//! they are invalidated or crowded out; whether they may be *trusted* is the business of
//! [`super::freshness`].

use std::{
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use quick_cache::{Equivalent, sync::Cache};
use uuid::Uuid;

use super::database::Entry;
use crate::domain::{Destination, KeyHash, KeyIdentity, ListedModel, Route};

/// Answers for keys and for routes.
pub(crate) struct Memory {
    pub(crate) keys: Answers<KeyHash, Arc<KeyIdentity>>,
    pub(crate) routes: Answers<String, Arc<Route>>,
    /// The list of them all, which any change of a route takes out.
    pub(crate) listing: Answers<Listing, Arc<[ListedModel]>>,
    pub(crate) destinations: Destinations,
    /// Counts invalidations. A fill holds the lock for reading and an invalidation for writing,
    /// so that no fill can slip in behind an invalidation that it didn't see.
    generation: AtomicU64,
    fills: RwLock<()>,
}

/// Stands for the list of all models that can be asked for, of which there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Listing;

/// Room for [`Listing`], in a map that is made for many.
const LISTINGS: usize = 32;

/// What is known to be there, and what is known not to be. Two maps, so that a flood of unknown
/// names crowds out only each other.
pub(crate) struct Answers<K, V> {
    present: Cache<K, V>,
    absent: Cache<K, ()>,
}

/// The providers of the routes that are held, by their ids: what routes have in common is kept
/// once. Ten thousand models of one provider then take no ten thousand addresses and keys, neither
/// of memory nor of a processor's cache. Nothing is looked up here, so nothing here can be stale.
pub(crate) struct Destinations(Cache<Uuid, Weak<Destination>>);

/// Providers whose routes share. More than these are served all the same.
const DESTINATIONS: usize = 1_000;

impl Destinations {
    fn new() -> Self {
        Self(Cache::new(DESTINATIONS))
    }

    /// The same route, with what it has in common with another one in the same place.
    pub(crate) fn share(&self, route: Arc<Route>) -> Arc<Route> {
        let provider = &route.provider;
        match self.0.get(&provider.id).and_then(|held| held.upgrade()) {
            Some(held) if held == *provider => Arc::new(Route {
                provider: held,
                ..Route::clone(&route)
            }),
            _ => {
                self.0.insert(provider.id, Arc::downgrade(provider));
                route
            }
        }
    }
}

/// Proves when a look-up began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl<K: Hash + Eq + Clone, V: Clone> Answers<K, V> {
    fn new(capacity: usize) -> Self {
        Self {
            present: Cache::new(capacity),
            absent: Cache::new(capacity),
        }
    }

    /// `None`: not held. `Some(None)`: held to be absent.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.present.get(key) {
            Some(value) => Some(Some(value)),
            None => self.absent.get(key).map(|()| None),
        }
    }

    /// The newer answer counts: nothing stays held to be present that is known to be absent.
    fn insert(&self, key: K, value: Option<V>) {
        match value {
            Some(value) => self.present.insert(key, value),
            None => {
                self.present.remove(&key);
                self.absent.insert(key, ());
            }
        }
    }

    fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        self.present.remove(key);
        self.absent.remove(key);
    }

    /// How many are held to be present, and to be absent.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.present.len(), self.absent.len())
    }

    fn clear(&self) {
        self.present.clear();
        self.absent.clear();
    }
}

impl Memory {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            keys: Answers::new(capacity),
            routes: Answers::new(capacity),
            listing: Answers::new(LISTINGS),
            destinations: Destinations::new(),
            generation: AtomicU64::new(0),
            fills: RwLock::new(()),
        }
    }

    /// To be taken before a look-up asks anybody.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.generation.load(Ordering::Acquire))
    }

    /// Stores an answer, unless anything was invalidated since `ticket` was taken: the answer
    /// may be older than that.
    pub(crate) fn fill<K, V>(
        &self,
        answers: &Answers<K, V>,
        ticket: Ticket,
        key: K,
        value: Option<V>,
    ) where
        K: Hash + Eq + Clone,
        V: Clone,
    {
        let _fill = self.fills.read().unwrap_or_else(PoisonError::into_inner);
        if self.ticket() == ticket {
            answers.insert(key, value);
        }
    }

    /// Takes entries out, and refuses the fill of every look-up that runs now.
    pub(crate) fn invalidate(&self, entries: &[Entry]) {
        let _all = self.fills.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::AcqRel);
        for entry in entries {
            match entry {
                Entry::Key(hash) => self.keys.remove(hash),
                Entry::Route(model) => {
                    self.routes.remove(model.as_str());
                    self.listing.clear();
                }
                Entry::Everything => {
                    self.keys.clear();
                    self.routes.clear();
                    self.listing.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    use chrono::Utc;

    use crate::domain::{BaseUrl, FixedHeaders, PlainKey, ProviderKind, Sealed, Secret, Timeouts};

    fn identity() -> Option<Arc<KeyIdentity>> {
        Some(Arc::new(KeyIdentity::new(Uuid::nil(), "a key")))
    }

    #[test]
    fn a_fill_that_began_before_an_invalidation_is_refused() {
        let memory = Memory::new(10);
        let hash = PlainKey::generate().hash();
        let early = memory.ticket();
        memory.invalidate(&[Entry::Key(hash)]);
        memory.fill(&memory.keys, early, hash, identity());
        assert_eq!(memory.keys.get(&hash), None);

        memory.fill(&memory.keys, memory.ticket(), hash, identity());
        assert_eq!(memory.keys.get(&hash), Some(identity()));
    }

    #[test]
    fn an_invalidation_takes_out_presence_and_absence() {
        let memory = Memory::new(10);
        let [present, absent, other] = [(); 3].map(|()| PlainKey::generate().hash());
        let ticket = memory.ticket();
        memory.fill(&memory.keys, ticket, present, identity());
        memory.fill(&memory.keys, ticket, absent, None);
        memory.fill(&memory.keys, ticket, other, identity());
        memory.invalidate(&[Entry::Key(present), Entry::Key(absent)]);
        assert_eq!(memory.keys.get(&present), None);
        assert_eq!(memory.keys.get(&absent), None);
        assert_eq!(memory.keys.get(&other), Some(identity()));
        memory.invalidate(&[Entry::Everything]);
        assert_eq!(memory.keys.get(&other), None);
    }

    #[test]
    fn a_change_of_any_route_takes_out_the_list_and_a_change_of_a_key_does_not() {
        let memory = Memory::new(10);
        let list: Arc<[ListedModel]> = Arc::new([]);
        let fill = || {
            memory.fill(
                &memory.listing,
                memory.ticket(),
                Listing,
                Some(list.clone()),
            )
        };
        for (entry, is_kept) in [
            (Entry::Key(PlainKey::generate().hash()), true),
            (Entry::Route("m".to_owned()), false),
            (Entry::Everything, false),
        ] {
            fill();
            assert!(memory.listing.get(&Listing).is_some());
            memory.invalidate(&[entry]);
            assert_eq!(memory.listing.get(&Listing).is_some(), is_kept);
        }
    }

    #[test]
    fn routes_share_what_they_have_in_common_and_nothing_else() {
        let id = Uuid::now_v7();
        let route = |provider_id, address| {
            Arc::new(Route {
                provider: Arc::new(Destination {
                    id: provider_id,
                    name: "a provider".to_owned(),
                    kind: ProviderKind::OPENAI,
                    base_url: BaseUrl::parse(address).unwrap(),
                    api_key: Sealed::new(provider_id, Secret::new("sk-1"), None),
                    headers: Sealed::new(provider_id, FixedHeaders::default(), None),
                    timeouts: Timeouts::default(),
                }),
                provider_model: "m".to_owned(),
                created_at: Utc::now(),
            })
        };
        let destinations = Destinations::new();
        let first = destinations.share(route(id, "http://one.example"));
        let second = destinations.share(route(id, "http://one.example"));
        assert!(Arc::ptr_eq(&first.provider, &second.provider));

        for other in [
            route(id, "http://two.example"),
            route(Uuid::now_v7(), "http://one.example"),
        ] {
            let shared = destinations.share(Arc::clone(&other));
            assert_eq!(shared, other);
            assert!(!Arc::ptr_eq(&first.provider, &shared.provider));
        }
        // The last one is what counts for the next.
        let later = destinations.share(route(id, "http://two.example"));
        assert_eq!(later.provider.base_url.as_str(), "http://two.example");
    }

    #[test]
    fn the_newer_answer_counts() {
        let memory = Memory::new(10);
        let hash = PlainKey::generate().hash();
        for answer in [identity(), None, identity(), None] {
            memory.fill(&memory.keys, memory.ticket(), hash, answer.clone());
            assert_eq!(memory.keys.get(&hash), Some(answer));
        }
    }

    #[test]
    fn unknown_keys_crowd_out_each_other_and_nothing_else() {
        let memory = Memory::new(100);
        let known = PlainKey::generate().hash();
        memory.fill(&memory.keys, memory.ticket(), known, identity());
        for _ in 0..10_000 {
            let unknown = PlainKey::generate().hash();
            memory.fill(&memory.keys, memory.ticket(), unknown, None);
        }
        assert_eq!(memory.keys.get(&known), Some(identity()));
        assert!(memory.keys.absent.len() <= 100);
    }
}
