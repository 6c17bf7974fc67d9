//! How long a provider may take, where that differs from the gateway's settings.

use std::time::Duration;

use super::{Invalid, duration::parse_duration};

/// A limit of one provider's own; `None`: the one that the settings have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Name, TCP and TLS together.
    pub connect: Option<Duration>,
    /// From the request to the response's head.
    pub response: Option<Duration>,
    /// Between two pieces of a response's body.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// The longest of them. What takes longer than a day is no request.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Reads one limit: `100ms`, `10s`, `15m`, `2h`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_one(text: &str) -> Result<Duration, Invalid> {
        let limit = parse_duration(text.trim()).map_err(Invalid)?;
        match limit {
            Duration::ZERO => Err(Invalid::new("must be longer than zero")),
            limit if limit > Self::LONGEST => Err(Invalid::new("must be at most 24h")),
            limit => Ok(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_longer_than_nothing_and_not_longer_than_a_day() {
        let day = Timeouts::parse_one(" 24h ");
        assert_eq!(day, Ok(Timeouts::LONGEST));
        assert_eq!(Timeouts::parse_one("1ms"), Ok(Duration::from_millis(1)));
        for bad in [
            "0", "0s", "25h", "86401", "", "soon", "2d", "1w", "-1s", "1.5s",
        ] {
            assert!(Timeouts::parse_one(bad).is_err(), "{bad} passed");
        }
    }
}
