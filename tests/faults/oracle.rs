//! What every key must be answered at every moment, must not be, or may be; and whether what was
//! answered kept to it. No I/O: the load writes down what it did and saw, and at the end, when all
//! is known, it is judged.

use std::{collections::BTreeMap, fmt, time::Duration};

/// How long a replica may go by what was before, after a change was made on another one.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// A moment, counted from the beginning of the history.
pub(crate) type Moment = Duration;

/// From when something was asked to when the answer was there. It happened at some moment within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
}

impl Span {
    fn overlaps(&self, from: Moment, until: Moment) -> bool {
        self.began <= until && self.ended >= from
    }
}

/// What came back for a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Refused,
    /// 503
    Unavailable,
    /// The connection was refused or broke, or nobody answered.
    Nothing,
    Other(u16),
}

impl Answer {
    pub(crate) fn of(status: Option<u16>) -> Self {
        match status {
            Some(200) => Self::Accepted,
            Some(401) => Self::Refused,
            Some(503) => Self::Unavailable,
            Some(status) => Self::Other(status),
            None => Self::Nothing,
        }
    }
}

/// What a replica is excused by, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It can't reach the database: changes fail there, and nothing else.
    Deaf,
    /// It reaches neither the database nor Redis: it goes by what it held for the grace, counted
    /// from when it was cut off for sure, and may answer 503.
    CutOff { grace: Duration },
    /// It is dead or stopped, and doesn't answer at all, or too late.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    replica: usize,
    trouble: Trouble,
    from: Moment,
    /// When it was in trouble for sure.
    struck: Option<Moment>,
    until: Option<Moment>,
}

impl Window {
    fn until(&self) -> Moment {
        self.until.unwrap_or(Moment::MAX)
    }

    fn struck(&self) -> Moment {
        self.struck.unwrap_or(Moment::MAX)
    }

    /// The last moment at which what was held may be served.
    fn end_of_grace(&self, grace: Duration) -> Moment {
        self.until().min(self.struck().saturating_add(grace))
    }
}

/// A window that is open, to be closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowId(usize);

/// One plaintext, from its issue to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId(usize);

/// A change that a replica was asked for.
#[derive(Clone, Copy, Debug)]
struct Change {
    replica: usize,
    /// The call.
    span: Span,
    /// Unknown where the call failed, until the database has been looked at.
    happened: Option<bool>,
    /// When it had happened for sure, if it did.
    by: Moment,
    failed: bool,
}

impl Change {
    fn done(replica: usize, span: Span) -> Self {
        Self {
            replica,
            span,
            happened: Some(true),
            by: span.ended,
            failed: false,
        }
    }

    fn in_doubt(replica: usize, span: Span) -> Self {
        Self {
            happened: None,
            by: Moment::MAX,
            ..Self::done(replica, span)
        }
    }

    /// From when on a replica goes by it.
    fn known_by(&self, replica: usize) -> Moment {
        let lag = match self.replica == replica {
            true => Duration::ZERO,
            false => LEASE,
        };
        self.by.saturating_add(lag)
    }
}

#[derive(Clone, Debug)]
struct Key {
    issued: Change,
    ended: Option<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    replica: usize,
    key: KeyId,
    span: Span,
    answer: Answer,
}

/// All that was done, and all that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    keys: Vec<Key>,
    windows: Vec<Window>,
    /// Those that decide about no key: calls to issue one that failed, and renames.
    others: Vec<Change>,
    seen: Vec<Seen>,
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    pub(crate) unavailable: usize,
    pub(crate) nothing: usize,
    pub(crate) issued: usize,
    pub(crate) ended: usize,
    pub(crate) failed_changes: usize,
}

impl History {
    /// A key was issued.
    pub(crate) fn issued(&mut self, replica: usize, span: Span) -> KeyId {
        self.keys.push(Key {
            issued: Change::done(replica, span),
            ended: None,
        });
        KeyId(self.keys.len() - 1)
    }

    /// A call to issue a key failed: if there is one, nobody knows it.
    pub(crate) fn not_issued(&mut self, replica: usize, span: Span) {
        self.others.push(Change {
            failed: true,
            ..Change::in_doubt(replica, span)
        });
    }

    /// A key was given another name, or that failed. It is accepted or refused as before.
    pub(crate) fn renamed(&mut self, replica: usize, span: Span, succeeded: bool) {
        match succeeded {
            true => self.others.push(Change::done(replica, span)),
            false => self.not_issued(replica, span),
        }
    }

    /// Somebody is about to rotate or revoke a key. Until it is known how that ended, it may be
    /// answered either way.
    pub(crate) fn ending(&mut self, key: KeyId, replica: usize, began: Moment) {
        let ended = Moment::MAX;
        self.keys[key.0].ended = Some(Change::in_doubt(replica, Span { began, ended }));
    }

    /// The call came to its end. One that failed may have happened or not.
    pub(crate) fn ended(&mut self, key: KeyId, at: Moment, succeeded: bool) {
        let change = self.end_of(key);
        let span = Span {
            ended: at,
            ..change.span
        };
        *change = match succeeded {
            true => Change::done(change.replica, span),
            false => Change {
                failed: true,
                ..Change::in_doubt(change.replica, span)
            },
        };
    }

    /// The keys whose fate only the database knows.
    pub(crate) fn doubtful(&self) -> Vec<KeyId> {
        let in_doubt = |key: &Key| key.ended.is_some_and(|change| change.happened.is_none());
        (0..self.keys.len())
            .filter(|index| in_doubt(&self.keys[*index]))
            .map(KeyId)
            .collect()
    }

    /// The database was looked at. If the change did happen, that it did is known from now on.
    pub(crate) fn resolve(&mut self, key: KeyId, at: Moment, is_active: bool) {
        let change = self.end_of(key);
        change.happened = Some(!is_active);
        change.by = at;
    }

    fn end_of(&mut self, key: KeyId) -> &mut Change {
        let key = &mut self.keys[key.0];
        key.ended.as_mut().expect("somebody was about to end it")
    }

    /// A replica is about to get into trouble.
    pub(crate) fn begin(&mut self, replica: usize, trouble: Trouble, from: Moment) -> WindowId {
        self.windows.push(Window {
            replica,
            trouble,
            from,
            struck: None,
            until: None,
        });
        WindowId(self.windows.len() - 1)
    }

    /// By now it is in trouble for sure.
    pub(crate) fn struck(&mut self, window: WindowId, at: Moment) {
        self.windows[window.0].struck = Some(at);
    }

    /// By now it is out of it for sure.
    pub(crate) fn over(&mut self, window: WindowId, at: Moment) {
        self.windows[window.0].until = Some(at);
    }

    pub(crate) fn answered(&mut self, replica: usize, key: KeyId, span: Span, answer: Answer) {
        self.seen.push(Seen {
            replica,
            key,
            span,
            answer,
        });
    }

    /// How much there is to judge.
    pub(crate) fn tally(&self) -> Tally {
        let count = |answer| {
            self.seen
                .iter()
                .filter(|seen| seen.answer == answer)
                .count()
        };
        let ended = |key: &&Key| {
            key.ended
                .is_some_and(|change| change.happened == Some(true))
        };
        Tally {
            accepted: count(Answer::Accepted),
            refused: count(Answer::Refused),
            unavailable: count(Answer::Unavailable),
            nothing: count(Answer::Nothing),
            issued: self.keys.len(),
            ended: self.keys.iter().filter(ended).count(),
            failed_changes: self.changes().filter(|change| change.failed).count(),
        }
    }

    /// Whether everything that was answered could be answered then.
    ///
    /// # Errors
    /// What could not, with what led to it.
    pub(crate) fn judge(&self) -> Result<Tally, Verdict> {
        let answers = self.seen.iter().filter_map(|seen| {
            let wrong = self.wrong(seen)?;
            Some((seen.span.began, self.tell(seen, wrong)))
        });
        let changes = self
            .changes()
            .filter(|change| change.failed && !self.may_fail(change))
            .map(|change| {
                let text = format!(
                    "a change failed on replica {} at {}, which could reach the database",
                    change.replica, change.span
                );
                (change.span.began, text)
            });
        let mut complaints: Vec<_> = answers.chain(changes).collect();
        complaints.sort();
        match complaints.is_empty() {
            true => Ok(self.tally()),
            false => Err(Verdict(
                complaints.into_iter().map(|(_, text)| text).collect(),
            )),
        }
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        let of_keys = self
            .keys
            .iter()
            .flat_map(|key| [Some(&key.issued), key.ended.as_ref()]);
        of_keys.flatten().chain(&self.others)
    }

    /// Why an answer could not be given.
    fn wrong(&self, seen: &Seen) -> Option<&'static str> {
        match seen.answer {
            Answer::Accepted if !self.may_accept(seen) => {
                Some("accepted a key that had been ended")
            }
            Answer::Refused if !self.may_refuse(seen) => Some("refused a key that was active"),
            Answer::Unavailable if !self.may_be_unavailable(seen) => {
                Some("answered 503 although it could ask somebody")
            }
            Answer::Nothing if !self.may_be_silent(seen) => Some("did not answer"),
            Answer::Other(_) => Some("gave an answer that nobody expects"),
            _ => None,
        }
    }

    fn may_accept(&self, seen: &Seen) -> bool {
        let end = match &self.keys[seen.key.0].ended {
            Some(change) if change.happened != Some(false) => change,
            _ => return true,
        };
        let last = end.known_by(seen.replica);
        let by_grace = |window: &Window| match window.trouble {
            Trouble::CutOff { grace } => {
                last >= window.from && seen.span.overlaps(window.from, window.end_of_grace(grace))
            }
            _ => false,
        };
        seen.span.began <= last || self.windows_of(seen.replica).any(by_grace)
    }

    fn may_refuse(&self, seen: &Seen) -> bool {
        let key = &self.keys[seen.key.0];
        let is_new = seen.span.began < key.issued.known_by(seen.replica);
        let has_ended = key.ended.is_some_and(|change| {
            change.happened != Some(false) && seen.span.ended >= change.span.began
        });
        is_new || has_ended
    }

    /// Cut off from both. Or deaf, in the moment in which a change is on its way to Redis: whoever
    /// has heard that there is one can't believe Redis yet.
    fn may_be_unavailable(&self, seen: &Seen) -> bool {
        self.windows_of(seen.replica).any(|window| {
            let applies = seen.span.overlaps(window.from, window.until());
            applies
                && match window.trouble {
                    // What it waited for, has taken too long when it wakes.
                    Trouble::CutOff { .. } | Trouble::Silent => true,
                    Trouble::Deaf => self.a_change_was_on_its_way(seen, window),
                }
        })
    }

    /// Of those that began before the database was away for sure: later ones it can't hear of. One
    /// whose call failed may have been committed, and heard of, by a database that died before it
    /// could say so: then nobody can tell what it was until the database is back.
    fn a_change_was_on_its_way(&self, seen: &Seen, window: &Window) -> bool {
        self.changes().any(|change| {
            let arrived = match change.failed && change.happened != Some(false) {
                true => window.until(),
                false => change.span.ended,
            };
            change.span.began <= window.struck() && seen.span.overlaps(change.span.began, arrived)
        })
    }

    fn may_be_silent(&self, seen: &Seen) -> bool {
        let silent = |window: &Window| {
            window.trouble == Trouble::Silent && seen.span.overlaps(window.from, window.until())
        };
        self.windows_of(seen.replica).any(silent)
    }

    fn may_fail(&self, change: &Change) -> bool {
        self.windows_of(change.replica)
            .any(|window| change.span.overlaps(window.from, window.until()))
    }

    fn windows_of(&self, replica: usize) -> impl Iterator<Item = &Window> {
        let here = move |window: &&Window| window.replica == replica;
        self.windows.iter().filter(here)
    }

    /// What was wrong, and all that is known about that key on that replica.
    fn tell(&self, seen: &Seen, wrong: &str) -> String {
        let key = &self.keys[seen.key.0];
        let mut lines = BTreeMap::new();
        let mut note =
            |at: Moment, line: String| lines.entry(at).or_insert_with(Vec::new).push(line);
        note(
            key.issued.span.began,
            format!(
                "{}: issued on replica {}",
                key.issued.span, key.issued.replica
            ),
        );
        if let Some(change) = &key.ended {
            let outcome = match change.happened {
                Some(true) => "ended",
                Some(false) => "not ended after all",
                None => "perhaps ended",
            };
            note(
                change.span.began,
                format!("{}: {outcome} on replica {}", change.span, change.replica),
            );
        }
        for window in self.windows_of(seen.replica) {
            note(
                window.from,
                format!(
                    "{}: replica {} {:?}",
                    Span {
                        began: window.from,
                        ended: window.until()
                    },
                    window.replica,
                    window.trouble
                ),
            );
        }
        for (began, line) in self.answers_of(seen.key, seen.replica) {
            note(began, line);
        }
        let lines: Vec<_> = lines.into_values().flatten().collect();
        format!(
            "replica {} {wrong}: {:?} to key {} at {}\n      {}",
            seen.replica,
            seen.answer,
            seen.key.0,
            seen.span,
            lines.join("\n      ")
        )
    }

    /// Equal answers in a row as one line.
    fn answers_of(&self, key: KeyId, replica: usize) -> Vec<(Moment, String)> {
        let mut answers: Vec<_> = self
            .seen
            .iter()
            .filter(|seen| seen.key == key && seen.replica == replica)
            .collect();
        answers.sort_by_key(|seen| seen.span.began);
        let runs = answers.chunk_by(|one, next| one.answer == next.answer);
        runs.map(|run| {
            let (first, last) = (run[0], run[run.len() - 1]);
            let span = Span {
                began: first.span.began,
                ended: last.span.ended,
            };
            let line = format!("{span}: {} times {:?}", run.len(), first.answer);
            (first.span.began, line)
        })
        .collect()
    }
}

/// Everything that was wrong.
#[derive(Clone, Debug)]
pub(crate) struct Verdict(Vec<String>);

/// Of a thousand wrong answers the first few tell enough.
const MOST_TOLD: usize = 5;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wrong", self.0.len())?;
        for complaint in self.0.iter().take(MOST_TOLD) {
            write!(f, "\n  {complaint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |moment: Moment| match moment {
            Moment::MAX => "…".to_owned(),
            moment => format!("{:.3}", moment.as_secs_f64()),
        };
        write!(f, "{}–{} s", seconds(self.began), seconds(self.ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Moment {
        Moment::from_millis(value)
    }

    fn span(began: u64, ended: u64) -> Span {
        Span {
            began: ms(began),
            ended: ms(ended),
        }
    }

    /// A key that replica 0 issued from 0 to 10, and revoked from 1000 to 1010.
    fn revoked() -> (History, KeyId) {
        let mut history = History::default();
        let key = history.issued(0, span(0, 10));
        history.ending(key, 0, ms(1_000));
        history.ended(key, ms(1_010), true);
        (history, key)
    }

    /// Whether one more answer would be right.
    fn is_right(history: &History, replica: usize, key: KeyId, at: Span, answer: Answer) -> bool {
        let mut history = history.clone();
        history.answered(replica, key, at, answer);
        history.judge().is_ok()
    }

    #[test]
    fn a_new_key_is_accepted_at_once_here_and_within_the_lease_elsewhere() {
        let mut history = History::default();
        let key = history.issued(0, span(100, 110));
        assert!(is_right(&history, 0, key, span(111, 115), Answer::Accepted));
        assert!(!is_right(&history, 0, key, span(111, 115), Answer::Refused));
        assert!(is_right(&history, 1, key, span(111, 115), Answer::Refused));
        assert!(is_right(
            &history,
            1,
            key,
            span(1_109, 1_200),
            Answer::Refused
        ));
        assert!(!is_right(
            &history,
            1,
            key,
            span(1_110, 1_200),
            Answer::Refused
        ));
    }

    #[test]
    fn a_revoked_key_is_refused_at_once_here_and_within_the_lease_elsewhere() {
        let (history, key) = revoked();
        let accepted = |replica, at| is_right(&history, replica, key, at, Answer::Accepted);
        let refused = |replica, at| is_right(&history, replica, key, at, Answer::Refused);
        assert!(accepted(0, span(900, 990)) && !refused(0, span(900, 990)));
        // Between call and return it may be either, on any replica.
        assert!(accepted(0, span(1_009, 1_100)) && refused(0, span(900, 1_000)));
        assert!(!accepted(0, span(1_011, 1_100)) && refused(0, span(1_011, 1_100)));
        assert!(accepted(1, span(2_010, 2_100)) && refused(1, span(1_000, 1_005)));
        assert!(!accepted(1, span(2_011, 2_100)) && refused(1, span(2_011, 2_100)));
    }

    #[test]
    fn a_change_that_failed_is_judged_by_what_the_database_says() {
        let mut history = History::default();
        let key = history.issued(0, span(0, 10));
        history.begin(0, Trouble::Deaf, ms(900));
        history.ending(key, 0, ms(1_000));
        history.ended(key, ms(1_010), false);
        assert_eq!(history.doubtful(), [key]);
        for answer in [Answer::Accepted, Answer::Refused] {
            assert!(is_right(&history, 0, key, span(5_000, 5_010), answer));
        }
        let mut stayed = history.clone();
        stayed.resolve(key, ms(8_000), true);
        assert!(!is_right(
            &stayed,
            0,
            key,
            span(5_000, 5_010),
            Answer::Refused
        ));
        assert!(is_right(
            &stayed,
            0,
            key,
            span(9_500, 9_510),
            Answer::Accepted
        ));
        let mut gone = history;
        gone.resolve(key, ms(8_000), false);
        assert!(is_right(&gone, 0, key, span(5_000, 5_010), Answer::Refused));
        assert!(!is_right(
            &gone,
            0,
            key,
            span(9_500, 9_510),
            Answer::Accepted
        ));
    }

    #[test]
    fn a_change_that_fails_needs_an_excuse() {
        let mut history = History::default();
        history.not_issued(0, span(0, 10));
        assert!(history.judge().is_err());
        history.begin(1, Trouble::Deaf, ms(0));
        assert!(history.judge().is_err());
        history.begin(0, Trouble::Deaf, ms(0));
        assert!(history.judge().is_ok());
    }

    #[test]
    fn unavailable_is_wrong_where_a_tier_can_be_reached() {
        let mut history = History::default();
        let key = history.issued(0, span(0, 10));
        assert!(!is_right(
            &history,
            0,
            key,
            span(100, 110),
            Answer::Unavailable
        ));
        let deaf = history.begin(0, Trouble::Deaf, ms(1_000));
        history.struck(deaf, ms(1_100));
        assert!(!is_right(
            &history,
            0,
            key,
            span(1_100, 1_110),
            Answer::Unavailable
        ));
        let other = history.issued(1, span(1_090, 1_200));
        assert!(is_right(
            &history,
            0,
            other,
            span(1_150, 1_160),
            Answer::Unavailable
        ));
        assert!(!is_right(
            &history,
            0,
            other,
            span(1_250, 1_260),
            Answer::Unavailable
        ));
        // One that came after the strike is nothing that it can have heard of.
        history.issued(1, span(1_300, 1_400));
        assert!(!is_right(
            &history,
            0,
            key,
            span(1_350, 1_360),
            Answer::Unavailable
        ));
        // One whose fate is unknown may have been heard of, and can be asked of nobody.
        history.not_issued(0, span(1_095, 1_100));
        assert!(is_right(
            &history,
            0,
            key,
            span(1_350, 1_360),
            Answer::Unavailable
        ));
        history.over(deaf, ms(1_900));
        assert!(!is_right(
            &history,
            0,
            key,
            span(1_950, 1_960),
            Answer::Unavailable
        ));
        let grace = Duration::ZERO;
        let cut_off = history.begin(0, Trouble::CutOff { grace }, ms(2_000));
        history.over(cut_off, ms(3_000));
        assert!(is_right(
            &history,
            0,
            key,
            span(2_500, 2_510),
            Answer::Unavailable
        ));
        assert!(!is_right(
            &history,
            1,
            key,
            span(2_500, 2_510),
            Answer::Unavailable
        ));
        assert!(!is_right(
            &history,
            0,
            key,
            span(3_001, 3_010),
            Answer::Unavailable
        ));
    }

    #[test]
    fn a_replica_that_is_cut_off_goes_by_what_it_held_for_the_grace() {
        let (mut history, key) = revoked();
        let early = history.issued(0, span(0, 5));
        history.ending(early, 0, ms(10));
        history.ended(early, ms(20), true);
        let grace = ms(2_000);
        let window = history.begin(1, Trouble::CutOff { grace }, ms(1_500));
        history.struck(window, ms(1_600));
        let accepted = |history: &History, replica, key, at| {
            is_right(history, replica, key, at, Answer::Accepted)
        };
        assert!(accepted(&history, 1, key, span(3_600, 3_610)));
        assert!(!accepted(&history, 1, key, span(3_601, 3_610)));
        // It had heard of that one, and the other replica is not cut off.
        assert!(!accepted(&history, 1, early, span(2_000, 2_010)));
        assert!(!accepted(&history, 0, key, span(2_000, 2_010)));
        history.over(window, ms(3_000));
        assert!(!accepted(&history, 1, key, span(3_001, 3_010)));
        // An active key is not refused, cut off or not.
        let active = history.issued(0, span(0, 5));
        assert!(!is_right(
            &history,
            1,
            active,
            span(2_000, 2_010),
            Answer::Refused
        ));
    }

    #[test]
    fn silence_and_odd_answers_need_a_reason() {
        let mut history = History::default();
        let key = history.issued(0, span(0, 10));
        assert!(!is_right(&history, 0, key, span(100, 110), Answer::Nothing));
        let window = history.begin(0, Trouble::Silent, ms(100));
        history.over(window, ms(200));
        assert!(is_right(&history, 0, key, span(50, 100), Answer::Nothing));
        assert!(!is_right(&history, 0, key, span(201, 210), Answer::Nothing));
        assert!(!is_right(
            &history,
            0,
            key,
            span(100, 110),
            Answer::Other(502)
        ));
    }

    #[test]
    fn the_verdict_tells_the_history_of_the_key() {
        let (mut history, key) = revoked();
        history.answered(1, key, span(500, 510), Answer::Accepted);
        history.answered(1, key, span(600, 610), Answer::Accepted);
        history.answered(1, key, span(3_000, 3_010), Answer::Accepted);
        history.answered(1, key, span(3_500, 3_510), Answer::Refused);
        let told = history.judge().unwrap_err().to_string();
        for line in [
            "1 wrong",
            "replica 1 accepted a key that had been ended: Accepted to key 0 at 3.000–3.010 s",
            "0.000–0.010 s: issued on replica 0",
            "1.000–1.010 s: ended on replica 0",
            "0.500–3.010 s: 3 times Accepted",
            "3.500–3.510 s: 1 times Refused",
        ] {
            assert!(told.contains(line), "no `{line}` in:\n{told}");
        }
    }
}
