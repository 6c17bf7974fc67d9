//! How durations are written, in the environment and in JSON: `100ms`, `10s`, `15m`, `2h`, `90d`.

use std::time::Duration;

/// Reads a duration; a bare number is seconds.
///
/// # Errors
/// Says what is wrong with the text, without a subject.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "has the unknown unit `{unit}` (known: ms, s, m, h, d)"
            ));
        }
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| "is too long".to_owned())
}

/// A number and what stands behind it.
///
/// # Errors
/// Says that there is no number, without a subject.
pub(crate) fn split_unit(text: &str) -> Result<(u64, &str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number
        .parse()
        .map_err(|_| "must begin with a whole number".to_owned())?;
    Ok((number, unit.trim()))
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that fits.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}
