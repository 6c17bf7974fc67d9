//! Lets only those pass who have the admin key.

use std::rc::Rc;

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, HeaderMap},
    middleware::Next,
};

use crate::{domain::Secret, error::GatewayError};

/// Refuses a request without the admin key before anything else of it is looked at.
pub(super) async fn require_admin_key<B: MessageBody>(
    admin_key: Rc<Secret>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let is_admin = bearer_token(request.headers()).is_some_and(|token| admin_key.matches(token));
    if !is_admin {
        // An answer rather than an `Err`, so that outer middleware sees a response.
        let refusal = request.error_response(GatewayError::InvalidAdminKey);
        return Ok(refusal.map_into_right_body());
    }
    next.call(request)
        .await
        .map(ServiceResponse::map_into_left_body)
}

/// The token after the scheme `Bearer`, which is read in any case (RFC 9110 §11.1). More than
/// one `Authorization` line is ambiguous, and counts as none.
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION);
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (scheme, rest) = line.as_bytes().split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        bearer_token(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for line in ["Bearer abc", "bearer abc", "BEARER   abc"] {
            assert_eq!(token(&[line]).as_deref(), Some("abc"), "{line}");
        }
    }

    #[test]
    fn anything_but_one_bearer_token_is_none() {
        for lines in [
            &[][..],
            &["abc"],
            &["Bearer"],
            &["Bearerabc"],
            &["Basic YTpi"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(token(lines), None, "{lines:?}");
        }
    }
}
