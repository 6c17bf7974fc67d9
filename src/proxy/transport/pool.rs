//! Where idle connections wait, so that dead ones don't pile up in awc's pool.
//!
//! awc looks at an idle connection only when it needs one to the same host and port. Those to a
//! provider that is asked no more would stay for ever, long after the provider has closed them.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{answer::Answer, socket::Socket};

/// All idle connections of one client. awc's pool holds their [`Parked`] tickets.
pub(super) struct Parking {
    /// awc doesn't use a connection again that was idle for longer than this.
    longest: Duration,
    /// The least time between two sweeps. There is no timer: any connection that becomes idle may
    /// set one off, and where none does, none pile up either.
    sweep_every: Duration,
    places: RefCell<Places>,
}

struct Places {
    /// By the numbers of the tickets. What was swept away leaves a gap until its ticket goes.
    taken: Slab<Option<Place>>,
    swept: Instant,
}

struct Place {
    socket: Socket,
    answer: Answer,
    since: Instant,
}

impl Parking {
    pub(super) fn new(longest: Duration, sweep_every: Duration) -> Rc<Self> {
        let places = Places {
            taken: Slab::new(),
            swept: Instant::now(),
        };
        Rc::new(Self {
            longest,
            sweep_every,
            places: RefCell::new(places),
        })
    }

    /// Keeps a connection and the buffers of its answers.
    pub(super) fn park(self: &Rc<Self>, socket: Socket, answer: Answer) -> Parked {
        let since = Instant::now();
        let places = &mut *self.places.borrow_mut();
        if since.duration_since(places.swept) >= self.sweep_every {
            places.swept = since;
            for (_, place) in &mut places.taken {
                place.take_if(|place| !place.is_good(since, self.longest));
            }
        }
        let place = Place {
            socket,
            answer,
            since,
        };
        Parked {
            parking: Rc::clone(self),
            number: places.taken.insert(Some(place)),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let taken = &self.places.borrow().taken;
        taken.iter().filter(|(_, place)| place.is_some()).count()
    }
}

impl Place {
    fn is_good(&mut self, now: Instant, longest: Duration) -> bool {
        now.duration_since(self.since) <= longest && matches!(self.socket.has_input(), Ok(false))
    }
}

/// The right to take a connection out again. Dropped, it closes the connection.
pub(super) struct Parked {
    parking: Rc<Parking>,
    number: usize,
}

impl Parked {
    /// None if the connection was swept away meanwhile.
    pub(super) fn take(&self) -> Option<(Socket, Answer)> {
        let place = self.parking.places.borrow_mut().taken[self.number].take();
        place.map(|place| (place.socket, place.answer))
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let place = self.parking.places.borrow_mut().taken.remove(self.number);
        // After the borrow has ended: closing a connection is nobody's business here.
        drop(place);
    }
}
