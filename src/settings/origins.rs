//! `CORS_ORIGINS`: from which web pages browsers may call `/v1`.

use std::fmt;

use url::Url;

/// Origins of web pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// None: browsers are told nothing.
    None,
    /// All there are.
    Any,
    /// These, each as browsers write it.
    Only(Vec<String>),
}

impl Origins {
    /// Reads `*` or a list with commas.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let origins = text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        origins
            .map(parse_one)
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

/// An origin is a scheme, a host and perhaps a port. A slash behind it is what people copy from
/// the address bar; a path would be ignored, and so is refused.
fn parse_one(text: &str) -> Result<String, String> {
    let refuse = |problem: &str| Err(format!("has `{text}`, which {problem}"));
    let Ok(url) = Url::parse(text) else {
        return refuse("is no origin");
    };
    let origin = url.origin();
    if !origin.is_tuple() || url.host_str().is_none_or(str::is_empty) {
        return refuse("is no origin of a web page");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return refuse("has a path behind the host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("has credentials");
    }
    Ok(origin.ascii_serialization())
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Any => f.write_str("*"),
            Self::Only(origins) => f.write_str(&origins.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_write_them() {
        for (text, expected) in [
            ("*", "*"),
            ("https://App.Example.com", "https://app.example.com"),
            (
                "http://localhost:3000/, https://a.example:443",
                "http://localhost:3000,https://a.example",
            ),
            (
                "https://b\u{fc}cher.example",
                "https://xn--bcher-kva.example",
            ),
        ] {
            assert_eq!(Origins::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "app.example.com",
            "https://a.example/path",
            "https://a.example?x",
            "https://u@a.example",
            "null",
            "https://*.example.com/x",
            "file:///x",
            "*, https://a.example",
        ] {
            assert!(Origins::parse(bad).is_err(), "{bad}");
        }
    }
}
