//! A connection to a provider, and the exchange of one request and its answer on it.

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_http::{StatusCode, body::BodySize, header::HeaderMap};
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{
    Failure, Reuse, TransportError, answer::Answer, connect, framing::Body, socket::Socket,
};

/// How much content of an answer is kept while its request is still being sent: memory must stay
/// bounded. Beyond this, the request is taken for sent, and what isn't yet goes out while the
/// answer is read.
const MAX_EARLY_BYTES: usize = 64 * 1024;

/// A connection and what goes on on it.
pub(super) struct Line {
    /// Gone once it may not be used any more.
    socket: Option<Socket>,
    opened: Instant,
    reuse: Reuse,
    requests: u64,
    /// Of the present request.
    sent: u64,
    sending: Sending,
    /// What the provider hasn't taken: with [`Sending::Behind`].
    unsent: VecDeque<Bytes>,
    /// A reset was seen other than by a read. What a read then finds looks like a FIN.
    was_reset: bool,
    answer: Answer,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// To the provider.
    Open,
    /// The provider reads no more, but its answer may have come.
    Broken,
    /// An answer is there, and what of the request isn't sent is dropped; or it was [behind](Self::Behind),
    /// and all of it is sent.
    Over,
    /// To a provider that wants its answer read first: while that is read.
    Behind,
}

/// How the provider's bytes came to an end.
enum End {
    /// The provider closed the connection, and that is the end of the answer.
    Clean,
    /// What is to be reported once all that came before it was delivered.
    Failure(Failure, Option<io::Error>),
}

impl Line {
    pub(super) fn new(socket: Socket, reuse: Reuse) -> Self {
        Self {
            socket: Some(socket),
            opened: Instant::now(),
            reuse,
            requests: 0,
            sent: 0,
            sending: Sending::Open,
            unsent: VecDeque::new(),
            was_reset: false,
            answer: Answer::default(),
            end: None,
        }
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether the connection is there and nothing waits on it.
    pub(super) fn is_silent(&mut self) -> bool {
        let input = self.socket.as_mut().map(Socket::has_input);
        matches!(input, Some(Ok(false)))
    }

    fn open_socket(&mut self) -> io::Result<&mut Socket> {
        if self.socket.is_none() {
            return Err(self.fail(self.cut(), None).into());
        }
        self.socket
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What the end of the connection means at this point.
    fn cut(&self) -> Failure {
        match self.answer.status() {
            None => Failure::ClosedBeforeResponse,
            Some(_) => Failure::CutMidResponse,
        }
    }

    /// Ends the connection with an error that tells how far this exchange had come.
    fn fail(&mut self, failure: Failure, source: Option<io::Error>) -> TransportError {
        self.socket = None;
        TransportError::new(failure, source).on_connection(
            self.requests > 1,
            self.sent,
            self.answer.bytes(),
        )
    }

    /// Before the first byte of a request.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.requests += 1;
        connect::note_use(self.requests > 1);
        self.sent = 0;
        self.sending = Sending::Open;
        self.unsent = VecDeque::new();
        match self.requests {
            1 => self.note_early_answer(),
            _ => Ok(()),
        }
    }

    /// An answer that is seen to begin before its request is complete is relayed, but what else its
    /// provider may send is nobody's guess: the connection ends with it.
    fn note_early_answer(&mut self) -> io::Result<()> {
        if self.reuse == Reuse::KeepAlive {
            let input = self.open_socket()?.has_input();
            self.was_reset |= input.is_err();
            if input.unwrap_or(true) {
                self.reuse = Reuse::Never;
            }
        }
        Ok(())
    }

    /// Sends some of the request's next bytes; how many, or nothing if no more of it is sent before
    /// its answer is read.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<Option<usize>>> {
        if self.sending == Sending::Open && self.sent > 0 {
            self.note_early_answer()?;
        }
        if self.sending == Sending::Open {
            let written = Pin::new(self.open_socket()?).poll_write(cx, bytes);
            if let Poll::Ready(written) = self.after_write(written) {
                self.sent += *written.as_ref().unwrap_or(&0) as u64;
                return Poll::Ready(written.map(Some));
            }
        }
        ready!(self.poll_early_answer(cx))?;
        Poll::Ready(Ok(None))
    }

    /// Keeps the rest of a request that [is behind](Self::is_behind), in the body's own pieces where
    /// they are large: a body is accounted for where it lies.
    pub(super) fn send_later(&mut self, mut rest: VecDeque<Bytes>) {
        rest.retain(|piece| !piece.is_empty());
        self.unsent = rest;
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sending == Sending::Open {
            let flushed = Pin::new(self.open_socket()?).poll_flush(cx);
            if let Poll::Ready(flushed) = self.after_write(flushed) {
                return Poll::Ready(flushed);
            }
        }
        self.poll_early_answer(cx)
    }

    /// A failed write ends the request, not yet the exchange: a provider that refuses a long
    /// upload answers, closes, and thereby resets the connection, and its answer still lies here.
    fn after_write<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_gone(&error) => {
                self.sending = Sending::Broken;
                self.was_reset = true;
            }
            Poll::Ready(Err(error)) => {
                return Poll::Ready(Err(self.fail(self.cut(), Some(error)).into()));
            }
            written => return written,
        }
        Poll::Pending
    }

    /// What to do when the request can't go on: the provider's answer may be the reason, and may
    /// make the rest of the request pointless. Ready means that the rest is not waited for.
    fn poll_early_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match (self.answer.status(), self.end.take()) {
                (None, Some(End::Failure(failure, source))) => {
                    return Poll::Ready(Err(self.fail(failure, source).into()));
                }
                (_, end) => self.end = end,
            }
            if self.is_sending_pointless() {
                self.sending = Sending::Over;
                return Poll::Ready(Ok(()));
            }
            if self.answer.waiting() >= MAX_EARLY_BYTES {
                self.sending = Sending::Behind;
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
            self.reuse = Reuse::Never;
        }
    }

    /// Who refuses, or has said everything already, won't read the rest; nor will who is gone.
    fn is_sending_pointless(&self) -> bool {
        self.answer.status().is_some_and(|status| {
            let is_over = self.answer.is_complete() || self.end.is_some();
            status.as_u16() >= 300 || is_over || self.sending == Sending::Broken
        })
    }

    /// Goes on sending while the answer is read. Whatever comes of it, the answer tells more.
    fn send_behind(&mut self, cx: &mut Context<'_>) {
        while let Some(socket) = &mut self.socket {
            let sent = match self.unsent.front() {
                None => Pin::new(socket).poll_flush(cx).map_ok(|()| 0),
                Some(next) => Pin::new(socket).poll_write(cx, next),
            };
            match sent {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.sent += count as u64;
                    self.advance(count);
                }
                Poll::Pending => return,
                Poll::Ready(ended) => {
                    self.was_reset |= ended.is_err();
                    self.sending = Sending::Over;
                    self.unsent = VecDeque::new();
                    return;
                }
            }
        }
    }

    fn advance(&mut self, count: usize) {
        if let Some(next) = self.unsent.front_mut() {
            next.advance(count);
            if next.is_empty() {
                self.unsent.pop_front();
            }
        }
    }

    /// Waits for the head of the answer.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(StatusCode, HeaderMap)>> {
        loop {
            if let Some(head) = self.answer.take_head() {
                return Poll::Ready(Ok(head));
            }
            if let Some(End::Failure(failure, source)) = self.end.take() {
                return Poll::Ready(Err(self.fail(failure, source).into()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Reads into the answer's own buffer, as long as it is not sure that what comes is body.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(self.fail(self.cut(), None).into()));
        };
        let room = self.answer.room();
        match ready!(pin!(socket.read_buf(room)).poll(cx)) {
            Ok(0) => self.note_end(None),
            Ok(read) => {
                if let Err(reason) = self.answer.take_in(read) {
                    self.end = Some(End::Failure(Failure::BadResponse(reason), None));
                }
            }
            Err(error) => self.note_end(Some(error)),
        }
        Poll::Ready(Ok(()))
    }

    /// The connection ended: cleanly (a FIN; over TLS a closing alert as well), or with an error.
    fn note_end(&mut self, error: Option<io::Error>) {
        let is_clean = error.is_none() && !self.was_reset;
        let ends_answer = is_clean && self.answer.ends_with_connection();
        self.end = Some(match ends_answer || self.answer.is_complete() {
            true => End::Clean,
            false => End::Failure(self.cut(), error),
        });
    }

    /// How much content the answer has in all, once its head is there.
    pub(super) fn size(&self) -> BodySize {
        match self.answer.body() {
            Some(Body::Length(left)) => BodySize::Sized(left + self.answer.waiting() as u64),
            _ => BodySize::Stream,
        }
    }

    /// The next piece of content, read into `scratch`; nothing at its end.
    pub(super) fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Option<Result<Bytes, TransportError>>> {
        if self.sending == Sending::Behind {
            self.send_behind(cx);
        }
        if self.answer.waiting() > 0 {
            return Poll::Ready(Some(Ok(self.answer.take_content())));
        }
        loop {
            match self.end.take() {
                Some(End::Failure(failure, source)) => {
                    return Poll::Ready(Some(Err(self.fail(failure, source))));
                }
                Some(End::Clean) => {
                    self.socket = None;
                    return Poll::Ready(None);
                }
                None if self.answer.is_complete() => return Poll::Ready(None),
                None => {}
            }
            match ready!(self.poll_read(cx, scratch))? {
                0 => {}
                content => {
                    let piece = Bytes::copy_from_slice(&scratch[..content]);
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
        }
    }

    /// Reads once; how much content came. An end or a fault is noted.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<usize, TransportError>> {
        self.answer.release_head();
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(self.fail(self.cut(), None)));
        };
        let mut buf = ReadBuf::new(scratch);
        let read = ready!(Pin::new(socket).poll_read(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            self.note_end(read.err());
            return Poll::Ready(Ok(0));
        }
        let content = self.answer.unframe(buf.filled_mut());
        Poll::Ready(Ok(content.unwrap_or_else(|reason| {
            self.end = Some(End::Failure(Failure::BadResponse(reason), None));
            0
        })))
    }

    /// Whether a part of the request waits for the provider to read on.
    pub(super) fn is_behind(&self) -> bool {
        self.sending == Sending::Behind
    }

    /// Whether nothing of the answer is left to be handed on.
    pub(super) fn is_over(&self) -> bool {
        self.answer.is_complete() && self.answer.waiting() == 0
    }

    /// The memory in bytes that its answer's buffers take.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.answer.buffered()
    }

    /// Makes the line ready for another request, without what one large answer took; nothing if its
    /// connection may not serve one.
    pub(super) fn into_idle(mut self: Box<Self>) -> Option<Box<Self>> {
        let is_free = self.is_over()
            && self.end.is_none()
            && self.reuse == Reuse::KeepAlive
            && self.answer.leaves_connection_usable();
        self.answer.reset();
        is_free.then_some(self)
    }
}

/// The errors of a write to a connection that the provider has closed.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    )
}
