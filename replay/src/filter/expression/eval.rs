//! What an expression says of a frame.

use std::net::IpAddr;

use twinpath_control::model::Range;

use super::tree::{
    Arithmetic, Direction, Expression, Family, Join, Operator, Over, Relation, Test,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
/// What stands in front of a VLAN tag: of a customer, of a provider, and of those before the standard.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const PORTED: [u8; 3] = [6, 17, 132];
const ICMP6: u8 = 58;
/// Bytes of an IPv6 header, and its next header value for fragments.
const IPV6_LENGTH: u32 = 40;
const IPV6_FRAGMENT: u8 = 44;

/// A byte is asked for that was not captured, or a number is divided by zero.
struct Refused;

type Answer<T> = Result<T, Refused>;

/// A frame, and how many VLAN tags its network header is behind.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [u8],
    length: u32,
    tags: u16,
}

impl Expression {
    /// Whether a frame matches, from the Ethernet header on. `length` is that on the wire in bytes; it
    /// may be more than was captured.
    pub fn matches(&self, data: &[u8], length: u32) -> bool {
        self.holds(View { data, length, tags: 0 }).unwrap_or(false)
    }

    fn holds(&self, view: View<'_>) -> Answer<bool> {
        match self {
            Self::Test(test, tags) => test.holds(View { tags: *tags, ..view }),
            Self::Compare(left, relation, right) => {
                if !(left.guarded(view)? && right.guarded(view)?) {
                    return Ok(false);
                }
                let (left, right) = (left.value(view)?, right.value(view)?);
                Ok(match relation {
                    Relation::Equal => left == right,
                    Relation::NotEqual => left != right,
                    Relation::Less => left < right,
                    Relation::LessOrEqual => left <= right,
                    Relation::Greater => left > right,
                    Relation::GreaterOrEqual => left >= right,
                })
            }
            Self::Not(inner) => inner.holds(view).map(|holds| !holds),
            Self::Chain(first, rest) => {
                let mut holds = first.holds(view)?;
                for (join, next) in rest {
                    if holds == (*join == Join::And) {
                        holds = next.holds(view)?;
                    }
                }
                Ok(holds)
            }
        }
    }
}

impl Test {
    fn holds(&self, view: View<'_>) -> Answer<bool> {
        match self {
            Self::Ethertype(number) => Ok(view.ethertype()? == *number),
            Self::Protocol(family, number) => Ok((*family != Some(Family::V6)
                && view.is_v4_with(&[*number])?)
                || (*family != Some(Family::V4) && view.is_v6_with(*number)?)),
            Self::Network(over, direction, range) => network(view, *over, *direction, range),
            Self::Port(over, direction, low, high) => {
                let protocols = over.as_ref().map_or(&PORTED[..], std::slice::from_ref);
                let Some(at) = view.ports(protocols)? else { return Ok(false) };
                direction.holds(|end| {
                    let port = view.half(at.wrapping_add(2 * u32::from(end)))?;
                    Ok((*low..=*high).contains(&port))
                })
            }
            Self::Link(direction, mac) => direction.holds(|end| {
                let at = if end { 0 } else { 6 };
                let (high, low) = (view.load(at, 4)?, view.load(at + 4, 2)?);
                let bytes = [high.to_be_bytes(), low.to_be_bytes()];
                let [[a, b, c, d], [_, _, e, f]] = bytes;
                Ok([a, b, c, d, e, f] == *mac)
            }),
            Self::Vlan(id) => {
                let tagged = TAGS.contains(&view.ethertype()?);
                Ok(tagged
                    && match id {
                        Some(id) => view.half(view.network())? & 0x0fff == *id,
                        None => true,
                    })
            }
        }
    }
}

/// Whether an address that a header says is in a range.
fn network(
    view: View<'_>,
    over: Option<Over>,
    direction: Direction,
    range: &Range,
) -> Answer<bool> {
    let at = view.network();
    match range.first() {
        IpAddr::V4(ip) => {
            let (source, destination) = match (view.ethertype()?, over) {
                (IPV4, None | Some(Over::Ip)) => (12, 16),
                (ARP, None | Some(Over::Arp)) | (RARP, None | Some(Over::Rarp)) => (14, 24),
                _ => return Ok(false),
            };
            let mask = mask(u32::from(range.length));
            direction.holds(|end| {
                let address = view.load(at.wrapping_add(if end { destination } else { source }), 4);
                Ok(address? & mask == ip.to_bits() & mask)
            })
        }
        IpAddr::V6(ip) => {
            if view.ethertype()? != IPV6 {
                return Ok(false);
            }
            let wanted = ip.to_bits();
            direction.holds(|end| {
                let start = at.wrapping_add(if end { 24 } else { 8 });
                for i in 0..4_u32 {
                    let mask = mask(u32::from(range.length).saturating_sub(32 * i).min(32));
                    let part = (wanted >> (96 - 32 * i)) as u32;
                    // A part without a bit that counts is not read.
                    if mask != 0 && (view.load(start.wrapping_add(4 * i), 4)? ^ part) & mask != 0 {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
        }
    }
}

/// A word whose highest bits are set.
const fn mask(length: u32) -> u32 {
    match u32::MAX.checked_shl(32_u32.saturating_sub(length)) {
        Some(mask) => mask,
        None => 0,
    }
}

impl Direction {
    /// Asks about the source (`false`), the destination (`true`), or both.
    fn holds(self, ask: impl Fn(bool) -> Answer<bool>) -> Answer<bool> {
        match self {
            Self::Source => ask(false),
            Self::Destination => ask(true),
            Self::Either => Ok(ask(false)? || ask(true)?),
            Self::Both => Ok(ask(false)? && ask(true)?),
        }
    }
}

impl Arithmetic {
    /// Whether the packet has all headers that are loaded from.
    fn guarded(&self, view: View<'_>) -> Answer<bool> {
        match self {
            Self::Number(_) | Self::Length => Ok(true),
            Self::Load(over, offset, _, tags) => {
                let here = View { tags: *tags, ..view };
                let has = match over {
                    Over::Ether => true,
                    Over::Ip => here.ethertype()? == IPV4,
                    Over::Ip6 => here.ethertype()? == IPV6,
                    Over::Arp => here.ethertype()? == ARP,
                    Over::Rarp => here.ethertype()? == RARP,
                    Over::Transport(ICMP6) => {
                        here.ethertype()? == IPV6 && here.next_header()? == ICMP6
                    }
                    Over::Transport(number) => here.is_v4_with(&[*number])? && here.is_first()?,
                };
                Ok(has && offset.guarded(view)?)
            }
            Self::Negative(inner) => inner.guarded(view),
            Self::Binary(left, _, right) => Ok(left.guarded(view)? && right.guarded(view)?),
        }
    }

    fn value(&self, view: View<'_>) -> Answer<u32> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Length => Ok(view.length),
            Self::Load(over, offset, size, tags) => {
                let here = View { tags: *tags, ..view };
                let base = match over {
                    Over::Ether => 0,
                    Over::Transport(ICMP6) => here.network().wrapping_add(IPV6_LENGTH),
                    Over::Transport(_) => here.transport()?,
                    _ => here.network(),
                };
                view.load(base.wrapping_add(offset.value(view)?), *size)
            }
            Self::Negative(inner) => inner.value(view).map(u32::wrapping_neg),
            Self::Binary(left, operator, right) => {
                operator.apply(left.value(view)?, right.value(view)?).ok_or(Refused)
            }
        }
    }
}

impl Operator {
    /// The result; `None` of a division by zero.
    pub(super) fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Self::Or => left | right,
            Self::Xor => left ^ right,
            Self::And => left & right,
            Self::Left => left.checked_shl(right).unwrap_or(0),
            Self::Right => left.checked_shr(right).unwrap_or(0),
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right)?,
            Self::Remainder => left.checked_rem(right)?,
        })
    }
}

impl View<'_> {
    /// A number of 1, 2 or 4 bytes in network order.
    fn load(&self, at: u32, size: u8) -> Answer<u32> {
        let at = at as usize;
        let bytes = at.checked_add(usize::from(size)).and_then(|end| self.data.get(at..end));
        let bytes = bytes.ok_or(Refused)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn half(&self, at: u32) -> Answer<u16> {
        self.load(at, 2).map(|value| value as u16)
    }

    fn byte(&self, at: u32) -> Answer<u8> {
        self.load(at, 1).map(|value| value as u8)
    }

    fn ethertype(&self) -> Answer<u16> {
        self.half(self.network().wrapping_sub(2))
    }

    /// Offset of the network header.
    fn network(&self) -> u32 {
        14 + 4 * u32::from(self.tags)
    }

    /// Offset of what is behind an IPv4 header.
    fn transport(&self) -> Answer<u32> {
        let words = self.byte(self.network())? & 0x0f;
        Ok(self.network() + 4 * u32::from(words))
    }

    fn is_v4_with(&self, protocols: &[u8]) -> Answer<bool> {
        Ok(self.ethertype()? == IPV4 && protocols.contains(&self.byte(self.network() + 9)?))
    }

    fn is_v6_with(&self, protocol: u8) -> Answer<bool> {
        if self.ethertype()? != IPV6 {
            return Ok(false);
        }
        let next = self.next_header()?;
        Ok(next == protocol
            || (next == IPV6_FRAGMENT && self.byte(self.network() + IPV6_LENGTH)? == protocol))
    }

    fn next_header(&self) -> Answer<u8> {
        self.byte(self.network() + 6)
    }

    /// Whether an IPv4 packet is no later fragment.
    fn is_first(&self) -> Answer<bool> {
        Ok(self.half(self.network() + 6)? & 0x1fff == 0)
    }

    /// Offset of the ports, if the packet has any.
    fn ports(&self, protocols: &[u8]) -> Answer<Option<u32>> {
        Ok(match self.ethertype()? {
            IPV4 if self.is_v4_with(protocols)? && self.is_first()? => Some(self.transport()?),
            IPV6 if protocols.contains(&self.next_header()?) => Some(self.network() + IPV6_LENGTH),
            _ => None,
        })
    }
}
