//! Passes a provider's response on, its body as it arrives. Nothing of it is kept or parsed.

use std::{
    mem,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType,
    body::{BodySize, BoxBody, MessageBody},
    header::HeaderMap,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, Version},
    web::Bytes,
};
use derive_more::{Display, Error};
use futures_util::StreamExt;
use tokio::time::Duration;

use super::{
    buffered_bytes::Share,
    headers,
    overload::Place,
    transport::{Content, ProviderResponse, TransportError},
};
use crate::{
    domain::Route,
    idle_timer::IdleTimer,
    record::{Outcome, Record},
};

/// The response for the caller: status, headers and body of the provider's.
pub(super) fn relay(
    response: ProviderResponse,
    request: &HttpRequest,
    route: Arc<Route>,
    idle_timeout: Duration,
    held: Held,
) -> HttpResponse {
    let ProviderResponse {
        status,
        mut headers,
        content,
    } = response;
    let size = body_size(status, &content);
    headers::retain_for_caller(&mut headers);
    let body = Relay::new(content, size, route, idle_timeout, held);
    respond(status, headers, body, request)
}

/// An answer whose body comes over time.
pub(super) fn respond(
    status: StatusCode,
    headers: HeaderMap,
    body: impl MessageBody + 'static,
    request: &HttpRequest,
) -> HttpResponse {
    let size = body.size();
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    *response.headers_mut() = headers;
    let head = response.head_mut();
    if status.canonical_reason().is_none() {
        // Or else actix-web would make one up.
        head.reason = Some("");
    }
    if size == BodySize::Stream && request.version() < Version::HTTP_11 {
        // An older client knows no chunks: the end of the connection is the end of the body.
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    if request.head().connection_type() == ConnectionType::Upgrade {
        // actix-web closes a connection on which an upgrade was asked for, and says so only if told.
        head.set_connection_type(ConnectionType::Close);
    }
    response
}

/// What a request holds on to until its answer has ended.
pub(super) struct Held {
    #[allow(dead_code, reason = "it is held, not read")]
    pub(super) place: Place,
    /// Of its body's memory, where the answer began before all of the body was sent.
    #[allow(dead_code, reason = "it is held, not read")]
    pub(super) share: Option<Share>,
    pub(super) record: Rc<Record>,
}

/// A length that the provider declares is declared to the caller too.
fn body_size(status: StatusCode, content: &Content) -> BodySize {
    match status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => BodySize::None,
        _ => content.size(),
    }
}

/// A provider's body on its way.
pub(super) struct Relay {
    /// None once it has failed.
    content: Option<Content>,
    size: BodySize,
    /// A caller that reads slowly doesn't make the provider idle: actix-web polls a body only when
    /// it has room for more.
    idle: IdleTimer,
    failure: Option<Broken>,
    route: Arc<Route>,
    /// Whether anything of it had to be waited for, and whether anything has come.
    has_waited: bool,
    has_begun: bool,
    held: Held,
}

/// Why a body ends before its end. actix-web closes the connection for it, so that the caller sees
/// a broken transfer: a chunked body without its last chunk, or one shorter than declared.
#[derive(Debug, Display, Error)]
pub(super) enum Broken {
    #[display("{_0}")]
    Upstream(TransportError),
    #[display("silent for {_0:?} in the middle of a response")]
    Idle(#[error(not(source))] Duration),
}

impl Relay {
    fn new(
        content: Content,
        size: BodySize,
        route: Arc<Route>,
        idle_timeout: Duration,
        held: Held,
    ) -> Self {
        Self {
            content: Some(content),
            size,
            idle: IdleTimer::new(idle_timeout),
            failure: None,
            route,
            has_waited: false,
            has_begun: false,
            held,
        }
    }

    /// The body of a response alone, to be put into another one.
    pub(super) fn body_of(
        response: ProviderResponse,
        route: Arc<Route>,
        idle_timeout: Duration,
        held: Held,
    ) -> Self {
        Self::new(
            response.content,
            BodySize::Stream,
            route,
            idle_timeout,
            held,
        )
    }

    fn note_piece(&mut self) {
        if !mem::replace(&mut self.has_begun, true) {
            let is_at_once = !self.has_waited;
            self.held.record.note_first_byte(is_at_once);
        }
    }

    /// Logs the failure and lets go of the provider. The failure itself is handed on with the next
    /// poll: before that, actix-web sends what came before it, which it would drop otherwise.
    fn fail(&mut self, failure: Broken, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        log::warn!(
            "provider {}, model {}: {failure} (request {})",
            self.route.provider.name,
            self.route.provider_model,
            self.held.record.id(),
        );
        self.held.record.note_outcome(match failure {
            Broken::Upstream(_) => Outcome::UpstreamCut,
            Broken::Idle(_) => Outcome::Timeout,
        });
        self.content = None;
        self.failure = Some(failure);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl MessageBody for Relay {
    type Error = Broken;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = self.get_mut();
        if let Some(failure) = this.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(content) = &mut this.content else {
            return Poll::Ready(None);
        };
        match content.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                this.idle.stop();
                this.note_piece();
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(Broken::Upstream(error), cx),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                this.has_waited = true;
                match this.idle.poll(cx) {
                    Poll::Ready(limit) => this.fail(Broken::Idle(limit), cx),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}
