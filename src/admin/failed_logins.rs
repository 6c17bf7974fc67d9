//! Who tried wrong admin keys, how often, and how long the next refusal is held back. Bounded in
//! memory, whoever comes from however many addresses.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A typing error or two cost nothing.
const FREE_FAILURES: u32 = 3;
/// The first delay; each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Long enough to make guessing pointless, shorter than the time limits of clients.
const LONGEST_DELAY: Duration = Duration::from_millis(3_200);
/// A peer that has been quiet for so long starts afresh.
const MEMORY: Duration = Duration::from_secs(600);
/// Peers that are remembered; about 64 bytes each.
const MAX_PEERS: usize = 4_096;
/// Lines of the log in one second, from all peers together.
const LINES_PER_SECOND: u32 = 5;

/// The record of all peers.
#[derive(Debug, Default)]
pub(super) struct FailedLogins(Mutex<Record>);

/// What to do about one failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// How long to hold the refusal back.
    pub(super) delay: Duration,
    /// What to log, where it is time to.
    pub(super) line: Option<String>,
}

#[derive(Debug, Default)]
struct Record {
    peers: HashMap<IpAddr, Peer>,
    lines: Lines,
}

#[derive(Debug)]
struct Peer {
    failures: u32,
    last: Instant,
}

impl FailedLogins {
    /// Counts a failure at `now`.
    pub(super) fn note(&self, address: IpAddr, now: Instant) -> Failure {
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = record.count(network(address), now);
        // The 1st, 2nd, 4th, 8th … of a peer: a few lines tell of any number.
        let line = failures
            .is_power_of_two()
            .then(|| record.lines.next(address, failures, now))
            .flatten();
        let delay = delay(failures);
        Failure { delay, line }
    }
}

impl Record {
    fn count(&mut self, network: IpAddr, now: Instant) -> u32 {
        if !self.peers.contains_key(&network) && self.peers.len() >= MAX_PEERS {
            self.make_room(now);
        }
        let peer = self.peers.entry(network).or_insert(Peer {
            failures: 0,
            last: now,
        });
        if now.duration_since(peer.last) >= MEMORY {
            peer.failures = 0;
        }
        peer.failures = peer.failures.saturating_add(1);
        peer.last = now;
        peer.failures
    }

    /// Forgets all that have been quiet for long, or else the one that has been quiet for longest.
    fn make_room(&mut self, now: Instant) {
        self.peers
            .retain(|_, peer| now.duration_since(peer.last) < MEMORY);
        if self.peers.len() >= MAX_PEERS {
            let quietest = self.peers.iter().min_by_key(|(_, peer)| peer.last);
            if let Some(network) = quietest.map(|(network, _)| *network) {
                self.peers.remove(&network);
            }
        }
    }
}

/// Lines of the log, limited over all peers: many addresses must not fill a disk either.
#[derive(Debug, Default)]
struct Lines {
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Lines {
    fn next(&mut self, address: IpAddr, failures: u32, now: Instant) -> Option<String> {
        let is_same_second = self
            .second
            .is_some_and(|second| now.duration_since(second) < Duration::from_secs(1));
        if !is_same_second {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written >= LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        let left_out = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            number => format!("; {number} more lines like this were left out"),
        };
        Some(format!(
            "a wrong admin key from {address}, failure {failures} from there{left_out}"
        ))
    }
}

/// An IPv6 customer has a whole /64 to take addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn delay(failures: u32) -> Duration {
    match failures.saturating_sub(FREE_FAILURES) {
        0 => Duration::ZERO,
        counted => FIRST_DELAY
            .saturating_mul(1 << (counted - 1).min(16))
            .min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn the_delay_grows_with_each_failure_up_to_a_bound() {
        let failed = FailedLogins::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..12)
            .map(|_| failed.note(peer(1), now).delay.as_millis())
            .collect();
        assert_eq!(
            delays,
            [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 3200, 3200, 3200]
        );
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
        // Nobody else is held up for it.
        assert_eq!(failed.note(peer(2), now).delay, Duration::ZERO);
        assert_eq!(failed.note(peer(1), now + MEMORY).delay, Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let failed = FailedLogins::default();
        let now = Instant::now();
        let peers = u32::try_from(MAX_PEERS).unwrap();
        for number in 0..2 * peers {
            failed.note(peer(number), now + Duration::from_millis(number.into()));
        }
        let record = failed.0.lock().unwrap();
        assert_eq!(record.peers.len(), MAX_PEERS);
        assert!(record.peers.contains_key(&peer(2 * peers - 1)));
        assert!(!record.peers.contains_key(&peer(0)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer() {
        let failed = FailedLogins::default();
        let now = Instant::now();
        for host in 1..=3_u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host);
            assert!(failed.note(address.into(), now).delay.is_zero());
        }
        let fourth = "2001:db8:0:1:ffff::".parse().unwrap();
        assert!(!failed.note(fourth, now).delay.is_zero());
        let elsewhere = "2001:db8:0:2::1".parse().unwrap();
        assert!(failed.note(elsewhere, now).delay.is_zero());
        assert_eq!(
            network("::ffff:10.0.0.1".parse().unwrap()),
            peer(0x0a00_0001)
        );
    }

    #[test]
    fn the_log_tells_of_any_number_in_few_lines() {
        let failed = FailedLogins::default();
        let now = Instant::now();
        let lines: Vec<_> = (0..1_000)
            .filter_map(|_| failed.note(peer(1), now + Duration::from_secs(9)).line)
            .collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines[0].contains("from 0.0.0.1"), "{lines:?}");

        let later = now + Duration::from_secs(60);
        let flood = (2..5_000).filter_map(|number| failed.note(peer(number), later).line);
        assert_eq!(flood.count(), 5);
        let next = failed
            .note(peer(9_999), later + Duration::from_secs(1))
            .line;
        assert!(next.unwrap().contains("4993 more lines"));
    }
}
