//! The limit of open files: each running request takes two, its client's connection and its
//! provider's.

/// What isn't connections: the database's and Redis's connections, files, the runtime's own.
const RESERVE: u64 = 256;

/// Raises the soft limit to the hard one: the usual soft limit of 1024 is meant for programs that
/// use `select`. Answers the limit in force, if the system tells it.
pub(super) fn raise_limit() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            log::info!("file descriptors: up to {limit}");
            Some(limit)
        }
        Err(error) => {
            log::warn!("the limit of file descriptors can't be raised: {error}");
            None
        }
    }
}

/// How many clients' connections each of `workers` may hold: all that `limit` leaves once each
/// running request has its connection to a provider. More wait to be accepted.
pub(super) fn connections_per_worker(limit: Option<u64>, requests: usize, workers: usize) -> usize {
    let limit = limit.unwrap_or(u64::MAX);
    let requests = requests as u64;
    if limit < 2 * requests + RESERVE {
        log::warn!(
            "MAX_CONCURRENT_REQUESTS={requests} may need {} file descriptors, but only {limit} are allowed: raise the limit (ulimit -n, LimitNOFILE=) or lower the setting",
            2 * requests + RESERVE,
        );
    }
    // With too few, clients and providers share them evenly.
    let left = limit.saturating_sub(requests + RESERVE).max(limit / 2);
    usize::try_from(left)
        .unwrap_or(usize::MAX)
        .div_ceil(workers)
        .clamp(1, MOST_CONNECTIONS)
}

/// actix-server's own default: more than this on one thread serves nobody.
const MOST_CONNECTIONS: usize = 25_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_their_providers() {
        assert_eq!(connections_per_worker(Some(20_000), 4096, 2), 7_824);
        assert_eq!(connections_per_worker(Some(1_024), 4096, 2), 256);
        assert_eq!(
            connections_per_worker(Some(1 << 20), 4096, 2),
            MOST_CONNECTIONS
        );
        assert_eq!(connections_per_worker(None, 4096, 2), MOST_CONNECTIONS);
    }
}
