//! A client's connection as actix's dispatcher sees it, with the time limits that the dispatcher
//! itself doesn't keep: for every head (it knows a limit for the first alone, and counts it from a
//! clock that may be half a second late), and for a client that reads no more.
//!
//! The dispatcher asks a response's body for nothing while its write buffer is full, so no timer
//! inside a body can see that a client has stopped reading. Here it shows: a write that waits.

use std::{
    cell::Cell,
    io,
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

#[derive(Debug, Default)]
struct Requests {
    /// How many have begun since the connection was opened.
    begun: Cell<u64>,
    /// How many are being answered.
    running: Cell<u32>,
}

impl Exchange {
    /// A request has begun; it ends when the value goes.
    pub(super) fn begin(&self) -> Running {
        self.0.begun.set(self.0.begun.get() + 1);
        self.0.running.set(self.0.running.get() + 1);
        Running(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running(Exchange);

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
        this.after_write(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}
