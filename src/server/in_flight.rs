//! A request that is being answered: its connection is told of it.

use actix_web::dev::ServiceRequest;

use super::connection::{Exchange, Running};

/// A request that is being answered, for as long as its answer takes.
#[derive(Debug)]
pub(crate) struct InFlight(Running);

impl InFlight {
    /// Tells the connection that the request has begun.
    pub(crate) fn begin(request: &ServiceRequest) -> Option<Self> {
        request.conn_data().map(Exchange::begin).map(Self)
    }

    /// All of the answer has been given to the server. `done` is called once it has been sent, and
    /// dropped if the connection ends before.
    pub(crate) fn once_sent(&self, done: impl FnOnce() + 'static) {
        self.0.once_sent(Box::new(done));
    }
}
