//! What there is: a database, Redis, two replicas, and what is on its way between them.
//!
//! The truth is a list of moments, one for each change, and *moment* is an index into it. Moments
//! are known to the checker alone: the protocol sees stamps, and each cache keeps whatever was
//! written to it, right or wrong.

/// How many keys there are. A rotation changes both at once.
pub(crate) const KEYS: usize = 2;

/// Whether each key is active. Whose it is goes with that: the same steps read and write both.
pub(crate) type Contents = [bool; KEYS];

/// An index into the history of the truth.
pub(crate) type Moment = u8;

/// A replica by its index. Look-ups are watched at the first one; the other one does all else.
pub(crate) type Who = usize;
pub(crate) const WATCHED: Who = 0;
pub(crate) const REPLICAS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp {
    pub(crate) epoch: u8,
    pub(crate) version: u8,
}

impl Stamp {
    pub(crate) fn covers(self, other: Self) -> bool {
        self.epoch == other.epoch && self.version >= other.version
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) redis: Redis,
    pub(crate) replicas: [Replica; REPLICAS],
    /// A write whose sender is gone, or has lost its connection, and which may still arrive.
    pub(crate) late: Option<Write>,
    /// The newest moment about each key whose call has returned.
    pub(crate) returned: [Moment; KEYS],
    /// Faults that may still happen.
    pub(crate) faults: Faults,
    /// The first wrong thing that happened; nothing follows it.
    pub(crate) verdict: Option<Verdict>,
}

/// The truth, as the model's history has it at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Database {
    pub(crate) moment: Moment,
    pub(crate) epoch: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    pub(crate) stamp: Stamp,
    /// How many entries there should be.
    pub(crate) count: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Redis {
    pub(crate) mark: Option<Mark>,
    pub(crate) keys: Contents,
    /// The moment that the mark stands for; known to the checker alone.
    pub(crate) of: Moment,
}

impl Redis {
    pub(crate) const EMPTY: Self = Self {
        mark: None,
        keys: [false; KEYS],
        of: 0,
    };

    pub(crate) fn count(&self) -> u8 {
        count(self.keys)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.mark.is_some_and(|mark| mark.count == self.count())
    }
}

pub(crate) fn count(keys: Contents) -> u8 {
    keys.iter().map(|active| u8::from(*active)).sum()
}

/// What changed after a version: the present state of what was touched, read at one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Delta {
    pub(crate) stamp: Stamp,
    pub(crate) at: Moment,
    /// The log doesn't say; anything may have changed.
    pub(crate) everything: bool,
    pub(crate) keys: [Option<bool>; KEYS],
}

/// Everything, read at one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Dump {
    pub(crate) stamp: Stamp,
    pub(crate) at: Moment,
    pub(crate) keys: Contents,
}

/// What Redis is asked to do in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Write {
    Apply(Mark, Delta),
    Swap(Dump),
    Forget(Mark),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Replica {
    pub(crate) is_up: bool,
    /// It has tried the database and Redis once.
    pub(crate) serves: bool,
    pub(crate) reaches_database: bool,
    pub(crate) reaches_redis: bool,

    // `freshness.rs`
    pub(crate) known: Option<Stamp>,
    pub(crate) is_trusted: bool,
    pub(crate) is_within_grace: bool,
    pub(crate) database_answers: bool,

    // `memory.rs`; its generation is the `ticket` of the look-up under way.
    pub(crate) memory: [Option<bool>; KEYS],

    // `redis_cache.rs`: the connection for look-ups.
    pub(crate) is_connected: bool,

    // `cache_warmer.rs`
    pub(crate) position: Option<Stamp>,
    pub(crate) emptied_at: Option<Stamp>,
    /// Its own commits that Redis may not have yet, oldest first.
    pub(crate) unpushed: Vec<Committed>,
    pub(crate) told_ahead: Option<Told>,
    pub(crate) call: Call,
    pub(crate) hearing: Option<Hearing>,
    pub(crate) push: Option<Push>,
    pub(crate) warm_up: Option<WarmUp>,

    pub(crate) look_up: Option<LookUp>,

    /// The moment from which on an answer about each key must be, if its request begins now.
    pub(crate) bound: [Bound; KEYS],
}

impl Replica {
    pub(crate) const DOWN: Self = Self {
        is_up: false,
        serves: false,
        reaches_database: true,
        reaches_redis: true,
        known: None,
        is_trusted: false,
        is_within_grace: false,
        database_answers: true,
        memory: [None; KEYS],
        is_connected: false,
        position: None,
        emptied_at: None,
        unpushed: Vec::new(),
        told_ahead: None,
        call: Call::None,
        hearing: None,
        push: None,
        warm_up: None,
        look_up: None,
        bound: [Bound {
            heard: 0,
            counted: 0,
            waited: 0,
        }; KEYS],
    };

    pub(crate) fn reaches(&self, server: Server) -> bool {
        match server {
            Server::Database => self.reaches_database,
            Server::Redis => self.reaches_redis,
        }
    }

    pub(crate) fn set_reaches(&mut self, server: Server, reaches: bool) {
        match server {
            Server::Database => self.reaches_database = reaches,
            Server::Redis => self.reaches_redis = reaches,
        }
    }
}

/// What binds an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bound {
    /// A call of this replica's returned, or the message arrived.
    pub(crate) heard: Moment,
    /// The counter was read, which binds what comes from Redis: memory has its lease until then.
    pub(crate) counted: Moment,
    /// The call returned, wherever it was, and this replica's lease has run out since.
    pub(crate) waited: Moment,
}

impl Bound {
    pub(crate) fn raise(&mut self, other: Self) {
        self.heard = self.heard.max(other.heard);
        self.counted = self.counted.max(other.counted);
        self.waited = self.waited.max(other.waited);
    }
}

/// An admin call, from its commit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    None,
    /// Durable; the database's answer is on its way.
    Committed(Committed),
    /// The warmer is half-way through its message.
    HalfTold(Committed),
    /// Waits for the push that comes after the one under way.
    WaitsForNext(Committed),
    /// Waits for the push under way.
    WaitsForThis(Committed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Committed {
    pub(crate) before: u8,
    pub(crate) stamp: Stamp,
    pub(crate) at: Moment,
}

/// A read of the counter, and of the log if it moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hearing {
    /// Where memory stood and what was known when it began.
    pub(crate) position: Option<Stamp>,
    pub(crate) known: Option<Stamp>,
    /// How long ago it asked for the counter.
    pub(crate) age: Age,
    pub(crate) step: HearingStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Age {
    WithinLease,
    WithinGrace,
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HearingStep {
    CounterAsked,
    CounterRead(Stamp, Moment),
    EpochAsked(u8),
    EpochBegun(Stamp, Moment),
    LogAsked { went_back: bool },
    LogRead { went_back: bool, delta: Delta },
}

/// Bringing Redis up to date by a delta.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Push {
    /// The newest version heard of when it began, and what was unpushed then.
    pub(crate) heard: Option<Stamp>,
    pub(crate) own: Vec<Committed>,
    pub(crate) attempt: u8,
    /// Something was done to Redis, or the database was lost, since it began.
    pub(crate) is_excused: bool,
    pub(crate) step: PushStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PushStep {
    MarkAsked,
    /// A commit of its own, without asking the database.
    ApplyOwnAsked(Mark, Delta),
    ApplyAsked(Mark, Delta),
    ForgetAsked(Mark),
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    Whole(Stamp),
    Overtaken,
    NeedsWarmUp,
}

/// Filling Redis whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WarmUp {
    DumpAsked,
    SwapAsked(Dump),
    Swapped,
}

/// A look-up that left memory, and all who wait for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LookUp {
    pub(crate) key: usize,
    /// Nothing was invalidated since it began.
    pub(crate) has_ticket: bool,
    /// It began within the last lease's length.
    pub(crate) is_young: bool,
    /// What binds the latest who waits.
    pub(crate) bound: Bound,
    /// Whether the database, and a Redis that is good enough, could be asked all the while.
    pub(crate) database_was_there: bool,
    pub(crate) redis_was_there: bool,
    pub(crate) step: LookUpStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LookUpStep {
    RedisAsked,
    RedisRead(Option<Told>),
    /// What Redis said, if it was ahead.
    DatabaseAsked(Option<Told>),
    DatabaseRead(Option<Told>, bool),
    /// The database is away: Redis is asked once more.
    AgainAsked,
    AgainRead(Option<Told>),
}

/// What whole contents of Redis say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Told {
    pub(crate) stamp: Stamp,
    pub(crate) of: Moment,
    pub(crate) is_active: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Server {
    Database,
    Redis,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Faults {
    pub(crate) cuts_from_database: u8,
    pub(crate) cuts_from_redis: u8,
    pub(crate) crashes: u8,
    pub(crate) late_writes: u8,
    pub(crate) emptied: u8,
    pub(crate) lost_entries: u8,
    pub(crate) older_copies: u8,
    /// Not a fault: a warm-up without a reason.
    pub(crate) rewarms: u8,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    /// A dead key was accepted where the call had returned or the message arrived.
    AcceptedAfterHearing,
    /// A dead key was accepted after the call had returned and the lease run out.
    AcceptedAfterLease,
    /// A request for an active key was refused.
    Refused,
    /// 503, although somebody could have been asked.
    Unavailable,
    /// Something was served although the grace had ended.
    AfterGrace,
    /// A call returned, and Redis still is behind it.
    NotPushed,
    /// A write replaced newer contents by older ones.
    WentBack,
}
