//! How far a connection has come, as bits that are only ever added.
//!
//! A connection's two halves each keep a copy. Because a bit is never taken back, merging two copies,
//! or losing a race between two CPUs, is an `or` and does no harm. What RFC 9293 draws as states is
//! read off the bits: see [`Phase`].

use crate::parse::{Parsed, Transport};
use crate::seam::Nanos;
use crate::wire::{SCTP, TCP, tcp};

/// A packet in the direction of the opener, or against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Direction {
    /// From the one who sent the first packet.
    Original = 0,
    /// Back to it.
    Reply = 1,
}

/// The bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct State(pub u8);

/// An answer was seen.
const REPLIED: u8 = 1;
/// The opener went on after the answer: both ends are there.
const ASSURED: u8 = 2;
/// The opener will send no more data.
const FIN_ORIGINAL: u8 = 4;
/// The other end will send no more data.
const FIN_REPLY: u8 = 8;
/// One end has torn the connection down.
const RESET: u8 = 16;

/// What the bits amount to, and so how long an idle connection is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// TCP or SCTP, not yet both ends seen.
    Opening,
    /// TCP or SCTP, both ends there, at most one of them done sending.
    Established,
    /// TCP, both ends done or one of them reset it.
    Closing,
    /// UDP and ICMP.
    Datagrams,
}

const SECOND: Nanos = 1_000_000_000;

impl Phase {
    /// How long a connection in this phase may be idle.
    pub const fn timeout(self) -> Nanos {
        match self {
            // RFC 5382 REQ-5 and RFC 7857 2.1: the transitory idle timeout is at least four minutes,
            // that of an established connection at least two hours and four minutes.
            Self::Opening | Self::Closing => 4 * 60 * SECOND,
            Self::Established => 124 * 60 * SECOND,
            // RFC 4787 REQ-5: at least two minutes.
            Self::Datagrams => 2 * 60 * SECOND,
        }
    }

    /// The word for tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "OPENING",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::Datagrams => "DATAGRAMS",
        }
    }
}

impl State {
    /// The bits that this packet adds to a connection that has these.
    #[inline(always)]
    pub const fn after(self, packet: &Parsed, direction: Direction) -> Self {
        let mut bits = self.0;
        match direction {
            Direction::Reply => bits |= REPLIED,
            // A SYN sent again says nothing of the answer having arrived.
            Direction::Original if bits & REPLIED == 0 || packet.flags & tcp::SYN != 0 => {}
            Direction::Original => bits |= ASSURED,
        }
        if matches!(packet.transport, Transport::Tcp) {
            let flags = packet.flags;
            if flags & tcp::FIN != 0 {
                bits |= match direction {
                    Direction::Original => FIN_ORIGINAL,
                    Direction::Reply => FIN_REPLY,
                };
            }
            if flags & tcp::RST != 0 {
                bits |= RESET;
            }
        }
        Self(bits)
    }

    /// Of a connection whose answers go another way: what the opener sends has to stand for them.
    pub const ANSWERED_ELSEWHERE: Self = Self(REPLIED);

    /// Whether an answer was seen.
    #[inline(always)]
    pub const fn is_answered(self) -> bool {
        self.0 & REPLIED != 0
    }

    /// Whether the opener went on after the answer.
    #[inline(always)]
    pub const fn is_assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    /// Whether an end has torn the connection down.
    #[inline(always)]
    pub const fn is_reset(self) -> bool {
        self.0 & RESET != 0
    }

    /// Whether this end will send no more data.
    #[inline(always)]
    pub const fn is_done(self, end: Direction) -> bool {
        let bit = match end {
            Direction::Original => FIN_ORIGINAL,
            Direction::Reply => FIN_REPLY,
        };
        self.0 & bit != 0
    }

    /// What the bits amount to for a connection of this protocol.
    #[inline(always)]
    pub const fn phase(self, protocol: u8) -> Phase {
        if protocol == SCTP {
            // Its chunks are not looked at, so the end of an association shows only by its silence.
            if self.0 & ASSURED != 0 { Phase::Established } else { Phase::Opening }
        } else if protocol != TCP {
            Phase::Datagrams
        } else if self.0 & RESET != 0
            || self.0 & (FIN_ORIGINAL | FIN_REPLY) == FIN_ORIGINAL | FIN_REPLY
        {
            Phase::Closing
        } else if self.0 & ASSURED != 0 {
            Phase::Established
        } else {
            Phase::Opening
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::packet;
    use Direction::{Original, Reply};

    type Script<'a> = &'a [(Direction, u8)];

    /// Runs flags through the bits and names the phase after each.
    fn phases(script: Script) -> Vec<Phase> {
        let mut state = State::default();
        script
            .iter()
            .map(|(direction, flags)| {
                state = state.after(&packet("tcp 10.0.0.1:1 > 10.0.0.2:2", *flags), *direction);
                state.phase(TCP)
            })
            .collect()
    }

    const SYN: u8 = tcp::SYN;
    const ACK: u8 = tcp::ACK;
    const FIN: u8 = tcp::FIN | tcp::ACK;
    const RST: u8 = tcp::RST;

    #[test]
    fn phases_of_tcp() {
        use Phase::{Closing, Established, Opening};
        let cases: [(&str, Script, &[Phase]); 6] = [
            (
                "handshake",
                &[(Original, SYN), (Reply, SYN | ACK), (Original, ACK)],
                &[Opening, Opening, Established],
            ),
            ("syn sent again", &[(Original, SYN), (Original, SYN)], &[Opening, Opening]),
            ("refused", &[(Original, SYN), (Reply, RST | ACK)], &[Opening, Closing]),
            (
                "half close stays",
                &[
                    (Original, SYN),
                    (Reply, SYN | ACK),
                    (Original, ACK),
                    (Original, FIN),
                    (Reply, ACK),
                ],
                &[Opening, Opening, Established, Established, Established],
            ),
            (
                "both close",
                &[
                    (Original, SYN),
                    (Reply, SYN | ACK),
                    (Original, FIN),
                    (Reply, FIN),
                    (Original, ACK),
                ],
                &[Opening, Opening, Established, Closing, Closing],
            ),
            (
                "reset in the middle",
                &[
                    (Original, SYN),
                    (Reply, SYN | ACK),
                    (Original, ACK),
                    (Original, RST),
                    (Reply, ACK),
                ],
                &[Opening, Opening, Established, Closing, Closing],
            ),
        ];
        for (name, script, expected) in cases {
            assert_eq!(phases(script), expected, "{name}");
        }
    }

    #[test]
    fn bits_are_never_taken_back() {
        for state in 0..32 {
            for flags in [SYN, SYN | ACK, ACK, FIN, RST, RST | ACK] {
                for direction in [Original, Reply] {
                    let after = State(state)
                        .after(&packet("tcp 10.0.0.1:1 > 10.0.0.2:2", flags), direction);
                    assert_eq!(after.0 & state, state);
                }
            }
        }
    }

    #[test]
    fn datagrams_have_one_phase() {
        let state = State::default().after(&packet("udp 10.0.0.1:1 > 10.0.0.2:2", 0), Reply);
        assert_eq!(state.phase(crate::wire::UDP), Phase::Datagrams);
    }
}
