//! Reading the counter and the log: `hear`, `finish_hearing` and `take_in` of the cache warmer,
//! and the two timers that a hearing renews.

use crate::{
    state::{
        Age, Delta, Hearing, HearingStep, KEYS, Moment, Replica, Server, Stamp, State, WATCHED, Who,
    },
    world::{Protocol, Standing},
};

impl Replica {
    /// Hears of a version. Answers whether it is news.
    pub(crate) fn hear(&mut self, stamp: Stamp) -> bool {
        let is_news = self.known.is_none_or(|known| !known.covers(stamp));
        if is_news {
            self.known = Some(stamp);
        }
        is_news
    }
}

impl Hearing {
    pub(crate) fn standing(&self) -> Standing {
        match self.step {
            HearingStep::CounterAsked
            | HearingStep::EpochAsked(_)
            | HearingStep::LogAsked { .. } => Standing::Asks(Server::Database),
            HearingStep::CounterRead(..)
            | HearingStep::EpochBegun(..)
            | HearingStep::LogRead { .. } => Standing::Answered(Server::Database),
        }
    }
}

impl Protocol {
    pub(crate) fn begin_hearing(&self, replica: &mut Replica) {
        replica.hearing = Some(Hearing {
            position: replica.position,
            known: replica.known,
            age: Age::WithinLease,
            step: HearingStep::CounterAsked,
        });
    }

    pub(crate) fn answer_hearing(&self, state: &mut State, who: Who) {
        let Some(hearing) = &mut state.replicas[who].hearing else {
            return;
        };
        hearing.step = match hearing.step {
            HearingStep::CounterAsked => {
                HearingStep::CounterRead(self.stamp(state.database), state.database.moment)
            }
            HearingStep::EpochAsked(old) => {
                if state.database.epoch == old {
                    state.database.epoch += 1;
                }
                HearingStep::EpochBegun(self.stamp(state.database), state.database.moment)
            }
            HearingStep::LogAsked { went_back } => {
                let since = hearing.position.map_or(0, |position| position.version);
                let delta = self.delta(state.database, since);
                hearing.position = None;
                HearingStep::LogRead { went_back, delta }
            }
            read => read,
        };
        // Nobody looks anything up there, so nobody can come in between.
        if !self.is_watched(who) {
            self.take_hearing(state, who);
        }
    }

    pub(crate) fn take_hearing(&self, state: &mut State, who: Who) {
        let Some(mut hearing) = state.replicas[who].hearing else {
            return;
        };
        match hearing.step {
            HearingStep::CounterRead(stamp, at) => {
                let went_back = hearing.known.is_some_and(|known| !stamp.covers(known));
                let is_same = hearing
                    .known
                    .is_some_and(|known| known.epoch == stamp.epoch);
                if went_back && is_same && self.rules.epoch {
                    hearing.step = HearingStep::EpochAsked(stamp.epoch);
                    hearing.known = None;
                    state.replicas[who].hearing = Some(hearing);
                } else {
                    self.go_on_to_log(state, who, stamp, at, went_back);
                }
            }
            HearingStep::EpochBegun(stamp, at) => self.go_on_to_log(state, who, stamp, at, true),
            HearingStep::LogRead { went_back, delta } => {
                self.finish_hearing(state, who, went_back, delta);
            }
            asked => unreachable!("{asked:?} was not answered"),
        }
    }

    fn go_on_to_log(&self, state: &mut State, who: Who, stamp: Stamp, at: Moment, went_back: bool) {
        let replica = &mut state.replicas[who];
        let Some(hearing) = replica.hearing else {
            return;
        };
        if self.rules.counter_is_news {
            replica.hear(stamp);
        }
        if self.is_watched(who) {
            for bound in &mut replica.bound {
                bound.counted = bound.counted.max(at);
            }
        }
        if !self.rules.invalidate_before_renewal {
            self.renew(replica, who);
        }
        match hearing.position {
            Some(position) if position != stamp && position.epoch == stamp.epoch => {
                replica.hearing = Some(Hearing {
                    known: None,
                    step: HearingStep::LogAsked { went_back },
                    ..hearing
                });
            }
            position => {
                let is_new = position != Some(stamp);
                let delta = Delta {
                    stamp,
                    at,
                    everything: is_new,
                    keys: [None; KEYS],
                };
                self.finish_hearing(state, who, went_back, delta);
            }
        }
    }

    fn finish_hearing(&self, state: &mut State, who: Who, went_back: bool, delta: Delta) {
        let replica = &mut state.replicas[who];
        let is_first = replica.position.is_none();
        self.take_in(replica, went_back, &delta);
        self.renew(replica, who);
        replica.database_answers = true;
        replica.hearing = None;
        if self.is_watched(who) {
            for bound in &mut replica.bound {
                bound.heard = bound.heard.max(delta.at);
            }
        }
        if is_first {
            self.start_warm_up(replica);
        }
        self.start_push(replica);
    }

    /// Brings memory up to what was heard.
    fn take_in(&self, replica: &mut Replica, went_back: bool, delta: &Delta) {
        let is_old = replica
            .position
            .is_some_and(|position| position.covers(delta.stamp));
        if went_back {
            if self.rules.restart_keeps_news {
                replica.hear(delta.stamp);
            } else {
                replica.known = Some(delta.stamp);
            }
            self.invalidate(replica, [true; KEYS]);
            replica.position = Some(delta.stamp);
        } else if !is_old {
            replica.hear(delta.stamp);
            let touched = delta.keys.map(|state| state.is_some() || delta.everything);
            self.invalidate(replica, touched);
            replica.position = Some(delta.stamp);
        }
    }

    /// The lease, and the grace, from the moment at which the counter was asked for.
    fn renew(&self, replica: &mut Replica, who: Who) {
        let Some(hearing) = replica.hearing.filter(|_| self.is_watched(who)) else {
            return;
        };
        if hearing.age == Age::WithinLease || !self.rules.lease_from_question {
            replica.is_trusted = true;
        }
        if hearing.age != Age::Old {
            replica.is_within_grace = self.scenario.grace;
        }
    }

    pub(crate) fn fail_hearing(&self, state: &mut State, who: Who) {
        let replica = &mut state.replicas[who];
        replica.database_answers = false;
        self.empty_if_behind(replica);
        replica.hearing = None;
        self.start_push(replica);
    }

    /// A look-up saw Redis ahead. While the database can be heard, it is the judge.
    pub(crate) fn take_mail(&self, replica: &mut Replica) {
        let Some(told) = replica.told_ahead.take() else {
            return;
        };
        let is_cut_off = !replica.database_answers || !replica.is_trusted;
        if is_cut_off && replica.hear(told.stamp) {
            self.empty_if_behind(replica);
            for bound in &mut replica.bound {
                bound.heard = bound.heard.max(told.of);
            }
        }
    }

    fn empty_if_behind(&self, replica: &mut Replica) {
        let known = replica.known;
        let is_behind = known.is_some() && known != replica.position;
        if is_behind && known != replica.emptied_at && self.rules.ahead_empties {
            replica.emptied_at = known;
            self.invalidate(replica, [true; KEYS]);
        }
    }

    /// Whether the end of the lease would change anything.
    pub(crate) fn lease_end_matters(&self, state: &State) -> bool {
        let watched = &state.replicas[WATCHED];
        let is_asking = watched
            .hearing
            .is_some_and(|hearing| hearing.age == Age::WithinLease);
        let is_looking = watched.look_up.is_some_and(|look_up| look_up.is_young);
        let binds = (0..KEYS).any(|key| watched.bound[key].waited < state.returned[key]);
        if !watched.is_up || self.scenario.keys == 0 {
            return false;
        }
        watched.is_trusted || ((is_asking || is_looking) && binds)
    }

    pub(crate) fn end_lease(&self, state: &mut State) {
        let watched = &mut state.replicas[WATCHED];
        watched.is_trusted = false;
        if let Some(hearing) = &mut watched.hearing
            && hearing.age == Age::WithinLease
        {
            hearing.age = Age::WithinGrace;
        }
        if let Some(look_up) = &mut watched.look_up {
            look_up.is_young = false;
        }
        for key in 0..KEYS {
            watched.bound[key].waited = state.returned[key];
        }
    }

    pub(crate) fn end_grace(&self, state: &mut State) {
        self.end_lease(state);
        let watched = &mut state.replicas[WATCHED];
        watched.is_within_grace = false;
        if let Some(hearing) = &mut watched.hearing {
            hearing.age = Age::Old;
        }
    }
}
