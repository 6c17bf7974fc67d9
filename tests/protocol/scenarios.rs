//! How much of the world is looked at at once. Everything together would be too much to walk
//! through; each scenario has the changes and the faults that its rules are about.
//!
//! In half of them a replica is watched while it looks keys up; in the others nobody looks
//! anything up, which leaves room for more changes and more faults where Redis is written.

use crate::{
    properties::{self as see, Sight},
    state::{Contents, Faults, KEYS, Moment, WATCHED, Who},
};

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) initial: Contents,
    /// What happens to the truth, in this order.
    pub(crate) script: Vec<Event>,
    /// How many of the keys are looked up.
    pub(crate) keys: usize,
    pub(crate) faults: Faults,
    /// Whose connections may be cut, and who may crash.
    pub(crate) may_be_cut: Vec<Who>,
    pub(crate) may_crash: Vec<Who>,
    /// The moment at which all is as it should be.
    pub(crate) begins_at: Moment,
    /// Whether a backup was restored since, and who has noticed.
    pub(crate) begins_restored: Option<Noticed>,
    /// Whether the watched replica has not been started yet.
    pub(crate) begins_down: bool,
    /// Whether the watched replica begins without the database.
    pub(crate) begins_cut_off: bool,
    /// Whether what was cut heals.
    pub(crate) heals: bool,
    /// Whether who is down starts.
    pub(crate) starts: bool,
    /// `REDIS_URL=none`, otherwise.
    pub(crate) has_redis: bool,
    /// Whether there is a `STALE_GRACE`.
    pub(crate) grace: bool,
    /// Whether each state is followed to where it settles.
    pub(crate) settles: bool,
    /// What has to be come across.
    pub(crate) sights: Vec<Sight>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A change by this replica, or by any: the new state of each key that it touches.
    Change {
        by: Option<Who>,
        set: [Option<bool>; KEYS],
    },
    /// The database is replaced by what it was at this version.
    Restore { to: u8 },
}

/// Who gave the database its new epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noticed {
    /// The other replica, which has filled Redis anew.
    ByTheOther,
    /// Somebody who is gone; Redis still holds what was before.
    ByNobodyAlive,
}

const OTHER: Who = 1;

const REVOKE: Event = by_any([Some(false), None]);
const CREATE: Event = by_any([Some(true), None]);
const ROTATE: Event = by_any([Some(false), Some(true)]);
/// The first key's cache entries are not touched.
const SOMETHING_ELSE: Event = by_any([None, Some(false)]);

const fn by_any(set: [Option<bool>; KEYS]) -> Event {
    Event::Change { by: None, set }
}

impl Event {
    fn by(self, who: Who) -> Self {
        match self {
            Self::Change { set, .. } => Self::Change { by: Some(who), set },
            restore @ Self::Restore { .. } => restore,
        }
    }
}

impl Scenario {
    fn new(name: &'static str, initial: Contents, script: Vec<Event>) -> Self {
        Self {
            name,
            initial,
            script,
            keys: 1,
            faults: Faults::default(),
            may_be_cut: vec![WATCHED, OTHER],
            may_crash: vec![WATCHED, OTHER],
            begins_at: 0,
            begins_restored: None,
            begins_down: false,
            begins_cut_off: false,
            heals: true,
            starts: true,
            has_redis: true,
            grace: false,
            settles: false,
            sights: Vec::new(),
        }
    }

    fn writers(name: &'static str, script: Vec<Event>) -> Self {
        Self {
            keys: 0,
            settles: true,
            ..Self::new(name, [true, true], script)
        }
    }

    pub(crate) fn may_lack_the_database(&self) -> bool {
        self.begins_cut_off || self.faults.cuts_from_database > 0
    }

    /// Nothing fails; everything may take as long as it likes.
    pub(crate) fn revocation() -> Self {
        Self {
            settles: true,
            sights: vec![
                see::MEMORY_ACCEPTS,
                see::DATABASE_ANSWERS,
                see::REDIS_ANSWERS,
                see::REDIS_BEHIND,
                see::REDIS_AHEAD,
            ],
            ..Self::new("a revocation", [true, true], vec![REVOKE])
        }
    }

    pub(crate) fn without_redis() -> Self {
        Self {
            has_redis: false,
            sights: vec![see::LATE_FILL],
            ..Self::new("without Redis", [true, true], vec![REVOKE])
        }
    }

    pub(crate) fn creation() -> Self {
        Self {
            sights: vec![see::REDIS_ANSWERS, see::REDIS_BEHIND],
            ..Self::new("a creation", [false, true], vec![CREATE])
        }
    }

    pub(crate) fn rotation() -> Self {
        Self {
            keys: 2,
            sights: vec![see::MEMORY_ACCEPTS, see::REDIS_BEHIND],
            ..Self::new("a rotation", [true, false], vec![ROTATE.by(OTHER)])
        }
    }

    /// The watched replica loses the database while another one revokes.
    pub(crate) fn database_lost() -> Self {
        Self {
            faults: Faults {
                cuts_from_database: 1,
                ..Faults::default()
            },
            may_be_cut: vec![WATCHED],
            heals: false,
            sights: vec![see::AHEAD_ASIDE, see::NOBODY_TO_ASK],
            ..Self::new("the database lost", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    /// The watched replica hears of a revocation late.
    pub(crate) fn database_back() -> Self {
        Self {
            begins_cut_off: true,
            sights: vec![see::AHEAD_ASIDE, see::DATABASE_ANSWERS],
            ..Self::new("the database back", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    /// The watched replica is without the database and loses Redis, with a grace.
    pub(crate) fn both_lost() -> Self {
        Self {
            begins_cut_off: true,
            faults: Faults {
                cuts_from_redis: 1,
                ..Faults::default()
            },
            may_be_cut: vec![WATCHED],
            heals: false,
            grace: true,
            sights: vec![see::SERVED_IN_GRACE, see::GRACE_OVER],
            ..Self::new("both lost", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    /// The watched replica has Redis alone, and the one that revokes may lose Redis.
    pub(crate) fn divided() -> Self {
        Self {
            begins_cut_off: true,
            faults: Faults {
                cuts_from_redis: 1,
                ..Faults::default()
            },
            may_be_cut: vec![OTHER],
            heals: false,
            sights: vec![see::BELIEVED_BEHIND],
            ..Self::new("divided", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    /// The watched replica starts, while another one revokes.
    pub(crate) fn start() -> Self {
        Self {
            begins_down: true,
            sights: vec![see::REDIS_ANSWERS, see::REDIS_BEHIND],
            ..Self::new("a start", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    pub(crate) fn start_without_the_database() -> Self {
        Self {
            begins_cut_off: true,
            heals: false,
            sights: vec![see::STARTED_FROM_REDIS],
            name: "a start without the database",
            ..Self::start()
        }
    }

    pub(crate) fn caller_dies() -> Self {
        Self {
            faults: Faults {
                crashes: 1,
                ..Faults::default()
            },
            may_crash: vec![OTHER],
            starts: false,
            sights: vec![see::DIED_BEFORE_TELLING],
            ..Self::new("the caller dies", [true, true], vec![REVOKE.by(OTHER)])
        }
    }

    pub(crate) fn redis_harmed() -> Self {
        Self {
            faults: Faults {
                lost_entries: 1,
                ..Faults::default()
            },
            sights: vec![see::NOT_WHOLE],
            ..Self::new("Redis loses an entry", [true, true], Vec::new())
        }
    }

    pub(crate) fn redis_goes_back() -> Self {
        Self {
            begins_at: 1,
            faults: Faults {
                older_copies: 1,
                ..Faults::default()
            },
            sights: vec![see::OLDER_COPY, see::REDIS_BEHIND],
            ..Self::new("Redis goes back", [true, true], vec![REVOKE])
        }
    }

    pub(crate) fn restored() -> Self {
        Self {
            begins_at: 1,
            sights: vec![see::WENT_BACK],
            ..Self::new(
                "a backup restored",
                [true, true],
                vec![REVOKE.by(OTHER), Event::Restore { to: 0 }],
            )
        }
    }

    pub(crate) fn restored_and_noticed() -> Self {
        let script = vec![
            SOMETHING_ELSE.by(OTHER),
            Event::Restore { to: 0 },
            REVOKE.by(WATCHED),
        ];
        Self {
            begins_at: 1,
            begins_restored: Some(Noticed::ByTheOther),
            sights: vec![see::REDIS_BEHIND],
            ..Self::new("a backup restored and noticed", [true, true], script)
        }
    }

    pub(crate) fn restored_under_an_old_redis() -> Self {
        Self {
            begins_restored: Some(Noticed::ByNobodyAlive),
            starts: false,
            name: "a backup restored under an old Redis",
            ..Self::restored_and_noticed()
        }
    }

    pub(crate) fn writers_meet_a_restored_database() -> Self {
        Self {
            sights: vec![see::WENT_BACK],
            ..Self::writers(
                "writers meet a restored database",
                vec![REVOKE, Event::Restore { to: 0 }, SOMETHING_ELSE],
            )
        }
    }

    pub(crate) fn writers_race() -> Self {
        Self {
            faults: Faults {
                rewarms: 1,
                ..Faults::default()
            },
            sights: vec![see::WRITERS_RACE],
            ..Self::writers("writers race", vec![SOMETHING_ELSE, REVOKE])
        }
    }

    pub(crate) fn writers_die() -> Self {
        Self {
            faults: Faults {
                crashes: 1,
                late_writes: 1,
                ..Faults::default()
            },
            sights: vec![
                see::DIED_BEFORE_TELLING,
                see::BORN_AGAIN,
                see::LATE_WRITE_REFUSED,
            ],
            ..Self::writers("writers die", vec![SOMETHING_ELSE, REVOKE])
        }
    }

    pub(crate) fn writers_lose_redis() -> Self {
        Self {
            faults: Faults {
                cuts_from_redis: 1,
                late_writes: 1,
                ..Faults::default()
            },
            sights: vec![see::COULD_BE_LATE, see::LATE_WRITE_REFUSED],
            ..Self::writers("writers lose Redis", vec![SOMETHING_ELSE, REVOKE])
        }
    }

    pub(crate) fn writers_lose_the_database() -> Self {
        Self {
            faults: Faults {
                cuts_from_database: 1,
                ..Faults::default()
            },
            ..Self::writers("writers lose the database", vec![SOMETHING_ELSE, REVOKE])
        }
    }

    pub(crate) fn writers_meet_an_empty_redis() -> Self {
        Self {
            faults: Faults {
                emptied: 1,
                late_writes: 1,
                cuts_from_redis: 1,
                ..Faults::default()
            },
            may_be_cut: vec![WATCHED],
            sights: vec![see::WARMED_UP],
            ..Self::writers("writers meet an empty Redis", vec![REVOKE])
        }
    }

    pub(crate) fn writers_meet_a_harmed_redis() -> Self {
        Self {
            faults: Faults {
                lost_entries: 1,
                ..Faults::default()
            },
            sights: vec![see::NOT_WHOLE],
            ..Self::writers("writers meet a harmed Redis", vec![SOMETHING_ELSE])
        }
    }

    pub(crate) fn writers_meet_an_older_redis() -> Self {
        Self {
            faults: Faults {
                older_copies: 1,
                ..Faults::default()
            },
            sights: vec![see::OLDER_COPY],
            ..Self::writers("writers meet an older Redis", vec![SOMETHING_ELSE, REVOKE])
        }
    }
}
