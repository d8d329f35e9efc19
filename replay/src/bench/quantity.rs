//! Quantities as people read them: three digits that count, and a unit.

use std::str::FromStr;

use super::result::{Measure, Unit};

/// A value with its unit: `612 ns`, `1.25 ms`, `48.1 k/s`, `9.60 Gbit/s`, `1.50 KiB`.
pub fn shown(unit: Unit, value: f64) -> String {
    let (value, name) = scaled(unit, value);
    format!("{} {name}", digits(value))
}

/// Three digits that count, none behind the point from 100 on; thousands apart.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 || size >= 99.95 => grouped(value.round()),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// `10,000`.
pub fn grouped(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

fn scaled(unit: Unit, value: f64) -> (f64, &'static str) {
    let steps: &[(f64, &'static str)] = match unit {
        Unit::Nanoseconds => &[(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")],
        Unit::Instructions => &[(1.0, "instructions")],
        Unit::PerSecond => &[(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s")],
        Unit::BitsPerSecond => &[(1.0, "bit/s"), (1e3, "kbit/s"), (1e6, "Mbit/s"), (1e9, "Gbit/s")],
        Unit::Bytes => &[(1.0, "B"), (1024.0, "KiB"), (1_048_576.0, "MiB")],
    };
    // As printed: 999.9 ns are 1.00 us.
    let fits = steps.iter().rev().find(|(size, _)| value.abs() >= size * 0.9995);
    let (size, name) = fits.or(steps.first()).copied().unwrap_or((1.0, ""));
    (value / size, name)
}

impl Measure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 16] = [
        Self::Established,
        Self::NewFlow,
        Self::ProgramTime,
        Self::FirstPacket,
        Self::Connect,
        Self::ConnectRate,
        Self::RoundTrip,
        Self::Throughput,
        Self::Churn,
        Self::Load,
        Self::AddService,
        Self::ChangeEndpoint,
        Self::UntilFirstPacket,
        Self::Resync,
        Self::MemoryPerService,
        Self::MemoryPerConnection,
    ];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::NewFlow => "new-flow",
            Self::ProgramTime => "program-time",
            Self::FirstPacket => "first-packet",
            Self::Connect => "connect",
            Self::ConnectRate => "connect-rate",
            Self::RoundTrip => "round-trip",
            Self::Throughput => "throughput",
            Self::Churn => "churn",
            Self::Load => "load",
            Self::AddService => "add-service",
            Self::ChangeEndpoint => "change-endpoint",
            Self::UntilFirstPacket => "until-first-packet",
            Self::Resync => "resync",
            Self::MemoryPerService => "memory-per-service",
            Self::MemoryPerConnection => "memory-per-connection",
        }
    }

    /// As the subject of a sentence and the head of a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Established => "a packet of an established connection",
            Self::NewFlow => "the first packet of a connection",
            Self::ProgramTime => "time in programs, per packet",
            Self::FirstPacket => "sending a connection's first datagram",
            Self::Connect => "a TCP connect",
            Self::ConnectRate => "TCP connections opened and closed",
            Self::RoundTrip => "a request and its answer over TCP",
            Self::Throughput => "bytes through one TCP connection",
            Self::Churn => "an established packet while services change",
            Self::Load => "loading all services",
            Self::AddService => "adding a service",
            Self::ChangeEndpoint => "changing an endpoint",
            Self::UntilFirstPacket => "from a change to the first packet that follows it",
            Self::Resync => "bringing everything up to date",
            Self::MemoryPerService => "memory per service",
            Self::MemoryPerConnection => "memory per connection",
        }
    }
}

/// No measure has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0} is none of {all}", all = Measure::ALL.map(Measure::name).join(", "))]
pub struct UnknownMeasure(String);

impl FromStr for Measure {
    type Err = UnknownMeasure;

    fn from_str(name: &str) -> Result<Self, UnknownMeasure> {
        let known = Self::ALL.into_iter().find(|measure| measure.name() == name);
        known.ok_or_else(|| UnknownMeasure(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_a_unit_that_fits() {
        use Unit::{BitsPerSecond, Bytes, Instructions, Nanoseconds, PerSecond};
        let cases = [
            (Nanoseconds, 0.0, "0 ns"),
            (Nanoseconds, 0.5, "0.50 ns"),
            (Nanoseconds, 61.23, "61.2 ns"),
            (Nanoseconds, 612.3, "612 ns"),
            (Nanoseconds, 999.4, "999 ns"),
            (Nanoseconds, 999.9, "1.00 us"),
            (Nanoseconds, 1_249_000.0, "1.25 ms"),
            (Nanoseconds, 95_630_000_000.0, "95.6 s"),
            (Nanoseconds, 1.2e12, "1,200 s"),
            (PerSecond, 48_123.0, "48.1 k/s"),
            (BitsPerSecond, 9.6e9, "9.60 Gbit/s"),
            (Bytes, 1536.0, "1.50 KiB"),
            (Bytes, 200.0, "200 B"),
            (Instructions, 37_460.0, "37,460 instructions"),
        ];
        for (unit, value, text) in cases {
            assert_eq!(shown(unit, value), text);
        }
        assert_eq!(grouped(-1_234.0), "-1,234");
    }

    #[test]
    fn names_are_those_of_the_data() {
        for measure in Measure::ALL {
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.name());
            assert_eq!(measure.name().parse::<Measure>().unwrap(), measure);
        }
    }
}
