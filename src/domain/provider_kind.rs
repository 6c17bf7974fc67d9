//! What providers speak: one table, a further kind is a further row.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{BaseUrl, Invalid};

/// A row of the table.
#[derive(Debug)]
struct Row {
    /// In JSON and in the database.
    name: &'static str,
    /// Where it is served unless an operator says otherwise; an operator has to where this is
    /// `None`.
    base_url: Option<&'static str>,
    key: KeyHeader,
    /// Sent where the request has no such header of its own.
    headers: &'static [(&'static str, &'static str)],
    /// Whether it can't be used without a key. Servers on one's own machine can.
    needs_key: bool,
}

/// How a provider's key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHeader {
    /// In lower case.
    pub name: &'static str,
    /// What stands before the key.
    pub prefix: &'static str,
}

const BEARER: KeyHeader = KeyHeader {
    name: "authorization",
    prefix: "Bearer ",
};
const API_KEY: KeyHeader = KeyHeader {
    name: "api-key",
    prefix: "",
};
const X_API_KEY: KeyHeader = KeyHeader {
    name: "x-api-key",
    prefix: "",
};

const fn service(name: &'static str, base_url: &'static str) -> Row {
    Row {
        name,
        base_url: Some(base_url),
        key: BEARER,
        headers: &[],
        needs_key: true,
    }
}

const fn local(name: &'static str, base_url: &'static str) -> Row {
    Row {
        needs_key: false,
        ..service(name, base_url)
    }
}

/// Every kind, in the order in which messages list them.
static KINDS: [Row; 21] = [
    service("openai", "https://api.openai.com/v1"),
    service("openrouter", "https://openrouter.ai/api/v1"),
    service(
        "dashscope",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
    ),
    service("ark", "https://ark.cn-beijing.volces.com/api/v3"),
    Row {
        key: X_API_KEY,
        // The one that everything of today is written for; SDKs send their own.
        headers: &[("anthropic-version", "2023-06-01")],
        ..service("anthropic", "https://api.anthropic.com/v1")
    },
    service(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    service("deepseek", "https://api.deepseek.com"),
    service("groq", "https://api.groq.com/openai/v1"),
    service("mistral", "https://api.mistral.ai/v1"),
    service("together", "https://api.together.xyz/v1"),
    service("fireworks", "https://api.fireworks.ai/inference/v1"),
    service("xai", "https://api.x.ai/v1"),
    service("moonshot", "https://api.moonshot.ai/v1"),
    service("zhipu", "https://open.bigmodel.cn/api/paas/v4"),
    service("siliconflow", "https://api.siliconflow.cn/v1"),
    service("minimax", "https://api.minimax.io/v1"),
    Row {
        name: "azure",
        // Every customer has a host of their own: https://{resource}.openai.azure.com/openai/v1
        base_url: None,
        key: API_KEY,
        headers: &[],
        needs_key: true,
    },
    local("ollama", "http://localhost:11434/v1"),
    local("vllm", "http://localhost:8000/v1"),
    local("lmstudio", "http://127.0.0.1:1234/v1"),
    Row {
        name: "custom",
        base_url: None,
        key: BEARER,
        headers: &[],
        needs_key: false,
    },
];

/// What a provider speaks: where it is by default, and how its key is sent.
#[derive(Clone, Copy)]
pub struct ProviderKind(&'static Row);

impl ProviderKind {
    /// OpenAI itself, or anything that speaks exactly like it.
    pub const OPENAI: Self = Self(&KINDS[0]);

    /// Every kind, in the order in which messages list them.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(Self)
    }

    /// The name in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// Where the kind is served unless an operator says otherwise; `None` where an operator has
    /// to.
    pub fn default_base_url(self) -> Option<BaseUrl> {
        #[allow(clippy::expect_used, reason = "a test parses every row of the table")]
        let parse = |url| BaseUrl::parse(url).expect("the table holds usable addresses");
        self.0.base_url.map(parse)
    }

    /// How the key is sent.
    pub const fn key_header(self) -> KeyHeader {
        self.0.key
    }

    /// Headers, in lower case, that are sent where a request has none of that name.
    pub const fn default_headers(self) -> &'static [(&'static str, &'static str)] {
        self.0.headers
    }

    /// Whether it can't be used without a key.
    pub const fn needs_key(self) -> bool {
        self.0.needs_key
    }

    /// Reads a kind's name.
    ///
    /// # Errors
    /// Names the kinds that exist.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::all()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::all().map(Self::as_str).collect();
                Invalid::new(format!("must be one of {}", known.join(", ")))
            })
    }
}

impl PartialEq for ProviderKind {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ProviderKind {}

impl fmt::Debug for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ProviderKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProviderKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_is_read_back_and_its_default_address_is_usable() {
        let mut names = HashSet::new();
        for kind in ProviderKind::all() {
            assert!(names.insert(kind.as_str()));
            assert_eq!(ProviderKind::parse(kind.as_str()), Ok(kind));
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.as_str()));
            assert_eq!(serde_json::from_str::<ProviderKind>(&json).unwrap(), kind);
            let url = kind.default_base_url();
            assert_eq!(url.as_ref().map(BaseUrl::as_str), kind.0.base_url);
        }
        assert!(ProviderKind::parse("OpenAI").is_err());
        assert_eq!(ProviderKind::OPENAI.as_str(), "openai");
    }
}
