//! Sends a request to the provider of its model, over awc.

use std::{fmt, rc::Rc, sync::Arc};

use actix_web::{
    HttpRequest,
    http::{
        Method, Uri,
        header::{HOST, HeaderMap, HeaderName, HeaderValue},
        uri::{Parts, PathAndQuery, Scheme as UriScheme},
    },
    web::Bytes,
};
use awc::{ClientRequest, error::SendRequestError};
use tokio::{
    task::yield_now,
    time::{Duration, timeout},
};

use super::{
    headers,
    request_body::RequestBody,
    transport::{
        self, Client, ConnectFailure, Failure, OutOfReach, ProviderResponse, Reach, Reuse, Scheme,
        TransportError,
    },
};
use crate::{
    domain::{KeyHeader, Route},
    error::GatewayError,
    record::{Connection, Record},
    request_id::RequestId,
    settings::UpstreamSettings,
};

/// The way to the providers. It belongs to one worker: awc's clients can't cross threads.
pub struct Upstream {
    plain: Clients,
    tls: Clients,
    settings: UpstreamSettings,
}

/// The clients of one scheme.
struct Clients {
    pooled: Client,
    /// Each of its connections carries one request. A second attempt needs it, because a pool that
    /// held one dead connection may well hold more.
    fresh: Client,
}

impl Clients {
    fn new(scheme: &Scheme, settings: &UpstreamSettings) -> Self {
        let reach = match settings.allow_private {
            true => Reach::Private,
            false => Reach::Public,
        };
        let client = |reuse| Client::new(scheme.clone(), reuse, settings.connect_timeout, reach);
        Self {
            pooled: client(Reuse::KeepAlive),
            fresh: client(Reuse::Never),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Opens nothing yet. `tls` is what [`transport::client_config`] made, shared by all workers.
    pub fn new(settings: &UpstreamSettings, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            plain: Clients::new(&Scheme::Http, settings),
            tls: Clients::new(&Scheme::Https(tls), settings),
            settings: settings.clone(),
        }
    }

    /// The longest that a route's provider may be silent in the middle of an answer.
    pub(super) fn idle_timeout(&self, route: &Route) -> Duration {
        route
            .provider
            .timeouts
            .idle
            .unwrap_or(self.settings.idle_timeout)
    }

    /// Sends a caller's request with another body and the provider's key. Returns when the head of
    /// the answer is there; the body is still to come.
    ///
    /// Gives way first, so that requests which came together go out together, all read before the
    /// first is sent: the provider is woken once for many of them. Only speed depends on that.
    pub(super) async fn send(
        &self,
        route: &Route,
        request: &HttpRequest,
        body: RequestBody,
        record: &Rc<Record>,
    ) -> Result<ProviderResponse, GatewayError> {
        let asked = Asked::by(request)?;
        yield_now().await;
        record.note_sending();
        let sent = self.send_in_time(route, &asked, body, Some(record)).await;
        sent.inspect(|response| record.note_head(&response.headers))
            .map_err(|error| {
                error.log(route, Some(record.id()));
                error.into()
            })
    }

    /// Sends a request of the gateway's own, without a body; `path` follows the base URL.
    pub(super) async fn ask(
        &self,
        route: &Route,
        method: Method,
        path: &str,
    ) -> Result<ProviderResponse, GatewayError> {
        let asked = Asked {
            method: &method,
            path,
            query: None,
            headers: &HeaderMap::new(),
        };
        let sent = self
            .send_in_time(route, &asked, RequestBody::default(), None)
            .await;
        sent.map_err(|error| {
            error.log(route, None);
            error.into()
        })
    }

    async fn send_in_time(
        &self,
        route: &Route,
        asked: &Asked<'_>,
        body: RequestBody,
        record: Option<&Rc<Record>>,
    ) -> Result<ProviderResponse, SendError> {
        let response_timeout = self.settings.response_timeout;
        let limit = route.provider.timeouts.response.unwrap_or(response_timeout);
        let attempts = self.attempt_twice(route, asked, body, record);
        let request = transport::Request {
            connect_timeout: route.provider.timeouts.connect,
            observer: record.map(|record| Rc::clone(record) as _),
        };
        let attempts = transport::for_request(request, attempts);
        let late = |_| Err(SendError::TimedOut(limit));
        timeout(limit, attempts).await.unwrap_or_else(late)
    }

    /// The second attempt is for a kept-alive connection that died before one byte of an answer. If
    /// it was found dead before one byte of the request, nothing has been sent yet.
    async fn attempt_twice(
        &self,
        route: &Route,
        asked: &Asked<'_>,
        body: RequestBody,
        record: Option<&Rc<Record>>,
    ) -> Result<ProviderResponse, SendError> {
        let clients = if route.provider.base_url.is_tls() {
            &self.tls
        } else {
            &self.plain
        };
        let first = prepare(&clients.pooled, route, asked)?;
        let outcome = clients.pooled.send(first, body.clone()).await;
        match outcome {
            Err(error) if is_unsent(&error) || (self.settings.retry_stale && is_stale(&error)) => {
                log::debug!("provider {}: {error}; sending again", route.provider.name);
                if let Some(record) = record.filter(|_| !is_unsent(&error)) {
                    record.note_retry();
                }
                let second = prepare(&clients.fresh, route, asked)?;
                Ok(clients.fresh.send(second.force_close(), body).await?)
            }
            outcome => Ok(outcome?),
        }
    }
}

fn is_stale(error: &SendRequestError) -> bool {
    TransportError::of(error).is_some_and(TransportError::is_stale)
}

fn is_unsent(error: &SendRequestError) -> bool {
    TransportError::of(error).is_some_and(TransportError::is_unsent)
}

impl transport::Observer for Record {
    fn connection_used(&self, is_reused: bool) {
        self.note_connection(match is_reused {
            true => Connection::Reused,
            false => Connection::New,
        });
    }
}

/// What of a request goes along.
struct Asked<'a> {
    method: &'a Method,
    /// What follows the base URL.
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
}

impl<'a> Asked<'a> {
    /// A caller's request: the path after `/v1` and the query, as the caller encoded them.
    fn by(request: &'a HttpRequest) -> Result<Self, SendError> {
        let path = request.uri().path().strip_prefix("/v1");
        Ok(Self {
            method: request.method(),
            // The router reads `/%761` as `/v1`; nobody writes it so.
            path: path.ok_or(SendError::InvalidUri)?,
            query: request.uri().query(),
            headers: request.headers(),
        })
    }
}

fn prepare(client: &Client, route: &Route, asked: &Asked<'_>) -> Result<ClientRequest, SendError> {
    let uri = uri(route, asked)?;
    let mut prepared = client.request(asked.method.clone(), uri);
    let headers = prepared.headers_mut();
    headers::copy_for_provider(asked.headers, headers);
    add_providers_own(route, headers)?;
    Ok(prepared)
}

/// The provider's base URL, the path and the query. Its parts are put together, not written out
/// and read again.
fn uri(route: &Route, asked: &Asked<'_>) -> Result<Uri, SendError> {
    let mark = if asked.query.is_some() { "?" } else { "" };
    let query = asked.query.unwrap_or_default();
    let path_and_query = [route.provider.base_url.path(), asked.path, mark, query].concat();
    let path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(path_and_query))
        .map_err(|_| SendError::InvalidUri)?;
    let mut parts = Parts::default();
    // awc wants one. Whether TLS is spoken is the client's business.
    parts.scheme = Some(UriScheme::HTTP);
    parts.authority = Some(route.provider.base_url.authority().clone());
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).map_err(|_| SendError::InvalidUri)
}

fn add_providers_own(route: &Route, headers: &mut HeaderMap) -> Result<(), SendError> {
    headers.insert(HOST, route.provider.base_url.host_header().clone());
    for (name, value) in route.provider.kind.default_headers() {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    let fixed = route.provider.headers.opened().ok_or(SendError::Sealed)?;
    for (name, value) in fixed.iter() {
        headers.insert(name.clone(), value.clone());
    }
    if !route.provider.api_key.is_empty() {
        let header = route.provider.kind.key_header();
        headers.insert(HeaderName::from_static(header.name), key(route, header)?);
    }
    Ok(())
}

fn key(route: &Route, header: KeyHeader) -> Result<HeaderValue, SendError> {
    let api_key = route.provider.api_key.opened().ok_or(SendError::Sealed)?;
    let value = [header.prefix, api_key.expose()].concat();
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(value))
        .map_err(|_| SendError::UnusableRoute("API key"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why no answer came.
#[derive(Debug, derive_more::Display, derive_more::From)]
enum SendError {
    #[display("no response within {_0:?}")]
    TimedOut(Duration),
    #[display("its base URL, the path and the query make no URL")]
    #[from(skip)]
    InvalidUri,
    #[display("its {_0} can't be sent in a header")]
    #[from(skip)]
    UnusableRoute(&'static str),
    #[display(
        "its stored key or headers can't be opened with ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS; set the key that sealed them, or give the provider its api_key and headers anew"
    )]
    #[from(skip)]
    Sealed,
    #[display("{}", cause(_0))]
    Awc(SendRequestError),
}

/// The transport's own words where it has any: awc wraps them in words of its own.
fn cause(error: &SendRequestError) -> String {
    match TransportError::of(error) {
        Some(transport) => transport.to_string(),
        None => error.to_string(),
    }
}

impl SendError {
    fn log(&self, route: &Route, request: Option<RequestId>) {
        if matches!(self, Self::InvalidUri) {
            // The caller's mistake, which the caller is told.
            return;
        }
        log::warn!(
            "provider {}, model {}: {self} (request {})",
            route.provider.name,
            route.provider_model,
            request.map(|id| id.to_string()).unwrap_or_default(),
        );
    }
}

/// What callers are told: neither addresses nor anything that a provider said.
impl From<SendError> for GatewayError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TimedOut(after) => Self::UpstreamTimeout { after },
            SendError::InvalidUri => invalid_url(),
            SendError::UnusableRoute(_) => Self::Internal,
            SendError::Sealed => Self::Unavailable {
                reason: "the key of this model's provider can't be opened by this gateway"
                    .to_owned(),
            },
            SendError::Awc(error) => for_caller(&error),
        }
    }
}

pub(super) fn invalid_url() -> GatewayError {
    GatewayError::InvalidRequest {
        message: "The request's path and query can't be sent to the provider.".to_owned(),
        param: None,
        code: "invalid_url",
    }
}

fn for_caller(error: &SendRequestError) -> GatewayError {
    let Some(transport) = TransportError::of(error) else {
        // What awc says by itself is about the request.
        return GatewayError::Internal;
    };
    match transport.failure() {
        Failure::Connect(ConnectFailure::OutOfReach(reason)) => {
            GatewayError::UpstreamAddressRefused {
                reason: match reason {
                    OutOfReach::Never => {
                        "it is link-local, of a metadata service or of no one host"
                    }
                    OutOfReach::Private => "it is private, and ALLOW_PRIVATE_UPSTREAMS is off",
                },
            }
        }
        Failure::Connect(step) => unreachable(match step {
            ConnectFailure::Dns => "its host name could not be resolved",
            ConnectFailure::Tcp => "it accepted no connection",
            ConnectFailure::Tls => "the TLS handshake failed",
            ConnectFailure::Timeout => "connecting took too long",
            ConnectFailure::OutOfReach(_) => "its address is not connected to",
        }),
        Failure::ClosedBeforeResponse => unreachable("it closed the connection unanswered"),
        Failure::CutMidResponse => unusable("it broke off"),
        Failure::BadResponse(reason) => unusable(reason),
        Failure::BadRequest(_) => GatewayError::Internal,
    }
}

fn unreachable(reason: &str) -> GatewayError {
    GatewayError::UpstreamUnreachable {
        reason: reason.to_owned(),
    }
}

fn unusable(reason: &str) -> GatewayError {
    GatewayError::UpstreamInvalidResponse {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        sync::mpsc,
        thread,
    };

    use socket2::SockRef;

    use super::*;
    use crate::domain::{BaseUrl, Destination, ProviderKind, Sealed, Timeouts};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn answer(provider: &TcpListener) -> TcpStream {
        let (mut connection, _) = provider.accept().unwrap();
        // A request without a body, over loopback.
        assert!(connection.read(&mut [0; 1024]).unwrap() > 0);
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        connection.write_all(answer).unwrap();
        connection
    }

    /// Gives the word to a provider in the moment between the look at an idle connection and the
    /// first byte on it.
    struct Interloper {
        go: mpsc::Sender<()>,
        done: mpsc::Receiver<()>,
    }

    impl transport::Observer for Interloper {
        fn connection_used(&self, is_reused: bool) {
            if is_reused {
                self.go.send(()).unwrap();
                self.done.recv_timeout(PATIENCE).unwrap();
            }
        }
    }

    /// It needs no permission to be repeated, and is no repetition.
    #[actix_rt::test]
    async fn a_request_that_was_not_sent_is_sent_and_not_counted_as_sent_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (go, goes) = mpsc::channel();
        let (does, done) = mpsc::channel();
        let provider = thread::spawn(move || {
            let first = answer(&listener);
            goes.recv_timeout(PATIENCE).unwrap();
            SockRef::from(&first)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            drop(first);
            does.send(()).unwrap();
            answer(&listener);
        });
        let id = uuid::Uuid::now_v7();
        let route = Route {
            provider: Arc::new(Destination {
                id,
                name: "p".to_owned(),
                kind: ProviderKind::OPENAI,
                base_url: BaseUrl::parse(&format!("http://{address}")).unwrap(),
                api_key: Sealed::new(id, Default::default(), None),
                headers: Sealed::new(id, Default::default(), None),
                timeouts: Timeouts::default(),
            }),
            provider_model: "m".to_owned(),
            created_at: chrono::Utc::now(),
        };
        let settings = UpstreamSettings {
            connect_timeout: PATIENCE,
            response_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            retry_stale: false,
            allow_private: true,
        };
        let tls = transport::client_config(rustls::RootCertStore::empty()).unwrap();
        let upstream = Upstream::new(&settings, tls);
        let asked = Asked {
            method: &Method::GET,
            path: "/models",
            query: None,
            headers: &HeaderMap::new(),
        };
        let record = Record::alone();
        let interloper: Rc<dyn transport::Observer> = Rc::new(Interloper { go, done });
        for _ in 0..2 {
            let request = transport::Request {
                connect_timeout: None,
                observer: Some(Rc::clone(&interloper)),
            };
            let body = RequestBody::default();
            let attempts = upstream.attempt_twice(&route, &asked, body, Some(&record));
            let response = transport::for_request(request, attempts).await.unwrap();
            assert_eq!(response.status, 204);
        }
        assert!(!record.is_retried());
        provider.join().unwrap();
    }
}
