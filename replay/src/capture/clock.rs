//! Interface time stamps of pcapng in nanoseconds.

/// How to turn an interface's time units into nanoseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    unit: Unit,
    /// Nanoseconds to add (`if_tsoffset`).
    offset: i128,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    /// Nanoseconds in a unit.
    Longer(u64),
    /// Units in a nanosecond.
    Shorter(u128),
    /// Units in a second, as a power of two.
    Binary(u32),
}

impl Clock {
    /// What an interface without `if_tsresol` means.
    pub(super) const MICROSECONDS: u8 = 6;

    /// `resolution` is the byte of `if_tsresol`: a negative power of 10, or of 2 when the top bit is set. `offset` is
    /// `if_tsoffset` in seconds.
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let power = u32::from(resolution & 0x7f);
        let unit = match power {
            _ if resolution & 0x80 != 0 => Unit::Binary(power),
            0..=9 => Unit::Longer(10_u64.pow(9 - power)),
            // 10^38 is the largest power that fits; no time of 64 bits reaches a nanosecond there anyway.
            _ => Unit::Shorter(10_u128.pow((power - 9).min(38))),
        };
        Self { unit, offset: i128::from(offset) * 1_000_000_000 }
    }

    /// Nanoseconds since the epoch, held within 64 bits.
    #[inline]
    pub(super) fn nanoseconds(self, units: u64) -> u64 {
        let time = match self.unit {
            Unit::Longer(factor) => units.saturating_mul(factor),
            Unit::Shorter(divisor) => (u128::from(units) / divisor) as u64,
            Unit::Binary(power) => {
                u64::try_from((u128::from(units) * 1_000_000_000) >> power).unwrap_or(u64::MAX)
            }
        };
        if self.offset == 0 {
            return time;
        }
        (i128::from(time) + self.offset).clamp(0, i128::from(u64::MAX)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        // Name, if_tsresol, if_tsoffset in s, units, expected ns.
        let table: &[(&str, u8, i64, u64, u64)] = &[
            ("seconds", 0, 0, 1_700_000_000, 1_700_000_000_000_000_000),
            ("milliseconds", 3, 0, 1_700_000_000_001, 1_700_000_000_001_000_000),
            ("microseconds", 6, 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000),
            ("nanoseconds", 9, 0, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
            ("picoseconds", 12, 0, 1_999, 1),
            ("the smallest power of 10", 127, 0, u64::MAX, 0),
            ("seconds as a power of 2", 0x80, 0, 3, 3_000_000_000),
            ("1/1024 s", 0x80 | 10, 0, 1_024 * 5 + 512, 5_500_000_000),
            ("2^-32 s", 0x80 | 32, 0, 1 << 31, 500_000_000),
            ("the smallest power of 2", 0xff, 0, u64::MAX, 0),
            ("beyond 64 bits", 0, 0, u64::MAX, u64::MAX),
            ("offset forward", 6, 1_700_000_000, 7, 1_700_000_000_000_007_000),
            ("offset backward", 6, -1, 1_500_000, 500_000_000),
            ("before the epoch", 6, -2, 1_500_000, 0),
            ("absurd offset", 6, i64::MAX, 0, u64::MAX),
        ];
        for &(name, resolution, offset, units, expected) in table {
            assert_eq!(Clock::new(resolution, offset).nanoseconds(units), expected, "{name}");
        }
    }
}
