//! A look-up that memory couldn't answer: `lookup.rs` and `single_flight.rs`; and the judge of
//! every answer.

use crate::{
    state::{
        Call, LookUp, LookUpStep, Push, Replica, Server, Stamp, State, Told, Verdict, WATCHED,
    },
    world::{Job, Protocol, Standing},
};

/// Who gave an answer.
#[derive(Clone, Copy)]
enum Source {
    Redis(Told),
    Database,
    /// Memory, while cut off from both.
    Held,
}

impl LookUp {
    pub(crate) fn standing(&self) -> Standing {
        match self.step {
            LookUpStep::RedisAsked | LookUpStep::AgainAsked => Standing::Asks(Server::Redis),
            LookUpStep::RedisRead(_) | LookUpStep::AgainRead(_) => {
                Standing::Answered(Server::Redis)
            }
            LookUpStep::DatabaseAsked(_) => Standing::Asks(Server::Database),
            LookUpStep::DatabaseRead(..) => Standing::Answered(Server::Database),
        }
    }
}

impl Protocol {
    pub(crate) fn begin_look_up(&self, state: &mut State, key: usize) {
        let watched = &mut state.replicas[WATCHED];
        let look_up = LookUp {
            key,
            has_ticket: true,
            is_young: true,
            bound: watched.bound[key],
            database_was_there: true,
            redis_was_there: true,
            step: LookUpStep::RedisAsked,
        };
        watched.look_up = Some(look_up);
        // Who was away at the beginning was not there all the while.
        self.note_who_is_there(state);
        let is_connected = state.replicas[WATCHED].is_connected;
        if let (false, Some(look_up)) = (is_connected, state.replicas[WATCHED].look_up) {
            self.go_below_redis(state, look_up, None);
        }
    }

    pub(crate) fn may_join(&self, watched: &Replica) -> bool {
        watched.look_up.is_some_and(|look_up| {
            let mut raised = look_up.bound;
            raised.raise(watched.bound[look_up.key]);
            (look_up.has_ticket || !self.rules.join_check)
                && (look_up.is_young || !self.rules.join_within_lease)
                && raised != look_up.bound
        })
    }

    pub(crate) fn join(&self, state: &mut State) {
        let watched = &mut state.replicas[WATCHED];
        if let Some(look_up) = &mut watched.look_up {
            look_up.bound.raise(watched.bound[look_up.key]);
        }
    }

    pub(crate) fn answer_look_up(&self, state: &mut State) {
        let (redis, truth) = (state.redis, self.keys_at(state.database.moment));
        let Some(look_up) = &mut state.replicas[WATCHED].look_up else {
            return;
        };
        look_up.step = match look_up.step {
            LookUpStep::RedisAsked => LookUpStep::RedisRead(self.read_redis(&redis, look_up.key)),
            LookUpStep::DatabaseAsked(ahead) => LookUpStep::DatabaseRead(ahead, truth[look_up.key]),
            LookUpStep::AgainAsked => LookUpStep::AgainRead(self.read_redis(&redis, look_up.key)),
            answered => answered,
        };
    }

    pub(crate) fn take_look_up(&self, state: &mut State) {
        let Some(look_up) = state.replicas[WATCHED].look_up else {
            return;
        };
        match look_up.step {
            LookUpStep::RedisRead(told) | LookUpStep::AgainRead(told) => {
                self.weigh(state, look_up, told);
            }
            LookUpStep::DatabaseRead(_, is_active) => {
                self.fill(state, &look_up, is_active);
                self.give(state, &look_up, is_active, Source::Database);
            }
            asked => unreachable!("{asked:?} was not answered"),
        }
    }

    /// Compares what Redis says with what this replica has heard of.
    fn weigh(&self, state: &mut State, look_up: LookUp, told: Option<Told>) {
        let Some(told) = told else {
            return self.go_below_redis(state, look_up, None);
        };
        match state.replicas[WATCHED].known {
            Some(known) if self.is_current(told.stamp, known) => {
                self.fill(state, &look_up, told.is_active);
                state.replicas[WATCHED].is_within_grace = self.scenario.grace;
                self.give(state, &look_up, told.is_active, Source::Redis(told));
            }
            Some(known) if !told.stamp.covers(known) => self.go_below_redis(state, look_up, None),
            _ => self.go_below_redis(state, look_up, Some(told)),
        }
    }

    fn is_current(&self, told: Stamp, known: Stamp) -> bool {
        let is_believed_anyway = !self.rules.dirty && !told.covers(known);
        let is_of_any_epoch = !self.rules.same_epoch && told.version == known.version;
        told == known || is_believed_anyway || is_of_any_epoch
    }

    fn go_below_redis(&self, state: &mut State, look_up: LookUp, ahead: Option<Told>) {
        if matches!(
            look_up.step,
            LookUpStep::AgainAsked | LookUpStep::AgainRead(_)
        ) {
            if !self.answer_aside(state, &look_up, ahead) {
                self.give_up(state, &look_up);
            }
            return;
        }
        if !state.replicas[WATCHED].database_answers && self.answer_aside(state, &look_up, ahead) {
            return;
        }
        // It is of use only where the database is lost.
        let ahead = ahead.filter(|_| self.scenario.may_lack_the_database());
        state.replicas[WATCHED].look_up = Some(LookUp {
            step: LookUpStep::DatabaseAsked(ahead),
            ..look_up
        });
    }

    pub(crate) fn fail_look_up(&self, state: &mut State) {
        let watched = &mut state.replicas[WATCHED];
        let Some(look_up) = watched.look_up else {
            return;
        };
        match look_up.step {
            LookUpStep::DatabaseAsked(ahead) | LookUpStep::DatabaseRead(ahead, _) => {
                self.go_on_without_database(state, look_up, ahead);
            }
            _ => {
                watched.is_connected = false;
                self.go_below_redis(state, look_up, None);
            }
        }
    }

    /// Redis that was behind when it was asked may have caught up since.
    fn go_on_without_database(&self, state: &mut State, look_up: LookUp, ahead: Option<Told>) {
        let watched = &mut state.replicas[WATCHED];
        if ahead.is_none() && watched.is_connected && self.rules.redis_again {
            watched.look_up = Some(LookUp {
                step: LookUpStep::AgainAsked,
                ..look_up
            });
        } else if !self.answer_aside(state, &look_up, ahead) {
            self.give_up(state, &look_up);
        }
    }

    /// Without the database: what Redis that is ahead says, or else what is held.
    fn answer_aside(&self, state: &mut State, look_up: &LookUp, ahead: Option<Told>) -> bool {
        let watched = &mut state.replicas[WATCHED];
        if let Some(told) = ahead {
            watched.told_ahead = Some(told);
            self.give(state, look_up, told.is_active, Source::Redis(told));
            return true;
        }
        let may_serve = watched.is_within_grace || !self.rules.grace_ends;
        let Some(is_active) = watched.memory[look_up.key].filter(|_| may_serve) else {
            return false;
        };
        self.give(state, look_up, is_active, Source::Held);
        true
    }

    fn fill(&self, state: &mut State, look_up: &LookUp, is_active: bool) {
        if look_up.has_ticket || !self.rules.fill_check {
            state.replicas[WATCHED].memory[look_up.key] = Some(is_active);
        }
    }

    fn give_up(&self, state: &mut State, look_up: &LookUp) {
        state.replicas[WATCHED].look_up = None;
        if look_up.database_was_there || look_up.redis_was_there {
            state.verdict = Some(Verdict::Unavailable);
        }
    }

    /// Every answer has to have been true at some moment between the one that binds the request
    /// and now. Redis may be behind a call that returned elsewhere, as long as nobody told this
    /// replica; what is held while cut off may be older too, within the grace.
    fn give(&self, state: &mut State, look_up: &LookUp, is_active: bool, source: Source) {
        state.replicas[WATCHED].look_up = None;
        let bound = look_up.bound;
        let (heard, waited) = match source {
            Source::Database => (bound.heard, bound.waited),
            Source::Redis(told) => (bound.heard.max(bound.counted), bound.waited.min(told.of)),
            Source::Held => (bound.heard, 0),
        };
        let is_beyond = matches!(source, Source::Held) && !state.replicas[WATCHED].is_within_grace;
        if !self.was_true(state, look_up.key, is_active, heard) {
            state.verdict = Some(wrong(is_active, Verdict::AcceptedAfterHearing));
        } else if !self.was_true(state, look_up.key, is_active, waited) {
            state.verdict = Some(wrong(is_active, Verdict::AcceptedAfterLease));
        } else if is_beyond {
            state.verdict = Some(Verdict::AfterGrace);
        }
    }

    /// Whether this was the truth about a key at any moment since `since`.
    pub(crate) fn was_true(&self, state: &State, key: usize, is_active: bool, since: u8) -> bool {
        (since..=state.database.moment).any(|moment| self.keys_at(moment)[key] == is_active)
    }

    /// After each step: who could not be asked now, was not there all the while.
    pub(crate) fn note_who_is_there(&self, state: &mut State) {
        let redis = state.redis;
        let watched = &mut state.replicas[WATCHED];
        let Some(look_up) = &mut watched.look_up else {
            return;
        };
        let covers = |stamp: Stamp| watched.known.is_none_or(|known| stamp.covers(known));
        let redis_is_there = watched.reaches_redis
            && watched.is_connected
            && redis.is_whole()
            && redis.mark.is_some_and(|mark| covers(mark.stamp));
        // Without a cut, nobody is answered 503, and nothing has to be noted.
        let may_be_cut_off = self.scenario.may_lack_the_database();
        look_up.database_was_there &= may_be_cut_off && watched.reaches_database;
        look_up.redis_was_there &= may_be_cut_off && redis_is_there;
    }
}

fn wrong(is_active: bool, accepted: Verdict) -> Verdict {
    if is_active {
        accepted
    } else {
        Verdict::Refused
    }
}

impl Replica {
    pub(crate) fn standing(&self, job: Job) -> Standing {
        let standing = match job {
            Job::Call => match self.call {
                Call::Committed(_) => Some(Standing::Answered(Server::Database)),
                Call::HalfTold(_) => Some(Standing::Ready),
                Call::None | Call::WaitsForNext(_) | Call::WaitsForThis(_) => None,
            },
            Job::Mailbox => self.told_ahead.map(|_| Standing::Ready),
            Job::Hearing => self.hearing.map(|hearing| hearing.standing()),
            Job::Push => self.push.as_ref().map(Push::standing),
            Job::WarmUp => self.warm_up.map(|warm_up| warm_up.standing()),
            Job::LookUp => self.look_up.map(|look_up| look_up.standing()),
        };
        standing.unwrap_or(Standing::Idle)
    }
}
