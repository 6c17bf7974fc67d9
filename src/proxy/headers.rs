//! Which headers pass through the gateway: everything that isn't on a list here.

use actix_web::http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

/// Puts those of a caller's headers that are for the provider into `kept`. Values are shared, not
/// copied.
pub(super) fn copy_for_provider(headers: &HeaderMap, kept: &mut HeaderMap) {
    let connection = headers.get_all(CONNECTION);
    for (name, value) in headers {
        if !is_hop_by_hop(name) && !is_callers_own(name) && !is_option(connection.clone(), name) {
            kept.append(name.clone(), value.clone());
        }
    }
}

/// Removes from a provider's headers what must not reach a caller.
pub(super) fn retain_for_caller(headers: &mut HeaderMap) {
    let connection: Vec<_> = headers.remove(CONNECTION).collect();
    headers.retain(|name, _| {
        !is_hop_by_hop(name) && !speaks_for_the_origin(name) && !is_option(connection.iter(), name)
    });
}

/// Headers that speak of one connection (RFC 9110, section 7.6.1), and `Trailer`, since trailers
/// are not relayed.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `Connection` names this header as one that ends at the next hop.
fn is_option<'a>(connection: impl Iterator<Item = &'a HeaderValue>, name: &HeaderName) -> bool {
    connection
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|option| {
            option
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

/// Request headers that end at the gateway.
fn is_callers_own(name: &HeaderName) -> bool {
    match name.as_str() {
        // Set anew for each hop.
        "host" | "content-length" => true,
        // actix-web has answered it.
        "expect" => true,
        // Keys for the gateway, or for providers that the caller has no business with.
        "authorization" | "cookie" | "api-key" | "x-api-key" | "x-goog-api-key" => true,
        // They choose who is billed.
        "openai-organization" | "openai-project" => true,
        // The bytes are to come plain: nothing on the way unpacks them.
        "accept-encoding" => true,
        // Who the caller is and how it came here is no business of the provider's.
        "forwarded" | "x-real-ip" | "via" => true,
        name => name.starts_with("x-forwarded-"),
    }
}

/// Response headers by which a provider would speak for the gateway's own origin.
fn speaks_for_the_origin(name: &HeaderName) -> bool {
    match name.as_str() {
        "set-cookie" | "strict-transport-security" | "alt-svc" | "clear-site-data" => true,
        name => name.starts_with("access-control-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect()
    }

    fn for_provider(headers: &HeaderMap) -> HeaderMap {
        let mut kept = HeaderMap::new();
        copy_for_provider(headers, &mut kept);
        kept
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> Vec<&'a [u8]> {
        let values = headers.get_all(HeaderName::from_static(name));
        values.map(HeaderValue::as_bytes).collect()
    }

    #[test]
    fn a_caller_s_headers_go_along() {
        let mut headers = map(&[
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("user-agent", "OpenAI/Python 1.2.3"),
            ("idempotency-key", "k1"),
            ("x-request-id", "r1"),
            ("openai-beta", "b1"),
            ("http-referer", "https://example.com"),
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("x-many", "1"),
            ("x-many", "2"),
        ]);
        let obs_text = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        headers.insert(HeaderName::from_static("x-title"), obs_text);
        let kept = for_provider(&headers);
        assert_eq!(names(&kept), names(&headers));
        assert_eq!(values(&kept, "x-many"), [b"1", b"2"]);
        assert_eq!(values(&kept, "x-title"), [b"caf\xe9"]);
    }

    #[test]
    fn keys_and_traces_of_the_caller_stay_here() {
        let headers = map(&[
            ("host", "gateway"),
            ("content-length", "2"),
            ("authorization", "Bearer sk-x"),
            ("proxy-authorization", "Basic x"),
            ("cookie", "a=b"),
            ("api-key", "x"),
            ("x-api-key", "x"),
            ("x-goog-api-key", "x"),
            ("openai-organization", "x"),
            ("openai-project", "x"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
            ("forwarded", "for=x"),
            ("x-forwarded-for", "x"),
            ("x-forwarded-anything", "x"),
            ("x-real-ip", "x"),
            ("via", "x"),
        ]);
        assert_eq!(names(&for_provider(&headers)), [""; 0]);
    }

    #[test]
    fn headers_of_the_connection_stay_here() {
        let headers = map(&[
            ("connection", "keep-alive, X-Mine"),
            ("connection", "x-yours"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("x-yours", "1"),
            ("x-ours", "1"),
        ]);
        assert_eq!(names(&for_provider(&headers)), ["x-ours"]);
    }

    #[test]
    fn a_provider_s_headers_come_back() {
        let mut headers = map(&[
            ("content-type", "text/event-stream"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("server", "provider"),
            ("x-request-id", "r1"),
            ("retry-after", "7"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("location", "https://example.com"),
            ("x-many", "1"),
            ("x-many", "2"),
        ]);
        let before = headers.clone();
        retain_for_caller(&mut headers);
        assert_eq!(names(&headers), names(&before));
        assert_eq!(values(&headers, "x-many"), [b"1", b"2"]);
    }

    #[test]
    fn a_provider_does_not_speak_for_the_gateway_s_origin_or_connection() {
        let mut headers = map(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3"),
            ("clear-site-data", "*"),
            ("access-control-allow-origin", "*"),
            ("access-control-anything", "*"),
            ("connection", "close, x-hop"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-kept", "1"),
        ]);
        retain_for_caller(&mut headers);
        assert_eq!(names(&headers), ["x-kept"]);
    }
}
