//! How far this replica may trust what it holds: the lease on tier 1, the newest version that it
//! has heard of, and how long it has been cut off.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::database::Stamp;

/// How long tier 1 is trusted after the counter was last read. The warmer reads it several times
/// within this time, so that one slow read costs nothing.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// Never, in the atomics below.
const NEVER: u64 = 0;

/// What the cache warmer knows about the state of the world, for look-ups to read.
pub(crate) struct Freshness {
    /// Instants are kept as milliseconds since this one, plus one (0 is "never").
    origin: Instant,
    trusted_until: AtomicU64,
    last_contact: AtomicU64,
    grace: Duration,
    /// Whether the last attempt to hear from the database succeeded.
    database_answers: AtomicBool,
    /// The newest version heard of, from anyone. Redis is not read while it is behind.
    known: RwLock<Option<Stamp>>,
}

impl Freshness {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            origin: Instant::now(),
            trusted_until: AtomicU64::new(NEVER),
            last_contact: AtomicU64::new(NEVER),
            grace,
            database_answers: AtomicBool::new(true),
            known: RwLock::new(None),
        }
    }

    fn ticks(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.origin).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX - 1) + 1
    }

    /// Whether tier 1 may answer alone: every change up to less than [`LEASE`] ago has been
    /// taken out of it.
    pub(crate) fn is_trusted(&self) -> bool {
        self.ticks(Instant::now()) < self.trusted_until.load(Ordering::Acquire)
    }

    /// Whether what is held may be served although nobody can be asked.
    pub(crate) fn is_within_grace(&self) -> bool {
        let contact = self.last_contact.load(Ordering::Acquire);
        let grace = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        contact != NEVER && self.ticks(Instant::now()) < contact.saturating_add(grace)
    }

    /// How long ago the counter was asked for that was read last.
    pub(super) fn since_heard(&self) -> Option<Duration> {
        let trusted_until = self.trusted_until.load(Ordering::Acquire);
        // A lease begins with the question.
        let asked = trusted_until.checked_sub(self.ticks(self.origin + LEASE) - 1)?;
        self.since(asked)
    }

    /// How long ago somebody was heard who knew all that this replica knows.
    pub(super) fn since_contact(&self) -> Option<Duration> {
        self.since(self.last_contact.load(Ordering::Acquire))
    }

    fn since(&self, ticks: u64) -> Option<Duration> {
        let now = self.ticks(Instant::now());
        (ticks != NEVER).then(|| Duration::from_millis(now.saturating_sub(ticks)))
    }

    /// Whether the last attempt to hear from the database succeeded.
    pub(crate) fn database_answers(&self) -> bool {
        self.database_answers.load(Ordering::Acquire)
    }

    /// To be called by the cache warmer alone.
    pub(crate) fn set_database_answers(&self, answers: bool) {
        self.database_answers.store(answers, Ordering::Release);
    }

    /// The counter was read, by a question asked at `asked`, and tier 1 has been brought up to
    /// the answer.
    pub(crate) fn renew(&self, asked: Instant) {
        let lease = self.ticks(asked + LEASE);
        self.trusted_until.fetch_max(lease, Ordering::AcqRel);
        self.contacted(asked);
    }

    /// Somebody who knows all that this replica knows was heard at `instant`.
    pub(crate) fn contacted(&self, instant: Instant) {
        let contact = self.ticks(instant);
        self.last_contact.fetch_max(contact, Ordering::AcqRel);
    }

    /// The newest version heard of.
    pub(crate) fn known(&self) -> Option<Stamp> {
        *self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of a version. Answers whether it is news.
    pub(crate) fn hear(&self, stamp: Stamp) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = known.is_none_or(|known| !known.covers(&stamp));
        if is_news {
            *known = Some(stamp);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn stamp(version: i64) -> Stamp {
        Stamp {
            epoch: Uuid::nil(),
            version,
        }
    }

    #[test]
    fn trust_begins_with_a_read_of_the_counter_and_ends_with_the_lease() {
        let freshness = Freshness::new(Duration::from_secs(60));
        assert!(!freshness.is_trusted() && !freshness.is_within_grace());
        freshness.renew(Instant::now());
        assert!(freshness.is_trusted() && freshness.is_within_grace());

        let freshness = Freshness {
            origin: Instant::now() - Duration::from_secs(10),
            ..Freshness::new(Duration::from_secs(60))
        };
        freshness.renew(Instant::now() - LEASE);
        assert!(!freshness.is_trusted() && freshness.is_within_grace());
    }

    #[test]
    fn it_is_told_how_long_ago_contact_was() {
        let freshness = Freshness::new(Duration::ZERO);
        let told = |freshness: &Freshness| (freshness.since_heard(), freshness.since_contact());
        assert_eq!(told(&freshness), (None, None));
        let (long_ago, ago) = (Duration::from_secs(100), Duration::from_secs(9));
        let freshness = Freshness {
            origin: Instant::now() - Duration::from_secs(1_000),
            ..freshness
        };
        freshness.renew(Instant::now() - long_ago);
        freshness.contacted(Instant::now() - ago);
        let (heard, contact) = told(&freshness);
        assert!(heard.is_some_and(|age| age >= long_ago - Duration::from_millis(1)));
        assert!(contact.is_some_and(|age| age >= ago - Duration::from_millis(1) && age < long_ago));
    }

    #[test]
    fn without_grace_nothing_is_served_while_cut_off() {
        let freshness = Freshness::new(Duration::ZERO);
        freshness.renew(Instant::now());
        assert!(!freshness.is_within_grace());
    }

    #[test]
    fn the_known_version_only_grows_within_an_epoch() {
        let freshness = Freshness::new(Duration::ZERO);
        assert!(freshness.hear(stamp(5)));
        assert!(!freshness.hear(stamp(4)));
        assert_eq!(freshness.known(), Some(stamp(5)));
        let other = Stamp {
            epoch: Uuid::max(),
            version: 2,
        };
        assert!(freshness.hear(other));
        assert_eq!(freshness.known(), Some(other));
    }
}
