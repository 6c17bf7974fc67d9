//! What awc hands its requests to: it carries each over a connection of ours.

use std::{error::Error, future::poll_fn, io, pin::pin, rc::Rc};

use actix_http::{RequestHead, RequestHeadType, body::MessageBody};
use actix_service::Service;
use actix_web::{HttpMessage as _, http::Method};
use awc::{
    ConnectRequest, ConnectResponse,
    error::{ConnectError, SendRequestError},
    middleware::Transform,
    test::TestResponse,
};
use futures_util::future::LocalBoxFuture;

use super::{
    Failure, TransportError, client::Content, connect::Connector, line::Line, outgoing::Outgoing,
    pool::LotNumber,
};

/// A middleware of awc that passes nothing on.
#[derive(Clone)]
pub(super) struct Carrier(Rc<Connector>);

impl Carrier {
    pub(super) fn new(connector: Connector) -> Self {
        Self(Rc::new(connector))
    }

    /// Sends a request, and waits for the head of its answer. The content comes as an extension of
    /// the response.
    async fn carry(
        &self,
        head: &RequestHead,
        body: impl MessageBody<Error: Into<Box<dyn Error>>>,
    ) -> Result<ConnectResponse, SendRequestError> {
        if [Method::HEAD, Method::CONNECT].contains(&head.method) {
            return Err(refused("answers to its method are framed in another way"));
        }
        let body = pin!(body);
        let mut outgoing = Outgoing::new(head, body)?;
        // A connection is taken when there is something to send: what it shows then, it shows at
        // the last moment.
        outgoing.gather().await?;
        let (mut line, lot) = self.line(head).await?;
        line.begin()?;
        outgoing.send(&mut line).await?;
        let (status, headers) = poll_fn(|cx| line.poll_head(cx)).await?;
        // There is no other public way to make one.
        let response = TestResponse::default().finish().map_body(|head, payload| {
            head.status = status;
            head.headers = headers;
            payload
        });
        let content = Content::new(line, lot, Rc::clone(&self.0.pool));
        response.extensions_mut().insert(content);
        Ok(ConnectResponse::Client(response))
    }

    /// An idle connection on which nothing waits, or a new one.
    async fn line(&self, head: &RequestHead) -> Result<(Box<Line>, LotNumber), SendRequestError> {
        let connector = &self.0;
        let authority = head.uri.authority().ok_or(ConnectError::Unresolved)?;
        let lot = connector.pool.lot(authority);
        let line = match connector.pool.take(lot) {
            Some(line) => line,
            None => {
                let socket = connector.open(authority).await;
                let socket = socket.map_err(|error| ConnectError::Io(error.into()))?;
                Box::new(Line::new(socket, connector.reuse))
            }
        };
        Ok((line, lot))
    }
}

/// A request that this doesn't carry, or doesn't carry to its end.
pub(super) fn refused(reason: &'static str) -> SendRequestError {
    let error: io::Error = TransportError::new(Failure::BadRequest(reason), None).into();
    error.into()
}

impl<S> Transform<S, ConnectRequest> for Carrier {
    type Transform = Self;

    fn new_transform(self, _: S) -> Self {
        self
    }
}

impl Service<ConnectRequest> for Carrier {
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let carrier = self.clone();
        Box::pin(async move {
            match request {
                ConnectRequest::Client(RequestHeadType::Owned(head), body, _) => {
                    carrier.carry(&head, body).await
                }
                _ => Err(refused("it is a tunnel, or one of awc's frozen requests")),
            }
        })
    }
}
