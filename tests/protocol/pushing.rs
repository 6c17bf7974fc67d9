//! Writing Redis: `push`, `catch_up` and `finish_push` of the cache warmer, and its warm-up.

use crate::{
    state::{
        Call, Committed, Outcome, Push, PushStep, Replica, Server, Stamp, State, WarmUp, Who, Write,
    },
    world::{Job, Protocol, Standing},
};

/// Two replicas need one attempt more than the other one can spoil.
const PUSH_ATTEMPTS: u8 = 3;

impl Push {
    pub(crate) fn standing(&self) -> Standing {
        match self.step {
            PushStep::MarkAsked
            | PushStep::ApplyOwnAsked(..)
            | PushStep::ApplyAsked(..)
            | PushStep::ForgetAsked(_) => Standing::Asks(Server::Redis),
            // Whichever it was that answered last: what was lost is lost a step earlier, too.
            PushStep::Done(_) => Standing::Ready,
        }
    }

    fn at(mut self, step: PushStep) -> Self {
        if matches!(step, PushStep::Done(_)) {
            // What it began with is of no use any more.
            self.heard = None;
            self.own.clear();
        }
        Self { step, ..self }
    }

    /// What leads on from a version; each can be taken once.
    fn take_after(&mut self, stamp: Stamp) -> Option<Committed> {
        let leads_on =
            |own: &Committed| own.before == stamp.version && own.stamp.epoch == stamp.epoch;
        let index = self.own.iter().position(leads_on)?;
        Some(self.own.remove(index))
    }
}

impl WarmUp {
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::DumpAsked => Standing::Asks(Server::Database),
            Self::SwapAsked(_) => Standing::Asks(Server::Redis),
            Self::Swapped => Standing::Ready,
        }
    }
}

impl Replica {
    /// The write of a job that is on its way.
    pub(crate) fn writing(&self, job: Job) -> Option<Write> {
        match (job, &self.push, self.warm_up) {
            (Job::Push, Some(push), _) => match push.step {
                PushStep::ApplyOwnAsked(mark, delta) | PushStep::ApplyAsked(mark, delta) => {
                    Some(Write::Apply(mark, delta))
                }
                PushStep::ForgetAsked(mark) => Some(Write::Forget(mark)),
                _ => None,
            },
            (Job::WarmUp, _, Some(WarmUp::SwapAsked(dump))) => Some(Write::Swap(dump)),
            _ => None,
        }
    }
}

impl Protocol {
    pub(crate) fn start_push(&self, replica: &mut Replica) {
        if replica.push.is_some() || !self.scenario.has_redis {
            return;
        }
        if let Call::WaitsForNext(committed) = replica.call {
            replica.call = Call::WaitsForThis(committed);
        }
        let heard = if self.rules.push_to_known {
            replica.known
        } else {
            replica.position
        };
        replica.push = Some(Push {
            heard,
            own: replica.unpushed.clone(),
            attempt: 1,
            is_excused: false,
            step: PushStep::MarkAsked,
        });
    }

    pub(crate) fn answer_push(&self, state: &mut State, who: Who) {
        let Some(mut push) = state.replicas[who].push.clone() else {
            return;
        };
        let step = match push.step {
            PushStep::MarkAsked => self.compare(state, who, &mut push),
            PushStep::ApplyOwnAsked(mark, delta) => {
                self.write_live(state, Write::Apply(mark, delta));
                PushStep::MarkAsked
            }
            PushStep::ApplyAsked(mark, delta) => {
                if self.write_live(state, Write::Apply(mark, delta)) {
                    PushStep::Done(Outcome::Whole(delta.stamp))
                } else if push.attempt < PUSH_ATTEMPTS {
                    push.attempt += 1;
                    PushStep::MarkAsked
                } else {
                    PushStep::Done(Outcome::Overtaken)
                }
            }
            PushStep::ForgetAsked(mark) => {
                self.write_live(state, Write::Forget(mark));
                PushStep::Done(Outcome::NeedsWarmUp)
            }
            done @ PushStep::Done(_) => done,
        };
        state.replicas[who].push = Some(push.at(step));
        // Nobody looks anything up there, so nobody can come in between.
        if !self.is_watched(who) {
            self.take_push(state, who);
        }
    }

    /// The mark and the delta are read in one step: a mark that moves in between makes the write
    /// fail just as one that moves afterwards does.
    fn compare(&self, state: &State, who: Who, push: &mut Push) -> PushStep {
        let Some(mark) = self.read_mark(&state.redis) else {
            return PushStep::Done(Outcome::NeedsWarmUp);
        };
        if self.rules.own_commits
            && let Some(own) = push.take_after(mark.stamp)
        {
            return PushStep::ApplyOwnAsked(mark, self.delta_of(own));
        }
        if push.heard == Some(mark.stamp) {
            return PushStep::Done(Outcome::Whole(mark.stamp));
        }
        let replica = &state.replicas[who];
        if !replica.reaches_database {
            // Nobody can say whether it is behind; look-ups compare it with what they know. A call
            // is excused unless all that Redis lacked was its own change.
            push.is_excused |= match replica.call {
                Call::WaitsForThis(committed) => committed.before != mark.stamp.version,
                _ => true,
            };
            return PushStep::Done(Outcome::Whole(mark.stamp));
        }
        let delta = self.delta(state.database, mark.stamp.version);
        if delta.everything || delta.stamp.epoch != mark.stamp.epoch {
            PushStep::ForgetAsked(mark)
        } else if delta.stamp == mark.stamp {
            PushStep::Done(Outcome::Whole(delta.stamp))
        } else {
            PushStep::ApplyAsked(mark, delta)
        }
    }

    pub(crate) fn take_push(&self, state: &mut State, who: Who) {
        if let Some(Push {
            step: PushStep::Done(outcome),
            ..
        }) = state.replicas[who].push
        {
            self.finish_push(state, who, outcome);
        }
    }

    fn finish_push(&self, state: &mut State, who: Who, outcome: Outcome) {
        let replica = &mut state.replicas[who];
        if !replica.is_connected && !replica.reaches_redis {
            return self.end_push(state, who, true);
        }
        replica.is_connected = true;
        if let Outcome::Whole(stamp) = outcome {
            replica.unpushed.retain(|own| !stamp.covers(own.stamp));
        }
        match outcome {
            Outcome::Whole(stamp) if replica.known == Some(stamp) && self.is_watched(who) => {
                replica.is_within_grace = self.scenario.grace;
            }
            Outcome::NeedsWarmUp => self.start_warm_up(replica),
            Outcome::Whole(_) | Outcome::Overtaken => {}
        }
        // Where nothing whole is there, there is nothing that a change could be put into.
        self.end_push(state, who, matches!(outcome, Outcome::NeedsWarmUp));
    }

    pub(crate) fn fail_push(&self, state: &mut State, who: Who) {
        state.replicas[who].is_connected = false;
        self.end_push(state, who, true);
    }

    /// Calls that waited return; whoever came meanwhile gets a push of its own.
    fn end_push(&self, state: &mut State, who: Who, is_excused: bool) {
        let replica = &mut state.replicas[who];
        let is_excused = is_excused || replica.push.as_ref().is_some_and(|push| push.is_excused);
        replica.push = None;
        replica.serves = true;
        match replica.call {
            Call::WaitsForThis(committed) => self.acknowledge(state, who, committed, is_excused),
            Call::WaitsForNext(_) => self.start_push(replica),
            Call::None | Call::Committed(_) | Call::HalfTold(_) => {}
        }
    }

    pub(crate) fn start_warm_up(&self, replica: &mut Replica) {
        replica.warm_up = replica.warm_up.or(Some(WarmUp::DumpAsked));
    }

    pub(crate) fn answer_warm_up(&self, state: &mut State, who: Who) {
        let Some(warm_up) = state.replicas[who].warm_up else {
            return;
        };
        state.replicas[who].warm_up = Some(match warm_up {
            WarmUp::DumpAsked => WarmUp::SwapAsked(self.dump(state.database)),
            WarmUp::SwapAsked(dump) => {
                self.write_live(state, Write::Swap(dump));
                WarmUp::Swapped
            }
            answered => answered,
        });
    }

    pub(crate) fn take_warm_up(&self, state: &mut State, who: Who) {
        let replica = &mut state.replicas[who];
        if replica.warm_up == Some(WarmUp::Swapped) {
            replica.warm_up = None;
            self.start_push(replica);
        }
    }
}
