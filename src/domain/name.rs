//! Names of providers, models and keys.

use super::Invalid;

/// A name: 1 to 255 characters after trimming, without control characters. `/`, `:` and
/// non-ASCII characters are welcome; model names have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// How long a name can be, in characters.
    pub const MAX_CHARACTERS: usize = 255;

    /// Trims and checks.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::check(text).map(|name| Self(name.to_owned()))
    }

    /// Whether the text is a name as it stands, with nothing to trim.
    pub fn is_one(text: &str) -> bool {
        Self::check(text).is_ok_and(|name| name == text)
    }

    fn check(text: &str) -> Result<&str, Invalid> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(Invalid::new("must not be empty"));
        }
        if trimmed.chars().count() > Self::MAX_CHARACTERS {
            return Err(Invalid::new(format!(
                "must have at most {} characters",
                Self::MAX_CHARACTERS
            )));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(Invalid::new("must not contain control characters"));
        }
        Ok(trimmed)
    }

    /// The trimmed text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trimmed text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_may_be_any_script() {
        for (given, kept) in [
            ("  gpt-4o ", "gpt-4o"),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1:free"),
            ("通义千问", "通义千问"),
        ] {
            assert_eq!(Name::parse(given).unwrap().as_str(), kept);
        }
        assert!(Name::parse(&"é".repeat(255)).is_ok());
    }

    #[test]
    fn an_empty_long_or_control_character_name_is_refused() {
        for bad in ["", "   ", "a\nb", "a\u{0}b", "\u{7f}x", &"é".repeat(256)] {
            assert!(Name::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
