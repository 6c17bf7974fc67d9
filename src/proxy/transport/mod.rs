//! The connection under awc. awc writes a request and reads the head of its answer through it; the
//! body comes from here, past awc.
//!
//! awc 3.11 alone takes a cut-off answer for a whole one, an interim answer for the final one, an
//! unframed answer for an empty one, and what an earlier request left behind for its own answer.
//! [`Transport`] judges every byte of a head before awc does, and says how a connection failed. A
//! body that went through awc would be judged twice, copied twice, and cost 48 KiB of buffers for as
//! long as it takes: awc gets a head without a body, which names the exchange, and under that name
//! [`Client`] finds the connection with the rest of the answer.

mod answer;
mod client;
mod connect;
mod error;
mod framing;
mod head;
mod line;
mod pool;
mod reach;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    fmt, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::{
    client::{Client, Content, ProviderResponse},
    connect::{Connector, Observer, Request, Reuse, Scheme, for_request},
    error::{ConnectFailure, Failure, TransportError},
    reach::{OutOfReach, Reach},
    tls::{client_config, trusted_roots},
};
use self::{
    line::Line,
    pool::{LotNumber, Pool},
};

/// What awc takes for a connection to a provider.
pub struct Transport {
    pool: Rc<Pool>,
    lot: LotNumber,
    /// Only for as long as awc has to do with an exchange.
    line: Option<Box<Line>>,
}

impl Transport {
    /// Without a line of its own it takes an idle one.
    fn new(line: Option<Line>, lot: LotNumber, pool: Rc<Pool>) -> Self {
        Self {
            pool,
            lot,
            line: line.map(Box::new),
        }
    }

    /// The line of the present request. The first bytes of one take an idle line.
    fn line(&mut self, request: &[u8]) -> io::Result<&mut Line> {
        let line = match self.line.take() {
            Some(line) => line,
            None => self.pool.take(self.lot).ok_or_else(none_is_good)?,
        };
        let line = self.line.insert(line);
        if line.is_idle() {
            line.begin(self.pool.next_number(), request)?;
        }
        Ok(line)
    }
}

/// All idle connections turned out to be dead, before one byte of the request was sent.
fn none_is_good() -> io::Error {
    TransportError::new(Failure::ClosedBeforeResponse, None)
        .on_connection(true, 0, 0)
        .into()
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
        match &mut this.line {
            // awc's pool asks whether this is alive: pending means yes, and an end that it is to
            // be dropped. The connection itself is looked at when a request is about to go out.
            None if this.pool.has_any(this.lot) => return Poll::Pending,
            None => return Poll::Ready(Ok(())),
            Some(line) if line.is_idle() => return Poll::Pending,
            Some(line) => ready!(line.poll_head(cx, buf))?,
        }
        if let Some(line) = this.line.take_if(|line| line.has_delivered_head()) {
            this.pool.hand_over(line, this.lot);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().line(buf)?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            Some(line) => line.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            Some(line) => line.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// awc asks for it, but reads and writes alone.
impl ActixStream for Transport {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match self.line.as_ref().and_then(|line| line.socket()) {
            Some(socket) => ActixStream::poll_read_ready(socket.tcp(), cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        match self.line.as_ref().and_then(|line| line.socket()) {
            Some(socket) => ActixStream::poll_write_ready(socket.tcp(), cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("lot", &self.lot)
            .finish_non_exhaustive()
    }
}
