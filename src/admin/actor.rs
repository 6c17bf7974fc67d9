//! Who makes an admin call, for the audit.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header::HeaderName};

use crate::{domain::Actor, error::GatewayError};

/// A chain of proxies fits; a caller who writes the header has no more room than that.
const MAX_FORWARDED_FOR: usize = 255;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl FromRequest for Actor {
    type Error = GatewayError;
    type Future = Ready<Result<Self, GatewayError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self {
            // The guard has put it there.
            admin_key: request.extensions().get().copied(),
            peer: request.peer_addr().map(|peer| peer.ip().to_canonical()),
            forwarded_for: forwarded_for(request),
        }))
    }
}

fn forwarded_for(request: &HttpRequest) -> Option<String> {
    let lines: Vec<_> = request
        .headers()
        .get_all(X_FORWARDED_FOR)
        .map(|line| line.to_str().unwrap_or("?"))
        .collect();
    let text: String = lines.join(", ").chars().take(MAX_FORWARDED_FOR).collect();
    (!text.is_empty()).then_some(text)
}
