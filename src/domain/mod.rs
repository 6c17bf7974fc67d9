//! Values that cannot be invalid: parsed once at the edge, trusted inside. No I/O.

mod admin_keys;
mod change;
mod model;
mod name;
mod provider;
mod provider_key;
mod secret;
mod user_key;

use derive_more::{Display, Error};

pub use self::{
    admin_keys::{AdminKeyId, AdminKeys},
    change::{KeyNeeded, ModelChange, NewModel, NewProvider, ProviderChange},
    model::{Model, Route},
    name::Name,
    provider::{BaseUrl, Provider, ProviderKind},
    provider_key::{EncryptionKey, EncryptionKeyId, Keyring, ProviderKey},
    secret::Secret,
    user_key::{KeyHash, PlainKey, UserKey},
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
