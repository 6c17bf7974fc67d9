//! An answer's body, whose end is the end of the exchange.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};

use super::{Open, outcome::Outcome};
use crate::{server::InFlight, unread_body::SharedBody};

/// What lasts as long as an answer does.
pub(super) struct Kept {
    /// First, so that it ends first.
    pub(super) open: Open,
    pub(super) in_flight: Option<InFlight>,
    pub(super) upload: Option<SharedBody>,
}

/// A body that is watched on its way out.
pub(crate) struct RecordedBody {
    body: BoxBody,
    /// None once all of the body is written.
    open: Option<Open>,
    in_flight: Option<InFlight>,
    #[allow(dead_code, reason = "it is held, not read")]
    upload: Option<SharedBody>,
}

impl RecordedBody {
    pub(super) fn new(body: BoxBody, kept: Kept) -> Self {
        let Kept {
            open,
            in_flight,
            upload,
        } = kept;
        Self {
            body,
            open: Some(open),
            in_flight,
            upload,
        }
    }

    /// All of the body is written. The exchange ends once it has been sent: no client is to wait for
    /// the counting and the logging, and an answer that is never sent is not complete. What the body
    /// holds goes with it, before: a client that has its answer may count on the request's place.
    fn end_once_sent(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let end = move || {
            open.outcome = Outcome::Complete;
            drop(open);
        };
        match &self.in_flight {
            Some(in_flight) => in_flight.once_sent(end),
            None => end(),
        }
    }
}

impl Open {
    /// An answer of this size comes. The server asks an empty body for nothing: it ends when the server
    /// takes it.
    pub(super) fn expect(&mut self, size: BodySize) {
        if matches!(size, BodySize::None | BodySize::Sized(0)) {
            self.outcome = Outcome::Complete;
        }
    }
}

impl MessageBody for RecordedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_next(cx);
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                if let Some(open) = &this.open {
                    open.record.note_piece(piece.len());
                }
            }
            Poll::Ready(None) => this.end_once_sent(),
            // Whoever breaks a body has noted why.
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}
