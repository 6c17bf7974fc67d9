//! Addresses of the database and of Redis, read as their drivers will read them, so that what is
//! accepted here isn't refused later, or half ignored.

use std::fmt;

use url::Url;

/// Where the database is. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `postgres://…`
    Postgres(Url),
    /// The path in `sqlite://path`.
    Sqlite(String),
}

/// Where Redis is. `Display` and `Debug` show no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Url);

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            return match path {
                "" => Err("names no file".to_owned()),
                ":memory:" => {
                    Err("must be a file, because several connections share it".to_owned())
                }
                path => Ok(Self::Sqlite(path.to_owned())),
            };
        }
        let url = parse_url(text)?;
        match url.scheme() {
            "postgres" | "postgresql" => Ok(Self::Postgres(url)),
            scheme => Err(format!(
                "has the scheme `{scheme}`; postgres:// and sqlite:// are known"
            )),
        }
    }
}

impl RedisUrl {
    pub(super) fn default_with(database: &DatabaseUrl) -> Option<Self> {
        match database {
            DatabaseUrl::Sqlite(_) => None,
            DatabaseUrl::Postgres(_) => Url::parse("redis://127.0.0.1:6379").ok().map(Self),
        }
    }

    pub(super) fn parse_or_none(text: &str) -> Result<Option<Self>, String> {
        if text == "none" {
            return Ok(None);
        }
        let url = parse_url(text)?;
        match url.scheme() {
            "redis" | "rediss" if url.has_host() => Ok(Some(Self(url))),
            "redis" | "rediss" => Err("names no host".to_owned()),
            scheme => Err(format!(
                "has the scheme `{scheme}`; redis:// and rediss:// are known"
            )),
        }
    }

    /// The whole address, credentials included, for the driver.
    pub fn expose(&self) -> &str {
        self.0.as_str()
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
        f.write_str(&without_credentials(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
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
