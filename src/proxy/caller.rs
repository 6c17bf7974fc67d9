//! Who asks: a value that exists only for an active user key.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use crate::{
    bearer::bearer_token,
    domain::{KeyIdentity, PlainKey},
    error::{Dialect, GatewayError},
    storage::Storage,
};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Proof that the request carries an active user key. It is taken from the head of a request, so
/// that nothing of a stranger's body is read. It says which key that is.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<KeyIdentity>);

impl Caller {
    /// Which key it is.
    pub(super) fn key(&self) -> &Arc<KeyIdentity> {
        &self.0
    }

    pub(super) async fn authenticate(
        storage: &Storage,
        headers: &HeaderMap,
        dialect: Dialect,
    ) -> Result<Self, GatewayError> {
        let key = match dialect {
            Dialect::OpenAi => bearer_key(headers),
            Dialect::Anthropic => any_key(headers)?,
        };
        let key = key.ok_or(GatewayError::InvalidUserKey)?;
        let identity = storage.find_key(key.hash()).await?;
        identity.map(Self).ok_or(GatewayError::InvalidUserKey)
    }
}

/// The key of the only `Authorization` header, if it has a key's form.
fn bearer_key(headers: &HeaderMap) -> Option<PlainKey> {
    bearer_token(headers).and_then(PlainKey::parse)
}

/// The key in `Authorization` or in `x-api-key`. Anthropic's SDKs send both where both are
/// configured; which of two different ones is meant, nobody can tell.
fn any_key(headers: &HeaderMap) -> Result<Option<PlainKey>, GatewayError> {
    let mut lines = headers.get_all(X_API_KEY);
    let Some(line) = lines.next() else {
        return Ok(bearer_key(headers));
    };
    let token = line.as_bytes().trim_ascii();
    let is_alone = !headers.contains_key(AUTHORIZATION);
    match lines.next().is_none() && (is_alone || bearer_token(headers) == Some(token)) {
        true => Ok(PlainKey::parse(token)),
        false => Err(GatewayError::ConflictingUserKeys),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    const KEY: &str = "sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e";

    fn key_in(values: &[&str]) -> Option<PlainKey> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer_key(&headers)
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_spaces_may_be_many() {
        let expected = PlainKey::parse(KEY.as_bytes()).unwrap().hash();
        for scheme in ["Bearer ", "bearer ", "BEARER   "] {
            let key = key_in(&[&format!("{scheme}{KEY}")]).unwrap();
            assert!(key.hash() == expected);
        }
    }

    #[test]
    fn any_other_form_is_no_key() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            KEY,
            &format!("Basic {KEY}"),
            &format!("Bearer{KEY}"),
            &format!("Bearer:{KEY}"),
            &format!(" Bearer {KEY}"),
            &format!("Bearer {KEY} x"),
            &format!("Bearer {KEY},{KEY}"),
            "Bearer sk-proj-abcdef",
        ] {
            assert!(key_in(&[value]).is_none(), "{value} was accepted");
        }
    }

    fn any_key_in(authorization: &[&str], x_api_key: &[&str]) -> Result<bool, GatewayError> {
        let mut headers = HeaderMap::new();
        for (name, values) in [(AUTHORIZATION, authorization), (X_API_KEY, x_api_key)] {
            for value in values {
                headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
            }
        }
        any_key(&headers).map(|key| key.is_some())
    }

    #[test]
    fn either_header_may_carry_the_key_and_both_the_same_one() {
        let bearer = format!("Bearer {KEY}");
        for (authorization, x_api_key, is_key) in [
            (&[bearer.as_str()][..], &[][..], true),
            (&[], &[KEY], true),
            (&[], &[" sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e "], true),
            (&[bearer.as_str()], &[KEY], true),
            (&[], &[], false),
            (
                &[],
                &["Bearer sk-6f0c2d0e-52a1-4c1b-9d7e-3f1a2b4c5d6e"],
                false,
            ),
            (&["Basic x"], &[], false),
        ] {
            assert_eq!(any_key_in(authorization, x_api_key), Ok(is_key));
        }
    }

    #[test]
    fn two_keys_that_differ_are_refused() {
        let (bearer, other) = (format!("Bearer {KEY}"), KEY.replace("6f", "7f"));
        for (authorization, x_api_key) in [
            (&[bearer.as_str()][..], &[other.as_str()][..]),
            (&["Basic x"], &[KEY]),
            (&[bearer.as_str(), &bearer], &[KEY]),
            (&[], &[KEY, KEY]),
        ] {
            let refusal = any_key_in(authorization, x_api_key);
            assert_eq!(refusal, Err(GatewayError::ConflictingUserKeys));
        }
    }
}
