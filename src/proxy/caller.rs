//! Who asks: an extractor that exists only for an active user key.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::HeaderMap};
use futures_util::future::LocalBoxFuture;

use super::DataPath;
use crate::{bearer::bearer_token, domain::PlainKey, error::GatewayError};

/// Proof that the request carries an active user key. It is taken from the head of a request, so
/// that nothing of a stranger's body is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(());

impl Caller {
    async fn authenticate(request: &HttpRequest) -> Result<Self, GatewayError> {
        let key = bearer_key(request.headers())
            .ok_or(GatewayError::InvalidUserKey)?
            .hash();
        let path = DataPath::of(request)?;
        if path.storage.is_key_active(key).await? {
            Ok(Self(()))
        } else {
            Err(GatewayError::InvalidUserKey)
        }
    }
}

impl FromRequest for Caller {
    type Error = GatewayError;
    type Future = LocalBoxFuture<'static, Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Self::authenticate(&request).await })
    }
}

/// The key of the only `Authorization` header, if it has a key's form.
fn bearer_key(headers: &HeaderMap) -> Option<PlainKey> {
    bearer_token(headers).and_then(PlainKey::parse)
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
}
