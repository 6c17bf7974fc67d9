//! What an operator asks for: new items, and changes of any subset of an item's fields.

use derive_more::{Display, Error};
use uuid::Uuid;

use super::{
    BaseUrl, EncryptionKey, FixedHeaders, Model, Name, Provider, ProviderKind, Sealed, Secret,
    Timeouts,
};

/// A provider to register.
#[derive(Clone, Debug)]
pub struct NewProvider {
    /// Unique among providers.
    pub name: Name,
    /// What it speaks.
    pub kind: ProviderKind,
    /// The key that it issued to us; empty where it asks for none.
    pub api_key: Secret,
    /// `None`: the kind's own address.
    pub base_url: Option<BaseUrl>,
    /// What each of its requests carries besides.
    pub headers: FixedHeaders,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// A change of a provider; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderChange {
    /// A new name.
    pub name: Option<Name>,
    /// Another kind.
    pub kind: Option<ProviderKind>,
    /// Another key.
    pub api_key: Option<Secret>,
    /// Another address; `Some(None)` goes back to the kind's own.
    pub base_url: Option<Option<BaseUrl>>,
    /// Other headers, in place of all that it has.
    pub headers: Option<FixedHeaders>,
    /// Other limits, in place of all that it has.
    pub timeouts: Option<Timeouts>,
    /// Switches it on or off.
    pub is_active: Option<bool>,
}

impl ProviderChange {
    /// The names of the fields that are given.
    pub fn fields(&self) -> Vec<&'static str> {
        given(&[
            ("name", self.name.is_some()),
            ("kind", self.kind.is_some()),
            ("api_key", self.api_key.is_some()),
            ("base_url", self.base_url.is_some()),
            ("headers", self.headers.is_some()),
            ("timeouts", self.timeouts.is_some()),
            ("is_active", self.is_active.is_some()),
        ])
    }

    /// The provider as it shall be. A change of the kind alone takes the address along if it
    /// was the old kind's own. New secrets are sealed with a key, if there is one.
    ///
    /// # Errors
    /// What its kind needs is missing, or a secret would be sent elsewhere.
    pub fn apply(
        self,
        provider: &mut Provider,
        seal_with: Option<&EncryptionKey>,
    ) -> Result<(), ProviderRefused> {
        let kind = self.kind.unwrap_or(provider.kind);
        let had_default = Some(&provider.base_url) == provider.kind.default_base_url().as_ref();
        let base_url = match &self.base_url {
            Some(Some(url)) => Some(url.clone()),
            Some(None) => kind.default_base_url(),
            None if had_default => kind.default_base_url(),
            None => Some(provider.base_url.clone()),
        };
        let base_url = base_url.ok_or(ProviderRefused::NoAddress(kind))?;
        self.check_origin(provider, &base_url)?;
        provider.kind = kind;
        provider.base_url = base_url;
        if let Some(name) = self.name {
            provider.name = name;
        }
        if let Some(api_key) = self.api_key {
            provider.api_key = Sealed::new(provider.id, api_key, seal_with);
        }
        if let Some(headers) = self.headers {
            provider.headers = Sealed::new(provider.id, headers, seal_with);
        }
        provider.timeouts = self.timeouts.unwrap_or(provider.timeouts);
        provider.is_active = self.is_active.unwrap_or(provider.is_active);
        provider.check_key()
    }

    /// What was stored for one origin isn't sent to another. Whoever wants that has to know it, or
    /// everybody who may change a provider could read its secrets.
    fn check_origin(&self, provider: &Provider, to: &BaseUrl) -> Result<(), ProviderRefused> {
        let (from, to) = (provider.base_url.origin(), to.origin());
        let secret = if self.api_key.is_none() && !provider.api_key.is_empty() {
            "api_key"
        } else if self.headers.is_none() && !provider.headers.is_empty() {
            "headers"
        } else {
            return Ok(());
        };
        match from == to {
            true => Ok(()),
            false => Err(ProviderRefused::SecretNeeded { secret, from, to }),
        }
    }
}

/// Why a provider can't be as it was asked for.
#[derive(Clone, Debug, Display, Error, PartialEq, Eq)]
pub enum ProviderRefused {
    /// Its kind has no address of its own.
    #[display("a provider of the kind {_0:?} needs a base_url")]
    NoAddress(#[error(not(source))] ProviderKind),
    /// Its kind can't be used without a key.
    #[display("a provider of the kind {_0:?} needs an api_key")]
    NoKey(#[error(not(source))] ProviderKind),
    /// What is stored was about to be sent to another origin.
    #[display("the address would change from {from} to {to}, and with it who is sent `{secret}`")]
    SecretNeeded {
        /// The field that holds it.
        secret: &'static str,
        /// Scheme, host and port of the present address.
        from: String,
        /// Of the one asked for.
        to: String,
    },
}

fn given(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    let given = fields.iter().filter(|(_, is_given)| *is_given);
    given.map(|(name, _)| *name).collect()
}

/// A model to map.
#[derive(Clone, Debug)]
pub struct NewModel {
    /// What callers write in `model`; unique.
    pub name: Name,
    /// Who serves it.
    pub provider_id: Uuid,
    /// What the provider calls it, where that differs.
    pub provider_model_name: Option<Name>,
}

/// A change of a model; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelChange {
    /// A new name.
    pub name: Option<Name>,
    /// Another provider.
    pub provider_id: Option<Uuid>,
    /// Another name at the provider; `Some(None)` makes it the same as `name`.
    pub provider_model_name: Option<Option<Name>>,
    /// Switches it on or off.
    pub is_active: Option<bool>,
}

impl ModelChange {
    /// The names of the fields that are given.
    pub fn fields(&self) -> Vec<&'static str> {
        given(&[
            ("name", self.name.is_some()),
            ("provider_id", self.provider_id.is_some()),
            ("provider_model_name", self.provider_model_name.is_some()),
            ("is_active", self.is_active.is_some()),
        ])
    }

    /// Puts the model into the state that it shall have.
    pub fn apply(self, model: &mut Model) {
        if let Some(name) = self.name {
            model.name = name;
        }
        if let Some(provider_id) = self.provider_id {
            model.provider_id = provider_id;
        }
        if let Some(provider_model_name) = self.provider_model_name {
            model.provider_model_name = provider_model_name;
        }
        model.is_active = self.is_active.unwrap_or(model.is_active);
    }
}
