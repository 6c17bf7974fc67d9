//! What an operator asks for: new items, and changes of any subset of an item's fields.

use derive_more::{Display, Error};
use uuid::Uuid;

use super::{BaseUrl, Model, Name, Provider, ProviderKey, ProviderKind, Secret};

/// A provider to register.
#[derive(Clone, Debug)]
pub struct NewProvider {
    /// Unique among providers.
    pub name: Name,
    /// What it speaks.
    pub kind: ProviderKind,
    /// The key that it issued to us.
    pub api_key: Secret,
    /// `None`: the kind's own address.
    pub base_url: Option<BaseUrl>,
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
    /// Switches it on or off.
    pub is_active: Option<bool>,
}

impl ProviderChange {
    /// The provider as it shall be. A change of the kind alone takes the address along if it
    /// was the old kind's own. `seal` makes of a new key what is stored.
    ///
    /// # Errors
    /// [`KeyNeeded`]
    pub fn apply(
        self,
        provider: &mut Provider,
        seal: impl FnOnce(Secret) -> ProviderKey,
    ) -> Result<(), KeyNeeded> {
        let had_default = provider.base_url == provider.kind.default_base_url();
        let kind = self.kind.unwrap_or(provider.kind);
        let base_url = match self.base_url {
            Some(Some(url)) => url,
            Some(None) => kind.default_base_url(),
            None if had_default => kind.default_base_url(),
            None => provider.base_url.clone(),
        };
        let (from, to) = (provider.base_url.origin(), base_url.origin());
        if from != to && self.api_key.is_none() {
            return Err(KeyNeeded { from, to });
        }
        provider.kind = kind;
        provider.base_url = base_url;
        if let Some(name) = self.name {
            provider.name = name;
        }
        if let Some(api_key) = self.api_key {
            provider.api_key = seal(api_key);
        }
        provider.is_active = self.is_active.unwrap_or(provider.is_active);
        Ok(())
    }
}

/// The stored key was about to be sent to another origin. Whoever wants that has to know the key,
/// or everybody who may change a provider could read its key.
#[derive(Clone, Debug, Display, Error, PartialEq, Eq)]
#[display("the address would change from {from} to {to}, and with it who is sent the stored key")]
pub struct KeyNeeded {
    /// Scheme, host and port of the present address.
    pub from: String,
    /// Of the one asked for.
    pub to: String,
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
