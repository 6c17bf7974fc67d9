//! Providers' keys and headers at rest: sealed with the operator's encryption key, bound to their
//! provider.
//!
//! A stored text is either plain (a key, which has no spaces, or a JSON object), or four words:
//! `sealed v1 <id of the encryption key> <base64 of nonce and ciphertext>`, by XChaCha20-Poly1305,
//! whose nonces are long enough to be drawn at random for ever.

use std::{collections::BTreeMap, fmt};

use base64::prelude::{BASE64_STANDARD_NO_PAD as BASE64, Engine as _};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, Generate, KeyInit, Payload},
};
use derive_more::Display;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{FixedHeaders, Invalid, Secret};

const FORM: &str = "sealed v1 ";
const NONCE_BYTES: usize = 24;

/// Names an encryption key without telling it: the first 16 hexadecimal digits of a hash of it.
#[derive(Clone, Debug, Display, PartialEq, Eq)]
#[display("{_0}")]
pub struct EncryptionKeyId(String);

/// What seals: 32 random bytes.
#[derive(Clone)]
pub struct EncryptionKey {
    id: EncryptionKeyId,
    cipher: XChaCha20Poly1305,
}

impl EncryptionKey {
    /// How to make one.
    pub const REMEDY: &'static str =
        "set it to 32 random bytes in base64, the output of `openssl rand -base64 32`";

    /// Reads 32 bytes in base64.
    ///
    /// # Errors
    /// Says what is wrong, and nothing of the text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = BASE64
            .decode(text.trim_end_matches('='))
            .map_err(|_| Invalid::new("is not base64"))?;
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| Invalid::new(format!("has {} bytes, not 32", bytes.len())))?;
        let hash = Sha256::new()
            .chain_update("llm-gateway encryption key ")
            .chain_update(bytes)
            .finalize();
        let id: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            id: EncryptionKeyId(id),
            cipher: XChaCha20Poly1305::new(&bytes.into()),
        })
    }

    /// Its name.
    pub fn id(&self) -> &EncryptionKeyId {
        &self.id
    }

    /// What every text that it sealed begins with.
    pub fn mark(&self) -> String {
        format!("{FORM}{} ", self.id)
    }

    /// Seals a text for one field of one provider and no other.
    fn seal(&self, bound_to: &[u8], text: &str) -> String {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: text.as_bytes(),
            aad: bound_to,
        };
        #[allow(
            clippy::expect_used,
            reason = "it fails for messages of over 256 GiB alone"
        )]
        let ciphertext = self.cipher.encrypt(&nonce, payload).expect("a short text");
        let sealed = BASE64.encode([&nonce[..], &ciphertext].concat());
        self.mark() + &sealed
    }

    fn unseal(&self, bound_to: &[u8], sealed: &str) -> Option<String> {
        let bytes = BASE64.decode(sealed).ok()?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: ciphertext,
            aad: bound_to,
        };
        let opened = self.cipher.decrypt(&(*nonce).into(), payload).ok()?;
        String::from_utf8(opened).ok()
    }
}

/// A value that is stored as a text, sealed if there is a key.
pub trait Sealable: Sized {
    /// Names the field: what was sealed for it opens in no other.
    const FIELD: &'static str;

    /// The text to seal.
    fn to_text(&self) -> String;
    /// Reads what [`Sealable::to_text`] wrote.
    fn from_text(text: String) -> Option<Self>;
}

impl Sealable for Secret {
    const FIELD: &'static str = "api_key";

    fn to_text(&self) -> String {
        self.expose().to_owned()
    }

    fn from_text(text: String) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl Sealable for FixedHeaders {
    const FIELD: &'static str = "headers";

    fn to_text(&self) -> String {
        self.to_json()
    }

    fn from_text(text: String) -> Option<Self> {
        Self::from_json(&text).ok()
    }
}

/// The associated data: a sealed text opens in the row and the field that it was made for.
fn bound_to<T: Sealable>(provider: Uuid) -> Vec<u8> {
    let purpose = format!("llm-gateway provider {} ", T::FIELD);
    [purpose.as_bytes(), provider.as_bytes()].concat()
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[secret {}]", self.id)
    }
}

/// The encryption keys that this process has: the present one, and while it is being replaced
/// another. Both open; which of them seals, the database says.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    /// `ENCRYPTION_KEY`
    pub current: Option<EncryptionKey>,
    /// `ENCRYPTION_KEY_PREVIOUS`
    pub previous: Option<EncryptionKey>,
}

impl Keyring {
    /// The key of this name.
    pub fn get(&self, id: &str) -> Option<&EncryptionKey> {
        let keys = [&self.current, &self.previous];
        keys.into_iter().flatten().find(|key| key.id.0 == id)
    }

    /// Opens a stored text, as far as that is possible.
    pub fn open<T: Sealable>(&self, provider: Uuid, stored: String) -> Sealed<T> {
        let text = match stored.strip_prefix(FORM) {
            None => Some(stored.clone()),
            Some(sealed) => sealed
                .split_once(' ')
                .and_then(|(id, sealed)| self.get(id)?.unseal(&bound_to::<T>(provider), sealed)),
        };
        let opened = text.and_then(T::from_text);
        Sealed { stored, opened }
    }
}

/// A secret of a provider: as it is stored, and opened where this process has the encryption key for
/// it. What leaves the process for a database or Redis is the stored text.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed<T> {
    stored: String,
    opened: Option<T>,
}

/// The key that a provider issued to us.
pub type ProviderKey = Sealed<Secret>;
/// What each request to a provider carries besides.
pub type ProviderHeaders = Sealed<FixedHeaders>;

impl<T: Sealable> Sealed<T> {
    /// A value to store: sealed, or in plaintext where there is nothing to seal it with.
    pub fn new(provider: Uuid, value: T, seal_with: Option<&EncryptionKey>) -> Self {
        let text = value.to_text();
        let stored = match seal_with {
            Some(key) => key.seal(&bound_to::<T>(provider), &text),
            None => text,
        };
        Self {
            stored,
            opened: Some(value),
        }
    }

    /// The text to store. It is the value itself where that isn't sealed.
    pub fn stored(&self) -> &str {
        &self.stored
    }

    /// The value; `None` where this process can't open it.
    pub fn opened(&self) -> Option<&T> {
        self.opened.as_ref()
    }

    /// Whether it is stored as it would be stored now.
    pub fn is_stored_with(&self, key: Option<&EncryptionKey>) -> bool {
        let sealed_with = self
            .stored
            .strip_prefix(FORM)
            .and_then(|sealed| sealed.split(' ').next());
        sealed_with == key.map(|key| key.id.0.as_str())
    }
}

const UNREADABLE: &str = "unreadable";

impl ProviderKey {
    /// Whether the provider asks for none.
    pub fn is_empty(&self) -> bool {
        self.opened.as_ref().is_some_and(Secret::is_empty)
    }

    /// What an operator may see to recognise a key.
    pub fn preview(&self) -> String {
        match &self.opened {
            Some(key) => key.preview(),
            None => UNREADABLE.to_owned(),
        }
    }
}

impl ProviderHeaders {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.opened.as_ref().is_some_and(FixedHeaders::is_empty)
    }

    /// What an operator may see to recognise them.
    pub fn previews(&self) -> BTreeMap<String, String> {
        match &self.opened {
            Some(headers) => headers.previews(),
            None => BTreeMap::from([("*".to_owned(), UNREADABLE.to_owned())]),
        }
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> EncryptionKey {
        EncryptionKey::parse(&BASE64.encode([byte; 32])).unwrap()
    }

    fn ring(current: u8) -> Keyring {
        Keyring {
            current: Some(key(current)),
            previous: None,
        }
    }

    fn sealed(provider: Uuid, key: &EncryptionKey) -> ProviderKey {
        ProviderKey::new(provider, Secret::new("sk-provider"), Some(key))
    }

    #[test]
    fn a_sealed_key_opens_and_shows_nothing_of_itself() {
        let id = Uuid::now_v7();
        let stored = sealed(id, &key(1)).stored().to_owned();
        assert!(!stored.contains("sk-provider"));
        assert!(stored.starts_with(&format!("sealed v1 {} ", key(1).id())));
        let opened = ring(1).open::<Secret>(id, stored);
        assert_eq!(opened.opened().unwrap().expose(), "sk-provider");
        assert!(opened.is_stored_with(Some(&key(1))));
        assert!(!opened.is_stored_with(Some(&key(2))) && !opened.is_stored_with(None));
        assert!(!format!("{opened:?} {:?}", key(1)).contains("sk-"));
    }

    #[test]
    fn no_two_seals_of_the_same_key_are_the_same() {
        let id = Uuid::now_v7();
        assert_ne!(sealed(id, &key(1)).stored(), sealed(id, &key(1)).stored());
    }

    #[test]
    fn a_sealed_key_moved_to_another_row_is_not_opened() {
        let stored = sealed(Uuid::now_v7(), &key(1)).stored().to_owned();
        assert_eq!(
            ring(1).open::<Secret>(Uuid::now_v7(), stored).opened(),
            None
        );
    }

    #[test]
    fn what_was_sealed_for_one_field_opens_in_no_other() {
        let id = Uuid::now_v7();
        let headers = || FixedHeaders::parse([("x-title", "a")]).unwrap();
        let sealed = Sealed::new(id, headers(), Some(&key(1)));
        let opened = ring(1).open::<FixedHeaders>(id, sealed.stored().to_owned());
        assert_eq!(opened.opened(), Some(&headers()));
        let as_key = ring(1).open::<Secret>(id, sealed.stored().to_owned());
        assert_eq!(as_key.opened(), None);
        let plain = Sealed::new(id, headers(), None);
        assert_eq!(plain.stored(), r#"{"x-title":"a"}"#);
    }

    #[test]
    fn only_the_key_that_sealed_opens_and_only_what_is_whole() {
        let id = Uuid::now_v7();
        let stored = sealed(id, &key(1)).stored().to_owned();
        assert_eq!(ring(2).open::<Secret>(id, stored.clone()).opened(), None);
        assert_eq!(
            Keyring::default()
                .open::<Secret>(id, stored.clone())
                .opened(),
            None
        );
        let both = Keyring {
            current: Some(key(2)),
            previous: Some(key(1)),
        };
        assert!(both.open::<Secret>(id, stored.clone()).opened().is_some());
        for end in FORM.len()..stored.len() {
            let cut = stored[..end].to_owned();
            assert_eq!(ring(1).open::<Secret>(id, cut).opened(), None, "{end}");
        }
        // Under the other key's name it is no better.
        let renamed = stored.replace(&key(1).id().0, &key(2).id().0);
        assert_eq!(both.open::<Secret>(id, renamed).opened(), None);
    }

    #[test]
    fn a_plain_key_is_what_it_is() {
        let id = Uuid::now_v7();
        for plain in ["sk-plain", "", "sealed", "v1:aa:bb"] {
            let key = ring(1).open::<Secret>(id, plain.to_owned());
            assert_eq!(key.opened().unwrap().expose(), plain);
            assert!(key.is_stored_with(None));
        }
        assert_eq!(
            ring(1).open(id, "sealed v1 x".to_owned()).preview(),
            "unreadable"
        );
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why_and_nothing_of_itself() {
        for (bad, reason) in [
            ("hunter2!", "not base64"),
            ("aHVudGVyMg==", "has 7 bytes"),
            ("", "has 0 bytes"),
        ] {
            let problem = EncryptionKey::parse(bad).unwrap_err().to_string();
            assert!(problem.contains(reason), "{problem}");
            assert!(!problem.contains("hunter2"));
        }
        let padded = BASE64.encode([7; 32]) + "=";
        assert_eq!(EncryptionKey::parse(&padded).unwrap().id(), key(7).id());
    }
}
