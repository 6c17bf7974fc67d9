//! What can happen: the model proper. Every question and every answer is a step of its own, so
//! anything may come between them; a connection that is cut loses what was on its way.

use stateright::{Model, Property};

use crate::{
    properties,
    rules::Rules,
    scenarios::{Event, Noticed, Scenario},
    state::{
        Bound, Call, Committed, Contents, Database, Delta, Dump, Faults, KEYS, Mark, Moment, Redis,
        Replica, Server, Stamp, State, Told, Verdict, WATCHED, Who, Write, count,
    },
};

#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) rules: Rules,
    pub(crate) scenario: Scenario,
    history: Vec<Then>,
}

/// The truth at one moment.
#[derive(Clone, Debug)]
struct Then {
    keys: Contents,
    /// What the change that led here touched.
    touched: [bool; KEYS],
    /// The moments that led here, by version.
    line: Vec<Moment>,
    was_restored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An admin call's transaction commits.
    Commit(Who),
    /// A backup of the database is restored.
    Restore,
    /// The watched replica's lease, if the counter was last asked for before now, has run out.
    LeaseEnds,
    GraceEnds,
    Cut(Who, Server),
    Heal(Who, Server),
    Crash(Who, Fate),
    Start(Who),
    EmptyRedis,
    LoseEntry(usize),
    BringCopy,
    LateArrives,
    Rewarm(Who),
    Hear(Who),
    LookUp(usize),
    /// Another caller joins the look-up under way.
    Join,
    /// A server does what it was asked.
    Answer(Who, Job),
    /// The replica takes the answer in, and goes on.
    Take(Who, Job),
    /// The connection is lost, and with it the question or the answer.
    Fail(Who, Job, Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Call,
    Mailbox,
    Hearing,
    Push,
    WarmUp,
    LookUp,
}

const JOBS: [Job; 6] = [
    Job::Call,
    Job::Mailbox,
    Job::Hearing,
    Job::Push,
    Job::WarmUp,
    Job::LookUp,
];

/// What becomes of writes that had left a replica when it lost its connection or its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    /// That of this job arrives later.
    Late(Job),
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Idle,
    /// Its question is on its way to a server.
    Asks(Server),
    /// A server's answer is on its way back.
    Answered(Server),
    /// It can go on by itself.
    Ready,
}

/// What each scenario begins with, and what an older copy of Redis holds.
const BEGINNING: Database = Database {
    moment: 0,
    epoch: 0,
};

impl Protocol {
    pub(crate) fn new(rules: Rules, scenario: Scenario) -> Self {
        let mut history = vec![Then {
            keys: scenario.initial,
            touched: [true; KEYS],
            line: vec![0],
            was_restored: false,
        }];
        for event in &scenario.script {
            let next = history[history.len() - 1].after(*event, &history);
            history.push(next);
        }
        Self {
            rules,
            scenario,
            history,
        }
    }

    pub(crate) fn keys_at(&self, moment: Moment) -> Contents {
        self.history[usize::from(moment)].keys
    }

    pub(crate) fn version_at(&self, moment: Moment) -> u8 {
        self.history[usize::from(moment)].version()
    }

    pub(crate) fn touched_at(&self, moment: Moment) -> [bool; KEYS] {
        self.history[usize::from(moment)].touched
    }

    pub(crate) fn stamp(&self, database: Database) -> Stamp {
        Stamp {
            epoch: database.epoch,
            version: self.version_at(database.moment),
        }
    }

    pub(crate) fn delta(&self, database: Database, since: u8) -> Delta {
        let now = &self.history[usize::from(database.moment)];
        let mut delta = Delta {
            stamp: self.stamp(database),
            at: database.moment,
            everything: since > now.version(),
            keys: [None; KEYS],
        };
        for moment in now.line.iter().skip(usize::from(since) + 1) {
            for key in 0..KEYS {
                if self.touched_at(*moment)[key] {
                    delta.keys[key] = Some(now.keys[key]);
                }
            }
        }
        delta
    }

    /// What a mutation changed, as it read that in its own transaction.
    pub(crate) fn delta_of(&self, committed: Committed) -> Delta {
        let (touched, keys) = (self.touched_at(committed.at), self.keys_at(committed.at));
        Delta {
            stamp: committed.stamp,
            at: committed.at,
            everything: false,
            keys: std::array::from_fn(|key| touched[key].then_some(keys[key])),
        }
    }

    pub(crate) fn dump(&self, database: Database) -> Dump {
        Dump {
            stamp: self.stamp(database),
            at: database.moment,
            keys: self.keys_at(database.moment),
        }
    }

    /// What a look-up reads in Redis: one step, as `MULTI` is.
    pub(crate) fn read_redis(&self, redis: &Redis, key: usize) -> Option<Told> {
        let is_whole = redis.is_whole() || !self.rules.count;
        redis.mark.filter(|_| is_whole).map(|mark| Told {
            stamp: mark.stamp,
            of: redis.of,
            is_active: redis.keys[key],
        })
    }

    pub(crate) fn read_mark(&self, redis: &Redis) -> Option<Mark> {
        let is_whole = redis.is_whole() || !self.rules.count;
        redis.mark.filter(|_| is_whole)
    }

    /// The Lua scripts. Answers whether anything was done.
    pub(crate) fn write(&self, redis: &mut Redis, write: Write) -> bool {
        match write {
            Write::Apply(from, delta) => {
                let is_at = !self.rules.compare_and_set || redis.mark == Some(from);
                let is_whole = !self.rules.recount || redis.is_whole();
                if !is_at || !is_whole {
                    return false;
                }
                for (key, state) in delta.keys.into_iter().enumerate() {
                    redis.keys[key] = state.unwrap_or(redis.keys[key]);
                }
                redis.mark = Some(Mark {
                    stamp: delta.stamp,
                    count: redis.count(),
                });
                redis.of = delta.at;
                true
            }
            Write::Swap(dump) => {
                let is_newer = redis.mark.is_some_and(|mark| {
                    mark.stamp.epoch == dump.stamp.epoch && mark.stamp.version > dump.stamp.version
                });
                if self.rules.swap_check && is_newer {
                    return false;
                }
                *redis = Redis {
                    mark: Some(Mark {
                        stamp: dump.stamp,
                        count: count(dump.keys),
                    }),
                    keys: dump.keys,
                    of: dump.at,
                };
                true
            }
            Write::Forget(mark) => {
                let is_at = redis.mark == Some(mark);
                if is_at {
                    redis.mark = None;
                }
                is_at
            }
        }
    }

    /// A write to the Redis that everybody reads.
    pub(crate) fn write_live(&self, state: &mut State, write: Write) -> bool {
        let before = state.redis;
        let is_done = self.write(&mut state.redis, write);
        let is_same_epoch = before
            .mark
            .zip(state.redis.mark)
            .is_some_and(|(before, after)| before.stamp.epoch == after.stamp.epoch);
        if is_same_epoch && before.is_whole() && state.redis.of < before.of {
            state.verdict = Some(Verdict::WentBack);
        }
        is_done
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let faults = &state.faults;
        for who in 0..state.replicas.len() {
            self.connections(state, who, actions);
            let replica = &state.replicas[who];
            if !replica.is_up {
                if self.scenario.starts {
                    actions.push(Action::Start(who));
                }
            } else if faults.crashes > 0 && self.scenario.may_crash.contains(&who) {
                actions.push(Action::Crash(who, Fate::Lost));
                for job in [Job::Push, Job::WarmUp] {
                    if may_be_late(state, who, job) {
                        actions.push(Action::Crash(who, Fate::Late(job)));
                    }
                }
            }
        }
        if faults.emptied > 0 && state.redis != Redis::EMPTY {
            actions.push(Action::EmptyRedis);
        }
        if faults.lost_entries > 0 {
            let there = (0..KEYS).filter(|key| state.redis.keys[*key]);
            actions.extend(there.map(Action::LoseEntry));
        }
        if faults.older_copies > 0 {
            actions.push(Action::BringCopy);
        }
        if state.late.is_some() {
            actions.push(Action::LateArrives);
        }
    }

    fn connections(&self, state: &State, who: Who, actions: &mut Vec<Action>) {
        let cuts = [
            (Server::Database, state.faults.cuts_from_database),
            (Server::Redis, state.faults.cuts_from_redis),
        ];
        for (server, left) in cuts {
            if !state.replicas[who].reaches(server) {
                if self.scenario.heals && (self.scenario.has_redis || server == Server::Database) {
                    actions.push(Action::Heal(who, server));
                }
            } else if left > 0 && self.scenario.may_be_cut.contains(&who) {
                actions.push(Action::Cut(who, server));
            }
        }
    }

    fn mutations(&self, state: &State, actions: &mut Vec<Action>) {
        match self.scenario.script.get(usize::from(state.database.moment)) {
            Some(Event::Change { by, .. }) => {
                let callers = (0..state.replicas.len()).filter(|who| {
                    by.is_none_or(|by| by == *who) && self.may_commit(state, &state.replicas[*who])
                });
                actions.extend(callers.map(Action::Commit));
            }
            // After everybody has heard of the newest version, and nobody's question outlives it.
            Some(Event::Restore { .. }) => {
                let stamp = self.stamp(state.database);
                let is_calm = |replica: &Replica| {
                    replica.call == Call::None
                        && replica.hearing.is_none()
                        && replica.push.is_none()
                        && replica.warm_up.is_none()
                        && replica.position == Some(stamp)
                };
                if state.replicas.iter().all(is_calm) {
                    actions.push(Action::Restore);
                }
            }
            None => {}
        }
    }

    fn may_commit(&self, state: &State, replica: &Replica) -> bool {
        let stamp = self.stamp(state.database);
        // Numbers are not used a second time before somebody has looked at what was restored.
        let was_restored = self.history[usize::from(state.database.moment)].was_restored;
        let mut known = state.replicas.iter().filter_map(|replica| replica.known);
        let is_looked_at = !was_restored || known.any(|known| known == stamp);
        let is_free = replica.serves && replica.call == Call::None;
        is_free && replica.reaches_database && is_looked_at
    }

    fn jobs(&self, state: &State, who: Who, actions: &mut Vec<Action>) {
        let replica = &state.replicas[who];
        for job in JOBS {
            match replica.standing(job) {
                Standing::Idle => {}
                Standing::Ready => actions.push(Action::Take(who, job)),
                Standing::Asks(server) if replica.reaches(server) => {
                    actions.push(Action::Answer(who, job));
                }
                Standing::Asks(_) => {
                    actions.push(Action::Fail(who, job, Fate::Lost));
                    if may_be_late(state, who, job) {
                        actions.push(Action::Fail(who, job, Fate::Late(job)));
                    }
                }
                Standing::Answered(server) => {
                    actions.push(Action::Take(who, job));
                    if !replica.reaches(server) {
                        actions.push(Action::Fail(who, job, Fate::Lost));
                    }
                }
            }
        }
        if self.hearing_matters(state, who) {
            actions.push(Action::Hear(who));
        }
        if state.faults.rewarms > 0 && replica.serves && replica.warm_up.is_none() {
            actions.push(Action::Rewarm(who));
        }
    }

    /// A hearing that could change nothing is left out; they go on for ever.
    pub(crate) fn hearing_matters(&self, state: &State, who: Who) -> bool {
        let replica = &state.replicas[who];
        if !replica.is_up || replica.hearing.is_some() {
            return false;
        }
        let stamp = self.stamp(state.database);
        let is_current = replica.position == Some(stamp) && replica.known == Some(stamp);
        let is_trusted = !self.is_watched(who) || replica.is_trusted;
        let redis_is_current = replica.is_connected
            && (state.redis.is_whole() && state.redis.mark.is_some_and(|mark| mark.stamp == stamp));
        // A hearing is also what tries Redis again; not while somebody is at it.
        let is_pushing = state.replicas.iter().any(|replica| {
            replica.push.is_some() || replica.warm_up.is_some() || replica.call != Call::None
        });
        let redis_is_current = redis_is_current || is_pushing || !self.scenario.has_redis;
        let is_well = is_current && is_trusted && replica.database_answers && redis_is_current;
        if replica.reaches_database {
            !is_well
        } else {
            replica.database_answers || !replica.serves || !redis_is_current
        }
    }

    /// Look-ups that memory can't answer.
    fn look_ups(&self, state: &State, actions: &mut Vec<Action>) {
        let watched = &state.replicas[WATCHED];
        if !watched.serves {
            return;
        }
        for key in 0..self.scenario.keys {
            let is_warm = self.answers_alone(watched) && watched.memory[key].is_some();
            match &watched.look_up {
                _ if is_warm => {}
                None => actions.push(Action::LookUp(key)),
                Some(look_up) if look_up.key == key && self.may_join(watched) => {
                    actions.push(Action::Join);
                }
                Some(_) => {}
            }
        }
    }

    /// Whether this replica's look-ups are watched.
    pub(crate) fn is_watched(&self, who: Who) -> bool {
        who == WATCHED && self.scenario.keys > 0
    }

    /// Whether what memory holds is served without asking anybody.
    pub(crate) fn answers_alone(&self, replica: &Replica) -> bool {
        replica.serves && (replica.is_trusted || !self.rules.lease)
    }
}

fn may_be_late(state: &State, who: Who, job: Job) -> bool {
    let is_writing = state.replicas[who].writing(job).is_some();
    is_writing && state.faults.late_writes > 0 && state.late.is_none()
}

/// Scripts are short.
fn moment(index: usize) -> Moment {
    Moment::try_from(index).unwrap_or(Moment::MAX)
}

impl Then {
    fn version(&self) -> u8 {
        moment(self.line.len() - 1)
    }

    fn after(&self, event: Event, history: &[Self]) -> Self {
        match event {
            Event::Change { set: change, .. } => {
                let mut keys = self.keys;
                for (key, state) in change.into_iter().enumerate() {
                    keys[key] = state.unwrap_or(keys[key]);
                }
                let mut line = self.line.clone();
                line.push(moment(history.len()));
                Self {
                    keys,
                    touched: change.map(|state| state.is_some()),
                    line,
                    was_restored: false,
                }
            }
            Event::Restore { to } => {
                let backup = usize::from(self.line[usize::from(to)]);
                Self {
                    keys: history[backup].keys,
                    touched: [true; KEYS],
                    line: self.line[..=usize::from(to)].to_vec(),
                    was_restored: true,
                }
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let database = Database {
            moment: self.scenario.begins_at,
            epoch: 0,
        };
        let mut redis = Redis::EMPTY;
        self.write(&mut redis, Write::Swap(self.dump(database)));
        let mut watched = Replica {
            memory: self.all_that_is_looked_up(database),
            ..self.warm(database)
        };
        if self.scenario.begins_down {
            watched = Replica::DOWN;
        }
        if self.scenario.begins_cut_off {
            watched.reaches_database = false;
            watched.database_answers = !watched.is_up;
            watched.is_trusted = false;
        }
        // A backup was restored, and somebody else has seen to it that numbers count anew.
        let now = if self.scenario.begins_restored.is_some() {
            Database {
                moment: database.moment + 1,
                epoch: 1,
            }
        } else {
            database
        };
        let other = match self.scenario.begins_restored {
            Some(Noticed::ByNobodyAlive) => Replica::DOWN,
            Some(Noticed::ByTheOther) => {
                self.write(&mut redis, Write::Swap(self.dump(now)));
                self.warm(now)
            }
            None => self.warm(now),
        };
        vec![State {
            database: now,
            redis,
            replicas: [watched, other],
            late: None,
            returned: [database.moment; KEYS],
            faults: self.scenario.faults,
            verdict: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.verdict.is_some() {
            return;
        }
        self.mutations(state, actions);
        for who in 0..state.replicas.len() {
            self.jobs(state, who, actions);
        }
        self.look_ups(state, actions);
        let watched = &state.replicas[WATCHED];
        if self.lease_end_matters(state) {
            actions.push(Action::LeaseEnds);
        }
        if watched.is_up && watched.is_within_grace && !watched.is_trusted {
            actions.push(Action::GraceEnds);
        }
        self.faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.act(&mut state, action);
        self.note_who_is_there(&mut state);
        // Where nobody is watched, the two replicas can change places.
        if self.scenario.keys == 0 && state.replicas[0] > state.replicas[1] {
            state.replicas.swap(0, 1);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl Protocol {
    fn all_that_is_looked_up(&self, database: Database) -> [Option<bool>; KEYS] {
        let keys = self.keys_at(database.moment);
        std::array::from_fn(|key| (key < self.scenario.keys).then_some(keys[key]))
    }

    /// A replica that has heard and seen everything.
    fn warm(&self, database: Database) -> Replica {
        let stamp = self.stamp(database);
        Replica {
            is_up: true,
            serves: true,
            reaches_redis: self.scenario.has_redis,
            is_connected: self.scenario.has_redis,
            known: Some(stamp),
            position: Some(stamp),
            is_trusted: true,
            is_within_grace: self.scenario.grace,
            bound: [Bound {
                heard: database.moment,
                counted: database.moment,
                waited: database.moment,
            }; KEYS],
            ..Replica::DOWN
        }
    }

    fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Commit(who) => self.commit(state, who),
            Action::Restore => state.database.moment += 1,
            Action::LeaseEnds => self.end_lease(state),
            Action::GraceEnds => self.end_grace(state),
            Action::Cut(who, server) => {
                match server {
                    Server::Database => state.faults.cuts_from_database -= 1,
                    Server::Redis => state.faults.cuts_from_redis -= 1,
                }
                state.replicas[who].set_reaches(server, false);
            }
            Action::Heal(who, server) => state.replicas[who].set_reaches(server, true),
            Action::Crash(who, fate) => self.crash(state, who, fate),
            Action::Start(who) => self.start(state, who),
            Action::EmptyRedis => {
                state.faults.emptied -= 1;
                self.harm_redis(state, Redis::EMPTY);
            }
            Action::LoseEntry(key) => {
                state.faults.lost_entries -= 1;
                let mut redis = state.redis;
                redis.keys[key] = false;
                self.harm_redis(state, redis);
            }
            Action::BringCopy => {
                state.faults.older_copies -= 1;
                let mut copy = Redis::EMPTY;
                self.write(&mut copy, Write::Swap(self.dump(BEGINNING)));
                self.harm_redis(state, copy);
            }
            Action::LateArrives => {
                if let Some(write) = state.late.take() {
                    self.write_live(state, write);
                }
            }
            Action::Rewarm(who) => {
                state.faults.rewarms -= 1;
                self.start_warm_up(&mut state.replicas[who]);
            }
            Action::Hear(who) => self.begin_hearing(&mut state.replicas[who]),
            Action::LookUp(key) => self.begin_look_up(state, key),
            Action::Join => self.join(state),
            Action::Answer(who, job) => self.answer(state, who, job),
            Action::Take(who, job) => self.take(state, who, job),
            Action::Fail(who, job, fate) => self.fail(state, who, job, fate),
        }
    }

    fn answer(&self, state: &mut State, who: Who, job: Job) {
        match job {
            Job::Hearing => self.answer_hearing(state, who),
            Job::Push => self.answer_push(state, who),
            Job::WarmUp => self.answer_warm_up(state, who),
            Job::LookUp => self.answer_look_up(state),
            Job::Call | Job::Mailbox => unreachable!("asks nobody"),
        }
    }

    fn take(&self, state: &mut State, who: Who, job: Job) {
        match job {
            Job::Call => self.take_call(state, who),
            Job::Mailbox => self.take_mail(&mut state.replicas[who]),
            Job::Hearing => self.take_hearing(state, who),
            Job::Push => self.take_push(state, who),
            Job::WarmUp => self.take_warm_up(state, who),
            Job::LookUp => self.take_look_up(state),
        }
    }

    fn fail(&self, state: &mut State, who: Who, job: Job, fate: Fate) {
        self.send_late(state, who, fate);
        match job {
            // Durable, but nobody here knows: the caller is answered 503.
            Job::Call => state.replicas[who].call = Call::None,
            Job::Hearing => self.fail_hearing(state, who),
            Job::Push => self.fail_push(state, who),
            Job::WarmUp => state.replicas[who].warm_up = None,
            Job::LookUp => self.fail_look_up(state),
            Job::Mailbox => unreachable!("crosses no connection"),
        }
    }

    fn send_late(&self, state: &mut State, who: Who, fate: Fate) {
        if let Fate::Late(job) = fate {
            state.faults.late_writes -= 1;
            state.late = state.replicas[who].writing(job);
        }
    }

    fn commit(&self, state: &mut State, who: Who) {
        let before = self.version_at(state.database.moment);
        state.database.moment += 1;
        state.replicas[who].call = Call::Committed(Committed {
            before,
            stamp: self.stamp(state.database),
            at: state.database.moment,
        });
    }

    fn crash(&self, state: &mut State, who: Who, fate: Fate) {
        state.faults.crashes -= 1;
        self.send_late(state, who, fate);
        let replica = &mut state.replicas[who];
        *replica = Replica {
            reaches_database: replica.reaches_database,
            reaches_redis: replica.reaches_redis,
            ..Replica::DOWN
        };
    }

    /// A new process has no lease, so calls that have returned bind it as if its lease had ended.
    fn start(&self, state: &mut State, who: Who) {
        let replica = &mut state.replicas[who];
        replica.is_up = true;
        if self.is_watched(who) {
            for key in 0..KEYS {
                replica.bound[key].waited = state.returned[key];
            }
        }
        self.begin_hearing(replica);
    }

    fn harm_redis(&self, state: &mut State, redis: Redis) {
        state.redis = redis;
        for replica in &mut state.replicas {
            if let Some(push) = &mut replica.push {
                push.is_excused = true;
            }
        }
    }

    pub(crate) fn initial_faults(&self) -> Faults {
        self.scenario.faults
    }
}
