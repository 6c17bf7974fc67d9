//! The application: open storage, bind, serve, stop. `main` and the tests enter by this door.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    dev::Server,
    web::{self, Data},
};
use derive_more::{Display, Error, From};

use crate::{
    admin,
    endpoints::unknown_url,
    health,
    proxy::{
        self, Upstream,
        transport::{client_config, trusted_roots},
    },
    request_id::RequestIds,
    settings::Settings,
    storage::{Storage, StorageError},
    unread_body::CloseOnUnreadBody,
};

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection of a client's is kept: longer than the 60 s after which common
/// load balancers drop theirs, so that it is they who close it and no request meets a closed one.
const CLIENT_KEEP_ALIVE: Duration = Duration::from_secs(75);

/// A gateway that is bound to its address, ready to run.
pub struct Application {
    server: Server,
    storage: Storage,
    address: SocketAddr,
}

/// Why a gateway could not start, or ended.
#[derive(Debug, Display, Error, From)]
pub enum ApplicationError {
    /// Storage can't be used.
    Storage(StorageError),
    /// The address can't be bound, or the server failed.
    #[display("{address}: {source}")]
    #[from(ignore)]
    Listen {
        /// `LISTEN_ADDR`
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Not even an attempt was possible.
    Io(io::Error),
    /// A defect: without it nothing keeps the caches right.
    #[display("the cache warmer ended unexpectedly")]
    WarmerEnded,
}

impl Application {
    /// Opens storage and binds the address; serves nothing yet.
    ///
    /// # Errors
    /// Settings that can't work: an address in use, a database that must not be used. A
    /// PostgreSQL or Redis that can't be reached is not an error; it is tried again.
    pub async fn build(settings: Settings) -> Result<Self, ApplicationError> {
        let in_use = |source| ApplicationError::Listen {
            address: settings.listen_addr,
            source,
        };
        let listener = TcpListener::bind(settings.listen_addr).map_err(in_use)?;
        let address = listener.local_addr()?;
        log_choices(&settings);
        let storage = Storage::open(&settings).await?;
        let server = serve(listener, settings, storage.clone())?;
        Ok(Self {
            server,
            storage,
            address,
        })
    }

    /// Where it serves; the real port where `LISTEN_ADDR` has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT, then stops gracefully.
    ///
    /// # Errors
    /// The server failed, or the cache warmer is gone.
    pub async fn run_until_stopped(self) -> Result<(), ApplicationError> {
        let signal = stop_signal()?;
        self.run_until(signal).await
    }

    /// Serves until `stop`, then accepts no more, lets running answers finish within
    /// `SHUTDOWN_TIMEOUT`, ends the cache warmer and closes the pools.
    ///
    /// # Errors
    /// The server failed, or the cache warmer is gone.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), ApplicationError> {
        log::info!("listening on {}", self.address);
        let handle = self.server.handle();
        let watch = async {
            let result = tokio::select! {
                () = stop => Ok(()),
                () = self.storage.warmer_ended() => Err(ApplicationError::WarmerEnded),
            };
            log::info!("stopping: running answers may finish");
            handle.stop(true).await;
            result
        };
        let (served, watched) = tokio::select! {
            served = self.server => (served, Ok(())),
            watched = watch => (Ok(()), watched),
        };
        self.storage.close().await;
        log::info!("stopped");
        served?;
        watched
    }
}

fn log_choices(settings: &Settings) {
    log::info!("database: {}", settings.database.url);
    match &settings.cache.redis_url {
        Some(url) => log::info!("redis: {url}"),
        None => log::info!("redis: none, the in-process cache alone"),
    }
}

fn serve(
    listener: TcpListener,
    settings: Settings,
    storage: Storage,
) -> Result<Server, ApplicationError> {
    let workers = settings.workers;
    let shutdown_seconds = settings.shutdown_timeout.as_secs().max(1);
    let tls = client_config(trusted_roots()).map_err(io::Error::other)?;
    let server = HttpServer::new(move || {
        // awc can't cross threads, so each worker has its own way upstream.
        let upstream = Upstream::new(&settings.upstream, tls.clone());
        App::new()
            .wrap(CloseOnUnreadBody)
            .wrap(RequestIds::default())
            .app_data(Data::new(storage.clone()))
            .configure(health::configure)
            .service(admin::scope(settings.admin_key.clone()))
            .service(proxy::scope(
                storage.clone(),
                upstream,
                settings.max_body_bytes,
            ))
            .default_service(web::to(unknown_url))
    });
    let server = server
        .workers(workers)
        .listen(listener)?
        // The default hides a client that left.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(CLIENT_KEEP_ALIVE)
        .shutdown_timeout(shutdown_seconds)
        .disable_signals();
    Ok(server.run())
}
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
