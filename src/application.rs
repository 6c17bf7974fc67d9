//! The application: open storage, bind, serve, stop. `main` and the tests enter by this door.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App,
    dev::Server,
    middleware::from_fn,
    web::{self, Data, ServiceConfig},
};
use derive_more::{Display, Error, From};
use futures_util::{
    TryFutureExt as _,
    future::{join_all, try_join_all},
};
use rustls::{ClientConfig, ServerConfig};
use tokio::time::sleep;

use crate::{
    admin::{self, AdminGuard},
    domain::{AdminKeyId, AdminKeys},
    endpoints::unknown_url,
    health,
    metrics::{self, ExchangeMetrics, Metrics},
    openapi,
    proxy::{
        self, BodyLimits, BufferedBytes, Limits, Overload, Refusals, Upstream,
        transport::{client_config, trusted_roots},
    },
    record::Exchanges,
    server::{self, Certificate, Draining, Listening},
    settings::{Settings, UpstreamSettings},
    stop_signal::{Asked, StopSignal},
    storage::{Storage, StorageError},
};

/// A gateway that is bound to its address, ready to run.
pub struct Application {
    servers: Vec<Server>,
    certificate: Option<Arc<Certificate>>,
    storage: Storage,
    addresses: Bound<SocketAddr>,
    draining: Draining,
    drain_delay: Duration,
}

/// Why a gateway could not start, or ended.
#[derive(Debug, Display, Error, From)]
pub enum ApplicationError {
    /// Storage can't be used.
    Storage(StorageError),
    /// An address can't be bound.
    #[display("{variable}: can't listen on {address}: {source}")]
    #[from(ignore)]
    Listen {
        /// Whose address it is: `LISTEN_ADDR` or one of the others.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS can't be served with these files.
    #[display("{_0}")]
    #[from(ignore)]
    Certificate(#[error(not(source))] String),
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
    /// Binds the addresses and opens storage; serves nothing yet.
    ///
    /// # Errors
    /// Settings that can't work: an address in use, a database that must not be used. A
    /// PostgreSQL or Redis that can't be reached is not an error; it is tried again.
    pub async fn build(settings: Settings) -> Result<Self, ApplicationError> {
        let certificate = settings.tls.as_ref().map(Certificate::load).transpose();
        let certificate = certificate.map_err(ApplicationError::Certificate)?;
        let listeners = Bound::bind(&settings)?;
        let addresses = listeners.addresses()?;
        log_choices(&settings);
        for warning in settings.warnings() {
            log::warn!("{warning}");
        }
        let metrics = Metrics::default();
        let storage = Storage::open(&settings, &metrics).await?;
        let draining = Draining::default();
        let shared = Shared {
            storage: storage.clone(),
            draining: draining.clone(),
            operators: Operators::new(&settings, &metrics),
            exchanges: ExchangeMetrics::new(&metrics),
            metrics,
            tls: tls_config(certificate.as_ref())?,
            way_upstream: WayUpstream {
                settings: settings.upstream.clone(),
                tls: client_config(trusted_roots()).map_err(io::Error::other)?,
            },
        };
        let drain_delay = settings.drain_delay;
        Ok(Self {
            servers: serve_all(listeners, settings, shared)?,
            certificate,
            storage,
            addresses,
            draining,
            drain_delay,
        })
    }

    /// Where it serves; the real port where `LISTEN_ADDR` has 0.
    pub fn address(&self) -> SocketAddr {
        self.addresses.programs
    }

    /// Serves until `stop` or until the cache warmer is gone. Then it says so on `/readyz` and goes
    /// on serving for `DRAIN_DELAY`; accepts no more and lets running answers finish within
    /// `SHUTDOWN_TIMEOUT`; ends the cache warmer and closes the pools. A second signal ends all
    /// this at once.
    ///
    /// # Errors
    /// The server failed, the cache warmer is gone, or the stop was cut short.
    pub async fn run_until_stopped(self, mut stop: StopSignal) -> Result<(), ApplicationError> {
        self.addresses.log();
        let handles: Vec<_> = self.servers.iter().map(Server::handle).collect();
        let stop_all = || join_all(handles.iter().map(|handle| handle.stop(true)));
        // They end together, or with the first that fails.
        let serving = try_join_all(self.servers).map_ok(drop);
        let mut server = pin!(serving);
        let mut watching = pin!(watch(self.certificate));
        let cause = tokio::select! {
            served = server.as_mut() => Cause::ServerEnded(served),
            asked = stop.received() => Cause::Asked(asked),
            () = self.storage.warmer_ended() => Cause::WarmerEnded,
            never = watching.as_mut() => match never {},
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
                Cause::Asked(_) | Cause::WarmerEnded => tokio::join!(stop_all(), server).1,
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

/// One for each address: `LISTEN_ADDR`, and where they are set `ADMIN_LISTEN_ADDR` and
/// `METRICS_ADDR`.
struct Bound<T> {
    programs: T,
    operators: Option<T>,
    metrics: Option<T>,
}

impl Bound<TcpListener> {
    fn bind(settings: &Settings) -> Result<Self, ApplicationError> {
        let programs = bind("LISTEN_ADDR", settings.listen_addr)?;
        let to = |variable| move |address| bind(variable, address);
        let operators = settings.admin_listen_addr.map(to("ADMIN_LISTEN_ADDR"));
        let metrics = settings.metrics_addr.map(to("METRICS_ADDR"));
        Ok(Self {
            programs,
            operators: operators.transpose()?,
            metrics: metrics.transpose()?,
        })
    }

    /// The real ports, where the settings have 0.
    fn addresses(&self) -> io::Result<Bound<SocketAddr>> {
        let of = |listener: &Option<TcpListener>| {
            let address = listener.as_ref().map(TcpListener::local_addr);
            address.transpose()
        };
        Ok(Bound {
            programs: self.programs.local_addr()?,
            operators: of(&self.operators)?,
            metrics: of(&self.metrics)?,
        })
    }
}

impl Bound<SocketAddr> {
    fn log(&self) {
        if let Some(address) = self.operators {
            log::info!("operators are served on {address} alone");
        }
        if let Some(address) = self.metrics {
            log::info!("metrics are served on {address} alone");
        }
        log::info!("listening on {}", self.programs);
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

fn bind(variable: &'static str, address: SocketAddr) -> Result<TcpListener, ApplicationError> {
    TcpListener::bind(address).map_err(|source| ApplicationError::Listen {
        variable,
        address,
        source,
    })
}

fn tls_config(certificate: Option<&Arc<Certificate>>) -> io::Result<Option<Arc<ServerConfig>>> {
    let config = certificate.map(Certificate::server_config).transpose();
    config.map_err(io::Error::other)
}

async fn watch(certificate: Option<Arc<Certificate>>) -> Infallible {
    match certificate {
        Some(certificate) => certificate.watch().await,
        None => pending().await,
    }
}

/// What all servers have in common.
#[derive(Clone)]
struct Shared {
    storage: Storage,
    draining: Draining,
    operators: Operators,
    metrics: Metrics,
    exchanges: ExchangeMetrics,
    tls: Option<Arc<ServerConfig>>,
    way_upstream: WayUpstream,
}

/// What the way to the providers is made of. awc can't cross threads, so each worker makes its own.
#[derive(Clone)]
struct WayUpstream {
    settings: UpstreamSettings,
    tls: Arc<ClientConfig>,
}

impl WayUpstream {
    fn open(&self) -> Data<Upstream> {
        Data::new(Upstream::new(&self.settings, Arc::clone(&self.tls)))
    }
}

impl Shared {
    fn exchanges(&self) -> Exchanges {
        Exchanges::new(&self.exchanges, self.draining.clone())
    }

    fn configure(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.storage.clone()))
            .app_data(Data::new(self.draining.clone()))
            .configure(health::configure);
    }

    /// What operators use. They try providers out, so they need a way upstream too.
    fn serve_operators(&self, app: &mut ServiceConfig, upstream: Data<Upstream>) {
        let guard = &self.operators.guard;
        if self.operators.see_metrics {
            let guard = Arc::clone(guard);
            let guarded = from_fn(move |request, next| {
                admin::require_admin_key(Arc::clone(&guard), request, next)
            });
            let metrics = Data::new(self.metrics.clone());
            app.app_data(metrics)
                .service(metrics::resource().wrap(guarded));
        }
        app.app_data(upstream)
            .service(admin::scope(Arc::clone(guard)))
            .configure(openapi::configure);
    }

    /// On an address of its own, where whoever comes may see them.
    fn show_metrics(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.metrics.clone()))
            .service(metrics::resource());
    }
}

/// What operators use: on `ADMIN_LISTEN_ADDR` alone where that is set, and on `LISTEN_ADDR`
/// otherwise.
#[derive(Clone)]
struct Operators {
    guard: Arc<AdminGuard>,
    are_elsewhere: bool,
    /// Unless `METRICS_ADDR` shows them.
    see_metrics: bool,
}

impl Operators {
    fn new(settings: &Settings, metrics: &Metrics) -> Self {
        Self {
            guard: Arc::new(AdminGuard::new(settings.admin_keys.clone(), metrics)),
            are_elsewhere: settings.admin_listen_addr.is_some(),
            see_metrics: settings.metrics_addr.is_none(),
        }
    }
}

/// Operators, their scripts and their monitoring are few, and not what the machine is for.
const OPERATOR_WORKERS: usize = 1;
const OPERATOR_CONNECTIONS: usize = 256;

fn serve_all(
    listeners: Bound<TcpListener>,
    settings: Settings,
    shared: Shared,
) -> Result<Vec<Server>, ApplicationError> {
    let mut servers = Vec::new();
    if let Some(listener) = listeners.metrics {
        let show = Shared::show_metrics;
        servers.push(serve_aside(listener, &settings, &shared, show)?);
    }
    if let Some(listener) = listeners.operators {
        let operators = |shared: &Shared, app: &mut ServiceConfig| {
            shared.serve_operators(app, shared.way_upstream.open());
        };
        servers.push(serve_aside(listener, &settings, &shared, operators)?);
    }
    servers.push(serve(listeners.programs, settings, shared)?);
    Ok(servers)
}

/// Serves what `configure` adds, and nothing of the data path.
fn serve_aside(
    listener: TcpListener,
    settings: &Settings,
    shared: &Shared,
    configure: impl Fn(&Shared, &mut ServiceConfig) + Send + Clone + 'static,
) -> Result<Server, ApplicationError> {
    let listening = Listening {
        listener,
        workers: OPERATOR_WORKERS,
        connections_per_worker: OPERATOR_CONNECTIONS,
        tls: shared.tls.clone(),
    };
    let shared = shared.clone();
    let application = move || {
        App::new()
            .wrap(shared.exchanges())
            .configure(|app| shared.configure(app))
            .configure(|app| configure(&shared, app))
            .default_service(web::to(unknown_url))
    };
    Ok(server::serve(listening, settings, application)?)
}

fn serve(
    listener: TcpListener,
    settings: Settings,
    shared: Shared,
) -> Result<Server, ApplicationError> {
    let refusals = Refusals::new(&shared.metrics);
    let limits = Limits {
        overload: Overload::new(settings.max_concurrent_requests, &refusals, &shared.metrics),
        body: BodyLimits {
            bytes: settings.max_body_bytes,
            silence: settings.clients.body_timeout,
            buffered: BufferedBytes::new(settings.max_buffered_bytes, &refusals),
        },
    };
    let listening = Listening {
        listener,
        workers: settings.workers,
        connections_per_worker: server::connections_per_worker(&settings),
        tls: shared.tls.clone(),
    };
    let of_server = settings.clone();
    let application = move || {
        let upstream = shared.way_upstream.open();
        App::new()
            .wrap(shared.exchanges())
            // First, because the router looks at one after the other.
            .configure(|app| {
                proxy::configure(
                    app,
                    shared.storage.clone(),
                    upstream.clone(),
                    limits.clone(),
                    settings.sse_keep_alive,
                    &settings.cors_origins,
                );
            })
            .configure(|app| shared.configure(app))
            .configure(|app| {
                if !shared.operators.are_elsewhere {
                    shared.serve_operators(app, upstream);
                }
            })
            .default_service(web::to(unknown_url))
    };
    Ok(server::serve(listening, &of_server, application)?)
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
