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
    #[allow(dead_code, reason = "it is held, not read")]
    pub(super) in_flight: Option<InFlight>,
    #[allow(dead_code, reason = "it is held, not read")]
    pub(super) upload: Option<SharedBody>,
}

/// A body that is watched on its way out.
pub(crate) struct RecordedBody {
    body: BoxBody,
    kept: Kept,
}

impl RecordedBody {
    pub(super) fn new(body: BoxBody, kept: Kept) -> Self {
        Self { body, kept }
    }
}

impl Open {
    /// An answer of this size comes. The server asks an empty body for nothing.
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
            Poll::Ready(Some(Ok(piece))) => this.kept.open.record.note_piece(piece.len()),
            Poll::Ready(None) => this.kept.open.outcome = Outcome::Complete,
            // Whoever breaks a body has noted why.
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}
