//! The environment, read once into typed settings. Nothing else reads it.

mod address;
mod origins;
mod sources;

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, thread, time::Duration};

use derive_more::{Display, Error};

use self::sources::{File, Found, is_set};
pub use self::{
    address::{DatabaseUrl, PostgresTls, RedisUrl},
    origins::Origins,
};
use crate::{
    domain::{
        AdminKeys, EncryptionKey, Keyring, Secret,
        duration::{parse_duration as duration, show_duration as show, split_unit},
    },
    telemetry::{self, LogFormat},
};

/// What an operator copies from `.env.example` and must replace.
const ADMIN_KEY_PLACEHOLDER: &str = "change-me";
const ADMIN_KEY_REMEDY: &str =
    "set it to a long random text, for example the output of `openssl rand -hex 32`";
/// More threads than any machine has a use for; a slip of the finger would exhaust it.
const MAX_WORKERS: usize = 1024;

/// Everything that can be set, with values that are known to be usable.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `ADMIN_KEY` and `ADMIN_KEY_PREVIOUS`: secrets of the admin API.
    pub admin_keys: AdminKeys,
    /// `LISTEN_ADDR`: where to serve. Port 0 picks a free one.
    pub listen_addr: SocketAddr,
    /// `ADMIN_LISTEN_ADDR`: where to serve operators, if not there too.
    pub admin_listen_addr: Option<SocketAddr>,
    /// `METRICS_ADDR`: where to serve `/metrics` to whoever asks, instead of to operators.
    pub metrics_addr: Option<SocketAddr>,
    /// `TLS_CERT` and `TLS_KEY`: to serve with TLS.
    pub tls: Option<TlsFiles>,
    /// `WORKERS`: threads that serve requests.
    pub workers: usize,
    /// `CORS_ORIGINS`: which web pages may call `/v1`.
    pub cors_origins: Origins,
    /// `MAX_BODY_BYTES`: the largest request body.
    pub max_body_bytes: usize,
    /// `MAX_BUFFERED_BYTES`: all request bodies together.
    pub max_buffered_bytes: usize,
    /// `MAX_CONCURRENT_REQUESTS`: requests that are being answered at once.
    pub max_concurrent_requests: usize,
    /// How long clients may take for what.
    pub clients: ClientSettings,
    /// `SSE_KEEPALIVE`: how often a streamed answer shows that it is alive before its provider
    /// says anything; `None` where it is 0.
    pub sse_keep_alive: Option<Duration>,
    /// `DRAIN_DELAY`: how long to go on serving after a signal to stop, until balancers know.
    pub drain_delay: Duration,
    /// `SHUTDOWN_TIMEOUT`: how long running answers may go on after a signal to stop.
    pub shutdown_timeout: Duration,
    /// `RUST_LOG`: what is logged.
    pub log_filter: String,
    /// `LOG_FORMAT`: what its lines look like.
    pub log_format: LogFormat,
    /// The database.
    pub database: DatabaseSettings,
    /// The caches in front of it.
    pub cache: CacheSettings,
    /// The way to the providers.
    pub upstream: UpstreamSettings,
}

/// The patience with clients: `CLIENT_*`.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `CLIENT_HEAD_TIMEOUT`: for a request's head, from its first byte.
    pub head_timeout: Duration,
    /// `CLIENT_BODY_TIMEOUT`: between two pieces of a request's body.
    pub body_timeout: Duration,
    /// `CLIENT_WRITE_TIMEOUT`: without a client's taking one byte of what is sent to it.
    pub write_timeout: Duration,
    /// `CLIENT_IDLE_TIMEOUT`: between two requests on one connection.
    pub idle_timeout: Duration,
}

/// A certificate and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `TLS_CERT`: the server's certificate and those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// `TLS_KEY`
    pub key: PathBuf,
}

/// The truth: `DATABASE_*`.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `DATABASE_URL`.
    pub url: DatabaseUrl,
    /// `REQUIRE_DATABASE_URL`: whether the default of `DATABASE_URL` is refused.
    pub url_is_required: bool,
    /// `DATABASE_LISTEN_URL`: a direct address for `LISTEN`, where `DATABASE_URL` goes through
    /// a pooler.
    pub listen_url: DatabaseUrl,
    /// `DATABASE_MAX_CONNECTIONS`.
    pub max_connections: u32,
    /// `DATABASE_TIMEOUT`: the longest that a look-up may wait for the database.
    pub timeout: Duration,
    /// `AUDIT_RETENTION`: how long it is kept who changed what; zero: for ever.
    pub audit_retention: Duration,
    /// `ENCRYPTION_KEY` and `ENCRYPTION_KEY_PREVIOUS`: what providers' keys are sealed with.
    pub keyring: Keyring,
}

/// The caches: `REDIS_URL`, `CACHE_*`, `MEMORY_CACHE_ENTRIES`, `STALE_GRACE`.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// `REDIS_URL`; `None` where it is `none`.
    pub redis_url: Option<RedisUrl>,
    /// `REDIS_CA_CERT`, `REDIS_CLIENT_CERT` and `REDIS_CLIENT_KEY`.
    pub redis_tls: RedisTls,
    /// `CACHE_PREFIX`: first part of every Redis key.
    pub prefix: String,
    /// `CACHE_TIMEOUT`: the longest that a look-up may wait for Redis.
    pub timeout: Duration,
    /// `CACHE_REWARM_INTERVAL`: how often Redis is filled anew although nothing seems wrong.
    pub rewarm_interval: Duration,
    /// `MEMORY_CACHE_ENTRIES`: bound of each in-process map.
    pub memory_entries: usize,
    /// `STALE_GRACE`: how long to serve what is held while cut off from everything.
    pub stale_grace: Duration,
}

/// Whom a `rediss://` connection trusts, and as whom it comes: paths of PEM files.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// The authorities to trust instead of the system's.
    pub ca_cert: Option<String>,
    /// A certificate of the gateway's own, and its key.
    pub client: Option<(String, String)>,
}

/// The way to the providers: `UPSTREAM_*`.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// `UPSTREAM_CONNECT_TIMEOUT`: name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// `UPSTREAM_RESPONSE_TIMEOUT`: from the request to the response's head.
    pub response_timeout: Duration,
    /// `UPSTREAM_IDLE_TIMEOUT`: between two pieces of a response's body.
    pub idle_timeout: Duration,
    /// `UPSTREAM_RETRY_STALE`: whether to send once more where a kept-alive connection died
    /// before one byte of an answer.
    pub retry_stale: bool,
    /// `ALLOW_PRIVATE_UPSTREAMS`: whether providers may have private addresses.
    pub allow_private: bool,
}

/// Every problem of the environment, one line each.
#[derive(Debug, Display, Error, PartialEq, Eq)]
#[display("{}", _0.join("\n"))]
pub struct SettingsError(#[error(not(source))] Vec<String>);

impl Settings {
    /// Reads the process environment, with the `.env` file of the working directory behind it.
    ///
    /// # Errors
    /// Lists every variable that is missing or can't be parsed.
    pub fn from_env() -> Result<Self, SettingsError> {
        let (file, unreadable) = match File::read() {
            Ok(file) => (file, Vec::new()),
            Err(problem) => (File::default(), vec![problem]),
        };
        Self::read(&|name| file.behind_environment(name), unreadable)
    }

    /// Reads settings through `lookup`, which answers a variable's value.
    ///
    /// # Errors
    /// Lists every variable that is missing or can't be parsed.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        Self::read(&|name| Ok(lookup(name)), Vec::new())
    }

    fn read(lookup: &dyn Fn(&str) -> Found, problems: Vec<String>) -> Result<Self, SettingsError> {
        let mut reader = Reader { lookup, problems };
        let settings = reader.settings();
        if reader.problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError(reader.problems))
        }
    }

    /// What works and had better be otherwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let AdminKeys { current, previous } = &self.admin_keys;
        let keys = [
            ("ADMIN_KEY", Some(current)),
            ("ADMIN_KEY_PREVIOUS", previous.as_ref()),
        ];
        let mut warnings: Vec<_> = keys
            .into_iter()
            .filter(|(_, key)| key.is_some_and(AdminKeys::is_short))
            .map(|(name, _)| {
                format!(
                    "{name}: has fewer than 16 characters and can be guessed; {ADMIN_KEY_REMEDY}"
                )
            })
            .collect();
        let Keyring { current, previous } = &self.database.keyring;
        if current.is_none() && previous.is_none() {
            warnings.push(format!(
                "ENCRYPTION_KEY: is not set, so providers' keys are kept in plaintext, in the database and in Redis; {}",
                EncryptionKey::REMEDY
            ));
        }
        warnings
    }

    /// Every variable with the value in force, secrets masked.
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let redis = match &self.cache.redis_url {
            Some(url) => url.to_string(),
            None => "none".to_owned(),
        };
        let file = |path: Option<&String>| path.map_or_else(|| "none".to_owned(), String::clone);
        let client = self.cache.redis_tls.client.as_ref();
        let address = |address: Option<SocketAddr>| {
            address
                .map(|address| address.to_string())
                .unwrap_or_default()
        };
        vec![
            ("ADMIN_KEY", self.admin_keys.current.to_string()),
            (
                "ADMIN_KEY_PREVIOUS",
                show_secret(self.admin_keys.previous.as_ref()),
            ),
            ("LISTEN_ADDR", self.listen_addr.to_string()),
            ("ADMIN_LISTEN_ADDR", address(self.admin_listen_addr)),
            ("METRICS_ADDR", address(self.metrics_addr)),
            (
                "TLS_CERT",
                show_path(self.tls.as_ref().map(|tls| &tls.certificate)),
            ),
            ("TLS_KEY", show_path(self.tls.as_ref().map(|tls| &tls.key))),
            ("WORKERS", self.workers.to_string()),
            ("CORS_ORIGINS", self.cors_origins.to_string()),
            ("MAX_BODY_BYTES", self.max_body_bytes.to_string()),
            ("MAX_BUFFERED_BYTES", self.max_buffered_bytes.to_string()),
            (
                "MAX_CONCURRENT_REQUESTS",
                self.max_concurrent_requests.to_string(),
            ),
            ("CLIENT_HEAD_TIMEOUT", show(self.clients.head_timeout)),
            ("CLIENT_BODY_TIMEOUT", show(self.clients.body_timeout)),
            ("CLIENT_WRITE_TIMEOUT", show(self.clients.write_timeout)),
            ("CLIENT_IDLE_TIMEOUT", show(self.clients.idle_timeout)),
            (
                "SSE_KEEPALIVE",
                show(self.sse_keep_alive.unwrap_or_default()),
            ),
            ("DRAIN_DELAY", show(self.drain_delay)),
            ("SHUTDOWN_TIMEOUT", show(self.shutdown_timeout)),
            ("DATABASE_URL", self.database.url.to_string()),
            (
                "REQUIRE_DATABASE_URL",
                self.database.url_is_required.to_string(),
            ),
            ("DATABASE_LISTEN_URL", self.database.listen_url.to_string()),
            (
                "DATABASE_MAX_CONNECTIONS",
                self.database.max_connections.to_string(),
            ),
            ("DATABASE_TIMEOUT", show(self.database.timeout)),
            ("AUDIT_RETENTION", show(self.database.audit_retention)),
            (
                "ENCRYPTION_KEY",
                show_key(self.database.keyring.current.as_ref()),
            ),
            (
                "ENCRYPTION_KEY_PREVIOUS",
                show_key(self.database.keyring.previous.as_ref()),
            ),
            ("REDIS_URL", redis),
            ("REDIS_CA_CERT", file(self.cache.redis_tls.ca_cert.as_ref())),
            ("REDIS_CLIENT_CERT", file(client.map(|(cert, _)| cert))),
            ("REDIS_CLIENT_KEY", file(client.map(|(_, key)| key))),
            ("CACHE_PREFIX", self.cache.prefix.clone()),
            ("CACHE_TIMEOUT", show(self.cache.timeout)),
            ("CACHE_REWARM_INTERVAL", show(self.cache.rewarm_interval)),
            (
                "MEMORY_CACHE_ENTRIES",
                self.cache.memory_entries.to_string(),
            ),
            ("STALE_GRACE", show(self.cache.stale_grace)),
            (
                "UPSTREAM_CONNECT_TIMEOUT",
                show(self.upstream.connect_timeout),
            ),
            (
                "UPSTREAM_RESPONSE_TIMEOUT",
                show(self.upstream.response_timeout),
            ),
            ("UPSTREAM_IDLE_TIMEOUT", show(self.upstream.idle_timeout)),
            (
                "UPSTREAM_RETRY_STALE",
                self.upstream.retry_stale.to_string(),
            ),
            (
                "ALLOW_PRIVATE_UPSTREAMS",
                self.upstream.allow_private.to_string(),
            ),
            ("RUST_LOG", self.log_filter.clone()),
            ("LOG_FORMAT", self.log_format.to_string()),
        ]
    }
}

/// Collects problems while it reads, so that one start reports them all.
struct Reader<'a> {
    lookup: &'a dyn Fn(&str) -> Found,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn settings(&mut self) -> Settings {
        let database = self.database();
        let max_body_bytes = self.checked("MAX_BODY_BYTES", 32 << 20, "32MiB", size);
        Settings {
            admin_keys: self.admin_keys(),
            admin_listen_addr: self.address("ADMIN_LISTEN_ADDR", "127.0.0.1:8081"),
            metrics_addr: self.address("METRICS_ADDR", "127.0.0.1:9100"),
            tls: self.tls(),
            listen_addr: self.value("LISTEN_ADDR", SocketAddr::from(([0, 0, 0, 0], 8080))),
            workers: self.checked("WORKERS", cores().min(MAX_WORKERS), "4", workers),
            cors_origins: self.checked(
                "CORS_ORIGINS",
                Origins::None,
                "https://app.example.com,http://localhost:3000, or * for all",
                Origins::parse,
            ),
            max_body_bytes,
            max_buffered_bytes: self.max_buffered_bytes(max_body_bytes),
            // A running stream takes two file descriptors and some 13 KiB, up to 55 KiB where its
            // client reads slowly: 220 MiB with all of them.
            max_concurrent_requests: self.checked(
                "MAX_CONCURRENT_REQUESTS",
                4096,
                "4096",
                positive,
            ),
            clients: self.clients(),
            sse_keep_alive: self.sse_keep_alive(),
            // Kubernetes takes a second or two to tell every node that an endpoint is gone, and
            // balancers that ask for readiness do so every few seconds.
            drain_delay: self.checked(
                "DRAIN_DELAY",
                Duration::from_secs(5),
                "5s, or 0 for none",
                duration,
            ),
            shutdown_timeout: self.duration("SHUTDOWN_TIMEOUT", 30_000),
            log_filter: self.checked(
                "RUST_LOG",
                telemetry::DEFAULT_FILTER.to_owned(),
                "info",
                telemetry::checked_filter,
            ),
            log_format: self.checked("LOG_FORMAT", LogFormat::Text, "json", LogFormat::parse),
            cache: self.cache(&database.url),
            upstream: self.upstream(),
            database,
        }
    }

    /// Fits into the smallest containers that people give to a gateway, 512 MiB; one body must fit.
    fn max_buffered_bytes(&mut self, max_body_bytes: usize) -> usize {
        let default = max_body_bytes.max(256 << 20);
        self.checked(
            "MAX_BUFFERED_BYTES",
            default,
            "256MiB",
            |text| match size(text)? {
                bytes if bytes < max_body_bytes => Err(format!(
                    "must be at least MAX_BODY_BYTES, which is {max_body_bytes}"
                )),
                bytes => Ok(bytes),
            },
        )
    }

    fn sse_keep_alive(&mut self) -> Option<Duration> {
        let off = Duration::ZERO;
        let every = self.checked("SSE_KEEPALIVE", off, "15s, or 0 to turn it off", duration);
        (!every.is_zero()).then_some(every)
    }

    fn clients(&mut self) -> ClientSettings {
        ClientSettings {
            head_timeout: self.duration("CLIENT_HEAD_TIMEOUT", 10_000),
            // Longer than a phone's or a satellite's link drops out, shorter than what makes a pile
            // of half-sent bodies.
            body_timeout: self.duration("CLIENT_BODY_TIMEOUT", 30_000),
            // A program that reads 1 KiB/s over loopback takes 64 KiB every 64 s: the kernel tells
            // of room only when a whole segment fits.
            write_timeout: self.duration("CLIENT_WRITE_TIMEOUT", 120_000),
            // Longer than the 60 s after which common load balancers drop theirs, so that it is
            // they who close it and no request meets a closed one.
            idle_timeout: self.duration("CLIENT_IDLE_TIMEOUT", 75_000),
        }
    }

    fn admin_keys(&mut self) -> AdminKeys {
        AdminKeys {
            current: self.admin_key("ADMIN_KEY").unwrap_or_else(|| {
                self.problems
                    .push(format!("ADMIN_KEY: is required; {ADMIN_KEY_REMEDY}"));
                Secret::new("")
            }),
            previous: self.admin_key("ADMIN_KEY_PREVIOUS"),
        }
    }

    /// `None` where it isn't set. One that can't be used is a problem, and is answered as if it could.
    fn admin_key(&mut self, name: &str) -> Option<Secret> {
        let problem = match self.raw(name) {
            Ok(None) => return None,
            Ok(Some(key)) if key == ADMIN_KEY_PLACEHOLDER => {
                "is still the placeholder of .env.example".to_owned()
            }
            Ok(Some(key)) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "must consist of visible ASCII characters, because it travels in a header"
                    .to_owned()
            }
            Ok(Some(key)) => return Some(Secret::new(key)),
            Err(problem) => problem,
        };
        self.problems
            .push(format!("{name}: {problem}; {ADMIN_KEY_REMEDY}"));
        Some(Secret::new(""))
    }

    /// An address that may be left out.
    fn address(&mut self, name: &str, example: &str) -> Option<SocketAddr> {
        let parse = |text: &str| match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(error) => Err(format!("{error}")),
        };
        self.checked(name, None, example, parse)
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        let path = |text: &str| Ok(Some(PathBuf::from(text)));
        let certificate = self.checked("TLS_CERT", None, "/etc/llm-gateway/tls.crt", path);
        let key = self.checked("TLS_KEY", None, "/etc/llm-gateway/tls.key", path);
        let (set, missing) = match (certificate, key) {
            (Some(certificate), Some(key)) => return Some(TlsFiles { certificate, key }),
            (None, None) => return None,
            (Some(_), None) => ("TLS_CERT", "TLS_KEY"),
            (None, Some(_)) => ("TLS_KEY", "TLS_CERT"),
        };
        self.problems.push(format!(
            "{missing}: is required where {set} is set; set both, or neither to serve without TLS"
        ));
        None
    }

    fn encryption_key(&mut self, name: &str) -> Option<EncryptionKey> {
        let parsed = match self.raw(name) {
            Ok(None) => return None,
            Ok(Some(text)) => EncryptionKey::parse(&text).map_err(|problem| problem.to_string()),
            Err(problem) => Err(problem),
        };
        parsed
            .map_err(|problem| {
                let remedy = EncryptionKey::REMEDY;
                self.problems.push(format!("{name}: {problem}; {remedy}"));
            })
            .ok()
    }

    fn database(&mut self) -> DatabaseSettings {
        let example = "postgres://user:password@localhost:5432/llm_gateway";
        let embedded = DatabaseUrl::Sqlite("data/llm-gateway.db".to_owned());
        let url_is_required = self.value("REQUIRE_DATABASE_URL", false);
        if url_is_required && self.raw("DATABASE_URL") == Ok(None) {
            self.problems.push(format!(
                "DATABASE_URL: is required here, so that a forgotten variable can't open an empty database, for example {example}"
            ));
        }
        let url = self.checked("DATABASE_URL", embedded, example, DatabaseUrl::parse);
        let direct = |text: &str| match DatabaseUrl::parse(text)? {
            DatabaseUrl::Sqlite(_) if matches!(url, DatabaseUrl::Postgres(_)) => {
                Err("must be a postgres:// address, as DATABASE_URL is".to_owned())
            }
            listen_url => Ok(listen_url),
        };
        DatabaseSettings {
            listen_url: self.checked("DATABASE_LISTEN_URL", url.clone(), example, direct),
            url_is_required,
            url,
            max_connections: self.checked("DATABASE_MAX_CONNECTIONS", 10, "10", positive),
            timeout: self.duration("DATABASE_TIMEOUT", 2_000),
            // A year of changes is what an investigation commonly goes back.
            audit_retention: self.checked(
                "AUDIT_RETENTION",
                Duration::from_secs(365 * 24 * 3600),
                "365d, or 0 to keep everything",
                duration,
            ),
            keyring: Keyring {
                current: self.encryption_key("ENCRYPTION_KEY"),
                previous: self.encryption_key("ENCRYPTION_KEY_PREVIOUS"),
            },
        }
    }

    fn cache(&mut self, database: &DatabaseUrl) -> CacheSettings {
        let redis_url = self.checked(
            "REDIS_URL",
            RedisUrl::default_with(database),
            "redis://127.0.0.1:6379, or none to switch Redis off",
            RedisUrl::parse_or_none,
        );
        CacheSettings {
            redis_tls: self.redis_tls(redis_url.as_ref()),
            redis_url,
            prefix: self.checked("CACHE_PREFIX", "llmgw".to_owned(), "llmgw", cache_prefix),
            timeout: self.duration("CACHE_TIMEOUT", 100),
            rewarm_interval: self.duration("CACHE_REWARM_INTERVAL", 600_000),
            memory_entries: self.checked("MEMORY_CACHE_ENTRIES", 100_000, "100000", positive),
            stale_grace: self.checked(
                "STALE_GRACE",
                Duration::from_secs(15 * 60),
                "15m, or 0 to turn it off",
                duration,
            ),
        }
    }

    fn redis_tls(&mut self, url: Option<&RedisUrl>) -> RedisTls {
        let mut file = |name| {
            let path = self.checked(name, None, "/etc/redis/ca.pem", |text| {
                Ok(Some(text.to_owned()))
            });
            if path.is_some() && !url.is_some_and(RedisUrl::is_tls) {
                self.problems.push(format!(
                    "{name}: is of no use, because REDIS_URL isn't a rediss:// address"
                ));
            }
            path
        };
        let ca_cert = file("REDIS_CA_CERT");
        let (cert, key) = (file("REDIS_CLIENT_CERT"), file("REDIS_CLIENT_KEY"));
        if cert.is_some() != key.is_some() {
            self.problems.push(
                "REDIS_CLIENT_CERT: and REDIS_CLIENT_KEY must both be set, or neither".to_owned(),
            );
        }
        RedisTls {
            ca_cert,
            client: cert.zip(key),
        }
    }

    fn upstream(&mut self) -> UpstreamSettings {
        UpstreamSettings {
            connect_timeout: self.duration("UPSTREAM_CONNECT_TIMEOUT", 10_000),
            response_timeout: self.duration("UPSTREAM_RESPONSE_TIMEOUT", 600_000),
            idle_timeout: self.duration("UPSTREAM_IDLE_TIMEOUT", 300_000),
            retry_stale: self.value("UPSTREAM_RETRY_STALE", true),
            allow_private: self.value("ALLOW_PRIVATE_UPSTREAMS", true),
        }
    }

    /// A variable's value without the white space around it.
    fn raw(&self, name: &str) -> Found {
        let value = (self.lookup)(name)?.filter(|value| is_set(value));
        Ok(value.map(|value| value.trim().to_owned()))
    }

    fn value<T>(&mut self, name: &str, default: T) -> T
    where
        T: FromStr<Err: fmt::Display> + fmt::Display,
    {
        let example = default.to_string();
        self.checked(name, default, &example, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    fn duration(&mut self, name: &str, default_ms: u64) -> Duration {
        let default = Duration::from_millis(default_ms);
        self.checked(name, default, &show(default), |text| {
            match duration(text)? {
                Duration::ZERO => Err("must be longer than zero".to_owned()),
                duration => Ok(duration),
            }
        })
    }

    fn checked<T>(
        &mut self,
        name: &str,
        default: T,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let value = match self.raw(name) {
            Ok(None) => return default,
            Ok(Some(text)) => parse(&text),
            Err(problem) => Err(problem),
        };
        value.unwrap_or_else(|problem| {
            self.problems
                .push(format!("{name}: {problem}; for example {name}={example}"));
            default
        })
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn workers(text: &str) -> Result<usize, String> {
    match positive(text)? {
        number @ 1..=MAX_WORKERS => Ok(number),
        _ => Err(format!("must be at most {MAX_WORKERS}")),
    }
}

fn positive<T: FromStr<Err: fmt::Display> + PartialOrd + From<u8>>(
    text: &str,
) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if number < T::from(1) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// `32MiB`, `64KiB`, or plain bytes; at least one.
fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => {
            return Err(format!(
                "has the unknown unit `{unit}` (known: KiB, MiB, GiB)"
            ));
        }
    };
    match number.checked_mul(bytes).map(usize::try_from) {
        Some(Ok(0)) => Err("must be at least 1".to_owned()),
        Some(Ok(bytes)) => Ok(bytes),
        _ => Err("is too large".to_owned()),
    }
}

fn show_path(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn show_key(key: Option<&EncryptionKey>) -> String {
    key.map(|key| format!("[secret {}]", key.id()))
        .unwrap_or_default()
}

fn show_secret(secret: Option<&Secret>) -> String {
    secret.map(Secret::to_string).unwrap_or_default()
}

fn cache_prefix(text: &str) -> Result<String, String> {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if text.bytes().all(usable) {
        Ok(text.to_owned())
    } else {
        Err("must consist of letters, digits, `_`, `-`, `.` and `:`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_lookup(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        read(variables).map(drop).unwrap_err().0
    }

    const SEALING_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const KEY: (&str, &str) = ("ADMIN_KEY", "0123456789abcdef");

    #[test]
    fn an_admin_key_is_enough() {
        let settings = read(&[KEY]).unwrap();
        assert_eq!(settings.listen_addr.to_string(), "0.0.0.0:8080");
        assert_eq!(
            settings.database.url.to_string(),
            "sqlite://data/llm-gateway.db"
        );
        assert!(settings.cache.redis_url.is_none());
        assert_eq!(settings.max_body_bytes, 33_554_432);
        assert_eq!(settings.upstream.response_timeout.as_secs(), 600);
    }

    #[test]
    fn postgresql_brings_redis_along_unless_it_is_switched_off() {
        let postgres = ("DATABASE_URL", "postgres://u:p@localhost/db");
        let redis_of = |variables: &[_]| read(variables).unwrap().cache.redis_url;
        assert_eq!(
            redis_of(&[KEY, postgres]).unwrap().to_string(),
            "redis://127.0.0.1:6379"
        );
        assert!(redis_of(&[KEY, postgres, ("REDIS_URL", "none")]).is_none());
        let sqlite = [KEY, ("REDIS_URL", "rediss://u:p@cache.example:6380/1")];
        assert_eq!(redis_of(&sqlite).unwrap().expose()[0].as_str(), sqlite[1].1);
    }

    #[test]
    fn every_problem_is_reported_at_once_with_the_variable_and_an_example() {
        let bad = [
            ("LISTEN_ADDR", "8080", "LISTEN_ADDR=0.0.0.0:8080"),
            ("MAX_BODY_BYTES", "32 parsecs", "MAX_BODY_BYTES=32MiB"),
            ("MAX_BUFFERED_BYTES", "1MiB", "MAX_BUFFERED_BYTES=256MiB"),
            ("DRAIN_DELAY", "soon", "DRAIN_DELAY=5s"),
            ("CACHE_TIMEOUT", "soon", "CACHE_TIMEOUT=100ms"),
            ("CACHE_TIMEOUT", "0", "CACHE_TIMEOUT=100ms"),
            ("WORKERS", "0", "WORKERS=4"),
            ("WORKERS", "1025", "WORKERS=4"),
            ("RUST_LOG", "info,actix=loud", "RUST_LOG=info"),
            ("REDIS_URL", "localhost:6379", "REDIS_URL=redis://"),
            (
                "DATABASE_URL",
                "mysql://localhost/db",
                "DATABASE_URL=postgres://",
            ),
            ("UPSTREAM_RETRY_STALE", "yes", "UPSTREAM_RETRY_STALE=true"),
            ("CACHE_PREFIX", "a{b}", "CACHE_PREFIX=llmgw"),
        ];
        for (name, value, example) in bad {
            let problems = problems(&[KEY, (name, value)]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(name), "{problems:?}");
            assert!(problems[0].contains(example), "{problems:?}");
        }
        let all = problems(&[("LISTEN_ADDR", "x"), ("WORKERS", "x"), ("STALE_GRACE", "x")]);
        assert_eq!(all.len(), 4, "{all:?}");
    }

    #[test]
    fn a_missing_or_placeholder_admin_key_stops_the_start() {
        assert!(problems(&[])[0].contains("ADMIN_KEY: is required"));
        assert!(problems(&[("ADMIN_KEY", "change-me")])[0].contains("placeholder"));
        let refusal = problems(&[("ADMIN_KEY", "schlüssel geheim")]);
        assert!(!refusal[0].contains("geheim"));
    }

    #[test]
    fn a_previous_admin_key_is_held_to_the_same_rules() {
        let with = |value| [KEY, ("ADMIN_KEY_PREVIOUS", value)];
        let previous = |value| read(&with(value)).unwrap().admin_keys.previous;
        assert_eq!(previous(""), None);
        assert_eq!(
            previous("fedcba9876543210"),
            Some(Secret::new("fedcba9876543210"))
        );
        for bad in ["change-me", "schlüssel geheim"] {
            let problems = problems(&with(bad));
            assert!(
                problems[0].starts_with("ADMIN_KEY_PREVIOUS: "),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_short_admin_key_is_warned_of() {
        let sealed = ("ENCRYPTION_KEY", SEALING_KEY);
        assert!(read(&[KEY, sealed]).unwrap().warnings().is_empty());
        let short = [
            ("ADMIN_KEY", "0123456789abcde"),
            ("ADMIN_KEY_PREVIOUS", "x"),
            ("ENCRYPTION_KEY", SEALING_KEY),
        ];
        let warnings = read(&short).unwrap().warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("ADMIN_KEY: has fewer than 16"));
        assert!(!warnings.join(" ").contains("0123456789abcde"));
    }

    #[test]
    fn an_encryption_key_that_cannot_be_used_names_problem_and_remedy() {
        for name in ["ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"] {
            let problems = problems(&[KEY, (name, "hunter2hunter2")]);
            assert!(
                problems[0].starts_with(&format!("{name}: ")),
                "{problems:?}"
            );
            assert!(
                problems[0].contains("openssl rand -base64 32"),
                "{problems:?}"
            );
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        }
        let settings = read(&[KEY, ("ENCRYPTION_KEY", SEALING_KEY)]).unwrap();
        let printed = format!("{settings:?} {:?}", settings.effective());
        assert!(!printed.contains(SEALING_KEY), "{printed}");
        assert!(read(&[KEY]).unwrap().warnings()[0].contains("openssl rand -base64 32"));
    }

    #[test]
    fn tls_needs_both_of_its_files() {
        for (set, missing) in [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")] {
            let problems = problems(&[KEY, (set, "x.pem")]);
            assert!(problems[0].starts_with(&format!("{missing}: is required where {set}")));
        }
        let both = [KEY, ("TLS_CERT", "x.crt"), ("TLS_KEY", "x.key")];
        assert_eq!(
            read(&both).unwrap().tls.unwrap().key,
            PathBuf::from("x.key")
        );
        assert!(read(&[KEY]).unwrap().tls.is_none());
    }

    #[test]
    fn the_log_filter_is_a_setting_like_any_other() {
        let filter = |value| read(&[KEY, ("RUST_LOG", value)]).unwrap().log_filter;
        assert_eq!(filter(""), telemetry::DEFAULT_FILTER);
        assert_eq!(filter("warn,llm_gateway=debug"), "warn,llm_gateway=debug");
    }

    #[test]
    fn certificates_for_redis_are_for_an_encrypted_connection() {
        let (plain, tls) = (("REDIS_URL", "redis://c"), ("REDIS_URL", "rediss://c"));
        let (ca, cert, key) = (
            ("REDIS_CA_CERT", "/ca.pem"),
            ("REDIS_CLIENT_CERT", "/c.pem"),
            ("REDIS_CLIENT_KEY", "/c.key"),
        );
        assert!(problems(&[KEY, plain, ca])[0].starts_with("REDIS_CA_CERT"));
        assert!(problems(&[KEY, ca])[0].starts_with("REDIS_CA_CERT"));
        assert!(problems(&[KEY, tls, cert])[0].starts_with("REDIS_CLIENT_CERT"));
        let settings = read(&[KEY, tls, ca, cert, key]).unwrap().cache.redis_tls;
        assert_eq!(settings.ca_cert.as_deref(), Some("/ca.pem"));
        assert_eq!(settings.client.unwrap().1, "/c.key");
    }

    #[test]
    fn listening_happens_at_the_kind_of_database_that_is_used() {
        let postgres = ("DATABASE_URL", "postgres://localhost/db");
        let sqlite = ("DATABASE_LISTEN_URL", "sqlite://x.db");
        assert!(problems(&[KEY, postgres, sqlite])[0].starts_with("DATABASE_LISTEN_URL"));
    }

    #[test]
    fn a_container_insists_on_a_database() {
        let required = ("REQUIRE_DATABASE_URL", "true");
        assert!(problems(&[KEY, required])[0].starts_with("DATABASE_URL"));
        assert!(read(&[KEY, required, ("DATABASE_URL", "sqlite://x.db")]).is_ok());
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("-1s").is_err());
        assert!(duration("99999999999999999999s").is_err());
        assert_eq!(size("64KiB"), Ok(65_536));
        assert!(size("0").is_err());
        for text in ["0", "365d", "2h", "15m", "30s", "100ms"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn printed_settings_hold_no_secret() {
        let settings = read(&[
            ("ADMIN_KEY", "hunter2-admin"),
            (
                "DATABASE_URL",
                "postgres://bob:hunter2@db/x?password=hunter2",
            ),
            ("REDIS_URL", "redis://:hunter2@cache"),
        ])
        .unwrap();
        let printed = format!("{settings:?} {:?}", settings.effective());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
