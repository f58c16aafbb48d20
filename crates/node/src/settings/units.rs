//! Numbers with units: `5MB`, `64 KiB`, `30s`, `1h30m`.

use std::time::Duration;

/// Splits a number (with an optional fraction) from the unit behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // No exponents, signs or names of numbers that are none.
    Some((number.parse().ok().filter(|n: &f64| n.is_finite())?, unit.trim()))
}

/// Reads bytes.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes, as in 65536, 64KiB or 5MB");
    if let Ok(plain) = text.trim().parse() {
        return Ok(plain);
    }
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let bytes = number * scale;
    if bytes < 9e18 { Ok(bytes.round() as u64) } else { Err(wrong()) }
}

/// Reads a duration: parts with units, or a bare number of seconds.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration, as in 500ms, 30s, 5m or 1h30m");
    let (mut rest, mut total, mut parts) = (text.trim(), Duration::ZERO, 0);
    while !rest.is_empty() {
        let (number, after) = split(rest).ok_or_else(wrong)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let seconds = match unit {
            "" if parts == 0 && next.is_empty() => 1.0,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        (rest, parts) = (next.trim_start(), parts + 1);
    }
    if parts == 0 { Err(wrong()) } else { Ok(total) }
}
