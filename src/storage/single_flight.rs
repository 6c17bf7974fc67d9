//! One look-up for everybody who asks the same at the same time.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::{FutureExt, future::Shared};
use tokio::{runtime::Handle, sync::oneshot};

use super::{StorageError, database::Result, freshness::LEASE, memory::Ticket};

/// Look-ups under way. Those who come while one runs wait for its answer, unless something was
/// invalidated since it began: its answer could be older than that. A replica that can't hear of
/// invalidations must not give out answers older than the lease, so after that time nobody joins.
pub(super) struct SingleFlight<K, V> {
    flights: Mutex<HashMap<K, Flight<V>>>,
    started: AtomicU64,
    limit: usize,
}

struct Flight<V> {
    /// Tells it from the one that took its place.
    number: u64,
    ticket: Ticket,
    began: Instant,
    answer: Shared<oneshot::Receiver<Result<V>>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `limit` different look-ups at once.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            flights: Mutex::new(HashMap::new()),
            started: AtomicU64::new(0),
            limit,
        })
    }

    /// Joins the look-up of `key` that runs, or starts `work` on `home`. A caller that goes away
    /// doesn't end it for the others.
    pub(super) async fn run(
        self: &Arc<Self>,
        home: &Handle,
        key: K,
        ticket: Ticket,
        work: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<V> {
        let gone = || StorageError::Unavailable {
            reason: "a look-up was abandoned".to_owned(),
            cause: None,
        };
        let answer = self.join_or_start(home, key, ticket, work)?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn join_or_start(
        self: &Arc<Self>,
        home: &Handle,
        key: K,
        ticket: Ticket,
        work: impl Future<Output = Result<V>> + Send + 'static,
    ) -> Result<Shared<oneshot::Receiver<Result<V>>>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key)
            && flight.may_be_joined(ticket)
        {
            return Ok(flight.answer.clone());
        }
        if flights.len() >= self.limit {
            return Err(StorageError::TooManyLookUps);
        }
        let (sender, receiver) = oneshot::channel();
        let answer = receiver.shared();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        flights.insert(
            key.clone(),
            Flight {
                number,
                ticket,
                began: Instant::now(),
                answer: answer.clone(),
            },
        );
        let landing = Landing {
            flights: Arc::clone(self),
            key,
            number,
        };
        home.spawn(async move {
            let answer = work.await;
            drop(landing);
            let _ = sender.send(answer);
        });
        Ok(answer)
    }
}

impl<V> Flight<V> {
    fn may_be_joined(&self, ticket: Ticket) -> bool {
        self.ticket == ticket && self.began.elapsed() < LEASE
    }
}

/// Removes a flight when it ends, by a panic too.
struct Landing<K: Hash + Eq, V> {
    flights: Arc<SingleFlight<K, V>>,
    key: K,
    number: u64,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let flights = &self.flights.flights;
        let mut flights = flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::storage::memory::Memory;

    #[actix_rt::test]
    async fn those_who_ask_the_same_share_one_look_up() {
        let flights = SingleFlight::<u8, u8>::new(10);
        let (calls, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ticket = Memory::new(1).ticket();
        let ask = || {
            let (calls, go) = (Arc::clone(&calls), Arc::clone(&go));
            let work = async move {
                calls.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Ok(7)
            };
            let flights = Arc::clone(&flights);
            async move { flights.run(&Handle::current(), 1, ticket, work).await }
        };
        let both = futures_util::future::join(ask(), ask());
        let (answers, ()) = futures_util::future::join(both, async { go.notify_one() }).await;
        assert_eq!(answers, (Ok(7), Ok(7)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(flights.flights.lock().unwrap().is_empty());
    }

    #[actix_rt::test]
    async fn a_look_up_from_before_an_invalidation_is_not_joined() {
        let flights = SingleFlight::<u8, u8>::new(10);
        let memory = Memory::new(1);
        let home = Handle::current();
        let old = flights
            .join_or_start(&home, 1, memory.ticket(), std::future::pending())
            .unwrap();
        memory.invalidate(&[]);
        let answer = flights
            .run(&home, 1, memory.ticket(), async { Ok(2) })
            .await;
        assert_eq!(answer, Ok(2));
        drop(old);
    }

    #[actix_rt::test]
    async fn a_look_up_that_is_older_than_the_lease_is_not_joined() {
        let flights = SingleFlight::<u8, u8>::new(10);
        let (home, ticket) = (Handle::current(), Memory::new(1).ticket());
        let (go, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let old = {
            let go = Arc::clone(&go);
            let work = async move {
                go.notified().await;
                Ok(1)
            };
            flights.join_or_start(&home, 1, ticket, work).unwrap()
        };
        for flight in flights.flights.lock().unwrap().values_mut() {
            flight.began -= LEASE;
        }
        let new = {
            let gone = Arc::clone(&gone);
            let work = async move {
                gone.notified().await;
                Ok(2)
            };
            flights.join_or_start(&home, 1, ticket, work).unwrap()
        };
        // The old one's end doesn't take the new one away.
        go.notify_one();
        assert_eq!(old.await, Ok(Ok(1)));
        assert_eq!(flights.flights.lock().unwrap().len(), 1);
        gone.notify_one();
        assert_eq!(new.await, Ok(Ok(2)));
    }

    #[actix_rt::test]
    async fn more_look_ups_than_the_limit_are_refused() {
        let flights = SingleFlight::<u8, u8>::new(1);
        let (home, ticket) = (Handle::current(), Memory::new(1).ticket());
        let _running = flights.join_or_start(&home, 1, ticket, std::future::pending());
        let refused = flights.run(&home, 2, ticket, async { Ok(2) }).await;
        assert_eq!(refused, Err(StorageError::TooManyLookUps));
    }
}
