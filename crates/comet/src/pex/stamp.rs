//! A point in wall-clock time, in eight bytes, and how the address book writes it.
//!
//! ```text
//! 2026-11-21T01:46:23.036423574Z    RFC 3339 in UTC, fractions without trailing zeros
//! 0001-01-01T00:00:00Z              never (Go's zero time)
//! ```
//! Limits: the years 1678 to 2261. A time before them reads as never, one after them as the last moment there is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Nanoseconds since 1970, or [`Stamp::NEVER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(i64);

impl Stamp {
    /// Before everything that ever happened.
    pub const NEVER: Self = Self(i64::MIN);

    /// A point so many seconds after 1970.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs as i64 * SECOND)
    }

    /// Whether this is [`Stamp::NEVER`].
    #[must_use]
    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }

    /// So much later; never stays never.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        if self.is_never() { self } else { Self(self.0.saturating_add(nanos(span))) }
    }

    /// The time that passed from `earlier` to here; zero when `earlier` is later, the longest there is when it
    /// is never.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }

    /// The text of RFC 3339.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        if self.is_never() {
            return "0001-01-01T00:00:00Z".to_owned();
        }
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if nanos != 0 {
            let fraction = format!(".{nanos:09}");
            text.push_str(fraction.trim_end_matches('0'));
        }
        text.push('Z');
        text
    }

    /// Reads the text of RFC 3339, in any time zone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't'])?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let zone_at = rest.find(['Z', 'z', '+', '-'])?;
        let (time, zone) = rest.split_at_checked(zone_at)?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let legal = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60
            && time.len() == 8
            && fraction.bytes().all(|b| b.is_ascii_digit());
        if !legal {
            return None;
        }
        // Digits beyond the ninth are below a nanosecond.
        let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        let nanos = nanos.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let local = days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        let total = i128::from(local - offset(zone)?) * i128::from(SECOND) + i128::from(nanos);
        if total <= i128::from(i64::MIN) {
            return Some(Self::NEVER);
        }
        Some(Self(i64::try_from(total).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(nanos(after)),
            Err(before) => Self(-nanos(before.duration())),
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Three numbers of the given widths.
fn numbers(text: &str, between: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut next = |width| {
        let part = parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse().ok()
    };
    let [a, b, c] = widths;
    let found = [next(a)?, next(b)?, next(c)?];
    if parts.next().is_some() { None } else { Some(found) }
}

/// Seconds a time zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let [hours, minutes, _] = numbers(&format!("{hours}:{minutes}:00"), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the day a leap
/// year has more comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that lies so many days after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_of_go() {
        for text in ["2026-11-21T01:46:23.036423574Z", "2026-11-21T01:46:23Z", "2024-02-29T23:59:59.5Z"] {
            assert_eq!(Stamp::parse(text).unwrap().to_rfc3339(), text);
        }
        assert_eq!(Stamp::parse("1970-01-02T00:00:01Z"), Some(Stamp::from_secs(86_401)));
        let local = Stamp::parse("2026-11-21T03:16:23+01:30").unwrap();
        assert_eq!(local.to_rfc3339(), "2026-11-21T01:46:23Z");
        assert_eq!(Stamp::parse("2026-11-20T23:46:23-02:00").unwrap(), local);
        let never = Stamp::parse("0001-01-01T00:00:00Z").unwrap();
        assert!(never.is_never());
        assert_eq!(never.to_rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(Stamp::parse("9999-12-31T23:59:59Z").unwrap(), Stamp(i64::MAX));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "T",
            "2026-11-21",
            "2026-11-21T01:46:23",
            "2026-13-21T01:46:23Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T01:46:23.x9Z",
            "2026-11-21T01:46:23+1:00",
            "2026-11-21T01:46:23ZZ",
            "+026-11-21T01:46:23Z",
            "2026-11-21T01:46Z",
            "é",
        ] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans() {
        let at = Stamp::from_secs(100);
        assert_eq!(at.plus(Duration::from_secs(5)).since(at), Duration::from_secs(5));
        assert_eq!(at.since(at.plus(Duration::from_secs(5))), Duration::ZERO);
        assert_eq!(
            at.since(Stamp::NEVER),
            Duration::from_nanos(u64::try_from(i128::from(100 * SECOND) - i128::from(i64::MIN)).unwrap())
        );
        assert!(Stamp::NEVER.plus(Duration::from_secs(1)).is_never());
        assert_eq!(at.plus(Duration::MAX), Stamp(i64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(nanos in any::<i64>()) {
            let stamp = Stamp(nanos);
            prop_assert_eq!(Stamp::parse(&stamp.to_rfc3339()), Some(stamp));
        }

        #[test]
        fn any_text(text in "\\PC{0,40}") {
            let _ = Stamp::parse(&text);
        }
    }
}
