//! One answer: from the bytes that the provider sends to its head, and the content of its body.

use std::mem;

use actix_http::{StatusCode, header::HeaderMap};
use bytes::Bytes;

use super::{
    framing::Body,
    head::{self, Head, MAX_HEAD_BYTES},
};

/// A provider may send an interim answer every few seconds to show that it is alive; more than
/// this is not a sign of life any more.
const MAX_INTERIM: u32 = 256;

/// Buffers that one large head made larger than this are given back after the answer.
const MAX_KEPT_BUFFER: usize = 16 * 1024;

/// Room that a read gets before the head is complete. With most answers that aren't streamed it takes
/// the body too; with a stream it is given back, and more would leave the larger a hole.
const READ_SIZE: usize = 4 * 1024;

/// How much of what came early is handed on at once: as much as is read at once later.
const LARGEST_PIECE: usize = 16 * 1024;

/// The state of one answer. The buffer for its head stays for the next one, unless the body takes
/// longer.
#[derive(Default)]
pub(super) struct Answer {
    /// What was read and not yet understood: an incomplete head.
    received: Vec<u8>,
    /// How much of `received` was searched for the end of a line.
    searched: usize,
    /// Until they are asked for.
    headers: HeaderMap,
    /// Content that was read along with the head, or before the request was complete.
    content: Vec<u8>,
    status: Option<StatusCode>,
    body: Option<Body>,
    reusable: bool,
    interim: u32,
    bytes: u64,
    surplus: bool,
}

impl Answer {
    /// Forgets the answer before this one.
    pub(super) fn reset(&mut self) {
        let received = emptied(&mut self.received);
        *self = Self {
            received,
            ..Self::default()
        };
    }

    /// Where to append what is read while the head is incomplete.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.received.capacity() - self.received.len() < READ_SIZE / 8 {
            self.received.reserve(READ_SIZE);
        }
        &mut self.received
    }

    /// Takes in the last `read` bytes, which were appended to [`Self::room`].
    pub(super) fn take_in(&mut self, read: usize) -> Result<(), &'static str> {
        self.bytes += read as u64;
        while self.body.is_none() {
            if !head::may_begin(&self.received) {
                return Err("not an HTTP/1 response");
            }
            if !self.has_new_line() {
                return self.check_size();
            }
            match head::read(&self.received)? {
                None => return Ok(()),
                Some((length, Head::Interim)) => self.absorb(length)?,
                Some((length, Head::Final(head))) => {
                    self.received.drain(..length);
                    self.status = Some(head.status);
                    self.headers = head.headers;
                    self.body = Some(head.body);
                    self.reusable = head.reusable;
                }
            }
        }
        self.take_in_body()
    }

    /// A head changes its meaning only where a line ends. Parsing at each of many tiny reads would
    /// cost time with the square of the head's size.
    fn has_new_line(&mut self) -> bool {
        let found = self.received[self.searched..].contains(&b'\n');
        self.searched = self.received.len();
        found
    }

    fn check_size(&self) -> Result<(), &'static str> {
        match self.received.len() {
            0..=MAX_HEAD_BYTES => Ok(()),
            _ => Err("head too large"),
        }
    }

    fn absorb(&mut self, length: usize) -> Result<(), &'static str> {
        self.received.drain(..length);
        self.searched = 0;
        self.interim += 1;
        match self.interim {
            0..=MAX_INTERIM => Ok(()),
            _ => Err("too many interim answers"),
        }
    }

    fn take_in_body(&mut self) -> Result<(), &'static str> {
        if let Some(body) = &mut self.body {
            let unframed = body.unframe(&mut self.received)?;
            self.surplus |= unframed.followed < self.received.len();
            let content = &self.received[..unframed.content];
            self.content.extend_from_slice(content);
            self.received.clear();
        }
        Ok(())
    }

    /// Takes the framing off bytes that were read after the head, in their place; how many of them
    /// are content.
    pub(super) fn unframe(&mut self, bytes: &mut [u8]) -> Result<usize, &'static str> {
        self.bytes += bytes.len() as u64;
        let Some(body) = &mut self.body else {
            return Err("content before the head");
        };
        let unframed = body.unframe(bytes)?;
        self.surplus |= unframed.followed < bytes.len();
        Ok(unframed.content)
    }

    /// The head, once it is complete.
    pub(super) fn take_head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        Some((self.status?, mem::take(&mut self.headers)))
    }

    /// The next piece of the content that came before it was asked for.
    pub(super) fn take_content(&mut self) -> Bytes {
        let end = self.content.len().min(LARGEST_PIECE);
        let rest = self.content.split_off(end);
        mem::replace(&mut self.content, rest).into()
    }

    /// Gives the buffer back that the head took: a body may take long.
    pub(super) fn release_head(&mut self) {
        self.received = Vec::new();
    }

    /// The memory in bytes that its buffers take.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.received.capacity() + self.content.capacity()
    }

    /// How much content waits.
    pub(super) fn waiting(&self) -> usize {
        self.content.len()
    }

    /// How its body is delimited, and what is left of it, once the final head is complete.
    pub(super) fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }

    /// The status, once the final head is complete.
    pub(super) fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes that came, interim answers and surplus included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_complete(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_complete)
    }

    /// Whether the end of the connection is the end of this answer.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.body == Some(Body::UntilClose)
    }

    /// Whether nothing about this answer forbids another request on its connection.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        self.reusable && !self.surplus
    }
}

fn emptied(buffer: &mut Vec<u8>) -> Vec<u8> {
    let mut buffer = mem::take(buffer);
    if buffer.capacity() > MAX_KEPT_BUFFER {
        return Vec::new();
    }
    buffer.clear();
    buffer
}
