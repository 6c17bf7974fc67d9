//! Why storage could not do what it was asked.

use derive_more::{Display, Error, From};
use uuid::Uuid;

use crate::domain::ProviderRefused;

/// A failure of storage. A missing row is `None`, not an error.
#[derive(Clone, Debug, Display, Error, From, PartialEq, Eq)]
pub enum StorageError {
    /// Another provider or model has this name.
    #[display("another {kind} has the name `{name}`")]
    NameTaken {
        /// `provider` or `model`.
        kind: &'static str,
        /// The name asked for.
        name: String,
    },
    /// Models still use the provider.
    #[display("models still use the provider: {}", models.join(", "))]
    ProviderInUse {
        /// Their names.
        models: Vec<String>,
    },
    /// A model was to be served by a provider that doesn't exist.
    #[display("no provider has the id {id}")]
    UnknownProvider {
        /// The id asked for.
        id: Uuid,
    },
    /// A provider can't be as it was asked for.
    #[display("{_0}")]
    #[from]
    ProviderRefused(ProviderRefused),
    /// A key was to be rotated that is revoked.
    #[display("the key is revoked")]
    KeyRevoked,
    /// Providers' keys are sealed with an encryption key that this process doesn't have.
    #[display(
        "ENCRYPTION_KEY: this database's provider keys are sealed with another key, whose fingerprint is {id}; set ENCRYPTION_KEY, or ENCRYPTION_KEY_PREVIOUS, to that key"
    )]
    #[from(skip)]
    WrongEncryptionKey {
        /// The fingerprint of the right one.
        id: String,
    },
    /// A bound refused the look-up; nothing was found out.
    #[display("too many look-ups at once")]
    TooManyLookUps,
    /// Nothing that could answer can be reached in time.
    #[display("{reason}{}", in_brackets(cause.as_deref()))]
    Unavailable {
        /// For logs and answers; no addresses, no secrets.
        reason: String,
        /// For the log alone; no secrets.
        cause: Option<String>,
    },
    /// What is stored can't be read, or a defect of ours.
    #[display("{reason}")]
    Broken {
        /// For the log alone.
        #[error(not(source))]
        reason: String,
    },
}

fn in_brackets(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(" ({cause})"))
}
