//! Values that cannot be invalid: parsed once at the edge, trusted inside. No I/O.

mod admin_keys;
mod audit;
mod change;
pub(crate) mod duration;
mod fixed_headers;
mod model;
mod name;
mod provider;
mod provider_kind;
mod sealed;
mod secret;
mod timeouts;
mod user_key;

use derive_more::{Display, Error};

pub use self::{
    admin_keys::{AdminKeyId, AdminKeys},
    audit::{Actor, AuditEntry, Deed},
    change::{ModelChange, NewModel, NewProvider, ProviderChange, ProviderRefused},
    fixed_headers::FixedHeaders,
    model::{Destination, ListedModel, Model, Route},
    name::Name,
    provider::{BaseUrl, Provider},
    provider_kind::{KeyHeader, ProviderKind},
    sealed::{
        EncryptionKey, EncryptionKeyId, Keyring, ProviderHeaders, ProviderKey, Sealable, Sealed,
    },
    secret::Secret,
    timeouts::Timeouts,
    user_key::{KeyHash, KeyIdentity, PlainKey, UserKey},
};

/// Why a value was refused. The text says what is wrong and what would be right; it never
/// repeats a secret.
#[derive(Clone, Debug, Display, Error, PartialEq, Eq)]
#[display("{_0}")]
pub struct Invalid(#[error(not(source))] pub String);

impl Invalid {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
