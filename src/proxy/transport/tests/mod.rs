//! Providers that misbehave in every way we know of, over TCP and over TLS.

mod cuts;
mod early;
mod framing;
mod mixed;
mod opening;
mod provider;
mod reuse;

use std::time::Duration;

use self::provider::{Peer, Provider, Wire, chunked, tls, whole};
use actix_http::{
    Method,
    body::{MessageBody, SizedStream},
};
use awc::error::SendRequestError;
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{
    Client, ConnectFailure, Failure, Observer, ProviderResponse, Reach, Request, Reuse, Scheme,
    TransportError, for_request,
};

/// Long enough for the slowest machine; only a hang ever waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a test for each wire out of each case.
macro_rules! over_tcp_and_tls {
    ($($(#[$doc:meta])* async fn $name:ident($wire:ident: Wire) $body:block)*) => {
        mod case {
            use super::*;
            $($(#[$doc])* pub(super) async fn $name($wire: Wire) $body)*
        }
        mod over_tcp {
            use super::*;
            $(#[actix_web::test] async fn $name() { patiently(case::$name(Wire::Tcp)).await })*
        }
        mod over_tls {
            use super::*;
            $(#[actix_web::test] async fn $name() { patiently(case::$name(Wire::Tls)).await })*
        }
    };
}
use over_tcp_and_tls;

async fn patiently(case: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, case).await.expect("hangs");
}

fn client_for(wire: Wire) -> Client {
    Client::new(scheme(wire), Reuse::KeepAlive, PATIENCE, Reach::Private)
}

fn scheme(wire: Wire) -> Scheme {
    match wire {
        Wire::Tcp => Scheme::Http,
        Wire::Tls => Scheme::Https(tls().client.clone()),
    }
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// An answer that failed.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    failure: Failure,
    is_stale: bool,
    is_unsent: bool,
    request_bytes: u64,
    response_bytes: u64,
    /// What came before the failure, if a head came.
    before: Option<Reply>,
}

impl Trouble {
    fn new(error: Option<&TransportError>, before: Option<Reply>) -> Self {
        let error = error.expect("an error of the transport");
        Self {
            failure: error.failure(),
            is_stale: error.is_stale(),
            is_unsent: error.is_unsent(),
            request_bytes: error.request_bytes(),
            response_bytes: error.response_bytes(),
            before,
        }
    }
}

/// Does something when a connection begins to carry a request, before a byte of it is written.
struct WhenUsed<F>(F);

impl<F: Fn()> Observer for WhenUsed<F> {
    fn connection_used(&self, _: bool) {
        self.0();
    }
}

fn observed(observer: impl Observer + 'static) -> Request {
    Request {
        connect_timeout: None,
        observer: Some(std::rc::Rc::new(observer)),
    }
}

async fn send(
    client: &Client,
    url: &str,
    body: impl MessageBody + 'static,
) -> Result<ProviderResponse, SendRequestError> {
    let request = client.request(Method::POST, url.parse().unwrap());
    client.send(request, body).await
}

/// A body that yields these pieces, and must not be asked for more after its end.
fn in_pieces(declared: u64, pieces: impl IntoIterator<Item = Bytes>) -> impl MessageBody {
    let next = |mut pieces: std::vec::IntoIter<Bytes>| async move {
        let piece = pieces.next()?;
        Some((Ok::<_, std::io::Error>(piece), pieces))
    };
    let pieces = pieces.into_iter().collect::<Vec<_>>().into_iter();
    SizedStream::new(
        declared,
        Box::pin(futures_util::stream::unfold(pieces, next)),
    )
}

/// Sends `body` and reads the answer to its end.
async fn post(client: &Client, url: &str, body: impl Into<String>) -> Result<Reply, Trouble> {
    let sent = send(client, url, body.into()).await;
    let mut response = sent.map_err(|error| {
        let found = TransportError::of(&error);
        assert!(found.is_some(), "{error:?}");
        Trouble::new(found, None)
    })?;
    let headers = response.headers.iter();
    let mut reply = Reply {
        status: response.status.as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: String::new(),
    };
    while let Some(piece) = response.content.next().await {
        match piece {
            Ok(piece) => reply.body.push_str(std::str::from_utf8(&piece).unwrap()),
            Err(error) => return Err(Trouble::new(Some(&error), Some(reply))),
        }
    }
    Ok(reply)
}

/// The body of a good answer. What turns out not to have been sent is sent again, once, as the
/// gateway does.
async fn body(client: &Client, url: &str, text: &str) -> String {
    let reply = match post(client, url, text).await {
        Err(trouble) if trouble.is_unsent => post(client, url, text).await,
        outcome => outcome,
    };
    let reply = reply.expect("a good answer");
    assert_eq!(reply.status, 200);
    reply.body
}

/// A provider that answers each request of each connection by `answer`, made from its body.
fn answering(wire: Wire, answer: impl Fn(&str) -> String + Send + Clone + 'static) -> Provider {
    Provider::start(wire, move |mut peer: Peer, _| {
        let answer = answer.clone();
        async move {
            loop {
                let request = peer.request().await?;
                peer.send(answer(&request.text())).await?;
            }
        }
    })
}
