//! One TCP connection, with or without TLS, that can be ended in each way that a peer can end it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// How the peer ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order: FIN, and with TLS its farewell before it.
    Closed,
    /// FIN without TLS's farewell: somebody may have cut the connection.
    Truncated,
    /// RST, or any other failure of the connection.
    Reset,
}

impl End {
    /// What a failed read or write says about the peer.
    pub(crate) fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Reset,
        }
    }
}

/// A connection, plain or over TLS.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Ends in order (with TLS's farewell, then FIN), and waits for the peer to end too, so that
    /// what it still sends doesn't turn the ending into a reset.
    pub(crate) async fn close(mut self) -> End {
        match self.shutdown().await {
            Ok(()) => drain(self).await,
            Err(error) => End::from_error(&error),
        }
    }

    /// Ends by FIN alone, without TLS's farewell; otherwise like `close`.
    pub(crate) async fn cut(self) -> End {
        let mut tcp = self.into_tcp();
        match tcp.shutdown().await {
            Ok(()) => drain(tcp).await,
            Err(error) => End::from_error(&error),
        }
    }

    /// Ends by RST.
    pub(crate) fn reset(self) {
        // A failure means that the connection is gone already.
        let _ = self.into_tcp().set_zero_linger();
    }

    /// The protocol that both sides agreed on by ALPN.
    pub(crate) fn protocol(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let name = stream.get_ref().1.alpn_protocol()?;
                Some(String::from_utf8_lossy(name).into_owned())
            }
        }
    }

    fn into_tcp(self) -> TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => match *stream {
                TlsStream::Client(stream) => stream.into_inner().0,
                TlsStream::Server(stream) => stream.into_inner().0,
            },
        }
    }
}

async fn drain(mut stream: impl AsyncRead + Unpin) -> End {
    let mut scrap = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut scrap).await {
            Ok(0) => return End::Closed,
            Ok(_) => {}
            Err(error) => return End::from_error(&error),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
