//! Requests that are being answered: their connection is told of them, and while the gateway
//! drains, so is their client.

use std::future::{Ready, ready};

use actix_http::ConnectionType;
use actix_web::{
    Error, HttpMessage, HttpRequest,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    web::Data,
};
use futures_util::{FutureExt, future::Map};

use super::{
    connection::{Exchange, Running},
    drain::Draining,
};

/// A request that is being answered. It travels in the request's extensions, and with an answer
/// that takes time it moves into that answer's body, for as long as that lasts.
#[derive(Debug)]
pub struct InFlight(#[allow(dead_code, reason = "it is held, not read")] Running);

impl InFlight {
    /// Takes it out of its request.
    pub(crate) fn take_from(request: &HttpRequest) -> Option<Self> {
        request.extensions_mut().remove()
    }
}

/// Middleware for the whole app.
#[derive(Clone, Copy, Debug)]
pub struct Exchanges;

impl<S, B> Transform<S, ServiceRequest> for Exchanges
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Attended<S>;
    type InitError = ();
    type Future = Ready<Result<Attended<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Attended { service }))
    }
}

/// A service whose connections know of its requests.
#[derive(Debug)]
pub struct Attended<S> {
    service: S,
}

type Answer<B> = Result<ServiceResponse<B>, Error>;

impl<S, B> Service<ServiceRequest> for Attended<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = Map<S::Future, fn(Answer<B>) -> Answer<B>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        if let Some(running) = request.conn_data().map(Exchange::begin) {
            request.extensions_mut().insert(InFlight(running));
        }
        self.service.call(request).map(last_while_draining)
    }
}

/// A balancer then keeps no connection that is about to be closed. A middleware's refusal passes
/// by as an error, which has no response yet; it is one of the operator's calls.
fn last_while_draining<B>(answer: Answer<B>) -> Answer<B> {
    answer.map(|mut answer| {
        let draining = answer.request().app_data::<Data<Draining>>();
        if draining.is_some_and(|draining| draining.has_begun()) {
            answer
                .response_mut()
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        answer
    })
}
