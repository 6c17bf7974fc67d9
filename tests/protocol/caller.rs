//! An admin call after its commit: `Storage::mutate` and `Warmer::apply_commit`.

use crate::{
    state::{Call, Committed, KEYS, Replica, State, Verdict, Who},
    world::Protocol,
};

impl Protocol {
    /// Two steps, so that a look-up may come between them.
    pub(crate) fn take_call(&self, state: &mut State, who: Who) {
        let replica = &mut state.replicas[who];
        match replica.call {
            Call::Committed(committed) if !self.rules.told_before_acknowledged => {
                self.acknowledge(state, who, committed, true);
            }
            Call::Committed(committed) => {
                if self.rules.hear_before_invalidate {
                    replica.hear(committed.stamp);
                } else {
                    self.invalidate(replica, self.touched_at(committed.at));
                }
                replica.call = Call::HalfTold(committed);
                // Nobody looks anything up there, so nobody can come in between.
                if !self.is_watched(who) {
                    self.finish_telling(state, who, committed);
                }
            }
            Call::HalfTold(committed) => self.finish_telling(state, who, committed),
            Call::None | Call::WaitsForNext(_) | Call::WaitsForThis(_) => unreachable!("waits"),
        }
    }

    fn finish_telling(&self, state: &mut State, who: Who, committed: Committed) {
        let replica = &mut state.replicas[who];
        if self.rules.hear_before_invalidate {
            self.invalidate(replica, self.touched_at(committed.at));
        } else {
            replica.hear(committed.stamp);
        }
        if let Some(position) = &mut replica.position
            && position.epoch == committed.stamp.epoch
            && position.version == committed.before
        {
            *position = committed.stamp;
        }
        let waits = replica.is_connected && self.rules.pushed_before_acknowledged;
        let is_excused = !replica.is_connected;
        replica.call = Call::None;
        if waits {
            replica.call = Call::WaitsForNext(committed);
        }
        if self.scenario.has_redis {
            replica.unpushed.push(committed);
        }
        self.start_push(replica);
        if !waits {
            self.acknowledge(state, who, committed, is_excused);
        }
    }

    /// The call returns. From now on it binds this replica.
    pub(crate) fn acknowledge(
        &self,
        state: &mut State,
        who: Who,
        committed: Committed,
        is_excused: bool,
    ) {
        let replica = &mut state.replicas[who];
        replica.call = Call::None;
        for key in 0..KEYS {
            if !self.touched_at(committed.at)[key] {
                continue;
            }
            state.returned[key] = state.returned[key].max(committed.at);
            if self.is_watched(who) {
                let heard = &mut replica.bound[key].heard;
                *heard = (*heard).max(committed.at);
            }
        }
        let is_behind = state.redis.is_whole() && state.redis.of < committed.at;
        if is_behind && !is_excused && state.verdict.is_none() {
            state.verdict = Some(Verdict::NotPushed);
        }
    }

    /// Takes entries out of memory, and refuses the fill of the look-up that runs now.
    pub(crate) fn invalidate(&self, replica: &mut Replica, keys: [bool; KEYS]) {
        for (key, touched) in keys.into_iter().enumerate() {
            if touched {
                replica.memory[key] = None;
            }
        }
        if let Some(look_up) = &mut replica.look_up {
            look_up.has_ticket = false;
        }
    }
}
