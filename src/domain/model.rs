//! Models: which provider serves a name, and under which name there.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{BaseUrl, Name, NewModel, ProviderHeaders, ProviderKey, ProviderKind, Timeouts};

/// A model mapping as stored.
#[derive(Clone, Debug)]
pub struct Model {
    /// Names the mapping for good.
    pub id: Uuid,
    /// What callers write in `model`; unique.
    pub name: Name,
    /// Who serves it.
    pub provider_id: Uuid,
    /// The provider's name at the time of reading.
    pub provider_name: String,
    /// What the provider calls it, where that differs.
    pub provider_model_name: Option<Name>,
    /// An inactive model does not exist for callers.
    pub is_active: bool,
    /// When it was mapped.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Model {
    /// A model mapped now.
    pub fn new(id: Uuid, new: NewModel, provider_name: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            name: new.name,
            provider_id: new.provider_id,
            provider_name,
            provider_model_name: new.provider_model_name,
            is_active: true,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A model that callers can ask for, as their list shows it. It exists under the same condition as
/// its route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// What callers write in `model`.
    pub name: String,
    /// What its provider speaks.
    pub kind: ProviderKind,
    /// When it was mapped.
    pub created_at: DateTime<Utc>,
}

/// All that sending a request for one model needs. It exists only for an active model of an
/// active provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who serves it. Routes of one provider may share this.
    pub provider: Arc<Destination>,
    /// What the provider calls the model.
    pub provider_model: String,
    /// When the model was mapped.
    pub created_at: DateTime<Utc>,
}

/// All that sending a request to a provider needs, whatever the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The provider's id.
    pub id: Uuid,
    /// Its name, the one that operators gave it.
    pub name: String,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The key that it issued to us; empty where it asks for none.
    pub api_key: ProviderKey,
    /// What each of its requests carries besides.
    pub headers: ProviderHeaders,
    /// How long it may take.
    pub timeouts: Timeouts,
}
