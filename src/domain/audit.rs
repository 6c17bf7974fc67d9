//! Who changed what: one entry per change, without any value that could be a secret.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::AdminKeyId;

/// Who asks for a change. The default is the command line, or the gateway itself at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Which admin key.
    pub admin_key: Option<AdminKeyId>,
    /// The other end of the connection, a proxy perhaps.
    pub peer: Option<IpAddr>,
    /// What `X-Forwarded-For` says: whatever the proxy, or a caller without one, wrote there.
    pub forwarded_for: Option<String>,
}

/// What was done, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// `create`, `update`, `delete`, `rotate`, `revoke` or `seal`.
    pub action: &'static str,
    /// `provider`, `model`, `key` or `encryption`.
    pub item_kind: &'static str,
    /// To which item, where it has an id.
    pub item_id: Option<Uuid>,
    /// Its name when it was done.
    pub item_name: String,
    /// The names of the fields that were given.
    pub fields: Vec<&'static str>,
}

impl Deed {
    /// Something done to an item as a whole.
    pub fn new(action: &'static str, item_kind: &'static str, id: Uuid, name: &str) -> Self {
        Self {
            action,
            item_kind,
            item_id: Some(id),
            item_name: name.to_owned(),
            fields: Vec::new(),
        }
    }

    /// A change of some fields.
    pub fn update(
        item_kind: &'static str,
        id: Uuid,
        name: &str,
        fields: Vec<&'static str>,
    ) -> Self {
        Self {
            fields,
            ..Self::new("update", item_kind, id, name)
        }
    }
}

/// A row of the audit, as it is read: of this version of the program or another.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Names the entry for good.
    pub id: Uuid,
    /// What was done.
    pub action: String,
    /// To what kind of item.
    pub item_kind: String,
    /// To which.
    pub item_id: Option<Uuid>,
    /// Its name at that time.
    pub item_name: Option<String>,
    /// The names of the fields that were given.
    pub fields: Vec<String>,
    /// The fingerprint of the admin key.
    pub admin_key: Option<String>,
    /// The other end of the connection.
    pub peer: Option<String>,
    /// What `X-Forwarded-For` said.
    pub forwarded_for: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}
