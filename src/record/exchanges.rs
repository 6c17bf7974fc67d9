//! The middleware that every request passes first: it begins the request's record, gives it an id,
//! and holds on to what must last as long as its answer.

use std::{
    future::{Ready, ready},
    rc::Rc,
};

use actix_http::ConnectionType;
use actix_web::{
    Error, HttpMessage as _, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    error::InternalError,
};
use futures_util::future::LocalBoxFuture;

use super::{
    Open, Recorder,
    body::{Kept, RecordedBody},
    outcome::{Outcome, own_error},
};
use crate::{
    metrics::{Counting, ExchangeMetrics},
    request_id::Sequence,
    server::{Draining, InFlight},
    unread_body,
};

/// Middleware for the whole app, outside of any other.
#[derive(Clone, Debug)]
pub(crate) struct Exchanges(Rc<Recorder>);

impl Exchanges {
    /// For one worker.
    pub(crate) fn new(metrics: &ExchangeMetrics, draining: Draining) -> Self {
        Self(Rc::new(Recorder {
            ids: Sequence::default(),
            counting: Counting::new(metrics.clone()),
            draining,
        }))
    }
}

impl<S> Transform<S, ServiceRequest> for Exchanges
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<RecordedBody>;
    type Error = Error;
    type Transform = Recorded<S>;
    type InitError = ();
    type Future = Ready<Result<Recorded<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let recorder = Rc::clone(&self.0);
        ready(Ok(Recorded { service, recorder }))
    }
}

/// A service whose exchanges are recorded.
#[derive(Debug)]
pub(crate) struct Recorded<S> {
    service: S,
    recorder: Rc<Recorder>,
}

impl<S> Service<ServiceRequest> for Recorded<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<RecordedBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let open = Open::begin(Rc::clone(&self.recorder), request.method());
        request.extensions_mut().insert(Rc::clone(&open.record));
        let kept = Kept {
            open,
            in_flight: InFlight::begin(&request),
            upload: unread_body::hold(&mut request),
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(answer) => {
                    let (request, response) = answer.into_parts();
                    Ok(ServiceResponse::new(request, kept.answer_with(response)))
                }
                // An inner middleware may refuse a request by an error, whose response is made only
                // here.
                Err(error) => {
                    let response = error.error_response();
                    kept.open.note_error(&error);
                    let response = kept.answer_with(response).map_into_boxed_body();
                    Err(InternalError::from_response(error, response).into())
                }
            }
        })
    }
}

impl Kept {
    fn answer_with(mut self, mut response: HttpResponse) -> HttpResponse<RecordedBody> {
        let record = &self.open.record;
        record.id.tag(response.headers_mut());
        if record.recorder.draining.has_begun() {
            // A balancer then keeps no connection that is about to be closed.
            let head = response.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        if let Some(error) = response.error() {
            self.open.note_error(error);
        }
        record.note_answer(response.status());
        self.open.expect(response.body().size());
        response.map_body(|_, body: BoxBody| RecordedBody::new(body, self))
    }
}

impl Open {
    /// The answer is an error, if not the provider's.
    fn note_error(&self, error: &Error) {
        match own_error(error) {
            Some(error) => self.record.note_failure(error),
            None => self.record.note_outcome(Outcome::Refused),
        }
    }
}
