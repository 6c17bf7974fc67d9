//! Providers: who serves models, where, and with which key.

use std::fmt;

use actix_web::http::{header::HeaderValue, uri::Authority};
use chrono::{DateTime, Utc};
use url::{Host, Url};
use uuid::Uuid;

use super::{
    EncryptionKey, Invalid, Name, NewProvider, ProviderHeaders, ProviderKey, ProviderKind,
    ProviderRefused, Sealed, Timeouts,
};

/// An address under which a provider serves its API: `http` or `https`, a host, perhaps a port
/// and a path; no credentials, query or fragment. Kept without a trailing slash.
#[derive(Clone)]
pub struct BaseUrl {
    url: Url,
    /// What every request needs of it is made once.
    authority: Authority,
    host: HeaderValue,
}

impl BaseUrl {
    /// Checks an address.
    ///
    /// # Errors
    /// Says which part is missing or not allowed; never repeats credentials.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut url = Url::parse(text.trim()).map_err(|error| {
            Invalid::new(format!(
                "must be an address such as https://api.openai.com/v1 ({error})"
            ))
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Invalid::new("must begin with http:// or https://"));
        }
        if !matches!(url.host(), Some(host) if is_named(&host)) {
            return Err(Invalid::new("must name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid::new("must not contain credentials; use api_key"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid::new("must have neither a query nor a fragment"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let unusable = || Invalid::new("must name a host that can be sent in a header");
        Ok(Self {
            authority: authority(&url).ok_or_else(unusable)?,
            host: HeaderValue::from_str(host_and_port(&url)).map_err(|_| unusable())?,
            url,
        })
    }

    /// Whether the provider is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host and port as one writes them in a `Host` header: the port only where it isn't the
    /// scheme's own.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host
    }

    /// The host as in the address (IPv6 in brackets) and the port, the scheme's own where the
    /// address names none.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Scheme, host and port: who is spoken to.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The path without a trailing slash; empty where the address has none.
    pub fn path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    /// The whole address without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

fn host_and_port(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::AfterPort]
}

fn authority(url: &Url) -> Option<Authority> {
    let host = &url[url::Position::BeforeHost..url::Position::AfterHost];
    let port = url.port_or_known_default()?;
    format!("{host}:{port}").parse().ok()
}

fn is_named(host: &Host<&str>) -> bool {
    !matches!(host, Host::Domain(domain) if domain.is_empty())
}

impl PartialEq for BaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for BaseUrl {}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A provider as stored.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Names it for good.
    pub id: Uuid,
    /// Unique among providers.
    pub name: Name,
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: BaseUrl,
    /// The key that it issued to us; empty where it asks for none.
    pub api_key: ProviderKey,
    /// What each of its requests carries besides.
    pub headers: ProviderHeaders,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// An inactive provider serves no model.
    pub is_active: bool,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Provider {
    /// A provider registered now. Its secrets are sealed with a key, if there is one.
    ///
    /// # Errors
    /// What its kind needs is missing.
    pub fn new(
        id: Uuid,
        new: NewProvider,
        seal_with: Option<&EncryptionKey>,
        now: DateTime<Utc>,
    ) -> Result<Self, ProviderRefused> {
        let base_url = new.base_url.or_else(|| new.kind.default_base_url());
        let provider = Self {
            id,
            base_url: base_url.ok_or(ProviderRefused::NoAddress(new.kind))?,
            name: new.name,
            kind: new.kind,
            api_key: Sealed::new(id, new.api_key, seal_with),
            headers: Sealed::new(id, new.headers, seal_with),
            timeouts: new.timeouts,
            is_active: true,
            created_at: now,
            updated_at: now,
        };
        provider.check_key()?;
        Ok(provider)
    }

    pub(super) fn check_key(&self) -> Result<(), ProviderRefused> {
        match self.kind.needs_key() && self.api_key.is_empty() {
            true => Err(ProviderRefused::NoKey(self.kind)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_falls_into_its_parts() {
        let url = BaseUrl::parse(" https://Example.com/api/v1/ ").unwrap();
        assert_eq!(url.as_str(), "https://example.com/api/v1");
        assert_eq!(url.host_header(), "example.com");
        assert_eq!(url.authority(), "example.com:443");
        assert_eq!(url.path(), "/api/v1");
        assert_eq!(url.origin(), "https://example.com");
        assert!(url.is_tls());

        let url = BaseUrl::parse("http://[::1]:8000").unwrap();
        assert_eq!(url.as_str(), "http://[::1]:8000");
        assert_eq!(url.host_header(), "[::1]:8000");
        assert_eq!(url.authority(), "[::1]:8000");
        assert_eq!(url.path(), "");
        assert!(!url.is_tls());
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused() {
        for bad in [
            "",
            "api.openai.com/v1",
            "ftp://example.com",
            "https://",
            "http://:80/",
            "https://user:pass@example.com/v1",
            "https://user@example.com/v1",
            "https://example.com/v1?key=x",
            "https://example.com/v1#x",
            "https://exa mple.com",
            "https://example.com:99999",
        ] {
            assert!(BaseUrl::parse(bad).is_err(), "{bad} was accepted");
        }
        let refusal = BaseUrl::parse("https://user:hunter2@example.com").unwrap_err();
        assert!(!refusal.to_string().contains("hunter2"));
    }
}
