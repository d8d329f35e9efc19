//! What an expression means, and how it is written in full.

use std::fmt;

use twinpath_control::model::Range;

use super::words;

/// An expression. How many VLAN tags a test finds in front of the network header stands with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// A question about the packet.
    Test(Test, u16),
    /// Two numbers compared.
    Compare(Arithmetic, Relation, Arithmetic),
    /// The opposite.
    Not(Box<Self>),
    /// From left to right: `and` and `or` bind equally.
    Chain(Box<Self>, Vec<(Join, Self)>),
}

/// How two expressions are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Both.
    And,
    /// Either.
    Or,
}

/// A question about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The type field of Ethernet.
    Ethertype(u16),
    /// The protocol of an IP packet, in IPv6 also behind a fragment header.
    Protocol(Option<Family>, u8),
    /// An address of IPv4, IPv6, ARP or RARP; of any of these if `None`.
    Network(Option<Over>, Direction, Range),
    /// A port in this range, of this protocol, or of TCP, UDP or SCTP.
    Port(Option<u8>, Direction, u16, u16),
    /// An Ethernet address.
    Link(Direction, [u8; 6]),
    /// A VLAN tag, with this number.
    Vlan(Option<u16>),
}

/// A family of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
    /// One of them.
    Either,
    /// Each.
    Both,
}

/// A protocol whose header something stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Ethernet.
    Ether,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// RARP.
    Rarp,
    /// A protocol of IP, by its number.
    Transport(u8),
}

/// A number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Itself.
    Number(u32),
    /// The length of the packet on the wire in bytes.
    Length,
    /// 1, 2 or 4 bytes of a header, from this offset on, behind so many VLAN tags.
    Load(Over, Box<Self>, u8, u16),
    /// Its negative.
    Negative(Box<Self>),
    /// Of two numbers.
    Binary(Box<Self>, Operator, Box<Self>),
}

/// How a number is made of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their signs are in `OPERATORS`")]
pub enum Operator {
    Or,
    Xor,
    And,
    Left,
    Right,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Operators with their signs, and how strongly they bind, as in C.
pub(super) const OPERATORS: [(Operator, &str, u8); 10] = [
    (Operator::Or, "|", 0),
    (Operator::Xor, "^", 1),
    (Operator::And, "&", 2),
    (Operator::Left, "<<", 3),
    (Operator::Right, ">>", 3),
    (Operator::Add, "+", 4),
    (Operator::Subtract, "-", 4),
    (Operator::Multiply, "*", 5),
    (Operator::Divide, "/", 5),
    (Operator::Remainder, "%", 5),
];

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their signs are in `RELATIONS`")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Relations with their signs.
pub(super) const RELATIONS: [(Relation, &str); 6] = [
    (Relation::Equal, "="),
    (Relation::NotEqual, "!="),
    (Relation::LessOrEqual, "<="),
    (Relation::Less, "<"),
    (Relation::GreaterOrEqual, ">="),
    (Relation::Greater, ">"),
];

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |f: &mut fmt::Formatter<'_>, inner: &Self| match inner {
            Self::Chain(..) => write!(f, "({inner})"),
            _ => write!(f, "{inner}"),
        };
        match self {
            Self::Test(test, _) => write!(f, "{test}"),
            Self::Compare(left, relation, right) => write!(f, "{left} {relation} {right}"),
            Self::Not(inner) => {
                f.write_str("not ")?;
                part(f, inner)
            }
            Self::Chain(first, rest) => {
                part(f, first)?;
                for (join, next) in rest {
                    f.write_str(if *join == Join::And { " and " } else { " or " })?;
                    part(f, next)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethertype(number) => write!(f, "ether proto {number}"),
            Self::Protocol(None, number) => write!(f, "proto {number}"),
            Self::Protocol(Some(Family::V4), number) => write!(f, "ip proto {number}"),
            Self::Protocol(Some(Family::V6), number) => write!(f, "ip6 proto {number}"),
            Self::Network(over, direction, range) => {
                if let Some(over) = over {
                    write!(f, "{over} ")?;
                }
                write!(f, "{direction} net {range}")
            }
            Self::Port(over, direction, low, high) => {
                if let Some(number) = over {
                    write!(f, "{} ", Over::Transport(*number))?;
                }
                write!(f, "{direction} portrange {low}-{high}")
            }
            Self::Link(direction, [a, b, c, d, e, g]) => {
                write!(f, "ether {direction} host {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
            Self::Vlan(None) => f.write_str("vlan"),
            Self::Vlan(Some(id)) => write!(f, "vlan {id}"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "src",
            Self::Destination => "dst",
            Self::Either => "src or dst",
            Self::Both => "src and dst",
        })
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match words::PROTOCOLS.iter().find(|(_, over)| over == self) {
            Some((name, _)) => f.write_str(name),
            None => f.write_str("?"),
        }
    }
}

impl fmt::Display for Arithmetic {
    /// In brackets wherever it is more than one thing, so that nothing depends on what binds stronger.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Length => f.write_str("len"),
            Self::Load(over, offset, size, _) => write!(f, "{over}[{offset} : {size}]"),
            Self::Negative(inner) => write!(f, "- {inner}"),
            Self::Binary(left, operator, right) => write!(f, "({left} {operator} {right})"),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().find(|(operator, _, _)| operator == self);
        f.write_str(sign.map_or("?", |(_, sign, _)| sign))
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = RELATIONS.iter().find(|(relation, _)| relation == self);
        f.write_str(sign.map_or("?", |(_, sign)| sign))
    }
}
