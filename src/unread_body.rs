//! Closes a connection whose chunked request body was refused, instead of reading it to its end.
//!
//! actix-web closes a connection in such a case if it knows how much is still to come, after a
//! second of reading what was on its way. A chunked body that nobody holds any more it reads for as
//! long as the sender likes. Holding it until the response is sent makes the two cases one.

use std::{
    cell::RefCell,
    future::{Ready, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::{InternalError, PayloadError},
    http::header::TRANSFER_ENCODING,
    web::Bytes,
};
use futures_util::{
    Stream, StreamExt,
    future::{Either, LocalBoxFuture},
};

/// Middleware for the whole app.
#[derive(Clone, Copy, Debug)]
pub struct CloseOnUnreadBody;

impl<S> Transform<S, ServiceRequest> for CloseOnUnreadBody
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = Closing<S>;
    type InitError = ();
    type Future = Ready<Result<Closing<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Closing { service }))
    }
}

/// A service that holds chunked bodies.
#[derive(Debug)]
pub struct Closing<S> {
    service: S,
}

impl<S> Service<ServiceRequest> for Closing<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Either<S::Future, LocalBoxFuture<'static, Result<ServiceResponse, Error>>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        if !request.headers().contains_key(TRANSFER_ENCODING) {
            return Either::Left(self.service.call(request));
        }
        let body = SharedBody(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream {
            payload: Box::pin(body.clone()),
        });
        let response = self.service.call(request);
        Either::Right(Box::pin(async move {
            match response.await {
                Ok(response) => Ok(response.map_body(|_, inner| hold(inner, body))),
                Err(error) => Err(held_error(error, body)),
            }
        }))
    }
}

fn hold(response: BoxBody, request: SharedBody) -> BoxBody {
    BoxBody::new(HoldingBody {
        response,
        _request: request,
    })
}

fn held_error(error: Error, body: SharedBody) -> Error {
    let response: HttpResponse = error.error_response();
    let response = response.map_body(|_, inner| hold(inner, body));
    InternalError::from_response(error, response).into()
}

/// A request's body in two hands: one reads, the other holds.
#[derive(Clone)]
struct SharedBody(Rc<RefCell<Payload>>);

impl Stream for SharedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(cx)
    }
}

/// A response's body that keeps the request's alive.
struct HoldingBody {
    response: BoxBody,
    _request: SharedBody,
}

impl MessageBody for HoldingBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.response.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.response).poll_next(cx)
    }
}
