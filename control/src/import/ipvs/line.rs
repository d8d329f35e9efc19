//! Lines of `ipvsadm -Sn`.

use std::net::SocketAddr;

use super::At;
use crate::model::Protocol;

/// How long affinity lasts where it is not said, in seconds.
const AFFINITY: u32 = 300;
/// The longest affinity, in seconds.
const MAX_AFFINITY: u32 = 86_400;

/// What a line adds.
pub(super) enum Line {
    Virtual(Virtual),
    Real(Real),
    /// Something of a virtual server that is a mark, not an address.
    Mark,
}

pub(super) struct Virtual {
    pub(super) at: At,
    pub(super) scheduler: Option<String>,
    pub(super) affinity: Option<u32>,
}

pub(super) struct Real {
    pub(super) at: At,
    pub(super) to: SocketAddr,
    pub(super) weight: u32,
    pub(super) is_masqueraded: bool,
}

/// Whether a word says that a virtual server follows.
pub(crate) fn is_service(word: &str) -> bool {
    protocol(word).is_some() || ["-f", "--fwmark-service"].contains(&word)
}

fn protocol(word: &str) -> Option<Protocol> {
    match word {
        "-t" | "--tcp-service" => Some(Protocol::Tcp),
        "-u" | "--udp-service" => Some(Protocol::Udp),
        "--sctp-service" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// `None` for what is no line of it.
pub(super) fn line(text: &str) -> Option<Line> {
    let mut words = text.split_whitespace().peekable();
    let is_real = match words.next()? {
        "-A" | "--add-service" => false,
        "-a" | "--add-server" => true,
        _ => return None,
    };
    let (mut at, mut to, mut weight, mut is_masqueraded) = (None, None, 1, false);
    let (mut scheduler, mut affinity) = (None, None);
    while let Some(word) = words.next() {
        if let Some(protocol) = protocol(word) {
            at = Some((protocol, end(words.next()?)?));
            continue;
        }
        match word {
            "-f" | "--fwmark-service" => return Some(Line::Mark),
            "-r" | "--real-server" => to = Some(end(words.next()?)?),
            "-w" | "--weight" => weight = words.next()?.parse().ok()?,
            "-m" | "--masquerading" => is_masqueraded = true,
            "-s" | "--scheduler" => scheduler = Some(words.next()?.to_owned()),
            "-p" | "--persistent" => {
                let seconds = words.next_if(|word| !word.starts_with('-'));
                let seconds = seconds.map_or(Some(AFFINITY), |word| word.parse().ok())?;
                affinity = Some(seconds.clamp(1, MAX_AFFINITY));
            }
            // Words that follow others are their values.
            _ => {}
        }
    }
    let at = at?;
    if is_real {
        Some(Line::Real(Real { at, to: to?, weight, is_masqueraded }))
    } else {
        Some(Line::Virtual(Virtual { at, scheduler, affinity }))
    }
}

/// `10.96.0.1:443` or `[fd00::1]:443`.
fn end(text: &str) -> Option<SocketAddr> {
    let end: SocketAddr = text.parse().ok()?;
    let end = SocketAddr::new(end.ip().to_canonical(), end.port());
    (end.port() != 0).then_some(end)
}
