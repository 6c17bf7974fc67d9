//! The gateway's own id of a request: in the request, for logs, and on every response.

use std::{
    cell::Cell,
    fmt,
    future::{Ready, ready},
    rc::Rc,
};

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::InternalError,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use futures_util::future::LocalBoxFuture;
use uuid::{Builder, Uuid, fmt::Hyphenated};

/// The response header that carries the id.
pub const HEADER: HeaderName = HeaderName::from_static("x-gateway-request-id");

/// Names one request in logs and towards its caller. Unique, not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The id that [`RequestIds`] gave to a request.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// One that no request has.
    pub(crate) fn example() -> Self {
        Self(Builder::from_random_bytes([0x5a; 16]).into_uuid())
    }

    fn to_header_value(self) -> Option<HeaderValue> {
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(self.0.hyphenated().encode_lower(&mut text)).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hyphenated::from(self.0).fmt(f)
    }
}

/// Numbers requests from a random start on, and mixes the numbers: 128 bits that look random,
/// without asking the operating system for randomness each time.
#[derive(Clone, Debug)]
struct Sequence {
    start: [u64; 2],
    count: Rc<Cell<u64>>,
}

impl Default for Sequence {
    fn default() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self {
            start: [high, low],
            count: Rc::default(),
        }
    }
}

impl Sequence {
    fn next(&self) -> RequestId {
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

/// Middleware for the whole app: gives each request an id and sets it on the response, over one
/// that a provider may have sent.
#[derive(Clone, Debug, Default)]
pub struct RequestIds(Sequence);

impl<S, B> Transform<S, ServiceRequest> for RequestIds
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Tagged<S>;
    type InitError = ();
    type Future = Ready<Result<Tagged<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let ids = self.0.clone();
        ready(Ok(Tagged { service, ids }))
    }
}

/// A service whose responses carry ids.
#[derive(Debug)]
pub struct Tagged<S> {
    service: S,
    ids: Sequence,
}

impl<S, B> Service<ServiceRequest> for Tagged<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse<B>, Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let id = self.ids.next();
        request.extensions_mut().insert(id);
        let response = self.service.call(request);
        Box::pin(async move {
            match response.await {
                Ok(mut response) => {
                    tag(response.headers_mut(), id);
                    Ok(response)
                }
                Err(error) => Err(tagged_error(error, id)),
            }
        })
    }
}

fn tag(headers: &mut HeaderMap, id: RequestId) {
    if let Some(value) = id.to_header_value() {
        headers.insert(HEADER, value);
    }
}

/// An inner middleware may refuse a request by an error, whose response is made only later.
fn tagged_error(error: Error, id: RequestId) -> Error {
    let mut response = error.error_response();
    tag(response.headers_mut(), id);
    InternalError::from_response(error, response).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::{App, HttpResponse, middleware::from_fn, test, web};

    use super::*;
    use crate::error::GatewayError;

    #[::core::prelude::v1::test]
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

    #[actix_rt::test]
    async fn the_response_carries_the_id_that_the_handler_saw() {
        let app = App::new().wrap(RequestIds::default()).route(
            "/",
            web::get().to(|request: HttpRequest| async move {
                HttpResponse::Ok()
                    .insert_header((HEADER, "a provider's"))
                    .body(RequestId::of(&request).unwrap().to_string())
            }),
        );
        let app = test::init_service(app).await;
        let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
        let id = response.headers().get(HEADER).unwrap().clone();
        assert_eq!(response.headers().get_all(HEADER).count(), 1);
        assert_eq!(test::read_body(response).await, id.as_bytes());
    }

    #[actix_rt::test]
    async fn a_refusal_by_an_inner_middleware_carries_an_id() {
        let app = App::new()
            .wrap(from_fn(
                |_, _: actix_web::middleware::Next<actix_web::body::BoxBody>| async {
                    Err::<ServiceResponse, Error>(GatewayError::InvalidAdminKey.into())
                },
            ))
            .wrap(RequestIds::default());
        let app = test::init_service(app).await;
        let refusal = test::try_call_service(&app, test::TestRequest::get().to_request())
            .await
            .unwrap_err();
        let response = refusal.error_response();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(HEADER));
    }
}
