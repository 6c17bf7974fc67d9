//! Closes a connection whose chunked request body was refused, instead of reading it to its end.
//!
//! actix-web closes a connection in such a case if it knows how much is still to come, after a
//! second of reading what was on its way. A chunked body that nobody holds any more it reads for as
//! long as the sender likes. Holding it until the response is sent makes the two cases one.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    http::header::TRANSFER_ENCODING,
    web::Bytes,
};
use futures_util::{Stream, StreamExt};

/// Holds the body of a request that is handled now, if it comes in chunks: for as long as the value
/// lives, whatever else becomes of the body.
pub(crate) fn hold(request: &mut ServiceRequest) -> Option<SharedBody> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let body = SharedBody(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream {
        payload: Box::pin(body.clone()),
    });
    Some(body)
}

/// A request's body in two hands: one reads, the other holds.
#[derive(Clone)]
pub(crate) struct SharedBody(Rc<RefCell<Payload>>);

impl Stream for SharedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next_unpin(cx)
    }
}
