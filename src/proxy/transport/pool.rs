//! What the connections of one client have in common: where idle ones wait.
//!
//! awc's own pool would look at an idle connection only when it needs one to the same host and
//! port; those to a provider that is asked no more would stay for ever, long after the provider has
//! closed them.

use std::{
    cell::{Cell, RefCell, RefMut},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_http::uri::Authority;

use super::line::Line;

/// How much of a body is read at once. The dispatcher keeps a buffer that once held that much: with
/// a client that doesn't read, memory that waits for nothing.
const READ_SIZE: usize = 16 * 1024;

/// All that one client's connections share. It belongs to one worker.
pub(super) struct Pool {
    limits: Limits,
    lots: RefCell<Vec<Lot>>,
    swept: Cell<Instant>,
    /// What every body is read into, one piece at a time.
    scratch: RefCell<Box<[u8]>>,
}

/// How long connections are kept.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Without a request.
    pub(super) idle: Duration,
    /// In all.
    pub(super) lifetime: Duration,
    /// The least time between two sweeps. There is no timer: any connection that becomes idle may
    /// set one off, and where none does, none pile up either.
    pub(super) sweep_every: Duration,
}

/// The idle connections to one host and port.
struct Lot {
    authority: Authority,
    parked: Vec<Parked>,
}

struct Parked {
    line: Box<Line>,
    since: Instant,
}

/// Names the idle connections to one host and port.
#[derive(Clone, Copy)]
pub(super) struct LotNumber(usize);

impl Pool {
    pub(super) fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            lots: RefCell::default(),
            swept: Cell::new(Instant::now()),
            scratch: RefCell::new(vec![0; READ_SIZE].into()),
        })
    }

    /// As many as providers have addresses: none is ever given up.
    pub(super) fn lot(&self, authority: &Authority) -> LotNumber {
        let mut lots = self.lots.borrow_mut();
        let known = lots.iter().position(|lot| lot.authority == *authority);
        LotNumber(known.unwrap_or_else(|| {
            lots.push(Lot {
                authority: authority.clone(),
                parked: Vec::new(),
            });
            lots.len() - 1
        }))
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn park(&self, lot: LotNumber, line: Box<Line>) {
        let since = Instant::now();
        let lots = &mut *self.lots.borrow_mut();
        if since.duration_since(self.swept.get()) >= self.limits.sweep_every {
            self.swept.set(since);
            for lot in &mut *lots {
                lot.parked
                    .retain_mut(|parked| parked.is_good(since, self.limits));
            }
        }
        lots[lot.0].parked.push(Parked { line, since });
    }

    /// The connection that was used last, of those on which nothing waits at this very moment:
    /// whatever does belongs to nobody, least of all to the next request; and an end that waits
    /// would be the end of that request.
    pub(super) fn take(&self, lot: LotNumber) -> Option<Box<Line>> {
        let parked = &mut self.lots.borrow_mut()[lot.0].parked;
        let now = Instant::now();
        while let Some(mut last) = parked.pop() {
            if last.is_good(now, self.limits) {
                return Some(last.line);
            }
        }
        None
    }

    pub(super) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lots.borrow().iter().map(|lot| lot.parked.len()).sum()
    }

    /// The memory in bytes that idle connections keep for their answers.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        let lots = self.lots.borrow();
        let parked = lots.iter().flat_map(|lot| &lot.parked);
        parked.map(|parked| parked.line.buffered()).sum()
    }
}

impl Parked {
    fn is_good(&mut self, now: Instant, limits: Limits) -> bool {
        now.duration_since(self.since) <= limits.idle
            && now.duration_since(self.line.opened()) <= limits.lifetime
            && self.line.is_silent()
    }
}
