//! Addresses of the database and of Redis, read as their drivers will read them, so that what is
//! accepted here isn't refused later, or half ignored.

use std::{fmt, net::IpAddr};

use url::Url;

/// What PostgreSQL's clients call the degrees of TLS.
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The names of PostgreSQL's parameters that have several, as the driver knows them.
const SSL_MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const SSL_ROOT_CERT: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const SSL_CERT: [&str; 2] = ["sslcert", "ssl-cert"];
const SSL_KEY: [&str; 2] = ["sslkey", "ssl-key"];

/// The files that a `postgres://` address names for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresTls {
    /// `sslrootcert`: the authorities to trust, or `system`.
    pub root_cert: Option<String>,
    /// `sslcert` and `sslkey`: a certificate of the gateway's own, and its key.
    pub client: Option<(String, String)>,
}

/// Where the database is. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `postgres://…`
    Postgres(Url),
    /// The path in `sqlite://path`.
    Sqlite(String),
}

/// Where Redis is: one server, or several of a cluster's. `Display` and `Debug` show no
/// credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Vec<Url>);

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                _ if path.contains('?') => Err(
                    "has options after a `?`, but none are known; write the file's path alone"
                        .to_owned(),
                ),
                "" => Err("names no file".to_owned()),
                ":memory:" => {
                    Err("must be a file, because several connections share it".to_owned())
                }
                path => Ok(Self::Sqlite(path.to_owned())),
            };
        }
        let url = parse_url(text)?;
        match url.scheme() {
            "postgres" | "postgresql" => {
                check_credentials(&url)?;
                for (name, value) in url.query_pairs() {
                    check_postgres_option(&name, &value)?;
                }
                check_postgres_tls(&url)?;
                Ok(Self::Postgres(url))
            }
            scheme => Err(format!(
                "has the scheme `{scheme}`; postgres:// and sqlite:// are known"
            )),
        }
    }
}

impl PostgresTls {
    /// What an address says.
    pub fn of(url: &Url) -> Self {
        Self {
            root_cert: parameter(url, &SSL_ROOT_CERT),
            client: parameter(url, &SSL_CERT).zip(parameter(url, &SSL_KEY)),
        }
    }

    /// The address without `sslrootcert`.
    pub fn without_root_cert(url: &Url) -> Url {
        let mut bare = url.clone();
        let kept = url.query_pairs();
        let kept = kept.filter(|(name, _)| !SSL_ROOT_CERT.contains(&&**name));
        bare.query_pairs_mut().clear().extend_pairs(kept);
        bare
    }
}

impl RedisUrl {
    pub(super) fn default_with(database: &DatabaseUrl) -> Option<Self> {
        match database {
            DatabaseUrl::Sqlite(_) => None,
            DatabaseUrl::Postgres(_) => {
                let url = Url::parse("redis://127.0.0.1:6379").ok()?;
                Some(Self(vec![url]))
            }
        }
    }

    /// `redis://user:password@host:port,host:port/number`, or `none`.
    pub(super) fn parse_or_none(text: &str) -> Result<Option<Self>, String> {
        if text == "none" {
            return Ok(None);
        }
        let urls = one_for_each_host(text)
            .iter()
            .map(|text| parse_redis(text))
            .collect::<Result<Vec<_>, _>>()?;
        match urls.as_slice() {
            [first, _, ..] if !matches!(first.path().trim_matches('/'), "" | "0") => Err(
                "must have no database's number, because a Redis Cluster has but one".to_owned(),
            ),
            _ => Ok(Some(Self(urls))),
        }
    }

    /// Whether the way there is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.0.iter().all(|url| url.scheme() == "rediss")
    }

    /// The whole addresses, one for each server, credentials included, for the driver.
    pub fn expose(&self) -> &[Url] {
        &self.0
    }
}

/// An address with several hosts, each with the rest of it.
fn one_for_each_host(text: &str) -> Vec<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return vec![text.to_owned()];
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // A password may hold an `@`.
    let start = authority.rfind('@').map_or(0, |at| at + 1);
    let (login, hosts) = authority.split_at(start);
    hosts
        .split(',')
        .map(|host| format!("{scheme}://{login}{}{tail}", host.trim()))
        .collect()
}

fn parse_redis(text: &str) -> Result<Url, String> {
    let url = parse_url(text)?;
    match url.scheme() {
        "redis" | "rediss" => {
            check_redis(&url)?;
            Ok(url)
        }
        scheme => Err(format!(
            "has the scheme `{scheme}`; redis:// and rediss:// are known, also for a Redis Cluster"
        )),
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => f.write_str(&without_credentials(url)),
            Self::Sqlite(path) => write!(f, "sqlite://{path}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.0.split_first() else {
            return Ok(());
        };
        let shown = without_credentials(first);
        let end = shown.rfind('/').filter(|at| !shown[..*at].ends_with('/'));
        let (hosts, tail) = shown.split_at(end.unwrap_or(shown.len()));
        f.write_str(hosts)?;
        for url in others {
            write!(f, ",{}", host_and_port(url))?;
        }
        f.write_str(tail)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Refuses what the driver would refuse, and what it would ignore: it logs the value of a
/// parameter that it doesn't know, which may be a password. No message repeats a value.
fn check_postgres_option(name: &str, value: &str) -> Result<(), String> {
    let usable = match name {
        "sslmode" | "ssl-mode" => {
            if !SSL_MODES.contains(&value.to_ascii_lowercase().as_str()) {
                return Err(format!(
                    "must have one of {} as `{name}`",
                    SSL_MODES.join(", ")
                ));
            }
            true
        }
        "port" => value.parse::<u16>().is_ok(),
        "hostaddr" => value.parse::<IpAddr>().is_ok(),
        "statement-cache-capacity" => value.parse::<usize>().is_ok(),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey"
        | "ssl-key" | "host" | "dbname" | "user" | "password" | "application_name" | "options" => {
            true
        }
        _ if name.starts_with("options[") && name.ends_with(']') => true,
        _ => return Err(unknown_option(name, value)),
    };
    match usable {
        true => Ok(()),
        false => Err(format!("has an unusable value of `{name}`")),
    }
}

/// Refuses what would leave a connection less safe than its address looks.
fn check_postgres_tls(url: &Url) -> Result<(), String> {
    let value = |names| parameter(url, names);
    if value(&SSL_CERT).is_some() != value(&SSL_KEY).is_some() {
        return Err("must have both `sslcert` and `sslkey`, or neither".to_owned());
    }
    let mode = value(&SSL_MODE).map(|mode| mode.to_ascii_lowercase());
    match (value(&SSL_ROOT_CERT).as_deref(), mode.as_deref()) {
        (None, _) | (Some("system"), None | Some("verify-full")) => Ok(()),
        (Some("system"), _) => {
            Err("must have verify-full as `sslmode` with `sslrootcert=system`".to_owned())
        }
        (Some(_), Some("require" | "verify-ca" | "verify-full")) => Ok(()),
        (Some(_), _) => Err(
            "has `sslrootcert`, which nobody looks at without `sslmode=verify-full` (or verify-ca)"
                .to_owned(),
        ),
    }
}

/// The last value of a parameter, under any of its names: the one that the driver takes.
fn parameter(url: &Url, names: &[&str]) -> Option<String> {
    let found = url
        .query_pairs()
        .filter(|(name, _)| names.contains(&&**name));
    found.last().map(|(_, value)| value.into_owned())
}

/// Names the parameter, unless it may be the rest of a password with a `?` in it.
fn unknown_option(name: &str, value: &str) -> String {
    let is_a_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !value.is_empty() && name.bytes().all(is_a_name) {
        format!("has the unknown parameter `{name}`")
    } else {
        "has an unknown parameter (in a password, write `?` as %3F and `&` as %26)".to_owned()
    }
}

fn check_redis(url: &Url) -> Result<(), String> {
    match url.host_str() {
        None | Some("") => return Err("names no host".to_owned()),
        Some("0.0.0.0" | "[::]") => {
            return Err("names an address to listen on, not one to connect to".to_owned());
        }
        Some(_) => {}
    }
    check_credentials(url)?;
    let database = url.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err("must have a database's number, or nothing, after the host".to_owned());
    }
    let protocol = url.query_pairs().find(|(name, _)| name == "protocol");
    match protocol.as_ref().map(|(_, value)| value.as_ref()) {
        None | Some("2" | "resp2" | "3" | "resp3") => Ok(()),
        Some(_) => Err("must have 2 or 3 as `protocol`".to_owned()),
    }
}

fn check_credentials(url: &Url) -> Result<(), String> {
    if url.fragment().is_some() {
        return Err("has a part after `#`; in a password, write `#` as %23".to_owned());
    }
    let password = url.password().unwrap_or_default();
    if [url.username(), password, url.path()]
        .into_iter()
        .all(decodes)
    {
        Ok(())
    } else {
        Err("is not UTF-8 after its %XX are decoded".to_owned())
    }
}

/// Whether the text is UTF-8 once its `%XX` are decoded.
fn decodes(text: &str) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let decoded = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    std::str::from_utf8(&bytes).is_ok()
}

fn parse_url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| format!("is not an address ({error})"))
}

/// An address without its user name, password and query, where drivers put credentials too.
fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        let _ = url.set_password(None);
        let _ = url.set_username("***");
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.to_string()
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_postgresql_driver_would_refuse_or_ignore_is_refused_without_its_value() {
        for (rest, word) in [
            ("/x?sslpassword=hunter2", "`sslpassword`"),
            ("/x?sslmode=hunter2", "verify-full"),
            ("/x?sslmode=verify-full&sslcert=/hunter2", "`sslkey`"),
            ("/x?sslrootcert=/hunter2", "sslmode=verify-full"),
            ("/x?sslmode=prefer&ssl-ca=/hunter2", "sslmode=verify-full"),
            ("/x?sslmode=require&sslrootcert=system", "verify-full"),
            ("/x?port=hunter2", "`port`"),
            ("/x?hostaddr=hunter2", "`hostaddr`"),
            ("/x?statement-cache-capacity=hunter2", "`statement-cache"),
            ("/x?hunter2", "%3F"),
            ("/x?hunter2@db=1", "%3F"),
            ("/x#hunter2", "%23"),
            ("/%ff", "UTF-8"),
        ] {
            let refusal = DatabaseUrl::parse(&format!("postgres://u:p@db{rest}")).unwrap_err();
            assert!(refusal.contains(word), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn what_the_postgresql_driver_knows_is_accepted() {
        let known = "sslmode=Verify-Full&ssl-ca=/ca.pem&sslcert=c&sslkey=k&host=/run&port=5433\
            &hostaddr=::1&dbname=d&user=u&password=%26&application_name=a&options=-c%20x%3D1\
            &options[lock_timeout]=1s&statement-cache-capacity=0";
        assert!(DatabaseUrl::parse(&format!("postgres://db/x?{known}")).is_ok());
        assert!(DatabaseUrl::parse("postgresql://u:%C3%BC%25@db").is_ok());
        assert!(DatabaseUrl::parse("postgres://db?sslrootcert=system").is_ok());
    }

    #[test]
    fn a_sqlite_address_is_a_path_alone() {
        assert!(DatabaseUrl::parse("sqlite://x.db?mode=ro").is_err());
        assert!(DatabaseUrl::parse("sqlite://x.db").is_ok());
    }

    #[test]
    fn several_nodes_of_a_redis_cluster_share_the_rest_of_the_address() {
        let text = "rediss://u:p@ss@a:1,b,[::1]:3/0?protocol=3";
        let url = RedisUrl::parse_or_none(text).unwrap().unwrap();
        let each: Vec<_> = url.expose().iter().map(Url::as_str).collect();
        assert_eq!(
            each,
            [
                "rediss://u:p%40ss@a:1/0?protocol=3",
                "rediss://u:p%40ss@b/0?protocol=3",
                "rediss://u:p%40ss@[::1]:3/0?protocol=3",
            ]
        );
        assert!(url.is_tls());
        assert_eq!(url.to_string(), "rediss://***@a:1,b,[::1]:3/0?***");
        let bare = RedisUrl::parse_or_none("redis://a:1,b:2").unwrap().unwrap();
        assert_eq!(bare.to_string(), "redis://a:1,b:2");
        for bad in [
            "redis://a,,b",
            "redis://a,b/1",
            "redis://a:x,b",
            "redis://,a",
        ] {
            assert!(RedisUrl::parse_or_none(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn a_redis_address_names_a_host_and_at_most_a_number() {
        for good in ["", "/", "/7", "/7?protocol=3", "?protocol=resp2"] {
            assert!(RedisUrl::parse_or_none(&format!("redis://u:p@c{good}")).is_ok());
        }
        for bad in [
            "redis://c/seven",
            "redis://c/-1",
            "redis://c/1/2",
            "redis://c?protocol=4",
            "redis://0.0.0.0",
            "redis://[::]:6379",
            "rediss://c#insecure",
            "redis://:%ff@c",
            "redis:///1",
        ] {
            assert!(RedisUrl::parse_or_none(bad).is_err(), "{bad} passed");
        }
    }
}
