//! A value that must not be printed.

use std::fmt;

use subtle::ConstantTimeEq;

use super::Invalid;

/// A secret text. `Debug` and `Display` mask it; [`Secret::expose`] is the one way to read it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Providers' keys have up to a few hundred characters; tokens that some of them use instead
    /// reach two thousand. Servers commonly refuse header lines of more than 8 KiB.
    pub const MAX_HEADER_LENGTH: usize = 4096;

    /// Wraps a secret text.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Trims and checks a secret that is to travel in a header.
    ///
    /// # Errors
    /// Says which rule the text breaks, and nothing of the text.
    pub fn parse_for_header(text: &str) -> Result<Self, Invalid> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(Invalid::new("must not be empty"));
        }
        if trimmed.len() > Self::MAX_HEADER_LENGTH {
            return Err(Invalid::new(format!(
                "must have at most {} characters",
                Self::MAX_HEADER_LENGTH
            )));
        }
        if !trimmed.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new(
                "must consist of visible ASCII characters without spaces, because it travels in a header",
            ));
        }
        Ok(Self::new(trimmed))
    }

    /// The text itself. Every caller is a place where a secret leaves the process on purpose.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that depends on the lengths alone.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }

    /// What an operator may see to recognise a key: the first and last four characters of a
    /// long one, nothing of one of 12 characters or fewer.
    pub fn preview(&self) -> String {
        const SHORT: usize = 12;
        const SHOWN: usize = 4;
        let characters: Vec<char> = self.0.chars().collect();
        if characters.len() <= SHORT {
            return "…".to_owned();
        }
        let first: String = characters[..SHOWN].iter().collect();
        let last: String = characters[characters.len() - SHOWN..].iter().collect();
        format!("{first}…{last}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_shows_nothing() {
        let secret = Secret::new("sk-very-secret-value");
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn a_secret_for_a_header_is_trimmed_visible_and_bounded() {
        let parsed = Secret::parse_for_header(" sk-abc\n").unwrap();
        assert_eq!(parsed.expose(), "sk-abc");
        assert!(Secret::parse_for_header(&"x".repeat(4096)).is_ok());
        for bad in ["", " \n", "a b", "a\r\nb", "ключ", &"x".repeat(4097)] {
            let refusal = Secret::parse_for_header(bad).unwrap_err().to_string();
            assert!(bad.trim().is_empty() || !refusal.contains(bad.trim()));
        }
    }

    #[test]
    fn a_preview_shows_the_ends_of_a_long_key_and_nothing_of_a_short_one() {
        assert_eq!(Secret::new("sk-1234567890abcd").preview(), "sk-1…abcd");
        assert_eq!(Secret::new("1234567890123").preview(), "1234…0123");
        assert_eq!(Secret::new("123456789012").preview(), "…");
        assert_eq!(Secret::new("").preview(), "…");
        assert_eq!(Secret::new("ключ-очень-длинный").preview(), "ключ…нный");
    }
}
