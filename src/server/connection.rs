//! A client's connection as actix's dispatcher sees it, with the time limits that the dispatcher
//! itself doesn't keep: for every head (it knows a limit for the first alone, and counts it from a
//! clock that may be half a second late), and for a client that reads no more.
//!
//! The dispatcher asks a response's body for nothing while its write buffer is full, so no timer
//! inside a body can see that a client has stopped reading. Here it shows: a write that waits.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::wire::Wire;
use crate::{idle_timer::IdleTimer, settings::ClientSettings};

/// Silence after which the kernel asks whether the client is still there, and how long it waits
/// between two questions. A client may wait minutes for an answer without a packet going either
/// way, and NAT gateways forget a silent connection after as little as 350 s.
const PROBE_AFTER: Duration = Duration::from_secs(45);

/// What a client is told whose head didn't come to its end. Nothing of it is known, not even
/// whether it speaks JSON.
const HEAD_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Takes in an accepted connection. A TLS handshake has as long as a head.
///
/// # Errors
/// The handshake failed.
pub(super) async fn accept(
    stream: TcpStream,
    settings: &ClientSettings,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<(ClientConnection, Option<SocketAddr>)> {
    let peer = stream.peer_addr().ok();
    if let Err(error) = prepare(&stream, settings) {
        // The client has gone already, which the first read will say too.
        log::debug!("a client's connection can't be set up: {error}");
    }
    let wire = match tls {
        None => Wire::Plain(stream),
        Some(tls) => handshake(stream, tls, settings.head_timeout).await?,
    };
    Ok((ClientConnection::new(wire, settings), peer))
}

async fn handshake(stream: TcpStream, tls: Arc<ServerConfig>, limit: Duration) -> io::Result<Wire> {
    let handshake = timeout(limit, TlsAcceptor::from(tls).accept(stream)).await;
    let done = handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    done.map(|stream| Wire::Tls(Box::new(stream)))
        .inspect_err(|error| log::debug!("a client's TLS handshake failed: {error}"))
}

fn prepare(stream: &TcpStream, settings: &ClientSettings) -> io::Result<()> {
    // A piece of a stream is written when it comes; waiting to fill a segment would only delay it.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_AFTER);
    socket.set_tcp_keepalive(&probes)?;
    // A client that vanished without a farewell (a lost network, a machine without power)
    // acknowledges nothing, and while there is room for more no write waits. By itself the kernel
    // would go on for a quarter of an hour. Twice the limit, so that where a write does wait it is
    // we who give up, and say so in the log.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.write_timeout.saturating_mul(2)))?;
    Ok(())
}

/// What a connection and the requests on it know of each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Rc<Requests>);

#[derive(Default)]
struct Requests {
    /// How many have begun since the connection was opened.
    begun: Cell<u64>,
    /// How many are being answered.
    running: Cell<u32>,
    /// What is to be done once all of the answers so far has been sent.
    once_sent: RefCell<VecDeque<OnceSent>>,
}

/// Called when the last byte of an answer has been handed to the operating system; dropped if that
/// never happens.
pub(super) type OnceSent = Box<dyn FnOnce()>;

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("begun", &self.begun)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// A request has begun; it ends when the value goes.
    pub(super) fn begin(&self) -> Running {
        self.0.begun.set(self.0.begun.get() + 1);
        self.0.running.set(self.0.running.get() + 1);
        Running(self.clone())
    }

    /// All that was written has been sent.
    fn note_sent(&self) {
        while let Some(done) = self.next_sent() {
            done();
        }
    }

    /// By itself, so that nothing is borrowed while what it returns runs, or goes.
    fn next_sent(&self) -> Option<OnceSent> {
        self.0.once_sent.borrow_mut().pop_front()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running(Exchange);

impl Running {
    /// All of the answer has been written, and this is to be done once it has been sent.
    pub(super) fn once_sent(&self, done: OnceSent) {
        self.0.0.once_sent.borrow_mut().push_back(done);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let running = &self.0.0.running;
        running.set(running.get() - 1);
    }
}

/// The connection under the dispatcher.
pub(super) struct ClientConnection {
    wire: Wire,
    exchange: Exchange,
    /// How many requests had begun when it last looked.
    seen: u64,
    /// Whether bytes have come that belong to none of them: a head has begun. The first head begins
    /// with the connection.
    head_begun: bool,
    head: IdleTimer,
    /// Whether the last write had to wait.
    is_blocked: bool,
    blocked: IdleTimer,
}

impl ClientConnection {
    fn new(wire: Wire, settings: &ClientSettings) -> Self {
        Self {
            wire,
            exchange: Exchange::default(),
            seen: 0,
            head_begun: true,
            head: IdleTimer::new(settings.head_timeout),
            is_blocked: false,
            blocked: IdleTimer::new(settings.write_timeout),
        }
    }

    pub(super) fn exchange(&self) -> Exchange {
        self.exchange.clone()
    }

    /// Forgets the head that has become a request.
    fn note_requests(&mut self) {
        let begun = self.exchange.0.begun.get();
        if begun != self.seen {
            self.seen = begun;
            self.head_begun = false;
            self.head.stop();
        }
    }

    /// Bytes came. While a request is being answered they may be its body.
    fn note_bytes(&mut self) {
        self.note_requests();
        self.head_begun |= self.exchange.0.running.get() == 0;
    }

    /// Nothing more has come. Ready once a head has been coming for too long: then nothing more
    /// is read, as if the client had ended the connection.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.note_requests();
        if !self.head_begun {
            return Poll::Pending;
        }
        self.head.poll(cx).map(|limit| {
            log::debug!("a client's request head did not come to its end within {limit:?}");
            if !self.is_blocked {
                // Best effort: it fits into an empty buffer or the client doesn't read anyway.
                let wire = Pin::new(&mut self.wire);
                let _ = wire.poll_write(cx, HEAD_TOO_SLOW);
            }
        })
    }

    /// Keeps the time while a write waits. What can't be sent is not to be kept for the client
    /// either, so the connection is reset.
    fn after_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        self.is_blocked = written.is_pending();
        if written.is_ready() {
            self.blocked.stop();
            return written;
        }
        self.blocked.poll(cx).map(|limit| {
            log::info!("a client has read nothing for {limit:?}; its connection is closed");
            // A failure means that the connection is gone already.
            let _ = self.wire.tcp().set_zero_linger();
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl Drop for ClientConnection {
    /// A request may outlive its connection and keep the exchange; what waits to be sent never will be.
    fn drop(&mut self) {
        while self.exchange.next_sent().is_some() {}
    }
}

impl AsyncRead for ClientConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.wire).poll_read(cx, buf);
        match read {
            Poll::Pending => this.poll_head(cx).map(Ok),
            Poll::Ready(_) => {
                this.note_bytes();
                read
            }
        }
    }
}

impl AsyncWrite for ClientConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.wire).poll_write(cx, buf);
        this.after_write(written, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Over TLS it is here that what was written waits to be sent.
        let flushed = Pin::new(&mut this.wire).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.exchange.note_sent();
        }
        this.after_write(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::TcpListener;

    use super::*;

    async fn connection() -> (ClientConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let limit = Duration::from_secs(60);
        let settings = ClientSettings {
            head_timeout: limit,
            body_timeout: limit,
            write_timeout: limit,
            idle_timeout: limit,
        };
        let wire = Wire::Plain(accepted.unwrap().0);
        let connection = ClientConnection::new(wire, &settings);
        (connection, client.unwrap())
    }

    fn noting(what: &'static str, seen: &Rc<RefCell<Vec<&'static str>>>) -> OnceSent {
        let seen = Rc::clone(seen);
        Box::new(move || seen.borrow_mut().push(what))
    }

    #[actix_rt::test]
    async fn what_is_to_be_done_once_answers_are_sent_is_done_then_and_in_their_order() {
        let (mut connection, _client) = connection().await;
        let seen = Rc::default();
        let running = connection.exchange().begin();
        running.once_sent(noting("first", &seen));
        running.once_sent(noting("second", &seen));
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut connection).poll_write(&mut cx, b"the end");
        assert!(matches!(written, Poll::Ready(Ok(7))));
        assert_eq!(*seen.borrow(), [""; 0]);

        for _ in 0..2 {
            let flushed = Pin::new(&mut connection).poll_flush(&mut cx);
            assert!(matches!(flushed, Poll::Ready(Ok(()))));
            assert_eq!(*seen.borrow(), ["first", "second"]);
        }
    }

    #[actix_rt::test]
    async fn of_an_answer_that_is_never_sent_nothing_is_done_and_nothing_stays() {
        let (connection, _client) = connection().await;
        let seen = Rc::default();
        let running = connection.exchange().begin();
        running.once_sent(noting("first", &seen));
        assert_eq!(Rc::strong_count(&seen), 2);
        drop(connection);
        assert_eq!((Rc::strong_count(&seen), &**seen.borrow()), (1, &[][..]));
    }
}
