//! `SSE_KEEPALIVE`: a streamed answer that begins before its provider's does.
//!
//! Load balancers cut connections on which nothing has come for a minute, and a model may think for
//! longer. So the head goes out at once, and until the provider's first byte a comment line now and
//! then, which every reader of server-sent events skips. The price: the status is 200 before anybody
//! knows what the provider will say, so its refusal can only be an event.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::{BodySize, MessageBody},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
    },
    web::{Bytes, Data},
};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::{
    DataPath,
    buffered_bytes::Share,
    relay::{Broken, Held, Relay, respond},
    request_body::RequestBody,
    transport::ProviderResponse,
};
use crate::{
    domain::Route,
    error::{Dialect, GatewayError, Refusal},
};

const EVENT_STREAM: &str = "text/event-stream";

/// What every reader of server-sent events skips.
const COMMENT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// A provider's refusal is a few hundred bytes; a longer one is described instead of repeated.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// All that sending takes, owned: the answer has begun when it is sent.
pub(super) struct Exchange {
    pub(super) path: Data<DataPath>,
    pub(super) request: HttpRequest,
    pub(super) dialect: Dialect,
    pub(super) route: Arc<Route>,
    pub(super) body: RequestBody,
    pub(super) share: Share,
    pub(super) held: Held,
}

/// Begins the answer now, and sends the request from within its body.
pub(super) fn answer_at_once(exchange: Exchange, every: Duration) -> HttpResponse {
    let request = exchange.request.clone();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut comments = interval_at(Instant::now() + every, every);
    comments.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let body = KeptAlive {
        state: State::Waiting(Box::pin(exchange.begin())),
        comments,
    };
    respond(StatusCode::OK, headers, body, &request)
}

/// A body that has something to say while it waits.
struct KeptAlive {
    state: State,
    comments: Interval,
}

enum State {
    /// For the head of the provider's answer: a stream, or the event that stands for a refusal.
    Waiting(LocalBoxFuture<'static, Result<Relay, Bytes>>),
    /// The head is there, the first byte isn't.
    Begun(Relay),
    /// From the first byte on, the bytes are the provider's alone: a comment could come in the
    /// middle of an event.
    Relaying(Relay),
    Over,
}

impl MessageBody for KeptAlive {
    type Error = Broken;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = self.get_mut();
        if let State::Waiting(answer) = &mut this.state {
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(relay)) => this.state = State::Begun(relay),
                Poll::Ready(Err(event)) => {
                    this.state = State::Over;
                    return Poll::Ready(Some(Ok(event)));
                }
                Poll::Pending => return this.poll_comment(cx),
            }
        }
        if let State::Begun(relay) = &mut this.state {
            match Pin::new(relay).poll_next(cx) {
                Poll::Pending => return this.poll_comment(cx),
                ready => {
                    this.begin_relaying();
                    return ready;
                }
            }
        }
        match &mut this.state {
            State::Relaying(relay) => Pin::new(relay).poll_next(cx),
            _ => Poll::Ready(None),
        }
    }
}

impl KeptAlive {
    fn poll_comment(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        self.comments.poll_tick(cx).map(|_| Some(Ok(COMMENT)))
    }

    fn begin_relaying(&mut self) {
        if let State::Begun(relay) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Relaying(relay);
        }
    }
}

impl Exchange {
    async fn begin(self) -> Result<Relay, Bytes> {
        let upstream = &self.path.upstream;
        let record = &self.held.record;
        let sent = upstream
            .send(&self.route, &self.request, self.body, record)
            .await;
        let share = self.share;
        let refuse = |error| {
            record.note_failure(&error);
            event(&in_words(error, self.dialect, &self.request))
        };
        let response = sent.map_err(refuse)?;
        let idle_timeout = upstream.idle_timeout(&self.route);
        let status = response.status;
        if !status.is_success() {
            let said = refusal(response, idle_timeout).await;
            let refusal = refuse(GatewayError::UpstreamRefused { status });
            return Err(said.map_or(refusal, |said| event(&said)));
        }
        if !is_event_stream(&response.headers) {
            let reason = "it answered a streamed request with no event stream".to_owned();
            return Err(refuse(GatewayError::UpstreamInvalidResponse { reason }));
        }
        let Self {
            route, mut held, ..
        } = self;
        held.share = Some(share).filter(|_| response.content.is_request_on_its_way());
        Ok(Relay::body_of(response, route, idle_timeout, held))
    }
}

/// What a provider without a `Content-Type` sends is taken for what was asked for.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let is_plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let is_events = headers.get(CONTENT_TYPE).is_none_or(|media_type| {
        let named = media_type.as_bytes().get(..EVENT_STREAM.len());
        named.is_some_and(|named| named.eq_ignore_ascii_case(EVENT_STREAM.as_bytes()))
    });
    is_plain && is_events
}

/// The provider's own words, if they are an error in JSON.
async fn refusal(response: ProviderResponse, limit: Duration) -> Option<Bytes> {
    let body = response.content.read(LONGEST_REFUSAL);
    let body = timeout(limit, body).await.ok()?.ok()??;
    serde_json::from_slice::<ErrorBody<'_>>(&body).ok()?;
    Some(body)
}

/// What makes JSON an error, at OpenAI and at Anthropic.
#[derive(serde::Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, rename = "error")]
    _error: &'a RawValue,
}

/// An error of ours as its response would say it.
fn in_words(error: GatewayError, dialect: Dialect, request: &HttpRequest) -> Bytes {
    let response = Refusal::new(error, dialect, request).error_response();
    let body = response.into_body().try_into_bytes();
    body.unwrap_or_default()
}

/// JSON as an event. Its line ends, which can only stand between its tokens, become those of the
/// event's data, and so reach the reader.
fn event(json: &[u8]) -> Bytes {
    let mut event = b"event: error\n".to_vec();
    for line in json.split(|byte| b"\r\n".contains(byte)) {
        if !line.is_empty() {
            event.extend_from_slice(b"data: ");
            event.extend_from_slice(line);
            event.push(b'\n');
        }
    }
    event.push(b'\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_many_lines_is_one_event() {
        let error = b"{\r\n  \"error\": {\n\n}\n}\n";
        let expected = "event: error\ndata: {\ndata:   \"error\": {\ndata: }\ndata: }\n\n";
        assert_eq!(event(error), expected);
    }

    #[test]
    fn what_is_no_plain_event_stream_is_told() {
        for (name, value, expected) in [
            (CONTENT_TYPE, "text/event-stream", true),
            (CONTENT_TYPE, "Text/Event-Stream; charset=utf-8", true),
            (CONTENT_TYPE, "application/json", false),
            (CONTENT_ENCODING, "gzip", false),
            (CONTENT_ENCODING, "identity", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_event_stream(&headers), expected, "{value}");
        }
        assert!(is_event_stream(&HeaderMap::new()));
    }
}
