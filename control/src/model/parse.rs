//! Values that several kinds of objects have.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Protocol, Range};
use crate::objects::ObjectName;
use crate::problem::{Problem, Severity};

/// Where problems of one object go.
pub(super) struct Report<'a> {
    problems: &'a mut Vec<Problem>,
    file: &'a Arc<str>,
    kind: &'static str,
    object: &'a ObjectName,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        problems: &'a mut Vec<Problem>,
        file: &'a Arc<str>,
        kind: &'static str,
        object: &'a ObjectName,
    ) -> Self {
        Self { problems, file, kind, object }
    }

    pub(super) fn error(&mut self, text: impl fmt::Display) {
        self.add(Severity::Error, text);
    }

    pub(super) fn warning(&mut self, text: impl fmt::Display) {
        self.add(Severity::Warning, text);
    }

    pub(super) fn note(&mut self, text: impl fmt::Display) {
        self.add(Severity::Note, text);
    }

    fn add(&mut self, severity: Severity, text: impl fmt::Display) {
        self.problems.push(Problem {
            severity,
            file: self.file.clone(),
            kind: self.kind,
            object: self.object.clone(),
            text: text.to_string(),
        });
    }

    /// The value, or `None` and an error that begins with `what`.
    pub(super) fn check<T>(&mut self, what: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|text| self.error(format_args!("{what}: {text}"))).ok()
    }
}

/// An address; an IPv4-mapped one is IPv4.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let ip: Result<IpAddr, _> = text.trim().parse();
    ip.map(|ip| ip.to_canonical()).map_err(|_| format!("{text:?} is no IP address"))
}

/// A range of addresses.
pub(super) fn range(text: &str) -> Result<Range, String> {
    let wrong = || format!("{text:?} is no address range such as 10.244.0.0/24");
    let (first, length) = text.split_once('/').ok_or_else(wrong)?;
    let (address, length) = (address(first)?, length.parse::<u8>().map_err(|_| wrong())?);
    if length > if address.is_ipv4() { 32 } else { 128 } {
        return Err(wrong());
    }
    Ok(Range { address, length })
}

/// A port number.
pub(super) fn port(number: i64) -> Result<u16, String> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("{number} is out of 1..65535")),
    }
}

/// A protocol, TCP where it is missing.
pub(super) fn protocol(name: Option<&str>) -> Result<Protocol, String> {
    match name {
        None | Some("" | "TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => Err(format!("{other:?} is no protocol; TCP, UDP and SCTP are served")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ranges() {
        let shown = |text: &str| address(text).map(|ip| ip.to_string());
        assert_eq!(shown("10.0.0.1"), Ok("10.0.0.1".to_owned()));
        assert_eq!(shown("::ffff:10.0.0.1"), Ok("10.0.0.1".to_owned()));
        assert_eq!(shown("FD00::0:1"), Ok("fd00::1".to_owned()));
        for text in ["", "None", "10.0.0", "10.0.0.1/32", "010.0.0.1"] {
            assert_eq!(shown(text), Err(format!("{text:?} is no IP address")));
        }
        for text in ["10.244.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "fd00::/128"] {
            assert_eq!(range(text).map(|range| range.to_string()), Ok(text.to_owned()));
        }
        for text in ["10.244.0.0", "10.244.0.0/33", "fd00::/129", "10.244.0.0/-1", "x/8"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
