//! The keys that open the admin API.

use derive_more::Display;
use sha2::{Digest, Sha256};

use super::Secret;

/// Shorter keys can be guessed; the start warns of them.
const SHORT: usize = 16;

/// The present admin key, and while it is being replaced the previous one beside it.
#[derive(Clone, Debug)]
pub struct AdminKeys {
    /// What new scripts are given.
    pub current: Secret,
    /// What scripts that were not changed yet still use.
    pub previous: Option<Secret>,
}

impl AdminKeys {
    /// Which key a token is, by its fingerprint. The time it takes tells nothing of either key
    /// but their lengths: both are compared, whole.
    pub fn find(&self, token: &[u8]) -> Option<AdminKeyId> {
        let is_current = self.current.matches(token);
        let previous = self.previous.as_ref();
        let is_previous = previous.is_some_and(|key| key.matches(token));
        let found = match (is_current, is_previous) {
            (true, _) => Some(&self.current),
            (false, true) => previous,
            (false, false) => None,
        };
        found.map(AdminKeyId::of)
    }

    /// Whether a key is short enough to be guessed.
    pub fn is_short(key: &Secret) -> bool {
        key.expose().len() < SHORT
    }
}

/// Names an admin key without telling it: the first 8 hexadecimal digits of a hash of it.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
#[display("{_0:08x}")]
pub struct AdminKeyId(u32);

impl AdminKeyId {
    /// The same key always has the same name. The label keeps the hash apart from every other
    /// SHA-256 of the same text.
    pub fn of(key: &Secret) -> Self {
        let hash = Sha256::new()
            .chain_update("llm-gateway admin key ")
            .chain_update(key.expose())
            .finalize();
        Self(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_open_and_have_names_of_their_own() {
        let keys = AdminKeys {
            current: Secret::new("the-present-admin-key"),
            previous: Some(Secret::new("the-previous-admin-key")),
        };
        let current = keys.find(b"the-present-admin-key").unwrap();
        let previous = keys.find(b"the-previous-admin-key").unwrap();
        assert_ne!(current, previous);
        assert_eq!(current.to_string().len(), 8);
        for wrong in ["", "the-present-admin-ke", "the-present-admin-keyx"] {
            assert_eq!(keys.find(wrong.as_bytes()), None);
        }
        let alone = AdminKeys {
            previous: None,
            ..keys
        };
        assert_eq!(alone.find(b"the-previous-admin-key"), None);
        assert_eq!(alone.find(b"the-present-admin-key"), Some(current));
    }
}
