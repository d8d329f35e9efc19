//! Times and lengths of time as they are typed: `2026-11-22T10:00:00.5Z`, `+2.5s`, `-3.1ms`.

use std::fmt;
use std::str::FromStr;

use crate::report::json;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds since 1970-01-01 00:00:00 UTC.
    At(u64),
    /// Nanoseconds after the first packet.
    After(u64),
}

impl Moment {
    /// The time it stands for, in nanoseconds since the epoch, where the first packet came at `first`.
    pub fn nanoseconds(self, first: u64) -> u64 {
        match self {
            Self::At(time) => time,
            Self::After(span) => first.saturating_add(span),
        }
    }
}

impl fmt::Display for Moment {
    /// `2.5s` after the first packet, or RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => f.write_str(&json::rfc3339(*time)),
            Self::After(span) => f.write_str(&words(i64::try_from(*span).unwrap_or(i64::MAX))),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// RFC 3339, or a length of time after the first packet, in seconds where it has no unit.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(time) = rfc3339(text) {
            return Ok(Self::At(time));
        }
        let span = text.strip_prefix('+').unwrap_or(text);
        let span = if span.ends_with(|c: char| c.is_ascii_digit()) {
            length(&format!("{span}s"))
        } else {
            length(span)
        };
        let span = span.and_then(|span| u64::try_from(span).ok());
        span.map(Self::After).ok_or_else(|| {
            "expected a time such as 2026-11-22T10:00:00.5Z, or one after the first packet such as +2.5s".into()
        })
    }
}

/// A signed length of time with its unit (`+3ms`, `-1.5s`), in nanoseconds.
pub fn span(text: &str) -> Result<i64, String> {
    length(text).ok_or_else(|| {
        "expected a length of time with its unit, such as +3ms or -1.5s (ns, us, ms, s)".into()
    })
}

fn length(text: &str) -> Option<i64> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let unit: i64 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(i64::from(digit.to_digit(10)?).checked_mul(place)?)?;
    }
    Some(if negative { -total } else { total })
}

/// Nanoseconds since the epoch of a date and time with its zone, from 1970 on.
fn rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut fields = date.split('-');
    let [year, month, day] =
        [number(fields.next()?, 4)?, number(fields.next()?, 2)?, number(fields.next()?, 2)?];
    if fields.next().is_some() {
        return None;
    }
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at_checked(at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut fields = clock.split(':');
    let [hour, minute, second] =
        [number(fields.next()?, 2)?, number(fields.next()?, 2)?, number(fields.next()?, 2)?];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let sound = fields.next().is_none() && (1..=days).contains(&day);
    if !sound || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut nanos = 0_i64;
    let mut place = 1_000_000_000_i64;
    for digit in fraction.chars() {
        place /= 10;
        nanos += i64::from(digit.to_digit(10)?) * place;
    }
    let east = if zone.eq_ignore_ascii_case("z") {
        0
    } else {
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let ahead = number(hours, 2)? * 60 + number(minutes, 2)?;
        if zone.starts_with('-') { -ahead } else { ahead }
    };
    let seconds =
        days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + (minute - east) * 60 + second;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.unsigned_abs())
}

/// A number of so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

/// As in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms"; the year is 1970 or later.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A length of time for people, with the largest unit that leaves no more than three digits behind the point.
pub fn words(nanoseconds: i64) -> String {
    let size = nanoseconds.unsigned_abs();
    let (unit, name) = match size {
        1_000_000_000.. => (1_000_000_000, "s"),
        1_000_000.. => (1_000_000, "ms"),
        1_000.. => (1_000, "us"),
        _ => return format!("{nanoseconds}ns"),
    };
    let (whole, rest) = (size / unit, size % unit * 1_000 / unit);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let digits = format!("{rest:03}");
    match digits.trim_end_matches('0') {
        "" => format!("{sign}{whole}{name}"),
        digits => format!("{sign}{whole}.{digits}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let at = |seconds: u64, nanos| Ok(Moment::At(seconds * 1_000_000_000 + nanos));
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2024-02-29T00:00:00Z", at(1_709_164_800, 0)),
            ("2024-12-31 23:59:59.000000042z", at(1_735_689_599, 42)),
            ("2025-01-01T01:59:59+02:00", at(1_735_689_599, 0)),
            ("2024-12-31T20:29:59.5-03:30", at(1_735_689_599, 500_000_000)),
            ("+2.5s", Ok(Moment::After(2_500_000_000))),
            ("2.5", Ok(Moment::After(2_500_000_000))),
            ("0", Ok(Moment::After(0))),
            ("+300ms", Ok(Moment::After(300_000_000))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in [
            "",
            "+",
            "-1s",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01",
            "1969-12-31T23:59:59Z",
            "24-01-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "ten",
            "1e9",
            "+2.5.1s",
            "9999999999999999999",
            "2024-01-01T00:00:00.xZ",
            "5 minutes",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        assert_eq!(Moment::After(5).nanoseconds(u64::MAX), u64::MAX);
    }

    #[test]
    fn dates_are_those_that_are_printed() {
        for day in 0..80_000 {
            let time = day * 86_400_000_000_000 + 3_723_000_000_007;
            assert_eq!(json::rfc3339(time).parse(), Ok(Moment::At(time)));
        }
    }

    #[test]
    fn spans() {
        for (text, expected) in [
            ("+3ms", 3_000_000),
            ("-3.1ms", -3_100_000),
            ("0.5us", 500),
            (".5s", 500_000_000),
            ("7ns", 7),
            ("-1s", -1_000_000_000),
            ("1.0000000009s", 1_000_000_000),
        ] {
            assert_eq!(span(text), Ok(expected), "{text}");
        }
        for text in ["", "3", "ms", ".ms", "+-3ms", "3 ms", "3min", "99999999999s", "3m\u{0660}s"] {
            assert!(span(text).is_err(), "{text}");
        }
        for (nanos, text) in [
            (0, "0ns"),
            (-999, "-999ns"),
            (3_100_000, "3.1ms"),
            (-3_100_000, "-3.1ms"),
            (1_234_567_890, "1.234s"),
            (2_000, "2us"),
            (60_000_000_000, "60s"),
            (1_050_000, "1.05ms"),
        ] {
            assert_eq!(words(nanos), text);
        }
    }
}
