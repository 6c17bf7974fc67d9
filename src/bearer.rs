//! The token of a request: what stands after `Bearer` in its only `Authorization` line.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// The token after the scheme `Bearer`, which is read in any case (RFC 9110, section 11.1),
/// without the spaces around it. More than one `Authorization` line is ambiguous, and counts as
/// none.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
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
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn token(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        bearer_token(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_spaces_may_be_many() {
        for line in ["Bearer abc", "bearer abc", "BEARER   abc", "Bearer abc "] {
            assert_eq!(token(&[line]).as_deref(), Some("abc"), "{line}");
        }
        assert_eq!(token(&["Bearer a b"]).as_deref(), Some("a b"));
    }

    #[test]
    fn anything_but_one_bearer_token_is_none() {
        for lines in [
            &[][..],
            &[""],
            &["abc"],
            &["Bearer"],
            &["Bearerabc"],
            &["Bearer:abc"],
            &[" Bearer abc"],
            &["Basic YTpi"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(token(lines), None, "{lines:?}");
        }
    }
}
