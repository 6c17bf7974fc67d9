//! The record of an exchange: a request and its answer, from the moment at which the request's head
//! is there until the answer has ended, has broken off, or nobody waits for it any more.
//!
//! [`Exchanges`] begins a record for each request and ends it exactly once, whatever happens to the
//! request in between; handlers find it with [`Record::of`] and note what they learn. What becomes
//! of a record at its end, [`Recorder::finish`] says: it is counted, and it is a line of the access
//! log.

mod access_log;
mod body;
mod exchanges;
mod outcome;

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::{
        Method, StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

pub(crate) use self::{exchanges::Exchanges, outcome::Outcome};
#[cfg(test)]
use crate::metrics::{ExchangeMetrics, Metrics};
use crate::{
    domain::{KeyIdentity, Route},
    endpoints::EndpointName,
    error::GatewayError,
    metrics::{Counting, Stream},
    request_id::{RequestId, Sequence},
    server::Draining,
};

/// What one worker makes records with, and does with them at their end.
#[derive(Debug)]
pub(crate) struct Recorder {
    ids: Sequence,
    counting: Counting,
    draining: Draining,
}

impl Recorder {
    fn finish(&self, record: &Record, outcome: Outcome) {
        let ended = Ended {
            record,
            endpoint: record.endpoint.get(),
            outcome,
            times: record.times(Instant::now()),
        };
        self.counting.count(&ended);
        access_log::write(&ended);
    }
}

/// What is known of an exchange. It belongs to one worker.
#[derive(Debug)]
pub(crate) struct Record {
    recorder: Rc<Recorder>,
    id: RequestId,
    began: Instant,
    method: &'static str,
    endpoint: Cell<EndpointName>,
    key: OnceCell<Arc<KeyIdentity>>,
    asked: OnceCell<Asked>,
    status: Cell<Option<StatusCode>>,
    /// What is known of the outcome before the end.
    outcome: Cell<Option<Outcome>>,
    /// `code` of an error of the gateway's own.
    code: Cell<Option<&'static str>>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// How long the rest of the request's body was waited for.
    upload: Cell<Duration>,
    /// When the request went on to its provider, its answer began, that answer's head was passed
    /// on, and its first byte.
    sent: Cell<Option<Instant>>,
    head: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    first_byte: Cell<Option<Instant>>,
    upstream_id: OnceCell<HeaderValue>,
    connection: Cell<Option<Connection>>,
    is_retried: Cell<bool>,
}

/// What a request is for.
#[derive(Debug)]
struct Asked {
    /// As callers know it.
    model: String,
    route: Arc<Route>,
    stream: RefCell<Option<Stream>>,
    is_streamed: bool,
}

/// Which connection to its provider carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// One that was opened for it.
    New,
    /// One that had carried others.
    Reused,
}

impl Record {
    fn begin(recorder: Rc<Recorder>, method: &Method) -> Self {
        Self {
            id: recorder.ids.next(),
            recorder,
            began: Instant::now(),
            method: known(method),
            endpoint: Cell::new(EndpointName::UNKNOWN),
            key: OnceCell::new(),
            asked: OnceCell::new(),
            status: Cell::default(),
            outcome: Cell::default(),
            code: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            upload: Cell::default(),
            sent: Cell::default(),
            head: Cell::default(),
            answered: Cell::default(),
            first_byte: Cell::default(),
            upstream_id: OnceCell::new(),
            connection: Cell::default(),
            is_retried: Cell::default(),
        }
    }

    /// A record of its own, for a unit test.
    #[cfg(test)]
    pub(crate) fn alone() -> Rc<Self> {
        let metrics = ExchangeMetrics::new(&Metrics::default());
        let recorder = Recorder {
            ids: Sequence::default(),
            counting: Counting::new(metrics),
            draining: Draining::default(),
        };
        Rc::new(Self::begin(Rc::new(recorder), &Method::POST))
    }

    #[cfg(test)]
    pub(crate) fn is_retried(&self) -> bool {
        self.is_retried.get()
    }

    /// The record of a request. Only a request that came past [`Exchanges`], as all do, has one.
    pub(crate) fn of(request: &HttpRequest) -> Option<Rc<Self>> {
        request.extensions().get::<Rc<Self>>().cloned()
    }

    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// Where routing has led the request.
    pub(crate) fn note_endpoint(&self, endpoint: EndpointName) {
        self.endpoint.set(endpoint);
    }

    /// Whose request it is.
    pub(crate) fn note_key(&self, key: Arc<KeyIdentity>) {
        // A request carries one key.
        let _ = self.key.set(key);
    }

    /// So much of the request's body has come.
    pub(crate) fn note_upload(&self, bytes: usize) {
        self.bytes_in.set(bytes as u64);
    }

    /// The request's body had to be waited for.
    pub(crate) fn note_upload_wait(&self, waited: Duration) {
        self.upload.set(waited);
    }

    /// What the request is for is known: a model that is mapped.
    pub(crate) fn note_model(&self, model: String, route: Arc<Route>, is_streamed: bool) {
        let stream = is_streamed.then(|| self.recorder.counting.stream());
        let asked = Asked {
            model,
            route,
            stream: RefCell::new(stream),
            is_streamed,
        };
        // A request asks for one model, once.
        let _ = self.asked.set(asked);
    }

    /// The request goes to its provider now.
    pub(crate) fn note_sending(&self) {
        self.sent.set(Some(Instant::now()));
    }

    /// It goes over this connection.
    pub(crate) fn note_connection(&self, connection: Connection) {
        self.connection.set(Some(connection));
    }

    /// It goes there once more.
    pub(crate) fn note_retry(&self) {
        self.is_retried.set(true);
    }

    /// The head of the provider's answer is there.
    pub(crate) fn note_head(&self, headers: &HeaderMap) {
        self.head.set(Some(Instant::now()));
        let names = [X_REQUEST_ID, REQUEST_ID];
        if let Some(id) = names.iter().find_map(|name| headers.get(name)) {
            // A copy, because the value is a part of one buffer with all values of the head. One request
            // has one answer.
            let copied = HeaderValue::from_bytes(id.as_bytes());
            let _ = copied.map(|id| self.upstream_id.set(id));
        }
    }

    /// The first byte of the provider's answer is there. `is_at_once` says that nobody had to wait
    /// for it since its head came, which spares a look at the clock.
    pub(crate) fn note_first_byte(&self, is_at_once: bool) {
        // An answer that began before its provider's was passed on earlier.
        let passed_on = self.answered.get().max(self.head.get());
        let now = passed_on
            .filter(|_| is_at_once)
            .unwrap_or_else(Instant::now);
        self.first_byte.set(Some(now));
    }

    /// The exchange fails, and this is why, however it goes on.
    pub(crate) fn note_failure(&self, error: &GatewayError) {
        self.outcome.set(Some(Outcome::of(error)));
        self.code.set(Some(error.code()));
    }

    /// It will have this outcome, however it goes on.
    pub(crate) fn note_outcome(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
    }

    fn note_answer(&self, status: StatusCode) {
        self.status.set(Some(status));
        self.answered.set(Some(Instant::now()));
    }

    fn note_piece(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    fn times(&self, now: Instant) -> Times {
        let since = |start: Instant, end: Instant| end.saturating_duration_since(start);
        let overhead = match (self.sent.get(), self.head.get()) {
            (Some(sent), Some(head)) => {
                let before = since(self.began, sent).saturating_sub(self.upload.get());
                let answered = self.answered.get().unwrap_or(head);
                Some(before + since(head, answered))
            }
            _ => None,
        };
        Times {
            overhead,
            first_byte: self.first_byte.get().map(|at| since(self.began, at)),
            whole: since(self.began, now),
        }
    }
}

/// What OpenAI calls its own id of a request, and most others too; and what Anthropic does.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A method is the client's word; only known ones are repeated.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// How long an exchange took, all from the moment at which the request's head was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The gateway's own share: from the request to its going on to the provider, less what the
    /// rest of its body was waited for; and from the head of the provider's answer to its being
    /// passed on. Of requests that got an answer.
    pub(crate) overhead: Option<Duration>,
    /// To the first byte of the provider's answer's body.
    pub(crate) first_byte: Option<Duration>,
    /// To the end.
    pub(crate) whole: Duration,
}

/// An exchange that is over.
pub(crate) struct Ended<'a> {
    record: &'a Record,
    pub(crate) endpoint: EndpointName,
    pub(crate) outcome: Outcome,
    pub(crate) times: Times,
}

impl Ended<'_> {
    /// None if nothing of the answer had been passed on.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.record.status.get()
    }

    /// The mapped model, as callers know it, and its route.
    pub(crate) fn asked(&self) -> Option<(&str, &Route)> {
        let asked = self.record.asked.get()?;
        Some((&asked.model, &asked.route))
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.record.bytes_in.get()
    }

    /// The answer to `HEAD` has a body that the server leaves out.
    pub(crate) fn bytes_out(&self) -> u64 {
        match self.record.method {
            "HEAD" => 0,
            _ => self.record.bytes_out.get(),
        }
    }

    pub(crate) fn connection(&self) -> Option<Connection> {
        self.record.connection.get()
    }

    pub(crate) fn is_retried(&self) -> bool {
        self.record.is_retried.get()
    }
}

/// A record that has not ended. It ends with this value.
#[derive(Debug)]
struct Open {
    record: Rc<Record>,
    /// The outcome if it ended now.
    outcome: Outcome,
}

impl Open {
    fn begin(recorder: Rc<Recorder>, method: &Method) -> Self {
        Self {
            record: Rc::new(Record::begin(recorder, method)),
            outcome: Outcome::ClientGone,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let record = &self.record;
        let outcome = match thread::panicking() {
            true => Outcome::Failed,
            false => record.outcome.get().unwrap_or(self.outcome),
        };
        if let Some(asked) = record.asked.get() {
            asked.stream.take();
        }
        record.recorder.finish(record, outcome);
    }
}
