//! Opens connections.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::uri::Authority;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    ConnectFailure, Failure, Reach, TransportError,
    pool::{Limits, Pool},
    socket::Socket,
};

const LIMITS: Limits = Limits {
    // Less than the 60 s after which the commonest load balancers close theirs, so that a request
    // seldom meets a connection that is just being closed.
    idle: Duration::from_secs(50),
    // A connection in constant use is renewed, so that a provider that moves to other addresses is
    // followed; a handshake an hour costs nothing.
    lifetime: Duration::from_secs(60 * 60),
    // Looking at a thousand idle connections takes less than a millisecond.
    sweep_every: Duration::from_secs(10),
};

/// Silence after which the kernel probes the provider. A model may think for minutes before its
/// first byte, and NAT gateways forget a silent connection after as little as 350 s.
const PROBE_AFTER: Duration = Duration::from_secs(45);

tokio::task_local! {
    /// The request that is being sent. awc passes nothing of the kind on, but sends each request
    /// within its caller's own future.
    static REQUEST: Request;
}

/// What connections have to do with the request that they carry.
#[derive(Clone)]
pub struct Request {
    /// The time limit for a connection that it opens, where it has one of its own.
    pub connect_timeout: Option<Duration>,
    /// Who is to know what becomes of it.
    pub observer: Option<Rc<dyn Observer>>,
}

/// Is told what a connection does with its request.
pub trait Observer {
    /// A connection begins to carry it, and has carried others before or has not.
    fn connection_used(&self, is_reused: bool);
}

/// Sends a request: `sending` is the future that does.
pub fn for_request<T>(
    request: Request,
    sending: impl Future<Output = T>,
) -> impl Future<Output = T> {
    REQUEST.scope(request, sending)
}

/// A connection begins to carry the present request.
pub(super) fn note_use(is_reused: bool) {
    let _ = REQUEST.try_with(|request| {
        if let Some(observer) = &request.observer {
            observer.connection_used(is_reused);
        }
    });
}

/// How a client's connections are secured.
#[derive(Clone)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS, for base URLs that begin with `https`.
    Https(Arc<ClientConfig>),
}

/// Whether a client's connections serve more than one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Connections are kept alive and used again.
    KeepAlive,
    /// Each request gets a fresh connection: what a second attempt needs, since a pool whose first
    /// connection was dead may well hold more of them.
    Never,
}

/// How a client comes by its connections.
pub(super) struct Connector {
    scheme: Scheme,
    pub(super) reuse: Reuse,
    timeout: Duration,
    reach: Reach,
    pub(super) pool: Rc<Pool>,
}

impl Connector {
    /// Connections over `scheme`, each opened within `timeout`: name, TCP and TLS together.
    pub(super) fn new(scheme: Scheme, reuse: Reuse, timeout: Duration, reach: Reach) -> Self {
        Self {
            scheme,
            reuse,
            timeout,
            reach,
            pool: Pool::new(LIMITS),
        }
    }

    /// Name, TCP and TLS within one time limit.
    pub(super) async fn open(&self, target: &Authority) -> Result<Socket, TransportError> {
        let own = REQUEST.try_with(|request| request.connect_timeout);
        let limit = own.ok().flatten().unwrap_or(self.timeout);
        let deadline = Instant::now() + limit;
        let step = Cell::new("resolving the name");
        let steps = async {
            let host = host(target)?;
            let addresses = self.addresses(host, target.port_u16()).await?;
            let addresses = within_reach(addresses, self.reach)?;
            step.set("opening a TCP connection");
            let tcp = connect_to_any(&addresses, deadline).await?;
            prepare(&tcp).map_err(|error| failed(ConnectFailure::Tcp, error))?;
            step.set("in the TLS handshake");
            self.secure(host, tcp).await
        };
        timeout(limit, steps)
            .await
            .unwrap_or_else(|_| Err(timed_out(step.get())))
    }

    async fn addresses(
        &self,
        host: &str,
        port: Option<u16>,
    ) -> Result<Vec<SocketAddr>, TransportError> {
        let port = port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https(_) => 443,
        });
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|error| failed(ConnectFailure::Dns, error))?;
        Ok(found.collect())
    }

    async fn secure(&self, host: &str, tcp: TcpStream) -> Result<Socket, TransportError> {
        let Scheme::Https(config) = &self.scheme else {
            return Ok(Socket::Tcp(tcp));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(ConnectFailure::Tls, io::Error::other(error)))?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
        let tls = handshake.await;
        let tls = tls.map_err(|error| failed(ConnectFailure::Tls, error))?;
        Ok(Socket::Tls(Box::new(tls)))
    }
}

/// The host; an IPv6 address comes without its brackets.
fn host(authority: &Authority) -> Result<&str, TransportError> {
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host) {
        "" => Err(failed(
            ConnectFailure::Dns,
            io::Error::new(io::ErrorKind::InvalidInput, "the URL names no host"),
        )),
        host => Ok(host),
    }
}

/// Those of the addresses that may be connected to. What is checked is what is connected to: a
/// name isn't resolved a second time, and a redirect isn't followed.
fn within_reach(
    addresses: Vec<SocketAddr>,
    reach: Reach,
) -> Result<Vec<SocketAddr>, TransportError> {
    let mut refused = None;
    let mut reached = addresses;
    reached.retain(|address| match reach.check(address.ip()) {
        Ok(()) => true,
        Err(reason) => {
            refused = Some((*address, reason));
            false
        }
    });
    match refused {
        Some((address, reason)) if reached.is_empty() => Err(failed(
            ConnectFailure::OutOfReach(reason),
            io::Error::other(address.ip().to_string()),
        )),
        _ => Ok(reached),
    }
}

/// Tries one address after the other. Each gets its share of the time that is left, so that an
/// address that swallows packets doesn't use up the turn of the next.
pub(super) async fn connect_to_any(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, TransportError> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let turns = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let turn = deadline.saturating_duration_since(Instant::now()) / turns;
        match timeout(turn, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last_error = error,
            Err(elapsed) => last_error = elapsed.into(),
        }
    }
    let failure = match last_error.kind() {
        io::ErrorKind::TimedOut => ConnectFailure::Timeout,
        _ => ConnectFailure::Tcp,
    };
    Err(failed(failure, last_error))
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    // A request is written whole; waiting to fill a segment would only delay it.
    tcp.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_AFTER);
    SockRef::from(tcp).set_tcp_keepalive(&probes)
}

fn failed(step: ConnectFailure, error: io::Error) -> TransportError {
    TransportError::new(Failure::Connect(step), Some(error))
}

fn timed_out(step: &'static str) -> TransportError {
    failed(
        ConnectFailure::Timeout,
        io::Error::new(io::ErrorKind::TimedOut, step),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_within_reach_are_tried() {
        let mixed = addresses(&[
            "169.254.169.254:80",
            "1.1.1.1:80",
            "[fe80::1]:80",
            "10.0.0.1:80",
        ]);
        let reached = within_reach(mixed.clone(), Reach::Public).unwrap();
        assert_eq!(reached, addresses(&["1.1.1.1:80"]));
        let reached = within_reach(mixed, Reach::Private).unwrap();
        assert_eq!(reached, addresses(&["1.1.1.1:80", "10.0.0.1:80"]));
        let refused = within_reach(addresses(&["169.254.169.254:80"]), Reach::Private);
        assert!(matches!(
            refused.unwrap_err().failure(),
            Failure::Connect(ConnectFailure::OutOfReach(_))
        ));
        assert_eq!(within_reach(Vec::new(), Reach::Public).unwrap(), []);
    }
}
