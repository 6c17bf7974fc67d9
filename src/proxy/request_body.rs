//! A request's body on its way in, into one buffer, and on its way out, in slices.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::body::{BodySize, MessageBody};
use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, Payload},
};
use futures_util::StreamExt;

use super::idle_timer::IdleTimer;
use crate::error::GatewayError;

/// awc copies each piece of a body into its write buffer, which grows to hold it and stays that
/// large for the rest of the exchange.
const LARGEST_PIECE: usize = 64 * 1024;

/// How much a caller may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The largest body.
    pub bytes: usize,
    /// The longest time without one byte of it. What has come of a body occupies memory, so a
    /// sender that stops must not hold it for ever.
    pub silence: Duration,
}

/// Reads a whole body within `limits`.
pub(super) async fn collect(
    request: &HttpRequest,
    body: Payload,
    limits: BodyLimits,
) -> Result<Bytes, GatewayError> {
    GatewayError::refuse_websocket(request.headers())?;
    refuse_compressed(request)?;
    let declared = declared_length(request);
    if declared.is_some_and(|length| length > limits.bytes) {
        return Err(too_large(limits));
    }
    read(body, declared.unwrap_or(limits.bytes), limits).await
}

/// `model` can't be found in a compressed body, and unpacking one would cost more than the
/// gateway does.
fn refuse_compressed(request: &HttpRequest) -> Result<(), GatewayError> {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING);
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(GatewayError::CompressedBody)
    }
}

/// What `Content-Length` says; actix-web has answered a malformed one itself.
fn declared_length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?.to_str().ok()?;
    Some(length.parse().unwrap_or(usize::MAX))
}

async fn read(
    mut body: Payload,
    expected: usize,
    limits: BodyLimits,
) -> Result<Bytes, GatewayError> {
    let mut first = Bytes::new();
    let mut buffer = Vec::new();
    let mut idle = IdleTimer::new(limits.silence);
    while let Some(piece) = next_piece(&mut body, &mut idle).await? {
        if first.len() + buffer.len() + piece.len() > limits.bytes {
            return Err(too_large(limits));
        }
        if first.is_empty() && buffer.is_empty() {
            first = piece;
        } else {
            append(&mut buffer, &std::mem::take(&mut first), expected);
            append(&mut buffer, &piece, expected);
        }
    }
    // Most bodies arrive in one piece and are used where they are.
    Ok(if buffer.is_empty() {
        first
    } else {
        buffer.into()
    })
}

async fn next_piece(
    body: &mut Payload,
    idle: &mut IdleTimer,
) -> Result<Option<Bytes>, GatewayError> {
    poll_fn(|cx| match body.poll_next_unpin(cx) {
        Poll::Ready(piece) => {
            idle.stop();
            Poll::Ready(piece.transpose().map_err(|error| unreadable(&error)))
        }
        Poll::Pending => {
            let ran_out = idle.poll(cx);
            ran_out.map(|after| Err(GatewayError::RequestTimeout { after }))
        }
    })
    .await
}

fn too_large(limits: BodyLimits) -> GatewayError {
    GatewayError::BodyTooLarge {
        limit: limits.bytes,
    }
}

/// Grows by doubling, never beyond what is expected: a sender that declares much and sends little
/// occupies little, and a body that arrives whole occupies its own size.
fn append(buffer: &mut Vec<u8>, piece: &[u8], expected: usize) {
    let needed = buffer.len() + piece.len();
    if needed > buffer.capacity() {
        let target = expected.min(2 * buffer.capacity()).max(needed);
        buffer.reserve_exact(target - buffer.len());
    }
    buffer.extend_from_slice(piece);
}

fn unreadable(error: &PayloadError) -> GatewayError {
    let problem = match error {
        PayloadError::Incomplete(_) => "it ended too early",
        _ => "its chunks are malformed",
    };
    GatewayError::InvalidRequest {
        message: format!("The request body could not be read: {problem}."),
        param: None,
        code: "unreadable_body",
    }
}

/// A body to send: what stood before `model`'s value, the new value, and what stood after it.
/// Cloning and slicing it copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestBody([Bytes; 3]);

impl From<Bytes> for RequestBody {
    fn from(whole: Bytes) -> Self {
        Self([whole, Bytes::new(), Bytes::new()])
    }
}

impl From<[Bytes; 3]> for RequestBody {
    fn from(pieces: [Bytes; 3]) -> Self {
        Self(pieces)
    }
}

impl RequestBody {
    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.0.iter_mut().find(|piece| !piece.is_empty())?;
        Some(piece.split_to(piece.len().min(LARGEST_PIECE)))
    }

    #[cfg(test)]
    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.0.concat()
    }
}

impl MessageBody for RequestBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.iter().map(|piece| piece.len() as u64).sum())
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.get_mut().next_piece().map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_in_slices_of_bounded_size() {
        let large = Bytes::from(vec![b'x'; 2 * LARGEST_PIECE + 1]);
        let mut body = RequestBody::from([
            Bytes::from_static(b"{\"model\":"),
            Bytes::from_static(b"\"m\""),
            large.clone(),
        ]);
        assert_eq!(body.size(), BodySize::Sized(large.len() as u64 + 12));
        let pieces: Vec<_> = std::iter::from_fn(|| body.next_piece()).collect();
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [9, 3, LARGEST_PIECE, LARGEST_PIECE, 1]);
        assert_eq!(pieces[2].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_buffer_grows_with_what_arrives_and_ends_at_what_is_expected() {
        let expected = 1_000_000;
        let mut buffer = Vec::new();
        append(&mut buffer, &[1; 1_000], expected);
        assert_eq!(buffer.capacity(), 1_000);
        append(&mut buffer, &[2; 1], expected);
        assert_eq!(buffer.capacity(), 2_000);
        while buffer.len() < expected {
            let piece = vec![3; 1_000.min(expected - buffer.len())];
            append(&mut buffer, &piece, expected);
        }
        assert_eq!(buffer.capacity(), expected);
        assert_eq!(buffer[..1_001], [vec![1; 1_000], vec![2]].concat());
    }
}
