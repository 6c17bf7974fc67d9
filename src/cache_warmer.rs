//! The cache warmer: an actor that keeps tiers 1 and 2 right. One task, one mailbox; the only
//! writer of Redis, and the only one that takes entries out of the in-process tier.
//!
//! Its jobs run side by side, and none of them holds up the mailbox: *hearing* (reads the change
//! counter and the log), *pushing* (brings Redis up to date by a delta), *warming up* (fills Redis
//! whole) and *pruning* (the log and the audit). Their rules are in `docs/ARCHITECTURE.md`.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use redis::RedisError;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Interval, MissedTickBehavior, interval_at, sleep, timeout},
};

use crate::{
    fail_points::fail_point,
    storage::{
        StorageError,
        database::{Changes, Database, Delta, Entry, Listener, Stamp},
        freshness::Freshness,
        memory::Memory,
        metrics::WarmerCounts,
        redis_cache::{Mark, RedisCache, Writer},
    },
};

/// Messages that may wait. Senders wait when it is full; there are never more than admin calls.
const MAILBOX: usize = 64;
/// How often the counter is read although nobody notified: several times within the lease.
const POLL: Duration = Duration::from_millis(200);
/// How long a read of the counter is waited for, on the listening connection and then through the
/// pool. Together with [`POLL`] less than the lease, so that by its end it is known whether the
/// database is there. An answer that takes longer is not given up: the next hearing takes it in.
const LISTENER_TIMEOUT: Duration = Duration::from_millis(300);
const POOL_TIMEOUT: Duration = Duration::from_millis(400);
/// A delta that lost the race so often has plenty of company to leave the work to.
const PUSH_ATTEMPTS: usize = 5;
/// A warm-up that failed is tried again after this time.
const WARM_UP_PAUSE: Duration = Duration::from_secs(1);

/// What the warmer works on.
pub(crate) struct Tiers {
    pub(crate) memory: Arc<Memory>,
    pub(crate) freshness: Arc<Freshness>,
    pub(crate) redis: Option<Arc<RedisCache>>,
    /// For readiness: whether Redis held whole contents when last seen.
    pub(crate) redis_is_whole: Arc<AtomicBool>,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) rewarm_interval: Duration,
    pub(crate) counts: WarmerCounts,
}

/// A handle to the warmer. It ends when told to, or when the last handle is gone.
#[derive(Clone)]
pub(crate) struct CacheWarmer {
    mailbox: mpsc::Sender<Message>,
}

enum Message {
    /// A mutation of this replica's is durable.
    Committed {
        changes: Changes,
        applied: oneshot::Sender<()>,
    },
    /// A look-up found Redis ahead of this replica.
    Heard(Stamp),
    /// Somebody waits for the first attempt to hear and to push.
    Settle {
        settled: oneshot::Sender<()>,
    },
    Stop {
        stopped: oneshot::Sender<()>,
    },
}

impl CacheWarmer {
    /// Starts the task on the current runtime.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that starts the warmer"
    )]
    pub(crate) fn start(tiers: Tiers) -> Self {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        tokio::spawn(Warmer::new(tiers, mailbox).run());
        Self { mailbox: sender }
    }

    /// Tells of a durable mutation, and waits until this replica can't answer from before it.
    pub(crate) async fn committed(&self, changes: Changes) {
        let (applied, done) = oneshot::channel();
        let message = Message::Committed { changes, applied };
        if self.mailbox.send(message).await.is_err() || done.await.is_err() {
            // Stopping, or broken: the lease ends within a second, and with it all trust.
            log::warn!("cache warmer: gone before a change could be applied");
        }
    }

    /// Tells that Redis is ahead. May be lost: the next look-up will tell again.
    pub(crate) fn heard(&self, stamp: Stamp) {
        let _ = self.mailbox.try_send(Message::Heard(stamp));
    }

    /// Waits until the database and Redis have been tried once, so that a fresh process knows
    /// where it stands before it is asked.
    pub(crate) async fn settled(&self) {
        let (settled, done) = oneshot::channel();
        if self.mailbox.send(Message::Settle { settled }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Waits until the task has ended, for whatever reason.
    pub(crate) async fn ended(&self) {
        self.mailbox.closed().await;
    }

    /// Ends the task, and waits until it has ended.
    pub(crate) async fn stop(&self) {
        let (stopped, done) = oneshot::channel();
        if self.mailbox.send(Message::Stop { stopped }).await.is_ok() {
            let _ = done.await;
        }
    }
}

/// A job under way, if there is one.
struct Job<T>(Option<BoxFuture<'static, T>>);

impl<T> Job<T> {
    fn start(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(work.boxed());
    }

    fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for its end; for ever where there is none. Safe to abandon.
    async fn end(&mut self) -> T {
        let Some(work) = &mut self.0 else {
            return pending().await;
        };
        let result = work.await;
        self.0 = None;
        result
    }
}

struct Warmer {
    tiers: Tiers,
    mailbox: mpsc::Receiver<Message>,
    /// Tier 1 has been brought up to this version.
    position: Option<Stamp>,
    /// Tier 1 was emptied for this version, which the log could not explain.
    emptied_at: Option<Stamp>,
    hearing: Job<Hearing>,
    /// Opens a listening connection, which may take longer than a hearing.
    listening: Job<Result<Option<Listener>, StorageError>>,
    pushing: Job<Pushing>,
    warming: Job<Result<Stamp, WarmUpError>>,
    pruning: Job<Result<(), StorageError>>,
    /// Admin calls that wait for the push under way, and for the one after it.
    pushed_now: Vec<oneshot::Sender<()>>,
    pushed_next: Vec<oneshot::Sender<()>>,
    /// Those who wait for the first attempts.
    settling: Vec<oneshot::Sender<()>>,
    /// Opened, and not used yet.
    listener: Option<Listener>,
    /// A read of the counter that was not answered in time, and may still be.
    reading: Option<Reading>,
    /// Kept open between pushes.
    writer: Option<Writer>,
    unpushed: Unpushed,
    /// Redis is to be filled whole, and has not been since.
    warm_up_is_due: bool,
    /// No warm-up before this time.
    warm_up_not_before: Instant,
    rewarm: Interval,
    /// How the last attempts went: each change is logged.
    hearings_succeed: bool,
    redis_answers: bool,
    warm_ups_succeed: bool,
    prunings_succeed: bool,
}

enum Event {
    Message(Option<Message>),
    Heard(Hearing),
    Listening(Result<Option<Listener>, StorageError>),
    Pushed(Pushing),
    Warmed(Result<Stamp, WarmUpError>),
    Pruned(Result<(), StorageError>),
    RewarmDue,
}

impl Warmer {
    fn new(tiers: Tiers, mailbox: mpsc::Receiver<Message>) -> Self {
        let first = tokio::time::Instant::now() + tiers.rewarm_interval;
        let mut rewarm = interval_at(first, tiers.rewarm_interval);
        rewarm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            tiers,
            mailbox,
            position: None,
            emptied_at: None,
            hearing: Job(None),
            listening: Job(None),
            pushing: Job(None),
            warming: Job(None),
            pruning: Job(None),
            pushed_now: Vec::new(),
            pushed_next: Vec::new(),
            settling: Vec::new(),
            listener: None,
            reading: None,
            writer: None,
            unpushed: Unpushed::default(),
            warm_up_is_due: false,
            warm_up_not_before: Instant::now(),
            rewarm,
            hearings_succeed: true,
            redis_answers: true,
            warm_ups_succeed: true,
            prunings_succeed: true,
        }
    }

    async fn run(mut self) {
        self.start_hearing(None, Duration::ZERO);
        loop {
            match self.next_event().await {
                Event::Message(Some(Message::Committed { changes, applied })) => {
                    self.apply_commit(changes, applied);
                }
                Event::Message(Some(Message::Heard(stamp))) => self.hear_from_redis(stamp),
                Event::Message(Some(Message::Settle { settled })) => self.settling.push(settled),
                Event::Message(Some(Message::Stop { stopped })) => {
                    // The jobs end here too; the database's log has whatever they leave undone.
                    drop(self);
                    let _ = stopped.send(());
                    return;
                }
                Event::Message(None) => return,
                Event::Heard(hearing) => self.finish_hearing(hearing),
                // What fails here, fails or is late in the next hearing too, which says so.
                Event::Listening(opened) => self.listener = opened.ok().flatten(),
                Event::Pushed(pushing) => self.finish_push(pushing),
                Event::Warmed(result) => self.finish_warm_up(result),
                Event::Pruned(result) => self.finish_pruning(result),
                Event::RewarmDue => {
                    self.start_pruning();
                    self.warm_up_is_due = true;
                    self.start_push();
                }
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        tokio::select! {
            message = self.mailbox.recv() => Event::Message(message),
            hearing = self.hearing.end() => Event::Heard(hearing),
            opened = self.listening.end() => Event::Listening(opened),
            pushing = self.pushing.end() => Event::Pushed(pushing),
            warmed = self.warming.end() => Event::Warmed(warmed),
            pruned = self.pruning.end() => Event::Pruned(pruned),
            _ = self.rewarm.tick() => Event::RewarmDue,
        }
    }

    /// Tier 1 first, so that this replica is right whatever becomes of Redis. The version is made
    /// known before anything is taken out: a look-up that begins in between must not believe an
    /// older Redis, and put back what has just gone.
    fn apply_commit(&mut self, changes: Changes, applied: oneshot::Sender<()>) {
        let stamp = changes.delta.stamp();
        self.tiers.freshness.hear(stamp);
        fail_point!("known");
        self.tiers.memory.invalidate(&changes.delta.entries());
        if let Some(position) = self.position
            && position.epoch == stamp.epoch
            && position.version == changes.before
        {
            self.stand_at(stamp);
        }
        fail_point!("invalidated");
        let Some(redis) = &self.tiers.redis else {
            let _ = applied.send(());
            return;
        };
        if redis.is_connected() || self.redis_answers {
            self.pushed_next.push(applied);
        } else {
            // Nobody here reads Redis now, nobody will before it has caught up, and to wait for a
            // Redis that couldn't be written a moment ago would be in vain.
            let _ = applied.send(());
        }
        self.unpushed.add(changes);
        self.start_push();
    }

    /// A look-up saw Redis ahead. While the database can be heard, it is the judge.
    fn hear_from_redis(&mut self, stamp: Stamp) {
        let freshness = &self.tiers.freshness;
        let is_cut_off = !freshness.database_answers() || !freshness.is_trusted();
        if is_cut_off && freshness.hear(stamp) {
            self.empty_if_behind();
        }
    }

    /// Without the log, everything that is held may be outdated once something newer was heard of.
    /// What is filled afterwards knows as much; so once for each version is enough.
    fn empty_if_behind(&mut self) {
        let known = self.tiers.freshness.known();
        if known.is_some() && known != self.position && known != self.emptied_at {
            self.emptied_at = known;
            self.tiers.memory.invalidate(&[Entry::Everything]);
        }
    }

    fn start_hearing(&mut self, listener: Option<Listener>, wait: Duration) {
        let database = Arc::clone(&self.tiers.database);
        let freshness = Arc::clone(&self.tiers.freshness);
        let standing = Standing {
            position: self.position,
            listener,
            reading: self.reading.take(),
        };
        self.hearing
            .start(hear(database, freshness, standing, wait));
    }

    fn finish_hearing(&mut self, hearing: Hearing) {
        self.tiers.counts.hearings.count(hearing.news.is_ok());
        match hearing.news {
            Ok(news) => {
                let is_first = self.position.is_none();
                self.take_in(&news);
                self.tiers.freshness.set_database_answers(true);
                if !self.hearings_succeed {
                    log::info!("database: changes are heard again");
                }
                self.hearings_succeed = true;
                if is_first {
                    // Whatever Redis holds is from before this process; a restored backup may
                    // even have reached the same version again.
                    self.warm_up_is_due = true;
                    self.start_pruning();
                }
            }
            Err(error) => {
                let is_away = matches!(error, StorageError::Unavailable { .. });
                self.tiers.freshness.set_database_answers(!is_away);
                self.empty_if_behind();
                if self.hearings_succeed {
                    log::warn!("database: changes cannot be heard ({error})");
                }
                self.hearings_succeed = false;
            }
        }
        self.reading = hearing.reading;
        self.start_push();
        if self.tiers.redis.is_none() {
            self.settle();
        }
        let listener = hearing.listener.or_else(|| self.listener.take());
        if listener.is_none() {
            self.start_listening();
        }
        self.start_hearing(listener, POLL);
    }

    /// Meanwhile the counter is read through the pool; only notifications are missing.
    fn start_listening(&mut self) {
        if !self.listening.is_running() {
            let database = Arc::clone(&self.tiers.database);
            self.listening.start(async move { database.listen().await });
        }
    }

    /// The first push follows the first hearing, so its end is the end of both.
    fn settle(&mut self) {
        for settled in self.settling.drain(..) {
            let _ = settled.send(());
        }
    }

    /// Brings tier 1 up to what was heard, and only then renews its lease.
    fn take_in(&mut self, news: &News) {
        // This replica's own commits have often been applied by the time that the log tells of
        // them; to drop what was filled since would be a waste.
        let is_old = self
            .position
            .is_some_and(|position| position.covers(&news.stamp));
        if news.went_back {
            log::warn!("database: it is another one, or a backup was restored; starting afresh");
            // Its epoch is new, so this is news, unless a commit of this replica's was newer.
            self.tiers.freshness.hear(news.stamp);
            self.tiers.memory.invalidate(&[Entry::Everything]);
            self.unpushed.forget_other_epochs(&news.stamp);
            self.stand_at(news.stamp);
        } else if !is_old {
            self.tiers.freshness.hear(news.stamp);
            self.tiers.memory.invalidate(&news.entries);
            self.stand_at(news.stamp);
        }
        self.tiers.freshness.renew(news.asked);
    }

    fn stand_at(&mut self, stamp: Stamp) {
        self.position = Some(stamp);
        self.tiers.counts.memory_version.set(stamp.version);
    }

    fn start_push(&mut self) {
        let Some(redis) = &self.tiers.redis else {
            return;
        };
        if self.pushing.is_running() {
            return;
        }
        self.pushed_now.append(&mut self.pushed_next);
        self.pushing.start(push(
            Arc::clone(redis),
            Arc::clone(&self.tiers.database),
            self.writer.take(),
            Known {
                newest: self.tiers.freshness.known(),
                commits: self.unpushed.clone(),
            },
        ));
    }

    fn finish_push(&mut self, pushing: Pushing) {
        fail_point!("push-ended");
        self.tiers.counts.pushes.count(pushing.outcome.is_ok());
        let is_whole = match &pushing.outcome {
            Ok(Outcome::Whole(stamp)) => {
                self.unpushed.forget_up_to(stamp);
                self.tiers.counts.redis_version.set(stamp.version);
                self.take_in_mark(*stamp, pushing.asked)
            }
            Ok(Outcome::Overtaken) => true,
            Ok(Outcome::NeedsWarmUp) => {
                self.warm_up_is_due = true;
                false
            }
            Err(error) => {
                if let Some(redis) = &self.tiers.redis {
                    redis.close_lookups(error);
                }
                false
            }
        };
        if self.warm_up_is_due && pushing.outcome.is_ok() {
            self.start_warm_up();
        }
        self.note_redis(pushing.outcome.as_ref().err());
        self.tiers.redis_is_whole.store(is_whole, Ordering::Release);
        self.writer = pushing.writer;
        // Done, or not to be done now: then Redis is behind what this replica knows, and unread.
        for applied in self.pushed_now.drain(..) {
            fail_point!("pushed");
            let _ = applied.send(());
        }
        self.settle();
        if !self.pushed_next.is_empty() {
            self.start_push();
        }
    }

    fn note_redis(&mut self, error: Option<&RedisError>) {
        match error {
            Some(error) if self.redis_answers => {
                log::warn!("redis: cannot be used; the database answers look-ups ({error})");
            }
            None if !self.redis_answers => log::info!("redis: answers again"),
            _ => {}
        }
        if error.is_some() {
            self.tiers.counts.redis_write_errors.inc();
        }
        self.redis_answers = error.is_none();
    }

    /// Redis that knows all that this replica knows is as good a contact as the database.
    fn take_in_mark(&self, stamp: Stamp, asked: Instant) -> bool {
        let known = self.tiers.freshness.known();
        if known == Some(stamp) {
            self.tiers.freshness.contacted(asked);
        }
        known.is_none_or(|known| stamp.covers(&known))
    }

    fn start_warm_up(&mut self) {
        let Some(redis) = self.tiers.redis.clone() else {
            return;
        };
        if self.warming.is_running() || Instant::now() < self.warm_up_not_before {
            return;
        }
        self.warm_up_is_due = false;
        let database = Arc::clone(&self.tiers.database);
        self.warming
            .start(async move { warm_up(&redis, &*database).await });
    }

    fn finish_warm_up(&mut self, result: Result<Stamp, WarmUpError>) {
        fail_point!("warm-up-ended");
        self.tiers.counts.warm_ups.count(result.is_ok());
        match result {
            Ok(stamp) => {
                log::debug!("redis: whole at version {}", stamp.version);
                self.warm_ups_succeed = true;
            }
            Err(error) => {
                if self.warm_ups_succeed {
                    log::warn!("redis: the warm-up failed and will be tried again ({error})");
                }
                if matches!(error, WarmUpError::Redis(_)) {
                    self.tiers.counts.redis_write_errors.inc();
                }
                self.warm_ups_succeed = false;
                self.warm_up_is_due = true;
                self.warm_up_not_before = Instant::now() + WARM_UP_PAUSE;
            }
        }
        self.start_push();
    }

    fn start_pruning(&mut self) {
        if !self.pruning.is_running() {
            let database = Arc::clone(&self.tiers.database);
            self.pruning.start(async move { database.prune().await });
        }
    }

    fn finish_pruning(&mut self, result: Result<(), StorageError>) {
        if let Err(error) = &result
            && self.prunings_succeed
        {
            log::warn!(
                "database: old changes and audit entries stay for now, and will be pruned later ({error})"
            );
        }
        self.tiers.counts.prunings.count(result.is_ok());
        self.prunings_succeed = result.is_ok();
    }
}

/// What came of listening once.
struct Hearing {
    /// To listen on, unless it was lost.
    listener: Option<Listener>,
    /// Not answered in time, but not lost either.
    reading: Option<Reading>,
    news: Result<News, StorageError>,
}

struct News {
    /// When the question was asked: whatever happened later may be missing.
    asked: Instant,
    /// The database is behind what was heard of before: a backup was restored, or it is another.
    went_back: bool,
    stamp: Stamp,
    entries: Vec<Entry>,
}

/// What a hearing goes out from.
struct Standing {
    /// Where tier 1 stands; nowhere before the first hearing.
    position: Option<Stamp>,
    listener: Option<Listener>,
    reading: Option<Reading>,
}

/// A read of the counter through the pool, under way.
struct Reading {
    question: Question,
    answer: BoxFuture<'static, Result<Stamp, StorageError>>,
}

/// When the counter was asked for, and the newest version that had been heard of by then, from anyone.
#[derive(Clone, Copy)]
struct Question {
    asked: Instant,
    known: Option<Stamp>,
}

impl Question {
    fn now(freshness: &Freshness) -> Self {
        Self {
            known: freshness.known(),
            asked: Instant::now(),
        }
    }
}

/// Waits for a notification or for `wait`, then reads the counter, and the log if it moved.
async fn hear(
    database: Arc<dyn Database>,
    freshness: Arc<Freshness>,
    standing: Standing,
    wait: Duration,
) -> Hearing {
    let position = standing.position;
    let mut listener = await_commit(standing.listener, wait).await;
    let mut reading = standing.reading;
    let news = async {
        if position.is_none() {
            database.prepare().await?;
        }
        let (question, mut stamp) =
            read_counter(&database, &freshness, &mut listener, &mut reading).await?;
        // Whatever was heard of before the question was asked had been committed by then.
        let known = question.known;
        let went_back = known.is_some_and(|known| !stamp.covers(&known));
        if went_back && known.is_some_and(|known| known.epoch == stamp.epoch) {
            stamp = database.begin_epoch(stamp.epoch).await?;
        }
        // Even if the log can't be read: a Redis that is behind is not to be believed any more.
        freshness.hear(stamp);
        let (stamp, entries) = read_log(&*database, position, stamp).await?;
        Ok(News {
            asked: question.asked,
            went_back,
            stamp,
            entries,
        })
    }
    .await;
    Hearing {
        listener,
        reading,
        news,
    }
}

async fn await_commit(listener: Option<Listener>, wait: Duration) -> Option<Listener> {
    let Some(mut listener) = listener else {
        sleep(wait).await;
        return None;
    };
    match timeout(wait, listener.changed()).await {
        Ok(Err(_)) => None,
        Ok(Ok(())) | Err(_) => Some(listener),
    }
}

/// Answers what it asked, too. A listener that doesn't answer in time is given up, because its
/// connection may be half dead; then the pool is asked, and what it doesn't answer in time is
/// waited for again in the next hearing: a database that is slow must not pass for one that is away
/// for longer than it takes to answer.
async fn read_counter(
    database: &Arc<dyn Database>,
    freshness: &Freshness,
    listener: &mut Option<Listener>,
    reading: &mut Option<Reading>,
) -> Result<(Question, Stamp), StorageError> {
    if let Some(mut direct) = listener.take() {
        let question = Question::now(freshness);
        if let Ok(Ok(stamp)) = timeout(LISTENER_TIMEOUT, direct.stamp()).await {
            *listener = Some(direct);
            *reading = None;
            return Ok((question, stamp));
        }
    }
    let mut late = reading.take().unwrap_or_else(|| {
        let database = Arc::clone(database);
        Reading {
            question: Question::now(freshness),
            answer: async move { database.stamp().await }.boxed(),
        }
    });
    match timeout(POOL_TIMEOUT, &mut late.answer).await {
        Ok(answer) => Ok((late.question, answer?)),
        Err(_) => {
            *reading = Some(late);
            Err(StorageError::Unavailable {
                reason: "the database did not answer in time".to_owned(),
                cause: None,
            })
        }
    }
}

/// What changed after `position`. Before the first hearing nothing is known about what is held.
async fn read_log(
    database: &dyn Database,
    position: Option<Stamp>,
    stamp: Stamp,
) -> Result<(Stamp, Vec<Entry>), StorageError> {
    match position {
        Some(position) if position == stamp => Ok((stamp, Vec::new())),
        Some(position) if position.epoch == stamp.epoch => {
            let (stamp, entries) = database.entries_since(position.version).await?;
            match stamp.epoch == position.epoch {
                true => Ok((stamp, entries)),
                // Another one has begun since the counter was read.
                false => Ok((stamp, vec![Entry::Everything])),
            }
        }
        _ => Ok((stamp, vec![Entry::Everything])),
    }
}

/// What came of a push.
struct Pushing {
    asked: Instant,
    /// To be used again, unless it failed.
    writer: Option<Writer>,
    outcome: Result<Outcome, RedisError>,
}

enum Outcome {
    /// Redis is whole at this version: the newest, as far as the database can be asked.
    Whole(Stamp),
    /// Others moved it on each time; they will have left it whole.
    Overtaken,
    /// Redis holds nothing that a delta could build on.
    NeedsWarmUp,
}

/// What a push goes out from.
struct Known {
    /// The newest version heard of. Memory may not have reached it: a commit of this replica's may
    /// have found one of another's that it hadn't heard of yet, and Redis may lack both.
    newest: Option<Stamp>,
    commits: Unpushed,
}

/// This replica's own commits that Redis may not have yet, oldest first. With them Redis is brought
/// up to date without the database, which may have gone away just after the commit: who can't hear
/// of that change would otherwise go by Redis, and be told what was before.
#[derive(Clone, Default)]
struct Unpushed(VecDeque<Arc<Changes>>);

/// So many admin calls in a row while Redis is away; then the database tells, or a warm-up.
const MOST_UNPUSHED: usize = 100;

impl Unpushed {
    fn add(&mut self, changes: Changes) {
        if self.0.len() == MOST_UNPUSHED {
            self.0.pop_front();
        }
        self.0.push_back(Arc::new(changes));
    }

    /// What belongs to a history that a restored backup has ended.
    fn forget_other_epochs(&mut self, stamp: &Stamp) {
        self.0
            .retain(|changes| changes.delta.stamp().epoch == stamp.epoch);
    }

    fn forget_up_to(&mut self, stamp: &Stamp) {
        self.0
            .retain(|changes| !stamp.covers(&changes.delta.stamp()));
    }

    /// What leads on from a version; each can be taken once.
    fn take_after(&mut self, stamp: &Stamp) -> Option<Arc<Changes>> {
        let leads_on = |changes: &Arc<Changes>| {
            changes.before == stamp.version && changes.delta.stamp().epoch == stamp.epoch
        };
        let index = self.0.iter().position(leads_on)?;
        self.0.remove(index)
    }
}

/// Sees that Redis answers and is whole, and brings it up to date by a delta where it is behind.
async fn push(
    redis: Arc<RedisCache>,
    database: Arc<dyn Database>,
    writer: Option<Writer>,
    known: Known,
) -> Pushing {
    let asked = Instant::now();
    let mut kept = writer;
    let outcome = async {
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => redis.writer().await?,
        };
        let probed = Instant::now();
        let mark = redis.mark(&mut writer).await?;
        let is_quick = probed.elapsed() < redis.timeout();
        let outcome = catch_up(&redis, &*database, &mut writer, mark, known).await?;
        if is_quick {
            // Slower, and every look-up would wait in vain before it asked the database.
            redis.open_lookups().await?;
        }
        kept = Some(writer);
        Ok(outcome)
    }
    .await;
    Pushing {
        asked,
        writer: kept,
        outcome,
    }
}

async fn catch_up(
    redis: &RedisCache,
    database: &dyn Database,
    writer: &mut Writer,
    mut found: Option<Mark>,
    mut known: Known,
) -> Result<Outcome, RedisError> {
    for _ in 0..PUSH_ATTEMPTS {
        found = push_own(redis, writer, found, &mut known.commits).await?;
        let Some(mark) = found else {
            return Ok(Outcome::NeedsWarmUp);
        };
        if known.newest == Some(mark.stamp) {
            return Ok(Outcome::Whole(mark.stamp));
        }
        let Ok(delta) = database.changes_since(mark.stamp.version).await else {
            // Nobody can say whether it is behind; look-ups compare it with what they know.
            return Ok(Outcome::Whole(mark.stamp));
        };
        let stamp = delta.stamp();
        if stamp == mark.stamp {
            return Ok(Outcome::Whole(stamp));
        }
        fail_point!("delta-read");
        match delta {
            Delta::Entries { keys, routes, .. } if stamp.epoch == mark.stamp.epoch => {
                if redis.apply(writer, &mark, stamp, &keys, &routes).await? {
                    return Ok(Outcome::Whole(stamp));
                }
            }
            _ => {
                if stamp.epoch != mark.stamp.epoch {
                    log::warn!(
                        "redis: it held another database's contents under this CACHE_PREFIX"
                    );
                }
                redis.forget(writer, &mark).await?;
                return Ok(Outcome::NeedsWarmUp);
            }
        }
        found = redis.mark(writer).await?;
    }
    Ok(Outcome::Overtaken)
}

/// Applies what this replica committed, as far as that leads on from where Redis is. Answers the
/// mark that is there then.
async fn push_own(
    redis: &RedisCache,
    writer: &mut Writer,
    mut found: Option<Mark>,
    commits: &mut Unpushed,
) -> Result<Option<Mark>, RedisError> {
    while let Some(mark) = found
        && let Some(changes) = commits.take_after(&mark.stamp)
        && let Delta::Entries {
            stamp,
            keys,
            routes,
        } = &changes.delta
    {
        fail_point!("delta-read");
        redis.apply(writer, &mark, *stamp, keys, routes).await?;
        found = redis.mark(writer).await?;
    }
    Ok(found)
}

/// Why a warm-up failed.
#[derive(Debug, derive_more::Display, derive_more::From)]
enum WarmUpError {
    Database(StorageError),
    Redis(RedisError),
}

/// Fills Redis whole: a dump at one snapshot, written aside, swapped in unless something newer
/// is there. Requests are answered all the while.
async fn warm_up(redis: &RedisCache, database: &dyn Database) -> Result<Stamp, WarmUpError> {
    let mut writer = redis.writer().await?;
    let (sender, batches) = mpsc::channel(4);
    let dump = async { database.dump(sender).await.map_err(WarmUpError::from) };
    let stage = async { Ok(redis.stage(&mut writer, batches).await?) };
    let (stamp, staged) = futures_util::try_join!(dump, stage)?;
    fail_point!("staged");
    redis.swap(&mut writer, staged, stamp).await?;
    Ok(stamp)
}
