//! The application: open storage, bind, serve, stop. `main` and the tests enter by this door.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App,
    dev::Server,
    web::{self, Data},
};
use derive_more::{Display, Error, From};
use tokio::time::sleep;

use crate::{
    admin::{self, AdminGuard},
    domain::{AdminKeyId, AdminKeys},
    endpoints::unknown_url,
    health,
    proxy::{
        self, BodyLimits, BufferedBytes, Limits, Overload, Upstream,
        transport::{client_config, trusted_roots},
    },
    request_id::RequestIds,
    server::{self, Draining, Exchanges},
    settings::Settings,
    stop_signal::{Asked, StopSignal},
    storage::{Storage, StorageError},
    unread_body::CloseOnUnreadBody,
};

/// A gateway that is bound to its address, ready to run.
pub struct Application {
    server: Server,
    storage: Storage,
    address: SocketAddr,
    draining: Draining,
    drain_delay: Duration,
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
    /// The operator didn't want to wait.
    #[display("a second signal ended the stop before it was complete")]
    CutShort,
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
        for warning in settings.warnings() {
            log::warn!("{warning}");
        }
        let storage = Storage::open(&settings).await?;
        let draining = Draining::default();
        let drain_delay = settings.drain_delay;
        let server = serve(listener, settings, storage.clone(), draining.clone())?;
        Ok(Self {
            server,
            storage,
            address,
            draining,
            drain_delay,
        })
    }

    /// Where it serves; the real port where `LISTEN_ADDR` has 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` or until the cache warmer is gone. Then it says so on `/readyz` and goes
    /// on serving for `DRAIN_DELAY`; accepts no more and lets running answers finish within
    /// `SHUTDOWN_TIMEOUT`; ends the cache warmer and closes the pools. A second signal ends all
    /// this at once.
    ///
    /// # Errors
    /// The server failed, the cache warmer is gone, or the stop was cut short.
    pub async fn run_until_stopped(self, mut stop: StopSignal) -> Result<(), ApplicationError> {
        log::info!("listening on {}", self.address);
        let handle = self.server.handle();
        let mut server = pin!(self.server);
        let cause = tokio::select! {
            served = server.as_mut() => Cause::ServerEnded(served),
            asked = stop.received() => Cause::Asked(asked),
            () = self.storage.warmer_ended() => Cause::WarmerEnded,
        };
        let stopping = async {
            self.draining.begin();
            let cause = match cause {
                // A person at a terminal has no balancer that must be told.
                Cause::Asked(Asked::BySupervisor) if !self.drain_delay.is_zero() => {
                    log::info!("draining: serving for {:?} more", self.drain_delay);
                    tokio::select! {
                        served = server.as_mut() => Cause::ServerEnded(served),
                        () = sleep(self.drain_delay) => cause,
                    }
                }
                _ => cause,
            };
            log::info!("stopping: running answers may finish");
            let served = match cause {
                Cause::ServerEnded(_) => Ok(()),
                Cause::Asked(_) | Cause::WarmerEnded => tokio::join!(handle.stop(true), server).1,
            };
            self.storage.close().await;
            outcome(cause, served)
        };
        tokio::select! {
            outcome = stopping => {
                log::info!("stopped");
                outcome
            }
            _ = stop.received() => Err(ApplicationError::CutShort),
        }
    }
}

/// Why the serving came to its end.
enum Cause {
    /// A signal.
    Asked(Asked),
    /// By itself.
    ServerEnded(io::Result<()>),
    /// There is nobody any more to keep the caches right.
    WarmerEnded,
}

/// What the process says at its end: the first failure, whatever went well after it.
fn outcome(cause: Cause, served: io::Result<()>) -> Result<(), ApplicationError> {
    match cause {
        Cause::WarmerEnded => Err(ApplicationError::WarmerEnded),
        Cause::ServerEnded(ended) => Ok(ended?),
        Cause::Asked(_) => Ok(served?),
    }
}

fn log_choices(settings: &Settings) {
    let AdminKeys { current, previous } = &settings.admin_keys;
    for (name, key) in [
        ("ADMIN_KEY", Some(current)),
        ("ADMIN_KEY_PREVIOUS", previous.as_ref()),
    ] {
        if let Some(key) = key {
            log::info!("{name}: fingerprint {}", AdminKeyId::of(key));
        }
    }
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
    draining: Draining,
) -> Result<Server, ApplicationError> {
    let tls = client_config(trusted_roots()).map_err(io::Error::other)?;
    let guard = Arc::new(AdminGuard::new(settings.admin_keys.clone()));
    let limits = Limits {
        overload: Overload::new(settings.max_concurrent_requests),
        body: BodyLimits {
            bytes: settings.max_body_bytes,
            silence: settings.clients.body_timeout,
            buffered: BufferedBytes::new(settings.max_buffered_bytes),
        },
    };
    let of_server = settings.clone();
    let application = move || {
        // awc can't cross threads, so each worker has its own way upstream.
        let upstream = Data::new(Upstream::new(&settings.upstream, tls.clone()));
        App::new()
            .wrap(Exchanges)
            .wrap(CloseOnUnreadBody)
            .wrap(RequestIds::default())
            .app_data(Data::new(storage.clone()))
            .app_data(upstream.clone())
            .app_data(Data::new(draining.clone()))
            .configure(health::configure)
            .service(admin::scope(Arc::clone(&guard)))
            .service(proxy::scope(
                storage.clone(),
                upstream,
                limits.clone(),
                settings.sse_keep_alive,
                &settings.cors_origins,
            ))
            .default_service(web::to(unknown_url))
    };
    Ok(server::serve(listener, &of_server, application)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warmer_that_ended_is_a_failure_however_well_the_server_stopped() {
        let result = outcome(Cause::WarmerEnded, Ok(()));
        assert!(matches!(result, Err(ApplicationError::WarmerEnded)));
    }

    #[test]
    fn a_server_that_failed_is_a_failure() {
        let failure = || Err(io::Error::other("x"));
        assert!(outcome(Cause::ServerEnded(failure()), Ok(())).is_err());
        assert!(outcome(Cause::Asked(Asked::BySupervisor), failure()).is_err());
        assert!(outcome(Cause::Asked(Asked::BySupervisor), Ok(())).is_ok());
    }
}
