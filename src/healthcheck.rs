//! `llm-gateway healthcheck`: asks `/healthz` over the loopback interface, for container engines that
//! have no HTTP client of their own.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use llm_gateway::Settings;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// How long connecting and each step of answering may take.
const TIMEOUT: Duration = Duration::from_secs(3);
const ALIVE: &[u8] = b"HTTP/1.1 200";

pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let address = reachable(settings.listen_addr);
    let answer = ask(address, settings.tls.is_some())
        .map_err(|error| format!("unhealthy: {address}: {error}"))?;
    match answer == ALIVE {
        true => Ok(()),
        false => Err(format!("unhealthy: {address} does not answer 200")),
    }
}

/// The beginning of what is answered.
fn ask(address: SocketAddr, over_tls: bool) -> io::Result<[u8; ALIVE.len()]> {
    let connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    match over_tls {
        true => exchange(StreamOwned::new(session(address)?, connection), address),
        false => exchange(connection, address),
    }
}

fn exchange(mut stream: impl Read + Write, address: SocketAddr) -> io::Result<[u8; ALIVE.len()]> {
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = [0; ALIVE.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn session(address: SocketAddr) -> io::Result<ClientConnection> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)
}

/// "Any address" is one to listen on, not one to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Trusts whatever certificate is shown: it is made out to the names that clients use, the
/// question holds no secret, and the answer is only whether anybody is alive.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
