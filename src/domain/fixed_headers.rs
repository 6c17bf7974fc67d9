//! Headers that a provider's every request carries, over those of the caller.

use std::{collections::BTreeMap, fmt};

use actix_web::http::header::{HeaderName, HeaderValue};

use super::{Invalid, Secret};

/// Servers commonly refuse heads of more than 8 KiB to 16 KiB; the caller's own headers and the
/// key come on top.
const MAX_BYTES: usize = 8 * 1024;

/// Fixed request headers. Their values may be secrets: printing shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FixedHeaders(Vec<(HeaderName, HeaderValue)>);

impl FixedHeaders {
    /// More than anybody has a use for, and little beside what servers take.
    pub const MAX_HEADERS: usize = 32;

    /// Checks names and values. Names are kept in lower case, values without the blanks around
    /// them.
    ///
    /// # Errors
    /// Names the header and the rule that it breaks; never repeats a value.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Invalid> {
        let mut headers = BTreeMap::new();
        for (name, value) in pairs {
            let name = parse_name(name)?;
            let value = parse_value(name.as_str(), value)?;
            if headers.contains_key(name.as_str()) {
                return Err(Invalid::new(format!("must not have `{name}` twice")));
            }
            headers.insert(name.as_str().to_owned(), (name, value));
        }
        let headers = Self(headers.into_values().collect());
        if headers.0.len() > Self::MAX_HEADERS || headers.bytes() > MAX_BYTES {
            return Err(Invalid::new(format!(
                "must be at most {} headers of together at most {MAX_BYTES} bytes",
                Self::MAX_HEADERS
            )));
        }
        Ok(headers)
    }

    fn bytes(&self) -> usize {
        let sizes = self.iter();
        sizes
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum()
    }

    /// Reads what [`FixedHeaders::to_json`] wrote.
    ///
    /// # Errors
    /// The text isn't an object of texts that are headers.
    pub fn from_json(json: &str) -> Result<Self, Invalid> {
        let pairs: BTreeMap<String, String> = serde_json::from_str(json)
            .map_err(|_| Invalid::new("must be a JSON object of texts"))?;
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        Self::parse(pairs)
    }

    /// The form in the database and in Redis, values included.
    pub fn to_json(&self) -> String {
        let object: serde_json::Map<_, _> = self
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value).into()))
            .collect();
        serde_json::Value::from(object).to_string()
    }

    /// What an operator may see: each name, and of its value what [`Secret::preview`] shows.
    pub fn previews(&self) -> BTreeMap<String, String> {
        let previews = self.iter().map(|(name, value)| {
            let preview = Secret::new(text(value)).preview();
            (name.as_str().to_owned(), preview)
        });
        previews.collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, to be sent.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

fn text(value: &HeaderValue) -> &str {
    // Parsed from visible ASCII, so it always is one.
    value.to_str().unwrap_or_default()
}

fn parse_name(text: &str) -> Result<HeaderName, Invalid> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        return Err(Invalid::new(
            "must have names such as `x-title`: letters, digits and some punctuation, without blanks",
        ));
    };
    match why_not(name.as_str()) {
        None => Ok(name),
        Some(reason) => Err(Invalid::new(format!("must not have `{name}`: {reason}"))),
    }
}

/// Why a header can't be a fixed one.
fn why_not(name: &str) -> Option<&'static str> {
    Some(match name {
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" | "expect" => {
            "it speaks of one connection, which is the gateway's business"
        }
        "host" | "content-length" | "content-type" | "content-encoding" | "accept-encoding" => {
            "the request itself decides it"
        }
        "authorization"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "cookie"
        | "api-key"
        | "x-api-key"
        | "x-goog-api-key" => "it carries a key; that is what `api_key` is for",
        _ => return None,
    })
}

fn parse_value(name: &str, text: &str) -> Result<HeaderValue, Invalid> {
    let trimmed = text.trim_matches(|c| c == ' ' || c == '\t');
    let is_visible = trimmed.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    let value = HeaderValue::from_str(trimmed)
        .ok()
        .filter(|_| is_visible && !trimmed.is_empty());
    let Some(mut value) = value else {
        return Err(Invalid::new(format!(
            "must have a value of visible ASCII characters for `{name}`"
        )));
    };
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for FixedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let refusal = FixedHeaders::parse(pairs.iter().copied()).unwrap_err();
        refusal.to_string()
    }

    #[test]
    fn headers_read_back_and_show_no_value() {
        let pairs = [
            ("X-Title", " My \"App\" "),
            ("openai-organization", "org-0123456789"),
        ];
        let headers = FixedHeaders::parse(pairs).unwrap();
        let json = r#"{"openai-organization":"org-0123456789","x-title":"My \"App\""}"#;
        assert_eq!(headers.to_json(), json);
        assert_eq!(FixedHeaders::from_json(json), Ok(headers.clone()));
        let previews: Vec<_> = headers.previews().into_iter().collect();
        assert_eq!(
            previews,
            [("openai-organization", "org-…6789"), ("x-title", "…")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let shown = format!("{headers:?} {:?}", headers.0);
        assert!(!shown.contains("App") && !shown.contains("0123"), "{shown}");
    }

    #[test]
    fn what_is_not_an_operators_to_fix_is_refused_by_name() {
        for name in [
            "Host",
            "Content-Length",
            "Connection",
            "Transfer-Encoding",
            "TE",
            "Upgrade",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "X-API-Key",
            "api-key",
            "x-goog-api-key",
            "Expect",
            "Content-Type",
        ] {
            let refusal = refusal(&[("x-fine", "1"), (name, "hunter2")]);
            assert!(
                refusal.contains(&format!("`{}`", name.to_lowercase())),
                "{refusal}"
            );
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_header_or_too_much_is_refused() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("\u{e9}", "x"),
            ("a\r\nb", "x"),
            ("a", ""),
            ("a", " "),
            ("a", "hunter2\r\nb: c"),
            ("a", "hunter2\u{e9}"),
            ("a", "\0hunter2"),
        ] {
            let refusal = refusal(&[(name, value)]);
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        assert!(refusal(&[("x-a", "1"), ("X-A", "2")]).contains("twice"));
        let many: Vec<_> = (0..33).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(refusal(&many).contains("32"));
        assert!(FixedHeaders::parse(many[..32].iter().copied()).is_ok());
        assert!(refusal(&[("a", &"x".repeat(MAX_BYTES))]).contains("8192"));
    }
}
