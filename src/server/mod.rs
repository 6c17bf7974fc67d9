//! The HTTP server: actix's workers and dispatcher over connections of our own, whose time limits
//! hold for every request.

mod connection;
mod descriptors;
mod drain;
mod in_flight;
mod tls;
mod wire;

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_http::HttpService;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::{
    Error,
    body::MessageBody,
    dev::{AppConfig, Response, Server, Service},
};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use self::connection::{ClientConnection, accept};
pub(crate) use self::in_flight::InFlight;
pub use self::{drain::Draining, tls::Certificate};
use crate::settings::Settings;

/// How actix-server names the listener in its log.
const NAME: &str = "llm-gateway";

/// How long a connection on which a refused upload is still arriving is read on before it is
/// closed: closed at once, it would be reset, and the refusal lost with it.
const LINGER: Duration = Duration::from_secs(1);

/// How much of an answer may wait for a client: what the buffer holds from the start, less a piece.
/// By default it would grow to some 80 KiB for each client that reads slowly.
const WRITE_BUFFER: usize = 4 * 1024;

/// Where a server listens, and with what.
#[derive(Debug)]
pub struct Listening {
    /// Bound already.
    pub listener: TcpListener,
    /// Threads.
    pub workers: usize,
    /// Connections that each of them holds; more wait to be accepted.
    pub connections_per_worker: usize,
    /// With TLS, if there is a certificate.
    pub tls: Option<Arc<ServerConfig>>,
}

/// How many connections of clients each worker may hold, so that enough file descriptors are left.
/// Raises the limit as far as it may.
pub fn connections_per_worker(settings: &Settings) -> usize {
    descriptors::connections_per_worker(
        descriptors::raise_limit(),
        settings.max_concurrent_requests,
        settings.workers,
    )
}

/// Starts the workers; `application` makes what each of them serves.
///
/// # Errors
/// The listener can't be used.
pub fn serve<F, I, S, B>(
    listening: Listening,
    settings: &Settings,
    application: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<actix_http::Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let Listening { listener, tls, .. } = listening;
    let address = listener.local_addr()?;
    let clients = settings.clients.clone();
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder
        .workers(listening.workers)
        .max_concurrent_connections(listening.connections_per_worker)
        .shutdown_timeout(settings.shutdown_timeout.as_secs().max(1))
        .disable_signals();
    let builder = builder.listen(NAME, listener, move || {
        let stopping = stopping.clone();
        let clients = clients.clone();
        let application = application().into_factory();
        let application = application.map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .keep_alive(clients.idle_timeout)
            // The connection itself sees to that.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            // The default hides a client that left.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .h1_write_buffer_size(WRITE_BUFFER)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .on_connect_ext(|connection: &ClientConnection, data| {
                data.insert(connection.exchange());
            })
            .h1(map_config(application, |()| AppConfig::default()));
        let clients = clients.clone();
        let tls = tls.clone();
        let accept = move |stream: TcpStream| {
            let (clients, tls) = (clients.clone(), tls.clone());
            async move { Ok(accept(stream, &clients, tls).await?) }
        };
        fn_service(accept).and_then(http)
    })?;
    Ok(builder.run())
}
