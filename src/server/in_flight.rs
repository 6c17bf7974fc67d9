//! A request that is being answered: its connection is told of it.

use actix_web::dev::ServiceRequest;

use super::connection::{Exchange, Running};

/// A request that is being answered, for as long as its answer takes.
#[derive(Debug)]
pub(crate) struct InFlight(#[allow(dead_code, reason = "it is held, not read")] Running);

impl InFlight {
    /// Tells the connection that the request has begun.
    pub(crate) fn begin(request: &ServiceRequest) -> Option<Self> {
        request.conn_data().map(Exchange::begin).map(Self)
    }
}
