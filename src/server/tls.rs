//! TLS towards clients: a certificate from two files, read anew when they change, and HTTP/1.1
//! alone, because actix's HTTP/2 neither notices that a client has reset a stream nor stops
//! gracefully.

use std::{
    convert::Infallible,
    fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;

use crate::settings::TlsFiles;

/// How often the files are read. Whoever replaces a certificate does so days before the old one
/// ends.
const READ_EVERY: Duration = Duration::from_secs(5);

/// What clients are shown: the newest pair of files that could be used.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files held when they were last looked at, usable or not.
    seen: RwLock<Contents>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    certificate: Result<Vec<u8>, io::ErrorKind>,
    key: Result<Vec<u8>, io::ErrorKind>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// One line: which of the two can't be used, why, and what would be right.
    pub fn load(files: &TlsFiles) -> Result<Arc<Self>, String> {
        let contents = Contents::read(files);
        Ok(Arc::new(Self {
            current: RwLock::new(contents.parse(files)?),
            seen: RwLock::new(contents),
            files: files.clone(),
        }))
    }

    /// What connections are accepted with.
    ///
    /// # Errors
    /// A defect of ours.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again and again. Connections that are open keep the certificate that they
    /// began with. A pair that can't be used is said once, and the one before it stays.
    pub async fn watch(self: Arc<Self>) -> Infallible {
        loop {
            sleep(READ_EVERY).await;
            let this = Arc::clone(&self);
            // The folder may be on a network.
            if let Err(error) = tokio::task::spawn_blocking(move || this.look()).await {
                log::error!("TLS: the certificate's files can't be watched: {error}");
            }
        }
    }

    fn look(&self) {
        let contents = Contents::read(&self.files);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if *seen == contents {
            return;
        }
        match contents.parse(&self.files) {
            Ok(pair) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair;
                log::info!("TLS: a new certificate is in use");
            }
            Err(problem) => {
                log::error!("{problem}; the certificate before stays in use");
            }
        }
        *seen = contents;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Self {
        let read = |path: &Path| fs::read(path).map_err(|error| error.kind());
        Self {
            certificate: read(&files.certificate),
            key: read(&files.key),
        }
    }

    fn parse(&self, files: &TlsFiles) -> Result<Arc<CertifiedKey>, String> {
        let chain = parse_chain(readable("TLS_CERT", &files.certificate, &self.certificate)?)?;
        let key = readable("TLS_KEY", &files.key, &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            "TLS_KEY: holds no private key; it must be a PEM file with BEGIN PRIVATE KEY, not encrypted"
                .to_owned()
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider());
        pair.map(Arc::new).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "TLS_KEY: does not belong to the first certificate of TLS_CERT; that must be the server's own, and the authorities' come after it".to_owned()
            }
            error => format!("TLS_CERT, TLS_KEY: cannot be used ({error})"),
        })
    }
}

fn readable<'a>(
    name: &str,
    path: &Path,
    contents: &'a Result<Vec<u8>, io::ErrorKind>,
) -> Result<&'a [u8], String> {
    match contents {
        Ok(contents) => Ok(contents),
        Err(error) => Err(format!(
            "{name}: {} can't be read: {error}; give the path of a PEM file that the gateway may read",
            path.display()
        )),
    }
}

fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(
            "TLS_CERT: holds no certificate; it must be a PEM file with BEGIN CERTIFICATE, the server's own first"
                .to_owned(),
        ),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
