//! Files with certificates and keys, looked at once at start: a driver would find out only when it
//! connects, and take it for an outage.

use std::fs;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::StorageError;

/// Reads a file that must hold certificates. `what` names the setting in an error.
pub(super) fn certificates(what: &str, path: &str) -> Result<Vec<u8>, StorageError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(unusable(what, path, "holds no certificate in PEM format")),
    }
}

/// Reads a file that must hold a private key.
pub(super) fn private_key(what: &str, path: &str) -> Result<Vec<u8>, StorageError> {
    let pem = read(what, path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(unusable(
            what,
            path,
            "holds no private key in PEM format, or an encrypted one",
        )),
    }
}

fn read(what: &str, path: &str) -> Result<Vec<u8>, StorageError> {
    fs::read(path).map_err(|error| unusable(what, path, format_args!("cannot be read: {error}")))
}

fn unusable(what: &str, path: &str, problem: impl std::fmt::Display) -> StorageError {
    StorageError::Broken {
        reason: format!("{what}: {path} {problem}"),
    }
}
