//! Providers: who serves models, where, and with which key.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use uuid::Uuid;

use super::{Invalid, Name, NewProvider, ProviderKey, Secret};

/// What a provider speaks. Every kind is a row of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenAI itself, or anything that speaks exactly like it.
    OpenAi,
    /// <https://openrouter.ai>
    OpenRouter,
    /// Alibaba Cloud Model Studio, in its OpenAI-compatible mode.
    DashScope,
    /// Volcengine Ark.
    Ark,
}

impl ProviderKind {
    /// Every kind, in the order in which messages list them.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::OpenRouter, Self::DashScope, Self::Ark];

    const fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("openai", "https://api.openai.com/v1"),
            Self::OpenRouter => ("openrouter", "https://openrouter.ai/api/v1"),
            Self::DashScope => (
                "dashscope",
                "https://dashscope.aliyuncs.com/compatible-mode/v1",
            ),
            Self::Ark => ("ark", "https://ark.cn-beijing.volces.com/api/v3"),
        }
    }

    /// The name in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Where the kind is served unless an operator says otherwise.
    pub fn default_base_url(self) -> BaseUrl {
        #[allow(clippy::expect_used, reason = "a test parses every row of the table")]
        BaseUrl::parse(self.row().1).expect("the table holds usable addresses")
    }

    /// Reads a kind's name.
    ///
    /// # Errors
    /// Names the kinds that exist.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                Invalid::new(format!("must be one of {known}"))
            })
    }
}

/// An address under which a provider serves its API: `http` or `https`, a host, perhaps a port
/// and a path; no credentials, query or fragment. Kept without a trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

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
        Ok(Self(url))
    }

    /// Whether the provider is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and port as one writes them in a `Host` header: the port only where it isn't the
    /// scheme's own.
    pub fn host_header(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// The host as in the address (IPv6 in brackets) and the port, the scheme's own where the
    /// address names none.
    pub fn host_and_port(&self) -> (&str, u16) {
        let default = if self.is_tls() { 443 } else { 80 };
        let host = &self.0[url::Position::BeforeHost..url::Position::AfterHost];
        (host, self.0.port().unwrap_or(default))
    }

    /// Scheme, host and port: who is spoken to.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path without a trailing slash; empty where the address has none.
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// The whole address without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

fn is_named(host: &Host<&str>) -> bool {
    !matches!(host, Host::Domain(domain) if domain.is_empty())
}

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
    /// The key that it issued to us.
    pub api_key: ProviderKey,
    /// An inactive provider serves no model.
    pub is_active: bool,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Provider {
    /// A provider registered now; `seal` makes of its key what is stored.
    pub fn new(
        id: Uuid,
        new: NewProvider,
        seal: impl FnOnce(Secret) -> ProviderKey,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            base_url: new.base_url.unwrap_or_else(|| new.kind.default_base_url()),
            name: new.name,
            kind: new.kind,
            api_key: seal(new.api_key),
            is_active: true,
            created_at: now,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_and_has_a_usable_default_address() {
        for kind in ProviderKind::ALL {
            assert_eq!(ProviderKind::parse(kind.as_str()), Ok(kind));
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.as_str())
            );
            assert_eq!(kind.default_base_url().as_str(), kind.row().1);
        }
        assert!(ProviderKind::parse("OpenAI").is_err());
    }

    #[test]
    fn an_address_falls_into_its_parts() {
        let url = BaseUrl::parse(" https://Example.com/api/v1/ ").unwrap();
        assert_eq!(url.as_str(), "https://example.com/api/v1");
        assert_eq!(url.host_header(), "example.com");
        assert_eq!(url.host_and_port(), ("example.com", 443));
        assert_eq!(url.path(), "/api/v1");
        assert_eq!(url.origin(), "https://example.com");
        assert!(url.is_tls());

        let url = BaseUrl::parse("http://[::1]:8000").unwrap();
        assert_eq!(url.as_str(), "http://[::1]:8000");
        assert_eq!(url.host_header(), "[::1]:8000");
        assert_eq!(url.host_and_port(), ("[::1]", 8000));
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
