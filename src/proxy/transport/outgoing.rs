//! A request on its way out: its head, and its body after it.

use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, RequestHead,
    body::{BodySize, MessageBody},
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
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
    body: Pin<&'b mut B>,
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
        if let (false, Some(host)) = (head.headers.contains_key(HOST), head.uri.authority()) {
            put(&mut out, ["host: ", host.as_str(), "\r\n"]);
        }
        for (name, value) in &head.headers {
            if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
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
            body,
        })
    }

    /// Takes from the body what is to be sent next.
    pub(super) async fn gather(&mut self) -> Result<(), SendRequestError> {
        while self.gathered.len() < LARGE {
            match poll_fn(|cx| self.body.as_mut().poll_next(cx)).await {
                None => break,
                Some(Err(error)) => return Err(SendRequestError::Body(error.into())),
                Some(Ok(piece)) if piece.len() < LARGE => self.gathered.extend_from_slice(&piece),
                Some(Ok(piece)) => {
                    self.large = piece;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether something is to be sent.
    pub(super) fn has_more(&self) -> bool {
        !self.gathered.is_empty() || !self.large.is_empty()
    }

    /// Sends what was gathered.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        line: &mut Line,
    ) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            self.written += ready!(line.poll_write(cx, &self.gathered[self.written..]))?;
        }
        while !self.large.is_empty() {
            let written = ready!(line.poll_write(cx, &self.large))?;
            self.large.advance(written);
        }
        self.gathered.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

fn put<const N: usize>(out: &mut Vec<u8>, parts: [&str; N]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}
