//! Reads the head of a response.

use std::mem::MaybeUninit;

use actix_http::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use httparse::{Header, ParserConfig, Status};

use super::framing::Body;

/// The longest head. Real ones have a few KiB.
pub(super) const MAX_HEAD_BYTES: usize = 128 * 1024;

/// The most headers, as in a request to us.
const MAX_HEADERS: usize = 96;

/// Headers that speak of this connection and end here (RFC 9110, section 7.6.1), and those whose
/// place ours take. `Trailer` announces what isn't passed on either. `Host` means nothing in a
/// response.
const NOT_PASSED_ON: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A head that was complete.
#[derive(Debug)]
pub(super) enum Head {
    /// An interim answer (1xx): the final one is still to come.
    Interim,
    /// The final answer.
    Final(FinalHead),
}

#[derive(Debug)]
pub(super) struct FinalHead {
    pub(super) status: StatusCode,
    /// Those that are passed on.
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Whether the connection may serve another request after this answer.
    pub(super) reusable: bool,
}

/// Reads a head from the start of `received`; with it comes its length. Nothing if it is incomplete.
pub(super) fn read(received: &[u8]) -> Result<Option<(usize, Head)>, &'static str> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    // The one leniency: old servers write so, and nothing else could be meant.
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    let parsed = config.parse_response_with_uninit_headers(&mut response, received, &mut slots);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(Status::Partial) if received.len() <= MAX_HEAD_BYTES => return Ok(None),
        Ok(_) => return Err("head too large"),
        Err(httparse::Error::TooManyHeaders) => return Err("too many headers"),
        Err(_) => return Err("malformed head"),
    };
    let head = match response.code.unwrap_or_default() {
        101 => return Err("switches protocols unasked"),
        100..200 => Head::Interim,
        status => {
            let status = StatusCode::from_u16(status).map_err(|_| "impossible status")?;
            let is_http_11 = response.version == Some(1);
            let (body, reusable) = judge(status, is_http_11, response.headers)?;
            Head::Final(FinalHead {
                status,
                headers: passed_on(&received[..length], response.headers)?,
                body,
                reusable,
            })
        }
    };
    Ok(Some((length, head)))
}

/// Whether this could be the beginning of an HTTP/1 response: garbage shows at its first bytes,
/// long before anything that looks like the end of a head.
pub(super) fn may_begin(received: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/1.";
    let known = received.len().min(START.len());
    received[..known] == START[..known]
}

/// Decides where the body ends (RFC 9112, section 6.3) and whether the connection outlives it.
fn judge(
    status: StatusCode,
    is_http_11: bool,
    headers: &[Header<'_>],
) -> Result<(Body, bool), &'static str> {
    let persistent = is_http_11 && !connection_options(headers).any(is_close);
    let coded = transfer_coding(headers)?;
    let length = content_length(headers);
    if has_no_body(status) {
        // A provider that announces a body here may well send it: such a connection ends.
        let announces = coded || !matches!(length, Ok(None | Some(0)));
        return Ok((Body::EMPTY, persistent && !announces));
    }
    let body = match (coded, length?) {
        (true, Some(_)) => return Err("both Content-Length and Transfer-Encoding"),
        (true, None) if !is_http_11 => return Err("Transfer-Encoding in HTTP/1.0"),
        (true, None) => Body::chunked(),
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilClose,
    };
    let reusable = persistent && body != Body::UntilClose;
    Ok((body, reusable))
}

fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the body is chunked. Any other coding can't be relayed: `Transfer-Encoding` ends here,
/// so nobody after us could undo it.
fn transfer_coding(headers: &[Header<'_>]) -> Result<bool, &'static str> {
    let mut codings = members(headers, "transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") => Ok(false),
        _ => Err("transfer coding other than chunked"),
    }
}

/// The declared length. Repeating the same one is tolerated, as RFC 9112 permits.
fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, &'static str> {
    let mut length = None;
    for header in named(headers, "content-length") {
        for value in header.value.split(|&byte| byte == b',') {
            let value = Some(number(value.trim_ascii())?);
            if length.is_some() && length != value {
                return Err("contradicting Content-Length headers");
            }
            length = value;
        }
    }
    Ok(length)
}

fn number(digits: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "Content-Length that is not a number";
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| BAD)?;
    digits.parse().map_err(|_| BAD)
}

/// The headers of `head` that are passed on. Their values share one copy of it.
fn passed_on(head: &[u8], headers: &[Header<'_>]) -> Result<HeaderMap, &'static str> {
    const BAD: &str = "malformed header";
    let copy = Bytes::copy_from_slice(head);
    let has_options = connection_options(headers).next().is_some();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for header in headers {
        if is_passed_on(header) && !(has_options && is_option(header, headers)) {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| BAD)?;
            let start = header.value.as_ptr().addr() - head.as_ptr().addr();
            let value = copy.slice(start..start + header.value.len());
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| BAD)?;
            kept.append(name, value);
        }
    }
    Ok(kept)
}

fn is_passed_on(header: &Header<'_>) -> bool {
    !NOT_PASSED_ON
        .iter()
        .any(|known| header.name.eq_ignore_ascii_case(known))
}

/// Whether `Connection` names this header as one that ends here.
fn is_option(header: &Header<'_>, headers: &[Header<'_>]) -> bool {
    let name = header.name.as_bytes();
    connection_options(headers).any(|option| option.eq_ignore_ascii_case(name))
}

fn connection_options<'h>(headers: &'h [Header<'h>]) -> impl Iterator<Item = &'h [u8]> {
    members(headers, "connection")
}

fn is_close(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

/// The members of a list that may be spread over several headers.
fn members<'h>(headers: &'h [Header<'h>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    named(headers, name)
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

fn named<'h>(
    headers: &'h [Header<'h>],
    name: &'static str,
) -> impl Iterator<Item = &'h Header<'h>> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_final(text: &str) -> FinalHead {
        let received = format!("HTTP/{text}\r\n\r\n");
        match read(received.as_bytes()) {
            Ok(Some((length, Head::Final(head)))) if length == received.len() => head,
            other => panic!("{text}: {other:?}"),
        }
    }

    /// No byte passes the parser and fails after it.
    #[test]
    fn names_and_values_that_are_accepted_can_be_passed_on() {
        let mut accepted = 0;
        for byte in 0..=255_u8 {
            let name = [b"HTTP/1.1 200 OK\r\na", &[byte][..], b"b: 1\r\n\r\n"].concat();
            let value = [b"HTTP/1.1 200 OK\r\na: c", &[byte][..], b"d\r\n\r\n"].concat();
            for head in [name, value] {
                match read(&head) {
                    Ok(Some((_, Head::Final(_)))) => accepted += 1,
                    Ok(other) => panic!("{byte}: {other:?}"),
                    Err(reason) => assert_eq!(reason, "malformed head", "{byte}"),
                }
            }
        }
        assert!(accepted > 256, "{accepted}");
    }

    #[test]
    fn a_final_head_tells_where_its_body_ends_and_passes_on_what_is_not_the_connection_s() {
        let none: &[(&str, &str)] = &[];
        for (text, passed_on, body, reusable) in [
            (
                "1.1 200 OK\r\nContent-Length: 3",
                none,
                Body::Length(3),
                true,
            ),
            (
                "1.1 200 OK\r\nTransfer-Encoding: Chunked",
                none,
                Body::chunked(),
                true,
            ),
            ("1.1 200 OK\r\nX: y", &[("x", "y")], Body::UntilClose, false),
            (
                "1.1 200 OK\r\nTransfer-Encoding: identity",
                none,
                Body::UntilClose,
                false,
            ),
            (
                "1.0 200 OK\r\nContent-Length: 3",
                none,
                Body::Length(3),
                false,
            ),
            (
                "1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nContent-Length: 0",
                none,
                Body::EMPTY,
                false,
            ),
            (
                "1.1 204 OK\r\nX:  y \r\nx:\r\nX: z",
                &[("x", "y"), ("x", ""), ("x", "z")],
                Body::EMPTY,
                true,
            ),
            ("1.1 204 OK\r\nContent-Length: 3", none, Body::EMPTY, false),
        ] {
            let head = read_final(text);
            let headers: Vec<_> = head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            assert_eq!(headers, passed_on, "{text}");
            assert_eq!((head.body, head.reusable), (body, reusable), "{text}");
            assert!(text[4..].starts_with(head.status.as_str()));
        }
    }
}
