//! A request's body on its way in, into one buffer, and on its way out, in slices.

use std::{
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_http::body::{BodySize, MessageBody};
use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH},
    web::{Bytes, Payload},
};
use futures_util::StreamExt;
use memmap2::MmapMut;

use super::buffered_bytes::{BufferedBytes, Share};
use crate::{error::GatewayError, idle_timer::IdleTimer, record::Record};

/// Between two pieces of a body it is seen whether its provider answers already.
const LARGEST_PIECE: usize = 64 * 1024;

/// A slower sender than this, after the time for which it might as well have been silent, holds on
/// to memory and a place without getting anywhere: a body of 1 MiB would take it a quarter of an
/// hour.
const SLOWEST_BYTES_PER_SECOND: u64 = 1024;

/// How much a caller may send, and how slowly.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The largest body.
    pub bytes: usize,
    /// The longest time without one byte of it. What has come of a body occupies memory, so a
    /// sender that stops must not hold it for ever.
    pub silence: Duration,
    /// What all bodies together may occupy.
    pub buffered: BufferedBytes,
}

/// Reads a whole body within `limits`. Its share of the memory for bodies comes with it, to be held
/// for as long as the body is.
pub(super) async fn collect(
    request: &HttpRequest,
    body: Payload,
    limits: &BodyLimits,
    record: &Record,
) -> Result<(Bytes, Share), GatewayError> {
    GatewayError::refuse_websocket(request.headers())?;
    refuse_compressed(request)?;
    let declared = declared_length(request);
    if declared.is_some_and(|length| length > limits.bytes) {
        return Err(too_large(limits));
    }
    let mut share = limits.buffered.share();
    share.expect(declared.unwrap_or_default())?;
    let body = read(body, declared, limits, &mut share, record).await?;
    Ok((body, share))
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
    declared: Option<usize>,
    limits: &BodyLimits,
    share: &mut Share,
    record: &Record,
) -> Result<Bytes, GatewayError> {
    let mut first = Bytes::new();
    let mut buffer = Buffer::default();
    let mut arrival = Arrival::new(limits.silence);
    while let Some(piece) = arrival.next_piece(&mut body).await? {
        let received = first.len() + buffer.bytes().len() + piece.len();
        record.note_upload(received);
        if received > limits.bytes {
            return Err(too_large(limits));
        }
        arrival.judge(received)?;
        if first.is_empty() && buffer.bytes().is_empty() {
            share.grow_to(piece.len())?;
            first = piece;
        } else {
            buffer.make_room(received, declared, limits.bytes);
            // Memory that nothing was written to yet isn't occupied.
            share.grow_to(buffer.capacity().min(2 * received))?;
            buffer.append(&mem::take(&mut first));
            buffer.append(&piece);
        }
    }
    if let Some(since) = arrival.since {
        record.note_upload_wait(since.elapsed());
    }
    // Most bodies arrive in one piece and are used where they are.
    Ok(match buffer.bytes().is_empty() {
        true => first,
        false => buffer.into_bytes(),
    })
}

/// Of a body that is declared, this part must have come before there is room for all of it: not
/// even addresses are to be had for nothing.
const EARNEST: usize = 64;

/// Bodies that declare this much or more get memory of their own from the operating system, which
/// goes back there when they are over. In the heap, where large blocks come and go, they would leave
/// holes: eight bodies of 8 MiB at once took 1.3 times their size.
const LARGE: usize = 1 << 20;

/// Where a body is put together.
enum Buffer {
    Heap(Vec<u8>),
    Mapped { memory: MmapMut, length: usize },
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped { memory, length } => &memory[..*length],
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.capacity(),
            Self::Mapped { memory, .. } => memory.len(),
        }
    }

    /// Grows by doubling at first, and then to the declared length at once: a sender that declares
    /// much and sends little occupies little, and a body that arrives whole its own size.
    fn make_room(&mut self, needed: usize, declared: Option<usize>, longest: usize) {
        if let Self::Mapped { memory, length } = self
            && needed > memory.len()
        {
            // The server lets no body be longer than it says.
            *self = Self::Heap(memory[..*length].to_vec());
        }
        let Self::Heap(bytes) = self else {
            return;
        };
        let capacity = match (bytes.capacity(), declared) {
            (enough, _) if enough >= needed => return,
            (_, Some(declared)) if needed >= declared / EARNEST => declared.max(needed),
            (less, _) => longest.min(2 * less).max(needed),
        };
        let is_large = declared == Some(capacity) && capacity >= LARGE;
        match is_large.then(|| MmapMut::map_anon(capacity)) {
            Some(Ok(mut memory)) => {
                let length = bytes.len();
                memory[..length].copy_from_slice(bytes);
                *self = Self::Mapped { memory, length };
            }
            _ => bytes.reserve_exact(capacity - bytes.len()),
        }
    }

    /// Adds a piece, for which there is room.
    fn append(&mut self, piece: &[u8]) {
        match self {
            Self::Heap(bytes) => bytes.extend_from_slice(piece),
            Self::Mapped { memory, length } => {
                memory[*length..*length + piece.len()].copy_from_slice(piece);
                *length += piece.len();
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.into(),
            Self::Mapped { memory, length } => Bytes::from_owner(memory).slice(..length),
        }
    }
}

/// How a body arrives: in pieces, with pauses.
struct Arrival {
    silence: Duration,
    /// A request is handled before the first piece of its body is handed over. The dispatcher polls
    /// the handler in each of its turns, and so once more after it has taken that piece in: nobody
    /// is to be woken for what is there then.
    was_asked: bool,
    idle: IdleTimer,
    /// When it was first waited for.
    since: Option<Instant>,
}

impl Arrival {
    fn new(silence: Duration) -> Self {
        Self {
            silence,
            was_asked: false,
            idle: IdleTimer::new(silence),
            since: None,
        }
    }

    async fn next_piece(&mut self, body: &mut Payload) -> Result<Option<Bytes>, GatewayError> {
        poll_fn(|cx| {
            let asking = match mem::replace(&mut self.was_asked, true) {
                false => &mut Context::from_waker(Waker::noop()),
                true => &mut *cx,
            };
            match body.poll_next_unpin(asking) {
                Poll::Ready(piece) => {
                    self.idle.stop();
                    Poll::Ready(piece.transpose().map_err(|error| unreadable(&error)))
                }
                Poll::Pending => {
                    self.since.get_or_insert_with(Instant::now);
                    let ran_out = self.idle.poll(cx);
                    ran_out.map(|after| Err(GatewayError::RequestTimeout { after }))
                }
            }
        })
        .await
    }

    /// Refuses a trickle.
    fn judge(&self, received: usize) -> Result<(), GatewayError> {
        let Some(since) = self.since else {
            return Ok(());
        };
        let after = since.elapsed();
        let seconds = received as u64 / SLOWEST_BYTES_PER_SECOND;
        match after > self.silence.saturating_add(Duration::from_secs(seconds)) {
            true => Err(GatewayError::RequestTooSlow { received, after }),
            false => Ok(()),
        }
    }
}

fn too_large(limits: &BodyLimits) -> GatewayError {
    GatewayError::BodyTooLarge {
        limit: limits.bytes,
    }
}

pub(super) fn unreadable(error: &PayloadError) -> GatewayError {
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// The capacities that a buffer has on its way to `length`, in pieces of 1,000 bytes.
    fn capacities(length: usize, declared: Option<usize>, longest: usize) -> Vec<usize> {
        let mut buffer = Buffer::default();
        let mut capacities = Vec::new();
        let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
        for piece in content.chunks(1_000) {
            buffer.make_room(buffer.bytes().len() + piece.len(), declared, longest);
            buffer.append(piece);
            capacities.push(buffer.capacity());
        }
        assert_eq!(buffer.into_bytes(), content);
        capacities.dedup();
        capacities
    }

    #[test]
    fn a_buffer_grows_with_what_arrives_and_ends_at_what_is_declared() {
        assert_eq!(
            capacities(200_000, Some(200_000), 10 * LARGE),
            [1_000, 2_000, 4_000, 200_000]
        );
        assert_eq!(
            capacities(LARGE, Some(LARGE), 10 * LARGE),
            [1_000, 2_000, 4_000, 8_000, 16_000, LARGE]
        );
        // What nobody lets in loses nothing.
        assert_eq!(
            capacities(LARGE + 1, Some(LARGE), 10 * LARGE).last(),
            Some(&(LARGE + 1))
        );
    }

    #[test]
    fn a_buffer_for_a_body_of_unknown_length_never_grows_beyond_the_longest() {
        assert_eq!(
            capacities(10_000, None, 10_500),
            [1_000, 2_000, 4_000, 8_000, 10_500]
        );
    }

    #[test]
    fn a_trickle_is_refused_and_a_slow_sender_is_not() {
        let silence = Duration::from_secs(30);
        let arrival = |seconds| Arrival {
            silence,
            was_asked: true,
            idle: IdleTimer::new(silence),
            since: Instant::now().checked_sub(Duration::from_secs(seconds)),
        };
        assert!(arrival(25).judge(1).is_ok());
        assert!(arrival(35).judge(1).is_err());
        assert!(arrival(35).judge(10 * 1024).is_ok());
        assert!(arrival(125).judge(90 * 1024).is_err());
        assert!(arrival(125).judge(100 * 1024).is_ok());
    }
}
