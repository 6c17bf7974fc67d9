//! Keys that the gateway issues: plaintext shown once, hash stored.

use std::fmt;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::{Uuid, Variant};

use super::{Invalid, Name, Secret};

const SCHEME: &str = "sk-";
const PLAIN_LENGTH: usize = SCHEME.len() + uuid::fmt::Hyphenated::LENGTH;
/// `sk-` and the UUID's first group: enough to recognise a key, useless to guess one.
const PREFIX_LENGTH: usize = SCHEME.len() + 8;

/// A user key in plaintext: `sk-` and a version-4 UUID in lower case, 39 characters. It can be
/// generated, parsed, hashed, and shown to the caller who just made it.
#[derive(Debug)]
pub struct PlainKey(Secret);

impl PlainKey {
    /// A new random key: 122 bits from the operating system.
    pub fn generate() -> Self {
        Self(Secret::new(format!("{SCHEME}{}", Uuid::new_v4())))
    }

    /// Recognises a key by its form alone; `None` needs no look-up.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != PLAIN_LENGTH {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let digits = text.strip_prefix(SCHEME)?;
        let uuid = Uuid::try_parse(digits).ok()?;
        let canonical = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
        let version_4 = uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122;
        (canonical && version_4).then(|| Self(Secret::new(text)))
    }

    /// What the database and the caches hold.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.expose()).into())
    }

    /// The first characters, by which an operator recognises the key.
    pub fn prefix(&self) -> &str {
        &self.0.expose()[..PREFIX_LENGTH]
    }

    /// The plaintext, for the one answer that shows it.
    pub fn into_secret(self) -> Secret {
        self.0
    }
}

/// SHA-256 of a user key. It comes from hashing a [`PlainKey`], or from storage, which holds
/// hashes alone. Printing it shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// 64 lower-case hexadecimal digits, the form in the database and in Redis.
    pub fn to_hex(self) -> String {
        use std::fmt::Write;
        self.0
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }

    /// Reads what [`KeyHash::to_hex`] wrote.
    ///
    /// # Errors
    /// The text isn't 64 lower-case hexadecimal digits.
    pub fn from_hex(hex: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("must be 64 lower-case hexadecimal digits");
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(is_digit) {
            return Err(invalid());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key hash]")
    }
}

/// Which key it is: what the access log says of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    /// Stays the same when the key is rotated.
    pub id: Uuid,
    name: Box<str>,
}

impl KeyIdentity {
    /// As it is stored: a name that no operator could have given, written by hand, doesn't make a key
    /// another one.
    pub fn new(id: Uuid, name: &str) -> Self {
        let name = name.into();
        Self { id, name }
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A user key as the admin API shows it: neither plaintext nor hash.
#[derive(Clone, Debug)]
pub struct UserKey {
    /// Stays the same when the key is rotated.
    pub id: Uuid,
    /// The operator's name for it; names of keys may repeat.
    pub name: Name,
    /// First characters of the plaintext.
    pub key_prefix: String,
    /// False once revoked.
    pub is_active: bool,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it was last rotated or revoked.
    pub updated_at: DateTime<Utc>,
}

impl UserKey {
    /// A key issued now.
    pub fn new(id: Uuid, name: Name, key_prefix: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            name,
            key_prefix,
            is_active: true,
            created_at: now,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";

    #[test]
    fn a_generated_key_parses_and_hashes_to_the_same_value() {
        let generated = PlainKey::generate();
        let hash = generated.hash();
        let plain = generated.into_secret();
        assert_eq!(plain.expose().len(), 39);
        let parsed = PlainKey::parse(plain.expose().as_bytes()).unwrap();
        assert!(parsed.hash() == hash);
    }

    #[test]
    fn only_sk_and_a_lower_case_version_4_uuid_is_a_key() {
        assert!(PlainKey::parse(KEY.as_bytes()).is_some());
        for bad in [
            "",
            "sk-",
            "6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e",
            "SK-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e",
            "sk-6F0C2D0E-52a1-4c1b-9d7e-3f1a2b4c5d6e",
            "sk-6f0c2d0e-52a1-1c1b-9d7e-3f1a2b4c5d6e",
            "sk-6f0c2d0e-52a1-4c1b-cd7e-3f1a2b4c5d6e",
            "sk-6f0c2d0e52a14c1b9d7e3f1a2b4c5d6e",
            "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6",
            "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e ",
            "sk-{6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6}",
            "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5dé",
        ] {
            assert!(PlainKey::parse(bad.as_bytes()).is_none(), "{bad} passed");
        }
    }

    #[test]
    fn the_hash_is_sha_256_of_the_whole_key() {
        let hash = PlainKey::parse(KEY.as_bytes()).unwrap().hash();
        let known = Sha256::digest(KEY.as_bytes());
        assert_eq!(hash.0.as_slice(), known.as_slice());
        assert!(KeyHash::from_hex(&hash.to_hex()).unwrap() == hash);
        assert_eq!(format!("{hash:?}"), "[key hash]");
    }

    #[test]
    fn a_hash_of_another_form_is_refused() {
        for bad in [
            "",
            "ab",
            &"g".repeat(64),
            &"A".repeat(64),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert!(KeyHash::from_hex(bad).is_err());
        }
    }
}
