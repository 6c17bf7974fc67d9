//! Look-ups gathered into statements, so that a flood of them costs the database a fixed number of
//! statements a second, whatever comes.
//!
//! One that comes alone is asked for at once. In a flood, statements begin at a pace, and each asks
//! for all who wait by then. Nobody joins a statement that has begun: what it saw may be older than
//! the question.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{StorageError, database::Result};

/// Statements a second in the long run. With what the cache warmer asks they stay under 200, even
/// in the second of a burst. In a flood a look-up waits 1/150 s for its statement, which is in the
/// order of what a busy database takes to answer.
const PACE: u32 = 150;
/// Statements that may begin at once after a pause, so that the first requests of a fresh process
/// without Redis wait for nothing.
const BURST: u32 = 30;
/// Look-ups in one statement. PostgreSQL answers so many by its index in a few milliseconds, and
/// at [`PACE`] it is more than this process can authenticate.
const MOST_AT_ONCE: usize = 1_000;

/// Asks for many at once what each of them wants to know.
pub(super) struct Gatherer<K, V> {
    waiting: mpsc::Sender<Waiting<K, V>>,
    patience: Duration,
}

/// What a gatherer may use up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Look-ups that may wait for their statement; more are refused.
    pub(super) waiting: usize,
    /// Its statements under way.
    pub(super) statements: usize,
    /// The longest that a look-up may take.
    pub(super) patience: Duration,
}

/// A look-up, and where its answer goes.
struct Waiting<K, V> {
    key: K,
    answer: oneshot::Sender<Result<Option<V>>>,
}

impl<K, V> Gatherer<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + 'static,
{
    /// Starts gathering on `home`, until this value is dropped. `ask` is one statement: it answers
    /// what it found of the keys it was given.
    pub(super) fn start<F>(
        home: &Handle,
        pace: &Arc<Pace>,
        bounds: Bounds,
        ask: impl Fn(Vec<K>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<HashMap<K, V>>> + Send + 'static,
    {
        let (sender, waiting) = mpsc::channel(bounds.waiting);
        let begin = Begin {
            home: home.clone(),
            pace: Arc::clone(pace),
            turns: Arc::new(Semaphore::new(bounds.statements)),
        };
        home.spawn(gather(begin, waiting, ask));
        Self {
            waiting: sender,
            patience: bounds.patience,
        }
    }

    /// Looks one up, together with those who wait for the same statement.
    pub(super) async fn find(&self, key: K) -> Result<Option<V>> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            key,
            answer: sender,
        };
        if self.waiting.try_send(waiting).is_err() {
            return Err(StorageError::TooManyLookUps);
        }
        match timeout(self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unavailable("a look-up was abandoned")),
            Err(_) => Err(unavailable("the database did not answer in time")),
        }
    }
}

fn unavailable(reason: &str) -> StorageError {
    StorageError::Unavailable {
        reason: reason.to_owned(),
        cause: None,
    }
}

/// What it takes to begin a statement.
struct Begin {
    home: Handle,
    pace: Arc<Pace>,
    turns: Arc<Semaphore>,
}

impl Begin {
    /// Waits until another statement may begin. It is under way until the permit is dropped.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        sleep_until(self.pace.next(Instant::now())).await;
        Some(turn)
    }
}

/// Gathers until the gatherer is gone. The right to begin a statement is had before those who wait
/// are taken: whoever comes meanwhile is part of it, and whoever comes alone finds it ready.
async fn gather<K, V, F>(
    begin: Begin,
    mut waiting: mpsc::Receiver<Waiting<K, V>>,
    ask: impl Fn(Vec<K>) -> F + Send + 'static,
) where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + 'static,
    F: Future<Output = Result<HashMap<K, V>>> + Send + 'static,
{
    while let Some(turn) = begin.turn().await {
        let mut gathered = Vec::new();
        if waiting.recv_many(&mut gathered, MOST_AT_ONCE).await == 0 {
            return;
        }
        // Who has given up needs no answer.
        gathered.retain(|waiting| !waiting.answer.is_closed());
        if !gathered.is_empty() {
            let keys = gathered.iter().map(|waiting| waiting.key.clone());
            let asking = ask(keys.collect());
            begin.home.spawn(answer(gathered, asking, turn));
        }
    }
}

async fn answer<K, V>(
    gathered: Vec<Waiting<K, V>>,
    asking: impl Future<Output = Result<HashMap<K, V>>>,
    turn: OwnedSemaphorePermit,
) where
    K: Hash + Eq,
    V: Clone,
{
    let found = asking.await;
    drop(turn);
    for waiting in gathered {
        let answer = match &found {
            Ok(found) => Ok(found.get(&waiting.key).cloned()),
            Err(error) => Err(error.clone()),
        };
        let _ = waiting.answer.send(answer);
    }
}

/// When statements may begin, of all gatherers together and in turn: after a pause [`BURST`] of
/// them, then [`PACE`] a second.
pub(super) struct Pace {
    /// When the next one may begin, if none is saved up.
    due: Mutex<Instant>,
}

impl Pace {
    const PAUSE: Duration = Duration::from_nanos(1_000_000_000 / PACE as u64);
    const SAVED_UP: Duration = Duration::from_nanos(1_000_000_000 / PACE as u64 * BURST as u64);

    pub(super) fn starting(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            due: Mutex::new(now - Self::SAVED_UP),
        })
    }

    fn next(&self, now: Instant) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = due.max(now - Self::SAVED_UP);
        *due = begins + Self::PAUSE;
        begins
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use futures_util::future::{join, join_all};
    use tokio::{sync::Notify, task::JoinHandle};

    use super::*;

    const FIRST: &str = "first";

    /// A database whose statements see what is there when they begin, and are answered when told.
    #[derive(Default)]
    struct Fake {
        there: Mutex<HashMap<&'static str, u8>>,
        /// What each statement that has begun asks for.
        statements: Mutex<Vec<Vec<&'static str>>>,
        begun: Notify,
        go_on: Notify,
    }

    fn bounds(waiting: usize, statements: usize) -> Bounds {
        Bounds {
            waiting,
            statements,
            patience: Duration::from_secs(10),
        }
    }

    fn start<K, V, F>(bounds: Bounds, ask: impl Fn(Vec<K>) -> F + Send + 'static) -> Gatherer<K, V>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + 'static,
        F: Future<Output = Result<HashMap<K, V>>> + Send + 'static,
    {
        let pace = Pace::starting(Instant::now());
        Gatherer::start(&Handle::current(), &pace, bounds, ask)
    }

    impl Fake {
        fn gatherer(self: &Arc<Self>, bounds: Bounds) -> Arc<Gatherer<&'static str, u8>> {
            let fake = Arc::clone(self);
            let ask = move |keys| Arc::clone(&fake).statement(keys);
            Arc::new(start(bounds, ask))
        }

        async fn statement(
            self: Arc<Self>,
            keys: Vec<&'static str>,
        ) -> Result<HashMap<&'static str, u8>> {
            let seen = self.there.lock().unwrap().clone();
            self.statements.lock().unwrap().push(keys);
            self.begun.notify_one();
            self.go_on.notified().await;
            Ok(seen)
        }

        fn put(&self, key: &'static str, value: u8) {
            self.there.lock().unwrap().insert(key, value);
        }

        fn statements(&self) -> Vec<Vec<&'static str>> {
            self.statements.lock().unwrap().clone()
        }
    }

    type Gathering = Arc<Gatherer<&'static str, u8>>;

    /// Starts look-ups, and returns when they wait.
    async fn look_up(
        gatherer: &Gathering,
        keys: &[&'static str],
    ) -> Vec<JoinHandle<Result<Option<u8>>>> {
        let started = keys.iter().map(|key| {
            let (gatherer, key) = (Arc::clone(gatherer), *key);
            let sent = Arc::new(Notify::new());
            let is_sent = Arc::clone(&sent);
            let finding = async move {
                let mut finding = Box::pin(gatherer.find(key));
                // The first poll sends it.
                let first = futures_util::poll!(&mut finding);
                sent.notify_one();
                match first {
                    std::task::Poll::Ready(answer) => answer,
                    std::task::Poll::Pending => finding.await,
                }
            };
            (Handle::current().spawn(finding), is_sent)
        });
        let (started, sent): (Vec<_>, Vec<_>) = started.unzip();
        join_all(sent.iter().map(|sent| sent.notified())).await;
        started
    }

    async fn answers(started: Vec<JoinHandle<Result<Option<u8>>>>) -> Vec<Result<Option<u8>>> {
        let ended = join_all(started).await;
        ended.into_iter().map(|ended| ended.unwrap()).collect()
    }

    #[actix_rt::test]
    async fn those_who_wait_are_one_statement_and_nobody_waits_without_need() {
        let fake = Arc::new(Fake::default());
        fake.put("a", 1);
        let gatherer = fake.gatherer(bounds(10, 1));
        let first = look_up(&gatherer, &[FIRST]).await;
        fake.begun.notified().await;
        let others = look_up(&gatherer, &["a", "b", "a"]).await;
        assert_eq!(fake.statements(), [vec![FIRST]]);
        fake.go_on.notify_one();
        assert_eq!(answers(first).await, [Ok(None)]);
        fake.begun.notified().await;
        assert_eq!(fake.statements()[1..], [vec!["a", "b", "a"]]);
        fake.go_on.notify_one();
        assert_eq!(answers(others).await, [Ok(Some(1)), Ok(None), Ok(Some(1))]);
    }

    #[actix_rt::test]
    async fn nobody_is_answered_by_a_statement_that_began_before_they_came() {
        for statements in [1, 2] {
            let fake = Arc::new(Fake::default());
            let gatherer = fake.gatherer(bounds(10, statements));
            let early = look_up(&gatherer, &["a"]).await;
            fake.begun.notified().await;
            fake.put("a", 1);
            let late = look_up(&gatherer, &["a"]).await;
            let release = async {
                fake.go_on.notify_one();
                fake.begun.notified().await;
                fake.go_on.notify_one();
            };
            let (both, ()) = join(join(answers(early), answers(late)), release).await;
            assert_eq!(both, (vec![Ok(None)], vec![Ok(Some(1))]));
        }
    }

    #[actix_rt::test]
    async fn a_statement_that_fails_answers_nobody() {
        let ask = |keys: Vec<u8>| async move {
            match keys.contains(&0) {
                true => Err(unavailable("gone")),
                false => Ok(keys.into_iter().map(|key| (key, key)).collect()),
            }
        };
        let gatherer = start(bounds(10, 1), ask);
        let (failed, also) = join(gatherer.find(0), gatherer.find(1)).await;
        assert_eq!([failed, also], [(); 2].map(|()| Err(unavailable("gone"))));
        assert_eq!(gatherer.find(1).await, Ok(Some(1)));
    }

    #[actix_rt::test]
    async fn a_statement_that_panics_answers_nobody_and_the_next_one_is_asked() {
        let ask = |keys: Vec<u8>| async move {
            assert_ne!(keys, [0], "a defect");
            Ok(keys.into_iter().map(|key| (key, key)).collect())
        };
        let gatherer = start(bounds(10, 1), ask);
        let failed = gatherer.find(0).await;
        assert!(matches!(failed, Err(StorageError::Unavailable { .. })));
        assert_eq!(gatherer.find(1).await, Ok(Some(1)));
    }

    #[actix_rt::test]
    async fn more_look_ups_than_may_wait_are_refused() {
        let fake = Arc::new(Fake::default());
        let gatherer = fake.gatherer(bounds(2, 1));
        let first = look_up(&gatherer, &[FIRST]).await;
        fake.begun.notified().await;
        let waiting = look_up(&gatherer, &["a", "b"]).await;
        let refused = gatherer.find("c").await;
        assert_eq!(refused, Err(StorageError::TooManyLookUps));
        fake.go_on.notify_one();
        assert_eq!(answers(first).await, [Ok(None)]);
        fake.go_on.notify_one();
        assert_eq!(answers(waiting).await, [Ok(None), Ok(None)]);
        assert_eq!(fake.statements(), [vec![FIRST], vec!["a", "b"]]);
    }

    #[actix_rt::test]
    async fn who_has_given_up_is_not_asked_for() {
        let fake = Arc::new(Fake::default());
        let gatherer = fake.gatherer(bounds(10, 1));
        let first = look_up(&gatherer, &[FIRST]).await;
        fake.begun.notified().await;
        for gone in look_up(&gatherer, &["gone", "gone"]).await {
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        fake.go_on.notify_one();
        answers(first).await;
        let next = look_up(&gatherer, &["next"]).await;
        fake.go_on.notify_one();
        answers(next).await;
        assert_eq!(fake.statements(), [vec![FIRST], vec!["next"]]);
    }

    /// As fast as the machine can: nothing here depends on how fast that is.
    #[actix_rt::test]
    async fn a_flood_costs_few_statements_and_everybody_is_answered() {
        const LOOK_UPS: usize = 50_000;
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&sizes);
        let ask = move |keys: Vec<usize>| {
            counted.lock().unwrap().push(keys.len());
            async move { Ok(keys.into_iter().map(|key| (key, key)).collect()) }
        };
        let began = Instant::now();
        let gatherer = &start(bounds(1_000, 5), ask);
        let mut numbers = 0..LOOK_UPS;
        while !numbers.is_empty() {
            // Some alone, some together.
            let together = if numbers.start < 100 { 1 } else { 1_000 };
            let asked = numbers.by_ref().take(together);
            let asked = asked.map(|key| async move { (key, gatherer.find(key).await) });
            for (key, answer) in join_all(asked.collect::<Vec<_>>()).await {
                assert_eq!(answer, Ok(Some(key)));
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let sizes = sizes.lock().unwrap();
        let most = f64::from(BURST) + f64::from(PACE) * seconds + 2.0;
        assert!(sizes.len() as f64 <= most, "{} in {seconds} s", sizes.len());
        assert!(sizes.iter().all(|size| *size <= MOST_AT_ONCE));
    }

    #[test]
    fn statements_keep_the_pace_after_a_burst() {
        let start = Instant::now() + Pace::SAVED_UP;
        let pace = Pace::starting(start);
        let begin_at = |now| iter::repeat_with(|| pace.next(now)).take(100).collect();
        for now in [start, start + Duration::from_secs(3600)] {
            let begins: Vec<Instant> = begin_at(now);
            let at_once = begins.iter().filter(|begins| **begins <= now).count();
            assert_eq!(at_once, BURST as usize + 1);
            let last = now + Pace::PAUSE * (99 - BURST);
            assert_eq!(begins[99], last);
        }
    }
}
