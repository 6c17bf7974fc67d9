//! The gateway's own id of a request: in its record, for logs, and on every response.

use std::{cell::Cell, fmt};

use actix_web::{
    HttpRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use uuid::{Builder, Uuid, fmt::Hyphenated};

use crate::record::Record;

/// The response header that carries the id.
pub const HEADER: HeaderName = HeaderName::from_static("x-gateway-request-id");

/// Names one request in logs and towards its caller. Unique, not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The id of the request's record.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        Record::of(request).map(|record| record.id())
    }

    /// Sets it on a response, over one that a provider may have sent.
    pub(crate) fn tag(self, headers: &mut HeaderMap) {
        if let Some(value) = self.to_header_value() {
            headers.insert(HEADER, value);
        }
    }

    /// One that no request has.
    pub(crate) fn example() -> Self {
        Self(Builder::from_random_bytes([0x5a; 16]).into_uuid())
    }

    fn to_header_value(self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.written_to(&mut Uuid::encode_buffer())).ok()
    }

    /// As text, without an allocation.
    pub(crate) fn written_to(self, buffer: &mut [u8]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hyphenated::from(self.0).fmt(f)
    }
}

/// Numbers requests from a random start on, and mixes the numbers: 128 bits that look random,
/// without asking the operating system for randomness each time.
#[derive(Debug)]
pub(crate) struct Sequence {
    start: [u64; 2],
    count: Cell<u64>,
}

impl Default for Sequence {
    fn default() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self {
            start: [high, low],
            count: Cell::default(),
        }
    }
}

impl Sequence {
    pub(crate) fn next(&self) -> RequestId {
        let number = self.count.get();
        self.count.set(number.wrapping_add(1));
        let [high, low] = self.start.map(|start| mix(start.wrapping_add(number)));
        let random = u128::from(high) << 64 | u128::from(low);
        RequestId(Builder::from_random_bytes(random.to_be_bytes()).into_uuid())
    }
}

/// Another number for each number, without a pattern that the eye could see: the finalizer of
/// SplitMix64 (<https://doi.org/10.1145/2714064.2660195>).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_version_4_uuids_and_differ_from_worker_to_worker() {
        let mut seen = HashSet::new();
        for sequence in [Sequence::default(), Sequence::default()] {
            for _ in 0..1_000 {
                let id = sequence.next();
                assert_eq!(id.0.get_version_num(), 4);
                assert!(seen.insert(id.0));
            }
        }
    }
}
