//! A provider that does on each connection exactly what a test tells it, over TCP or TLS.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::LocalSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::super::client_config;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Tcp,
    Tls,
}

/// Runs in a thread of its own, so that it goes on while a test keeps its own thread busy. It ends
/// when it is dropped.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl Provider {
    /// `script` is run for each connection, with its number.
    pub(super) fn start<S, F>(wire: Wire, script: S) -> Self
    where
        S: Fn(Peer, usize) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let counter = Arc::clone(&connections);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let serving = serve(listener, wire, script, counter);
            runtime.block_on(LocalSet::new().run_until(async {
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            }));
        });
        Self {
            address,
            connections,
            _stop: stop,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!(
            "http://localhost:{}/v1/chat/completions",
            self.address.port()
        )
    }
}

async fn serve<S, F>(
    listener: std::net::TcpListener,
    wire: Wire,
    script: S,
    connections: Arc<AtomicUsize>,
) where
    S: Fn(Peer, usize) -> F + 'static,
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::from_std(listener).unwrap();
    let script = Arc::new(script);
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let script = Arc::clone(&script);
        tokio::task::spawn_local(async move {
            // A client may go away at any time; what the client sees is what tests look at.
            if let Ok(peer) = Peer::accept(tcp, wire).await {
                let _ = script(peer, number).await;
            }
        });
    }
}

/// The provider's end of one connection.
pub(super) enum Peer {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Peer {
    async fn accept(tcp: TcpStream, wire: Wire) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        match wire {
            Wire::Tcp => Ok(Self::Tcp(tcp)),
            Wire::Tls => {
                let acceptor = TlsAcceptor::from(Arc::clone(&tls().server));
                Ok(Self::Tls(Box::new(acceptor.accept(tcp).await?)))
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Reads a whole request; an error at the end of the connection.
    pub(super) async fn request(&mut self) -> io::Result<Request> {
        let mut request = self.request_head().await?;
        while request.body.len() < request.length {
            if self.read_buf(&mut request.body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(request)
    }

    /// Reads no further than it must to have the head.
    pub(super) async fn request_head(&mut self) -> io::Result<Request> {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let body = bytes.split_off(end + 4);
                let head = String::from_utf8(bytes).unwrap();
                let length = header(&head, "content-length").map_or(0, |n| n.parse().unwrap());
                return Ok(Request { head, length, body });
            }
            if self.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_all(bytes.as_ref()).await?;
        self.flush().await
    }

    /// Closes in order: over TLS with its closing alert, then a FIN.
    pub(super) async fn close(mut self) -> io::Result<()> {
        self.shutdown().await
    }

    /// A FIN alone; over TLS nothing announces it.
    pub(super) fn cut(self) {
        drop(self);
    }

    pub(super) fn reset(self) {
        self.tcp().set_zero_linger().unwrap();
    }

    /// Waits until the client closes the connection.
    pub(super) async fn closed_by_client(&mut self) -> io::Result<()> {
        while self.read_buf(&mut Vec::with_capacity(1024)).await? > 0 {}
        Ok(())
    }
}

pub(super) struct Request {
    pub(super) head: String,
    pub(super) length: usize,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

pub(super) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A complete answer by length.
pub(super) fn whole(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A complete answer in chunks.
pub(super) fn chunked(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    )
}

pub(super) struct Tls {
    server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// A certificate for `localhost`, and clients that trust it and nothing else.
pub(super) fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Tls {
            server: Arc::new(server),
            client: client_config(roots).unwrap(),
        }
    })
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
