//! Points in time as people write them: on the clock, or since the first packet.

use std::fmt;

use crate::report::json::rfc3339;

/// A point in time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Since the first packet.
    After(u64),
    /// Since 1970-01-01 00:00:00 UTC.
    At(u64),
}

impl When {
    /// Reads `2.5`, `+2.5s`, `300ms` or `2026-11-22T10:00:00.5Z`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = if text.contains('T') { clock(text) } else { since(text) };
        read.ok_or_else(|| {
            format!("{text:?} is no time; give seconds since the first packet (2.5, 300ms) or 2026-11-22T10:00:00.5Z")
        })
    }

    /// The time on the clock, where the first packet came at `first`.
    pub const fn on_clock(self, first: u64) -> u64 {
        match self {
            Self::After(gap) => first.saturating_add(gap),
            Self::At(time) => time,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(gap) => {
                write!(f, "{}.{:06} s", gap / 1_000_000_000, gap % 1_000_000_000 / 1_000)
            }
            Self::At(time) => f.write_str(&rfc3339(*time)),
        }
    }
}

fn since(text: &str) -> Option<When> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = match unit {
        "" | "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        "m" => 60_000_000_000,
        _ => return None,
    };
    decimal(number, unit).map(When::After)
}

/// `2.5` times a unit; digits beyond a nanosecond are cut off.
fn decimal(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut unit = unit;
    for digit in part.chars() {
        unit /= 10;
        total = total.checked_add(u64::from(digit.to_digit(10)?).checked_mul(unit)?)?;
    }
    Some(total)
}

/// RFC 3339 in UTC, or with an offset: the reverse of [`rfc3339`].
fn clock(text: &str) -> Option<When> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at_checked(zone)?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let second = decimal(parts.next()?, 1_000_000_000)?;
    let offset = match zone {
        "Z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    if !(1970..=2550).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days before a month in a year that begins in March (as `rfc3339` counts).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let minutes = (days.checked_sub(719_468)? * 24 + hour) * 60 + minute;
    let minutes = i64::try_from(minutes).ok()?.checked_sub(offset)?;
    let seconds = u64::try_from(minutes).ok()?.checked_mul(60)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(second).map(When::At)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_since_the_first_packet() {
        for (text, nanos) in [
            ("2.5", 2_500_000_000),
            ("+2.5s", 2_500_000_000),
            ("300ms", 300_000_000),
            (".5us", 500),
            ("7ns", 7),
            ("2m", 120_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(When::parse(text), Ok(When::After(nanos)), "{text}");
        }
    }

    #[test]
    fn times_on_the_clock_are_read_as_they_are_written() {
        for nanos in
            [0, 951_827_696_000_000_042, 1_709_164_800_500_000_000, 4_107_542_399_000_000_000]
        {
            assert_eq!(When::parse(&rfc3339(nanos)), Ok(When::At(nanos)));
        }
        let noon = When::parse("2026-11-22T12:00:00Z");
        assert_eq!(When::parse("2026-11-22T14:30:00.0+02:30"), noon);
        assert_eq!(When::parse("2026-11-22T11:00:00-01:00"), noon);
    }

    #[test]
    fn what_is_no_time_is_said() {
        for text in [
            "",
            "s",
            "-1",
            "1h",
            "1.2.3",
            "99999999999",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "T",
            "2026-11-22T10Z",
        ] {
            let error = When::parse(text).unwrap_err();
            assert!(error.contains("is no time"), "{error}");
        }
    }
}
