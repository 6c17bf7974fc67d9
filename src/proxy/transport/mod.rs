//! The connection under awc, which sees nothing but well-formed, complete HTTP/1.1 through it.
//!
//! awc 3.11 alone takes a cut-off answer for a whole one, an interim answer for the final one, an
//! unframed answer for an empty one, and what an earlier request left behind for its own answer.
//! [`Transport`] judges every byte before awc does, and says how a connection failed.

mod answer;
mod connect;
mod error;
mod framing;
mod head;
mod parking;
mod reach;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    collections::VecDeque,
    fmt, io, mem,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use self::{
    answer::Answer,
    parking::{Parked, Parking},
    socket::Socket,
};
pub use self::{
    connect::{Connector, Observer, Request, Reuse, Scheme, client, for_request},
    error::{ConnectFailure, Failure, TransportError},
    reach::{OutOfReach, Reach},
    tls::{client_config, trusted_roots},
};

/// How much of an answer is kept while its request is still being sent: awc reads nothing before it
/// has written all, and memory must stay bounded. Beyond this, awc is told that all is written, and
/// what isn't yet goes out while the answer is read.
const MAX_EARLY_BYTES: usize = 64 * 1024;

/// How much of a body is read at once. awc would take 32 KiB, and the dispatcher keeps a buffer that
/// once held that much: with a client that doesn't read, memory that waits for nothing. Most
/// pieces of a stream are far smaller; a long answer costs a third more to relay in small ones.
const MOST_READ: usize = 7 * 1024;

/// A connection to a provider, as awc sees it.
pub struct Transport {
    /// Gone while the connection is parked, and once it may not be used any more.
    socket: Option<Socket>,
    parked: Option<Parked>,
    parking: Rc<Parking>,
    phase: Phase,
    reuse: Reuse,
    requests: u64,
    sent: u64,
    sending: Sending,
    /// What awc has handed over and the provider hasn't taken: with [`Sending::Behind`].
    unsent: VecDeque<u8>,
    /// A reset was seen other than by a read. What a read then finds looks like a FIN.
    was_reset: bool,
    answer: Answer,
    end: Option<End>,
}

/// Where the exchange of one request and its answer stands. awc writes a whole request before it
/// reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Sending,
    Receiving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// To the provider.
    Open,
    /// The provider reads no more, but its answer may have come.
    Broken,
    /// Nowhere: an answer is there, and the rest of the request is swallowed.
    Swallowed,
    /// To a provider that wants its answer read first: into a buffer, which never holds more than
    /// the one request, and from there to the provider while its answer is read.
    Behind,
}

/// How the provider's bytes came to an end.
enum End {
    /// The provider closed the connection, and that is the end of the answer.
    Clean,
    /// What is to be reported once all that came before it was delivered.
    Failure(Failure, Option<io::Error>),
}

impl Transport {
    fn new(socket: Socket, reuse: Reuse, parking: Rc<Parking>) -> Self {
        Self {
            socket: Some(socket),
            parked: None,
            parking,
            phase: Phase::Idle,
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

    fn socket(&mut self) -> io::Result<&mut Socket> {
        if self.socket.is_none() {
            return Err(self.fail(self.cut(), None));
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
    fn fail(&mut self, failure: Failure, source: Option<io::Error>) -> io::Error {
        self.socket = None;
        TransportError::new(failure, source)
            .on_connection(self.requests > 1, self.sent, self.answer.bytes())
            .into()
    }

    /// Before the first byte of a request.
    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        self.unpark();
        if request.starts_with(b"HEAD ") || request.starts_with(b"CONNECT ") {
            let reason = "answers to its method are framed in another way";
            return Err(self.fail(Failure::BadRequest(reason), None));
        }
        self.requests += 1;
        connect::note_use(self.requests > 1);
        self.sent = 0;
        self.sending = Sending::Open;
        self.unsent = VecDeque::new();
        self.phase = Phase::Sending;
        if self.requests == 1 {
            return self.note_early_answer();
        }
        // Whatever waits on a kept-alive connection belongs to nobody, least of all to this
        // request; and an end that waits would be the end of this request.
        self.refuse_leftovers()
    }

    fn refuse_leftovers(&mut self) -> io::Result<()> {
        let source = match self.socket()?.has_input() {
            Ok(false) => return Ok(()),
            Ok(true) => None,
            Err(error) => Some(error),
        };
        Err(self.fail(Failure::ClosedBeforeResponse, source))
    }

    /// An answer that begins before its request is complete is relayed, but what else its provider
    /// may send is nobody's guess: the connection ends with it.
    fn note_early_answer(&mut self) -> io::Result<()> {
        if self.reuse == Reuse::KeepAlive {
            let input = self.socket()?.has_input();
            self.was_reset |= input.is_err();
            if input.unwrap_or(true) {
                self.reuse = Reuse::Never;
            }
        }
        Ok(())
    }

    /// What to do when the request can't go on: the provider's answer may be the reason, and may
    /// make the rest of the request pointless. Ready means that the rest is not waited for.
    fn poll_early_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match (self.answer.status(), self.end.take()) {
                (None, Some(End::Failure(failure, source))) => {
                    return Poll::Ready(Err(self.fail(failure, source)));
                }
                (_, end) => self.end = end,
            }
            if self.is_sending_pointless() {
                self.sending = Sending::Swallowed;
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
            status >= 300 || is_over || self.sending == Sending::Broken
        })
    }

    /// Goes on sending while the answer is read. Whatever comes of it, the answer tells more.
    fn send_behind(&mut self, cx: &mut Context<'_>) {
        while let Some(socket) = &mut self.socket {
            let (next, _) = self.unsent.as_slices();
            let sent = match next.is_empty() {
                true => Pin::new(socket).poll_flush(cx).map_ok(|()| 0),
                false => Pin::new(socket).poll_write(cx, next),
            };
            match sent {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.unsent.drain(..count);
                    self.sent += count as u64;
                }
                Poll::Pending => return,
                Poll::Ready(failed) => {
                    self.was_reset |= failed.is_err();
                    self.sending = Sending::Swallowed;
                    self.unsent = VecDeque::new();
                    return;
                }
            }
        }
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
                return Poll::Ready(Err(self.fail(self.cut(), Some(error))));
            }
            written => return written,
        }
        Poll::Pending
    }

    /// Reads into the answer's own buffer, as long as it is not sure that what comes is body.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(self.fail(self.cut(), None)));
        };
        let room = self.answer.room();
        match ready!(pin!(socket.read_buf(room)).poll(cx)) {
            Ok(0) => self.note_end(None),
            Ok(read) => {
                let may_reuse = self.reuse == Reuse::KeepAlive && self.phase == Phase::Receiving;
                if let Err(reason) = self.answer.take_in(read, may_reuse) {
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

    fn poll_answer(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.sending == Sending::Behind {
            self.send_behind(cx);
        }
        loop {
            if self.answer.deliver(buf) {
                self.settle();
                return Poll::Ready(Ok(()));
            }
            match self.end.take() {
                Some(End::Failure(failure, source)) => {
                    return Poll::Ready(Err(self.fail(failure, source)));
                }
                Some(End::Clean) => {
                    self.socket = None;
                    return Poll::Ready(Ok(()));
                }
                None => {}
            }
            if self.answer.status().is_none() {
                ready!(self.poll_receive(cx))?;
            } else if ready!(self.poll_body(cx, buf))? {
                self.settle();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads body bytes straight into awc's buffer; false if the body's end or a fault came.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        self.answer.release();
        let before = buf.filled().len();
        let mut part = (&mut *buf).limit(MOST_READ);
        let read = ready!(pin!(self.socket()?.read_buf(&mut part)).poll(cx));
        let bytes = &buf.filled()[before..];
        if read.is_err() || bytes.is_empty() {
            self.note_end(read.err());
            return Poll::Ready(Ok(false));
        }
        let followed = self.answer.follow(bytes);
        buf.set_filled(before + followed.unwrap_or_default());
        if let Err(reason) = followed {
            self.end = Some(End::Failure(Failure::BadResponse(reason), None));
        }
        Poll::Ready(Ok(followed.is_ok()))
    }

    /// After awc got bytes: if they were the last of the answer, the connection is free for
    /// another request, or closed at once where it may not serve one. awc may still put a closed
    /// one into its pool, and finds it dead when it takes it out.
    fn settle(&mut self) {
        if self.answer.is_complete() && self.answer.waiting() == 0 {
            self.phase = Phase::Idle;
            let socket = self.socket.take();
            if self.reuse == Reuse::KeepAlive && self.answer.leaves_connection_usable() {
                let answer = mem::take(&mut self.answer);
                self.parked = socket.map(|socket| self.parking.park(socket, answer));
            }
        }
    }

    fn unpark(&mut self) {
        if let Some((socket, answer)) = self.parked.take().and_then(|parked| parked.take()) {
            self.socket = Some(socket);
            self.answer = answer;
            self.answer.reset();
        }
    }

    /// awc's pool reads from an idle connection to learn whether it is alive: pending means yes.
    fn poll_idle(&mut self) -> Poll<io::Result<()>> {
        self.unpark();
        self.refuse_leftovers()?;
        Poll::Pending
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

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match this.phase {
            Phase::Idle => this.poll_idle(),
            Phase::Sending | Phase::Receiving => {
                this.phase = Phase::Receiving;
                this.poll_answer(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match (this.phase, this.sending) {
            (Phase::Idle, _) => this.begin(buf)?,
            (_, Sending::Open) => this.note_early_answer()?,
            _ => {}
        }
        if this.sending == Sending::Open {
            let written = Pin::new(this.socket()?).poll_write(cx, buf);
            if let Poll::Ready(written) = this.after_write(written) {
                this.sent += *written.as_ref().unwrap_or(&0) as u64;
                return Poll::Ready(written);
            }
        }
        if matches!(this.sending, Sending::Open | Sending::Broken) {
            ready!(this.poll_early_answer(cx))?;
        }
        if this.sending == Sending::Behind {
            this.unsent.extend(buf);
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_done = matches!(this.sending, Sending::Swallowed | Sending::Behind);
        if this.phase != Phase::Sending || is_done {
            return Poll::Ready(Ok(()));
        }
        if this.sending == Sending::Open {
            let flushed = Pin::new(this.socket()?).poll_flush(cx);
            if let Poll::Ready(flushed) = this.after_write(flushed) {
                return Poll::Ready(flushed);
            }
        }
        this.poll_early_answer(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl ActixStream for Transport {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.socket {
            Some(socket) => ActixStream::poll_read_ready(socket.tcp(), cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match &self.socket {
            Some(socket) => ActixStream::poll_write_ready(socket.tcp(), cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("open", &(self.socket.is_some() || self.parked.is_some()))
            .field("phase", &self.phase)
            .field("requests", &self.requests)
            .field("sent", &self.sent)
            .field("received", &self.answer.bytes())
            .finish_non_exhaustive()
    }
}
