//! What must hold in every state, and the sights that show that the model isn't empty.

use stateright::{Model, Property};

use crate::{
    state::{Call, LookUpStep, PushStep, Replica, Server, Stamp, State, Verdict, WATCHED, Write},
    world::{Action, Fate, Job, Protocol, Standing},
};

pub(crate) const AFTER_HEARING: &str =
    "a dead key is refused where the call returned or the message arrived";
pub(crate) const AFTER_LEASE: &str =
    "a dead key is refused once the call returned and the lease ran out";
pub(crate) const ACTIVE: &str = "an active key is never refused";
pub(crate) const AVAILABLE: &str =
    "503 only where neither the database nor a whole Redis could be asked";
pub(crate) const GRACE: &str = "nothing that is held outlives the grace";
pub(crate) const PUSHED: &str = "an acknowledged change is in Redis, if Redis could be written";
pub(crate) const FORWARD: &str = "no write takes Redis back";
pub(crate) const MARK: &str = "Redis holds what its mark says";
pub(crate) const SETTLES: &str = "when the dust settles, Redis and memory equal the database";

/// What a scenario has to come across.
pub(crate) type Sight = (&'static str, fn(&Protocol, &State) -> bool);

pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(AFTER_HEARING, |protocol, state| {
            is_not(protocol, state, Verdict::AcceptedAfterHearing)
        }),
        Property::always(AFTER_LEASE, |protocol, state| {
            is_not(protocol, state, Verdict::AcceptedAfterLease)
        }),
        Property::always(ACTIVE, |protocol, state| {
            is_not(protocol, state, Verdict::Refused)
        }),
        Property::always(AVAILABLE, |_, state: &State| {
            state.verdict != Some(Verdict::Unavailable)
        }),
        Property::always(GRACE, |_, state: &State| {
            state.verdict != Some(Verdict::AfterGrace)
        }),
        Property::always(PUSHED, |_, state: &State| {
            state.verdict != Some(Verdict::NotPushed)
        }),
        Property::always(FORWARD, |_, state: &State| {
            state.verdict != Some(Verdict::WentBack)
        }),
        Property::always(MARK, mark_is_true),
    ];
    if protocol.scenario.settles {
        properties.push(Property::always(SETTLES, settles));
    }
    let sights = protocol.scenario.sights.iter();
    properties.extend(sights.map(|(name, seen)| Property::sometimes(name, *seen)));
    properties
}

fn is_not(protocol: &Protocol, state: &State, verdict: Verdict) -> bool {
    state.verdict != Some(verdict) && wrong_in_memory(protocol, state) != Some(verdict)
}

/// What a request would get that began now and was answered by memory alone.
fn wrong_in_memory(protocol: &Protocol, state: &State) -> Option<Verdict> {
    let watched = &state.replicas[WATCHED];
    if !protocol.answers_alone(watched) {
        return None;
    }
    (0..protocol.scenario.keys).find_map(|key| {
        let is_active = watched.memory[key]?;
        let was_true = |since| protocol.was_true(state, key, is_active, since);
        let bound = watched.bound[key];
        if was_true(bound.heard.max(bound.waited)) {
            None
        } else if !is_active {
            Some(Verdict::Refused)
        } else if !was_true(bound.heard) {
            Some(Verdict::AcceptedAfterHearing)
        } else {
            Some(Verdict::AcceptedAfterLease)
        }
    })
}

fn mark_is_true(protocol: &Protocol, state: &State) -> bool {
    let redis = &state.redis;
    let Some(mark) = redis.mark.filter(|_| redis.is_whole()) else {
        return true;
    };
    redis.keys == protocol.keys_at(redis.of) && mark.stamp.version == protocol.version_at(redis.of)
}

/// Longer than any run without faults takes.
const STEPS: usize = 200;

/// From here on nothing fails and everybody gets on with what there is to do: where does it end?
fn settles(protocol: &Protocol, state: &State) -> bool {
    let mut state = state.clone();
    for _ in 0..STEPS {
        let Some(action) = next_calm_step(protocol, &state) else {
            return state.verdict.is_some() || is_settled(protocol, &state);
        };
        let Some(next) = protocol.next_state(&state, action) else {
            return false;
        };
        state = next;
    }
    false
}

/// Repairs first, then what is under way, then new hearings.
fn next_calm_step(protocol: &Protocol, state: &State) -> Option<Action> {
    let mut actions = Vec::new();
    protocol.actions(state, &mut actions);
    let rank = |action: &Action| match action {
        Action::Heal(..) => Some(0),
        Action::Start(_) => Some(1),
        Action::LateArrives => Some(2),
        Action::Answer(..) | Action::Take(..) => Some(3),
        Action::Hear(_) => Some(4),
        _ => None,
    };
    let calm = actions.into_iter().filter(|action| rank(action).is_some());
    calm.min_by_key(|action| rank(action))
}

fn is_settled(protocol: &Protocol, state: &State) -> bool {
    let stamp = protocol.stamp(state.database);
    let truth = protocol.keys_at(state.database.moment);
    let redis_is_right = state.redis.is_whole()
        && state.redis.mark.is_some_and(|mark| mark.stamp == stamp)
        && state.redis.keys == truth;
    let knows = |replica: &Replica| {
        replica.known == Some(stamp)
            && replica.position == Some(stamp)
            && replica.is_connected
            && (replica.memory.iter().zip(truth))
                .all(|(held, truth)| held.unwrap_or(truth) == truth)
    };
    redis_is_right
        && state.replicas.iter().all(knows)
        && (!protocol.is_watched(WATCHED) || state.replicas[WATCHED].is_trusted)
}

pub(crate) const MEMORY_ACCEPTS: Sight = ("memory accepts a key alone", |protocol, state| {
    let watched = &state.replicas[WATCHED];
    protocol.answers_alone(watched) && watched.memory.contains(&Some(true))
});

pub(crate) const DATABASE_ANSWERS: Sight = ("the database answers a look-up", |_, state| {
    matches!(look_up_step(state), Some(LookUpStep::DatabaseRead(..)))
});

pub(crate) const REDIS_ANSWERS: Sight = ("Redis answers a look-up", |_, state| {
    redis_told(state).is_some_and(|(told, known)| told == known)
});

pub(crate) const REDIS_BEHIND: Sight = ("Redis that is behind is passed over", |_, state| {
    redis_told(state).is_some_and(|(told, known)| !told.covers(known))
});

pub(crate) const REDIS_AHEAD: Sight = ("Redis is ahead of a look-up", |_, state| {
    redis_told(state).is_some_and(|(told, known)| told != known && told.covers(known))
});

pub(crate) const AHEAD_ASIDE: Sight = (
    "without the database, Redis that is ahead answers",
    |_, state| state.replicas[WATCHED].told_ahead.is_some(),
);

pub(crate) const LATE_FILL: Sight = ("a fill comes after an invalidation", |_, state| {
    let watched = &state.replicas[WATCHED];
    watched.look_up.is_some_and(|look_up| {
        !look_up.has_ticket && matches!(look_up.step, LookUpStep::DatabaseRead(_, true))
    })
});

pub(crate) const WRITERS_RACE: Sight = ("two replicas write Redis at once", |_, state| {
    state.replicas.iter().all(|replica| {
        matches!(
            replica.push.as_ref().map(|push| push.step),
            Some(PushStep::ApplyOwnAsked(..) | PushStep::ApplyAsked(..))
        )
    })
});

pub(crate) const LATE_WRITE_REFUSED: Sight = ("a late write meets a newer version", |_, state| {
    let newer = |than: Stamp| {
        state
            .redis
            .mark
            .is_some_and(|mark| mark.stamp != than && mark.stamp.covers(than))
    };
    match state.late {
        Some(Write::Apply(from, _)) => newer(from.stamp),
        Some(Write::Swap(dump)) => newer(dump.stamp),
        Some(Write::Forget(_)) | None => false,
    }
});

pub(crate) const DIED_BEFORE_TELLING: Sight = (
    "a caller dies between commit and acknowledgement",
    |protocol, state| {
        let nobody_calls = state
            .replicas
            .iter()
            .all(|replica| replica.call == Call::None);
        state.database.moment > 0
            && nobody_calls
            && state.replicas.iter().any(|replica| !replica.is_up)
            && (state.returned.iter()).all(|returned| *returned < state.database.moment)
            && protocol.initial_faults().crashes > 0
    },
);

pub(crate) const BORN_AGAIN: Sight = ("a replica serves again after it died", |protocol, state| {
    state.faults.crashes < protocol.initial_faults().crashes
        && state.replicas.iter().all(|replica| replica.serves)
});

pub(crate) const STARTED_FROM_REDIS: Sight = ("a replica starts from Redis alone", |_, state| {
    let watched = &state.replicas[WATCHED];
    watched.serves && watched.position.is_none() && redis_answer(state).is_some()
});

pub(crate) const SERVED_IN_GRACE: Sight = (
    "cut off from both, a dead key is served within the grace",
    |protocol, state| {
        let watched = &state.replicas[WATCHED];
        let truth = protocol.keys_at(state.database.moment);
        let is_dead = |key: usize| {
            watched.memory[key] == Some(true)
                && !truth[key]
                && state.returned[key] == state.database.moment
        };
        let is_cut_off = !watched.reaches_database && !watched.reaches_redis;
        watched.is_within_grace
            && !watched.is_trusted
            && is_cut_off
            && (0..protocol.scenario.keys).any(is_dead)
    },
);

pub(crate) const BELIEVED_BEHIND: Sight = (
    "without the database, Redis that lacks a call that returned is believed",
    |_, state| {
        let watched = &state.replicas[WATCHED];
        let is_current = redis_told(state).is_some_and(|(told, known)| told == known);
        watched.look_up.is_some_and(|look_up| match look_up.step {
            LookUpStep::RedisRead(Some(told)) => is_current && told.of < look_up.bound.waited,
            _ => false,
        })
    },
);

pub(crate) const GRACE_OVER: Sight = ("the grace ends while something is held", |_, state| {
    let watched = &state.replicas[WATCHED];
    watched.serves && !watched.is_within_grace && watched.memory.contains(&Some(true))
});

pub(crate) const NOBODY_TO_ASK: Sight = ("a look-up has nobody to ask", |_, state| {
    let watched = &state.replicas[WATCHED];
    let asks_database = watched.standing(Job::LookUp) == Standing::Asks(Server::Database);
    asks_database && !watched.reaches_database && !watched.is_within_grace
});

pub(crate) const NOT_WHOLE: Sight = ("Redis has lost an entry", |_, state| {
    state.redis.mark.is_some() && !state.redis.is_whole()
});

pub(crate) const WARMED_UP: Sight = (
    "Redis is full again after it was emptied",
    |protocol, state| {
        state.faults.emptied < protocol.initial_faults().emptied && state.redis.is_whole()
    },
);

pub(crate) const OLDER_COPY: Sight = ("Redis goes back to an older copy", |protocol, state| {
    state.faults.older_copies < protocol.initial_faults().older_copies
        && state.redis.of < state.database.moment
});

pub(crate) const WENT_BACK: Sight = (
    "a database that went back gets another epoch",
    |_, state| state.database.epoch > 0,
);

pub(crate) const COULD_BE_LATE: Sight = (
    "a connection is lost with a write on it",
    |protocol, state| {
        let mut actions = Vec::new();
        protocol.actions(state, &mut actions);
        actions.iter().any(|action| {
            matches!(
                action,
                Action::Crash(_, Fate::Late(_)) | Action::Fail(_, _, Fate::Late(_))
            )
        })
    },
);

fn look_up_step(state: &State) -> Option<LookUpStep> {
    state.replicas[WATCHED].look_up.map(|look_up| look_up.step)
}

fn redis_answer(state: &State) -> Option<Stamp> {
    match look_up_step(state)? {
        LookUpStep::RedisRead(told) => told.map(|told| told.stamp),
        _ => None,
    }
}

fn redis_told(state: &State) -> Option<(Stamp, Stamp)> {
    redis_answer(state).zip(state.replicas[WATCHED].known)
}
