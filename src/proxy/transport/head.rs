//! Reads the head of a response, and writes it anew for awc, which gets nothing but heads.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::framing::Body;

/// awc gives up at 128 KiB of an incomplete head. What is written for awc is at most a little
/// longer than what was read (white space after colons, line ends, our framing), so it fits.
pub(super) const MAX_HEAD_BYTES: usize = 127 * 1024;

/// As many as awc takes, with the one that [`NUMBER`] names.
const MAX_HEADERS: usize = 95;

/// No real name is longer; awc panics at one of 64 KiB.
const MAX_NAME_BYTES: usize = 1024;

/// The header that tells, in the head for awc, whose exchange it is of. A provider's header of this
/// name is not passed on.
pub(super) const NUMBER: &str = "x-exchange-of-the-transport";

/// Headers that speak of this connection and end here (RFC 9110, section 7.6.1), and those whose
/// place ours take. `Trailer` announces what isn't passed on either. `Host` means nothing in a
/// response, and awc refuses two of them.
const NOT_PASSED_ON: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    NUMBER,
];

/// A head that was complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// An interim answer (1xx): the final one is still to come.
    Interim,
    /// The final answer.
    Final(FinalHead),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct FinalHead {
    pub(super) status: u16,
    pub(super) body: Body,
    /// Whether the connection may serve another request after this answer.
    pub(super) reusable: bool,
}

/// Reads a head from the start of `received`. If it is complete, returns its length, and has
/// appended a final one to `for_awc`, under the number of the exchange. `may_reuse` is false where
/// the caller already knows that the connection must end with this answer.
pub(super) fn read(
    received: &[u8],
    may_reuse: bool,
    number: u64,
    for_awc: &mut Vec<u8>,
) -> Result<Option<(usize, Head)>, &'static str> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    // The one leniency that awc has as well.
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
        status @ 200..=999 => {
            let is_http_11 = response.version == Some(1);
            let head = judge(status, is_http_11, response.headers, may_reuse)?;
            write(status, number, response.headers, for_awc)?;
            Head::Final(head)
        }
        _ => return Err("impossible status"),
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
    status: u16,
    is_http_11: bool,
    headers: &[Header<'_>],
    may_reuse: bool,
) -> Result<FinalHead, &'static str> {
    let persistent = may_reuse && is_http_11 && !connection_options(headers).any(is_close);
    let coded = transfer_coding(headers)?;
    let length = content_length(headers);
    if has_no_body(status) {
        // A provider that announces a body here may well send it: such a connection ends.
        let announces = coded || !matches!(length, Ok(None | Some(0)));
        return Ok(FinalHead {
            status,
            body: Body::EMPTY,
            reusable: persistent && !announces,
        });
    }
    let body = match (coded, length?) {
        (true, Some(_)) => return Err("both Content-Length and Transfer-Encoding"),
        (true, None) if !is_http_11 => return Err("Transfer-Encoding in HTTP/1.0"),
        (true, None) => Body::chunked(),
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilClose,
    };
    Ok(FinalHead {
        status,
        reusable: persistent && body != Body::UntilClose,
        body,
    })
}

fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
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

/// Writes the head for awc, without any framing: awc takes the answer for an empty one, and the
/// exchange for over.
fn write(
    status: u16,
    number: u64,
    headers: &[Header<'_>],
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_number(out, status.into());
    out.extend_from_slice(b" \r\n");
    let has_options = connection_options(headers).next().is_some();
    for header in headers {
        if header.name.len() > MAX_NAME_BYTES {
            return Err("header name too long");
        }
        if is_passed_on(header) && !(has_options && is_option(header, headers)) {
            out.extend_from_slice(header.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(header.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(NUMBER.as_bytes());
    out.extend_from_slice(b": ");
    put_number(out, number);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
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
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    /// awc would panic at a name that it can't take.
    #[test]
    fn names_and_values_that_are_accepted_are_good_for_awc() {
        let mut accepted = 0;
        for byte in 0..=255_u8 {
            let name = [b"a", &[byte][..], b"b"].concat();
            let value = [b"c", &[byte][..], b"d"].concat();
            let as_name = [b"HTTP/1.1 200 OK\r\n", &name[..], b": 1\r\n\r\n"].concat();
            let as_value = [b"HTTP/1.1 200 OK\r\na: ", &value[..], b"\r\n\r\n"].concat();
            let mut written = Vec::new();
            if let Ok(Some((_, Head::Final(_)))) = read(&as_name, true, 7, &mut written)
                && written.windows(3).any(|window| window == name)
            {
                assert!(HeaderName::from_bytes(&name).is_ok(), "{byte}");
                accepted += 1;
            }
            if let Ok(Some((_, Head::Final(_)))) = read(&as_value, true, 7, &mut written) {
                assert!(
                    HeaderValue::from_bytes(&value).is_ok() || byte == b'\n',
                    "{byte}"
                );
                accepted += 1;
            }
        }
        assert!(accepted > 256, "{accepted}");
    }

    #[test]
    fn a_final_head_is_written_without_framing_and_its_body_is_known() {
        for (read_as, written_as, body, reusable) in [
            (
                "1.1 200 OK\r\nContent-Length: 3",
                "200 ",
                Body::Length(3),
                true,
            ),
            (
                "1.1 200 OK\r\nTransfer-Encoding: Chunked",
                "200 ",
                Body::chunked(),
                true,
            ),
            (
                "1.1 200 OK\r\nX: y",
                "200 \r\nX: y",
                Body::UntilClose,
                false,
            ),
            (
                "1.1 200 OK\r\nTransfer-Encoding: identity",
                "200 ",
                Body::UntilClose,
                false,
            ),
            (
                "1.0 200 OK\r\nContent-Length: 3",
                "200 ",
                Body::Length(3),
                false,
            ),
            (
                "1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nContent-Length: 0",
                "200 ",
                Body::EMPTY,
                false,
            ),
            ("1.1 204 OK\r\nX: y", "204 \r\nX: y", Body::EMPTY, true),
            (
                "1.1 204 OK\r\nContent-Length: 3",
                "204 ",
                Body::EMPTY,
                false,
            ),
            (
                "1.1 200 OK\r\nX-Exchange-Of-The-Transport: 8\r\nContent-Length: 3",
                "200 ",
                Body::Length(3),
                true,
            ),
        ] {
            let received = format!("HTTP/{read_as}\r\n\r\n");
            let mut written = Vec::new();
            let (length, head) = read(received.as_bytes(), true, 7, &mut written)
                .unwrap()
                .unwrap();
            assert_eq!(length, received.len());
            let expected = format!("HTTP/1.1 {written_as}\r\n{NUMBER}: 7\r\n\r\n");
            assert_eq!(String::from_utf8(written).unwrap(), expected);
            let status = written_as[..3].parse().unwrap();
            assert_eq!(
                head,
                Head::Final(FinalHead {
                    status,
                    body,
                    reusable
                })
            );
        }
    }
}
