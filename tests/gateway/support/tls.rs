//! A certificate authority for the tests, one per process: the provider serves with a certificate
//! of its making, and the gateway is told to trust it.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wire::Wire;

/// The authority that tests trust.
pub(crate) static TRUSTED: LazyLock<Authority> = LazyLock::new(Authority::new);

/// An authority that nobody trusts.
pub(crate) static UNTRUSTED: LazyLock<Authority> = LazyLock::new(Authority::new);

/// An authority, and a server's certificate that it signed.
pub(crate) struct Authority {
    /// What has to be trusted, as in a PEM file.
    pub(crate) pem: String,
    root: CertificateDer<'static>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            pem: issuer.pem(),
            root: issuer.der().clone(),
            server: server_config(&issuer),
            issuer,
        }
    }

    /// The server's side of the handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<Wire> {
        let stream = TlsAcceptor::from(self.server.clone())
            .accept(stream)
            .await?;
        Ok(Wire::Tls(Box::new(stream.into())))
    }

    /// A new certificate for the loopback address and its private key, as PEM files.
    pub(crate) fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(server_names()).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The side of a client that trusts this authority alone.
    pub(crate) async fn connect(&self, stream: TcpStream) -> std::io::Result<Wire> {
        self.connect_offering(stream, &[]).await
    }

    /// The same, with protocols to choose from.
    pub(crate) async fn connect_offering(
        &self,
        stream: TcpStream,
        protocols: &[&str],
    ) -> std::io::Result<Wire> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Wire::Tls(Box::new(stream.into())))
    }
}

fn server_names() -> [String; 2] {
    ["127.0.0.1".to_owned(), "localhost".to_owned()]
}

fn server_config(issuer: &CertifiedIssuer<'_, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(server_names())
        .unwrap()
        .signed_by(&key, issuer)
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Arc::new(config)
}
