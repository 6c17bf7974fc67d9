//! An awc client whose requests go over connections of ours.

use std::{
    fmt, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{
    StatusCode, Uri,
    body::{BodySize, MessageBody},
    header::HeaderMap,
};
use actix_web::{HttpMessage as _, http::Method};
use awc::{ClientRequest, error::SendRequestError};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::{
    Failure, Reach, Reuse, Scheme, TransportError,
    carrier::Carrier,
    connect::Connector,
    line::Line,
    pool::{LotNumber, Pool},
};

/// Sends HTTP/1.1 requests. It belongs to one worker, as it can't cross threads.
///
/// Whether TLS is spoken is decided here; the scheme of a request's URL only has to be one that
/// awc knows.
pub struct Client {
    awc: awc::Client,
    #[cfg(test)]
    pub(super) pool: Rc<Pool>,
}

impl Client {
    /// Opens connections over `scheme`, each within `connect_timeout`: name, TCP and TLS together.
    pub fn new(scheme: Scheme, reuse: Reuse, connect_timeout: Duration, reach: Reach) -> Self {
        Self::over(Connector::new(scheme, reuse, connect_timeout, reach))
    }

    pub(super) fn over(connector: Connector) -> Self {
        #[cfg(test)]
        let pool = Rc::clone(&connector.pool);
        #[allow(
            clippy::disallowed_methods,
            reason = "the one place that builds clients"
        )]
        let builder = awc::Client::builder();
        let awc = builder
            .wrap(Carrier::new(connector))
            // Time limits are the caller's: awc's (5 s to the head) would cut every slow answer.
            .disable_timeout()
            // A redirect is the client's to see.
            .disable_redirects()
            // The request carries the caller's headers, not a user agent of ours.
            .no_default_headers()
            .finish();
        Self {
            awc,
            #[cfg(test)]
            pool,
        }
    }

    /// A request to be sent.
    pub fn request(&self, method: Method, uri: Uri) -> ClientRequest {
        // Or else awc would add an `Accept-Encoding` of its own.
        self.awc.request(method, uri).no_decompress()
    }

    /// Sends a request that this client made. Returns when the head of the answer is there, which
    /// may be before the provider has taken the whole body: the body has to be at hand.
    ///
    /// # Errors
    /// Those of awc; in most of them is a [`TransportError`], which [`TransportError::of`] finds.
    pub async fn send(
        &self,
        request: ClientRequest,
        body: impl MessageBody + 'static,
    ) -> Result<ProviderResponse, SendRequestError> {
        let response = request.send_body(body).await?;
        let status = response.status();
        let content = response.extensions_mut().remove::<Content>();
        let content = content.ok_or_else(|| {
            let lost = TransportError::new(Failure::BadResponse("it has no body"), None);
            SendRequestError::Send(lost.into())
        })?;
        let mut headers = HeaderMap::new();
        // Takes the headers out without copying them.
        let _ = response.map_body(|head, payload| {
            headers = mem::take(head.headers_mut());
            payload
        });
        Ok(ProviderResponse {
            status,
            headers,
            content,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A provider's answer, whose content is still to come.
#[derive(Debug)]
pub struct ProviderResponse {
    /// Any from 200 on.
    pub status: StatusCode,
    /// Without those of the connection and of its framing.
    pub headers: HeaderMap,
    /// What follows.
    pub content: Content,
}

/// The content of an answer, as it arrives. Dropped before its end, it closes the connection.
pub struct Content {
    line: Option<Box<Line>>,
    size: BodySize,
    lot: LotNumber,
    pool: Rc<Pool>,
}

impl Content {
    pub(super) fn new(line: Box<Line>, lot: LotNumber, pool: Rc<Pool>) -> Self {
        let size = line.size();
        let mut content = Self {
            line: Some(line),
            size,
            lot,
            pool,
        };
        content.settle();
        content
    }

    /// How much it is in all, if the provider says so.
    pub fn size(&self) -> BodySize {
        self.size
    }

    /// Whether the request is still being sent, from memory, while the answer is read already.
    pub fn is_request_on_its_way(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_behind())
    }

    /// Reads all of it, or nothing if it is longer than `limit` bytes.
    ///
    /// # Errors
    /// As in reading it piece by piece.
    pub async fn read(mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await.transpose()? {
            if whole.len() + piece.len() > limit {
                return Ok(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole.freeze()))
    }

    /// Once the last of it is out, its connection is free for another request, or closed at once
    /// where it may not serve one.
    fn settle(&mut self) {
        let over = self.line.take_if(|line| line.is_over());
        if let Some(line) = over.and_then(Line::into_idle) {
            self.pool.park(self.lot, line);
        }
    }
}

impl Stream for Content {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(line) = &mut this.line else {
            return Poll::Ready(None);
        };
        let polled = ready!(line.poll_content(cx, &mut this.pool.scratch()));
        match &polled {
            Some(Ok(_)) => this.settle(),
            Some(Err(_)) => this.line = None,
            None => {
                this.settle();
                this.line = None;
            }
        }
        Poll::Ready(polled)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("open", &self.line.is_some())
            .finish_non_exhaustive()
    }
}
