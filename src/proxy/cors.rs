//! Lets scripts of web pages call `/v1` (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use actix_cors::Cors;

use crate::settings::Origins;

/// How long a browser may remember that it may ask, in seconds: browsers cap it at two hours.
const MAX_AGE: usize = 7200;

/// Middleware, unless no origin is allowed. Callers prove who they are by a header, never by a
/// cookie, so no page can use what a browser remembers of another.
pub(super) fn cors(origins: &Origins) -> Option<Cors> {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST"])
        .allow_any_header()
        // Whatever there is: the gateway's request id, and what providers say of limits.
        .expose_headers(["*"])
        .max_age(MAX_AGE);
    match origins {
        Origins::None => None,
        Origins::Any => Some(cors.allow_any_origin().send_wildcard()),
        Origins::Only(origins) => {
            let allow = |cors: Cors, origin: &String| cors.allowed_origin(origin);
            Some(origins.iter().fold(cors, allow))
        }
    }
}
