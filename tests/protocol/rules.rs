//! The rules of the protocol. All of them hold in the implementation; a test takes one out at a
//! time, to see that the checker notices.

/// Which rules are followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// An answer is put into memory only if nothing was invalidated since its look-up began.
    pub(crate) fill_check: bool,
    /// A caller doesn't join a look-up that began before an invalidation.
    pub(crate) join_check: bool,
    /// A caller doesn't join a look-up that began longer ago than the lease.
    pub(crate) join_within_lease: bool,
    /// Memory answers alone only within its lease.
    pub(crate) lease: bool,
    /// The lease runs from the question for the counter, not from its answer.
    pub(crate) lease_from_question: bool,
    /// The lease is renewed after the entries of the log were taken out of memory.
    pub(crate) invalidate_before_renewal: bool,
    /// Redis that is behind what this replica heard of is not read.
    pub(crate) dirty: bool,
    /// A version is made known before memory is invalidated for it.
    pub(crate) hear_before_invalidate: bool,
    /// The version that was read from the counter counts at once, before the log is read.
    pub(crate) counter_is_news: bool,
    /// What was ahead of this replica makes it forget what it held.
    pub(crate) ahead_empties: bool,
    /// Redis is asked once more where the database turns out to be away.
    pub(crate) redis_again: bool,
    /// The warmer is told of a commit before the call returns.
    pub(crate) told_before_acknowledged: bool,
    /// A call returns only after the push that began after its commit.
    pub(crate) pushed_before_acknowledged: bool,
    /// A push compares Redis with the newest version heard of, not with where memory stands.
    pub(crate) push_to_known: bool,
    /// What this replica committed itself is pushed without asking the database.
    pub(crate) own_commits: bool,
    /// A delta is applied only to the mark that it was read for.
    pub(crate) compare_and_set: bool,
    /// A delta is applied only to contents that have as many entries as their mark says.
    pub(crate) recount: bool,
    /// A warm-up is swapped in only if nothing newer is there.
    pub(crate) swap_check: bool,
    /// Contents are believed only under a mark that names as many entries as there are.
    pub(crate) count: bool,
    /// What is held is served only within the grace while cut off.
    pub(crate) grace_ends: bool,
    /// A database that went back in time gets another epoch.
    pub(crate) epoch: bool,
    /// Contents are believed only if they are of this replica's epoch.
    pub(crate) same_epoch: bool,
    /// A database that went back doesn't make a replica forget a newer version of the new epoch.
    pub(crate) restart_keeps_news: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        fill_check: true,
        join_check: true,
        join_within_lease: true,
        lease: true,
        lease_from_question: true,
        invalidate_before_renewal: true,
        dirty: true,
        hear_before_invalidate: true,
        counter_is_news: true,
        ahead_empties: true,
        redis_again: true,
        told_before_acknowledged: true,
        pushed_before_acknowledged: true,
        push_to_known: true,
        own_commits: true,
        compare_and_set: true,
        recount: true,
        swap_check: true,
        count: true,
        grace_ends: true,
        epoch: true,
        same_epoch: true,
        restart_keeps_news: true,
    };
}
