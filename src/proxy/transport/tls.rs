//! TLS towards providers: which authorities are trusted, and what is offered.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The machine's trusted authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), or
/// Mozilla's list where the machine has none, as in a bare container image.
pub fn trusted_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for problem in &found.errors {
        log::warn!("trusted certificates: {problem}");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    log::debug!("trusted certificates of this machine: {added} read, {ignored} unusable");
    if roots.is_empty() {
        log::warn!("this machine has no trusted certificates; Mozilla's list is used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The TLS settings shared by every worker. Only HTTP/1.1 is offered, since that is all that this
/// transport speaks. The provider of cryptography is named here, so that building this
/// doesn't depend on what the process has installed.
pub fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
