//! A request on its way out: its head, and its body after it.

use std::{
    collections::VecDeque,
    error::Error,
    future::poll_fn,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, RequestHead,
    body::{BodySize, MessageBody},
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use awc::error::SendRequestError;
use bytes::{Buf as _, Bytes};

use super::{carrier::refused, line::Line};

/// Pieces of a body that are smaller than this are sent along with what comes before them, in one
/// system call and most often one packet; larger ones from where they lie.
const LARGE: usize = 16 * 1024;

/// The head without its headers.
const START_AND_FRAMING: usize = 128;

pub(super) struct Outgoing<'b, B> {
    /// The head, and small pieces of the body.
    gathered: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// A large piece, which goes out after what is gathered.
    large: Bytes,
    /// Until it ended.
    body: Option<Pin<&'b mut B>>,
    /// What of the declared length the body has yet to yield.
    left: u64,
}

impl<'b, B> Outgoing<'b, B>
where
    B: MessageBody<Error: Into<Box<dyn Error>>>,
{
    /// Writes the head (RFC 9112, sections 3, 5 and 6).
    ///
    /// # Errors
    /// The length of the body must be known.
    pub(super) fn new(head: &RequestHead, body: Pin<&'b mut B>) -> Result<Self, SendRequestError> {
        let length = match body.size() {
            BodySize::None => None,
            BodySize::Sized(length) => Some(length),
            BodySize::Stream => return Err(refused("the length of its body is not known")),
        };
        let headers = head.headers.iter();
        let room = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let small_body = length.map_or(0, |length| length.min(LARGE as u64) as usize);
        let room = START_AND_FRAMING + path.len() + room.sum::<usize>() + small_body;

        let mut out = Vec::with_capacity(room);
        put(&mut out, [head.method.as_str(), " ", path, " HTTP/1.1\r\n"]);
        if let (false, Some(authority)) = (head.headers.contains_key(HOST), head.uri.authority()) {
            put(&mut out, ["host: ", authority.host()]);
            if let Some(port) = authority.port() {
                put(&mut out, [":", port.as_str()]);
            }
            put(&mut out, ["\r\n"]);
        }
        for (name, value) in &head.headers {
            if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
                put(&mut out, [name.as_str(), ": "]);
                out.extend_from_slice(value.as_bytes());
                put(&mut out, ["\r\n"]);
            }
        }
        if head.connection_type() == ConnectionType::Close {
            put(&mut out, ["connection: close\r\n"]);
        }
        if let Some(length) = length {
            let digits = &mut itoa::Buffer::new();
            put(
                &mut out,
                ["content-length: ", digits.format(length), "\r\n"],
            );
        }
        put(&mut out, ["\r\n"]);
        Ok(Self {
            gathered: out,
            written: 0,
            large: Bytes::new(),
            body: Some(body),
            left: length.unwrap_or_default(),
        })
    }

    /// The next piece of the body. What it yields beyond the length that it declared is never sent:
    /// the provider would take it for the beginning of another request.
    async fn next_piece(&mut self) -> Result<Option<Bytes>, SendRequestError> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let piece = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        if piece.is_none() {
            self.body = None;
        }
        let piece = piece.transpose();
        let piece = piece.map_err(|error| SendRequestError::Body(error.into()))?;
        let left = match &piece {
            Some(piece) => self.left.checked_sub(piece.len() as u64),
            None => (self.left == 0).then_some(0),
        };
        self.left = left.ok_or_else(|| refused("its body is not as long as it said"))?;
        Ok(piece)
    }

    /// Takes from the body what is to be sent next.
    pub(super) async fn gather(&mut self) -> Result<(), SendRequestError> {
        while self.gathered.len() < LARGE {
            match self.next_piece().await? {
                None => break,
                Some(piece) if piece.len() < LARGE => self.gathered.extend_from_slice(&piece),
                Some(piece) => {
                    self.large = piece;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends the request; what its provider doesn't take before its answer is read, the line keeps.
    pub(super) async fn send(mut self, line: &mut Line) -> Result<(), SendRequestError> {
        while !self.gathered.is_empty() || !self.large.is_empty() {
            if !poll_fn(|cx| self.poll_write(cx, line)).await? {
                if line.is_behind() {
                    line.send_later(self.rest().await?);
                }
                return Ok(());
            }
            self.gather().await?;
        }
        drop(self);
        Ok(poll_fn(|cx| line.poll_flush(cx)).await?)
    }

    /// Sends what was gathered: all of it, unless the answer is to be read first.
    fn poll_write(&mut self, cx: &mut Context<'_>, line: &mut Line) -> Poll<io::Result<bool>> {
        while self.written < self.gathered.len() {
            match ready!(line.poll_write(cx, &self.gathered[self.written..]))? {
                Some(written) => self.written += written,
                None => return Poll::Ready(Ok(false)),
            }
        }
        while !self.large.is_empty() {
            match ready!(line.poll_write(cx, &self.large))? {
                Some(written) => self.large.advance(written),
                None => return Poll::Ready(Ok(false)),
            }
        }
        self.gathered.clear();
        self.written = 0;
        Poll::Ready(Ok(true))
    }

    /// All that hasn't been sent.
    pub(super) async fn rest(mut self) -> Result<VecDeque<Bytes>, SendRequestError> {
        let gathered = Bytes::from(self.gathered.split_off(self.written));
        let mut rest = VecDeque::from([gathered, mem::take(&mut self.large)]);
        while let Some(piece) = self.next_piece().await? {
            rest.push_back(piece);
        }
        Ok(rest)
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, parts: [&str; N]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}
