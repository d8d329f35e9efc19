//! From words to a tree, by recursive descent.

use std::net::{IpAddr, Ipv4Addr};

use twinpath_control::model::Range;

use super::SyntaxError;
use super::lexer::{Token, tokens};
use super::tree::{Arithmetic, Direction, Expression, Family, Join, Over, Relation, Test};
use super::words::{self, find};

mod arithmetic;

/// Deepest nesting of brackets and negations.
const MAX_DEPTH: usize = 64;

type Parse<T> = Result<T, SyntaxError>;

/// What stands before an address, a port or a number, and holds for those behind it too.
#[derive(Clone, Copy)]
struct Qualifiers {
    over: Option<Over>,
    direction: Option<Direction>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

const KINDS: [(&str, Kind); 5] = [
    ("host", Kind::Host),
    ("net", Kind::Net),
    ("port", Kind::Port),
    ("portrange", Kind::PortRange),
    ("proto", Kind::Proto),
];

/// Words that cannot be names.
const UNSUPPORTED: [&str; 16] = [
    "gateway",
    "protochain",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "inbound",
    "outbound",
    "ifname",
    "on",
    "fddi",
    "wlan",
    "llc",
    "iso",
    "stp",
];

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    /// How many `vlan` came before.
    tags: u16,
    /// Those that an address or a port without any takes over.
    last: Option<Qualifiers>,
}

pub(super) fn parse(text: &str) -> Parse<Expression> {
    let mut parser = Parser { tokens: tokens(text), next: 0, depth: 0, tags: 0, last: None };
    let expression = parser.chain()?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        self.ahead(0)
    }

    fn ahead(&self, by: usize) -> &Token {
        self.tokens.get(self.next.saturating_add(by)).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        let last = self.tokens.last();
        self.tokens.get(self.next).or(last).map_or(1, |(at, _)| *at)
    }

    fn fails(&self, problem: impl Into<String>) -> SyntaxError {
        SyntaxError { at: self.at(), problem: problem.into() }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Number(number) => format!("`{number}`"),
            Token::Dotted(..) | Token::V6(_) => "an address".into(),
            Token::Mac(_) => "a link address".into(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Bad(problem) => return self.fails(problem.clone()),
            Token::End => "the end".into(),
        };
        self.fails(format!("expected {what}, found {found}"))
    }

    fn step(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    fn sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.next = self.next.saturating_add(usize::from(is));
        is
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Word(found) if found == word);
        self.next = self.next.saturating_add(usize::from(is));
        is
    }

    fn close(&mut self, sign: &str) -> Parse<()> {
        if self.sign(sign) { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    /// One level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.fails(format!("nested more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn join(&mut self) -> Option<Join> {
        if self.word("and") || self.sign("&&") {
            Some(Join::And)
        } else if self.word("or") || self.sign("||") {
            Some(Join::Or)
        } else {
            None
        }
    }

    fn joined(&mut self, part: impl Fn(&mut Self) -> Parse<Expression>) -> Parse<Expression> {
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Some(join) = self.join() {
            rest.push((join, part(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Chain(Box::new(first), rest) })
    }

    fn chain(&mut self) -> Parse<Expression> {
        self.joined(Self::term)
    }

    fn term(&mut self) -> Parse<Expression> {
        if self.word("not") || self.sign("!") {
            return self.deeper(|p| Ok(Expression::Not(Box::new(p.term()?))));
        }
        match self.peek().clone() {
            Token::Sign("(") => self.bracket(),
            Token::Sign("-") => self.compare(),
            Token::Number(_) => self.number_or_name(),
            Token::Word(word) if word == "len" || find(&words::CONSTANTS, &word).is_some() => {
                self.compare()
            }
            Token::Word(_) if *self.ahead(1) == Token::Sign("[") => self.compare(),
            Token::Word(word) => self.primitive(&word),
            Token::Dotted(..) | Token::V6(_) | Token::Mac(_) => self.implied(),
            Token::Sign(_) | Token::Bad(_) | Token::End => Err(self.expected("a test")),
        }
    }

    /// `(` of an expression or of arithmetic: which of them, only what is behind it shows.
    fn bracket(&mut self) -> Parse<Expression> {
        let (start, depth) = (self.next, self.depth);
        let arithmetic = match self.compare() {
            Ok(compare) => return Ok(compare),
            Err(error) => error,
        };
        (self.next, self.depth) = (start, depth);
        let inner = self.deeper(|p| {
            p.step();
            let inner = p.chain()?;
            p.close(")")?;
            Ok(inner)
        });
        self.last = None;
        // Who got further knows better what is wrong.
        inner.map_err(|error| if arithmetic.at > error.at { arithmetic } else { error })
    }

    fn number_or_name(&mut self) -> Parse<Expression> {
        let start = self.next;
        let compared = self.compare();
        let alone = self.next == start.saturating_add(1);
        if compared.is_err() && (alone || self.last.is_some()) {
            self.next = start;
            return self.implied();
        }
        compared
    }

    /// What has no qualifiers of its own.
    fn implied(&mut self) -> Parse<Expression> {
        match self.last {
            Some(qualifiers) => self.single(qualifiers),
            None => {
                Err(self.expected("a test such as `host` or `port` before an address or number"))
            }
        }
    }

    fn primitive(&mut self, word: &str) -> Parse<Expression> {
        if UNSUPPORTED.contains(&word) {
            return Err(self.fails(format!("`{word}` is not supported here")));
        }
        if self.word("vlan") {
            self.last = None;
            let id = self.optional(4_095)?;
            let test = Expression::Test(Test::Vlan(id), self.tags);
            self.tags = self.tags.saturating_add(1);
            return Ok(test);
        }
        for (name, relation) in
            [("less", Relation::LessOrEqual), ("greater", Relation::GreaterOrEqual)]
        {
            if self.word(name) {
                self.last = None;
                let length = Arithmetic::Number(self.number(u32::MAX)?);
                return Ok(Expression::Compare(Arithmetic::Length, relation, length));
            }
        }
        if let Some(group) = self.group(Over::Ether)? {
            return Ok(group);
        }
        let over = find(&words::PROTOCOLS, word);
        if over.is_some() {
            self.step();
        }
        let direction = self.direction();
        let Token::Word(kind) = self.peek() else { return self.headless(over, direction) };
        let Some(kind) = find(&KINDS, kind) else { return self.headless(over, direction) };
        self.step();
        let qualifiers = Qualifiers { over, direction, kind };
        self.last = Some(qualifiers);
        self.values(qualifiers)
    }

    /// Without `host`, `port` or the like.
    fn headless(&mut self, over: Option<Over>, direction: Option<Direction>) -> Parse<Expression> {
        if direction.is_some() {
            let qualifiers = Qualifiers { over, direction, kind: Kind::Host };
            self.last = Some(qualifiers);
            return self.values(qualifiers);
        }
        if let Some(over) = over {
            if let Some(group) = self.group(over)? {
                return Ok(group);
            }
            self.last = None;
            let Some(test) = named(over) else {
                return Err(self.expected("`host`, `proto`, `multicast` or `broadcast`"));
            };
            return Ok(Expression::Test(test, self.tags));
        }
        if self.last.is_some() {
            return self.implied();
        }
        Err(self.expected("a test such as `host`, `port` or `tcp`"))
    }

    /// `broadcast` and `multicast`.
    fn group(&mut self, over: Over) -> Parse<Option<Expression>> {
        let loaded = |at, size: u8| {
            Arithmetic::Load(over, Box::new(Arithmetic::Number(at)), size, self.tags)
        };
        let (multicast, relation, least) = match over {
            Over::Ether => {
                let first = Box::new(loaded(0, 1));
                let bit = Box::new(Arithmetic::Number(1));
                let bit = Arithmetic::Binary(first, super::tree::Operator::And, bit);
                (bit, Relation::NotEqual, 0)
            }
            Over::Ip => (loaded(16, 1), Relation::GreaterOrEqual, 224),
            Over::Ip6 => (loaded(24, 1), Relation::Equal, 255),
            _ => return Ok(None),
        };
        if self.word("multicast") {
            self.last = None;
            let least = Arithmetic::Number(least);
            return Ok(Some(Expression::Compare(multicast, relation, least)));
        }
        if matches!(self.peek(), Token::Word(word) if word == "broadcast") {
            if over != Over::Ether {
                return Err(self.fails(format!(
                    "`{over} broadcast` needs the network's mask, which captures do not have"
                )));
            }
            self.step();
            self.last = None;
            let all = Test::Link(Direction::Destination, [0xff; 6]);
            return Ok(Some(Expression::Test(all, self.tags)));
        }
        Ok(None)
    }

    /// `src`, `dst or src` and so on.
    fn direction(&mut self) -> Option<Direction> {
        let (one, other) = match self.peek() {
            Token::Word(word) if word == "src" => (Direction::Source, "dst"),
            Token::Word(word) if word == "dst" => (Direction::Destination, "src"),
            _ => return None,
        };
        self.step();
        let start = self.next;
        let both = match self.join() {
            Some(Join::Or) => Direction::Either,
            Some(Join::And) => Direction::Both,
            None => return Some(one),
        };
        if self.word(other) {
            return Some(both);
        }
        self.next = start;
        Some(one)
    }

    /// One value, or several in brackets.
    fn values(&mut self, qualifiers: Qualifiers) -> Parse<Expression> {
        if self.word("not") || self.sign("!") {
            return self.deeper(|p| Ok(Expression::Not(Box::new(p.values(qualifiers)?))));
        }
        if !self.sign("(") {
            return self.single(qualifiers);
        }
        self.deeper(|p| {
            let inner = p.joined(|p| p.values(qualifiers))?;
            p.close(")")?;
            Ok(inner)
        })
    }

    fn single(&mut self, qualifiers: Qualifiers) -> Parse<Expression> {
        let Qualifiers { over, direction, kind } = qualifiers;
        let end = direction.unwrap_or(Direction::Either);
        let test = match kind {
            Kind::Host | Kind::Net if over == Some(Over::Ether) => match self.peek() {
                Token::Mac(mac) if kind == Kind::Host => {
                    let test = Test::Link(end, *mac);
                    self.step();
                    test
                }
                _ => return Err(self.expected("a link address such as 02:00:00:00:00:01")),
            },
            Kind::Host | Kind::Net => self.network(over, end, kind)?,
            Kind::Port | Kind::PortRange => {
                let protocol = match over {
                    None => None,
                    Some(Over::Transport(number @ (6 | 17 | 132))) => Some(number),
                    Some(over) => return Err(self.unfit(over, "ports")),
                };
                let low = self.port()?;
                let high =
                    if kind == Kind::PortRange && self.sign("-") { self.port()? } else { low };
                Test::Port(protocol, end, low.min(high), low.max(high))
            }
            Kind::Proto => {
                if let Some(direction) = direction {
                    return Err(self.fails(format!("`{direction}` does not go with `proto`")));
                }
                self.protocol(over)?
            }
        };
        Ok(Expression::Test(test, self.tags))
    }

    fn unfit(&self, over: Over, what: &str) -> SyntaxError {
        self.fails(format!("`{over}` has no {what}"))
    }

    fn network(&mut self, over: Option<Over>, end: Direction, kind: Kind) -> Parse<Test> {
        let start = self.next;
        let (address, whole): (IpAddr, u8) = match self.peek() {
            Token::Dotted(value, octets) => (Ipv4Addr::from_bits(*value).into(), 8 * octets),
            Token::Number(octet @ 0..=255) if kind == Kind::Net => {
                (Ipv4Addr::from_bits(octet << 24).into(), 8)
            }
            Token::V6(address) => ((*address).into(), 128),
            Token::Mac(_) => return Err(self.expected("an IP address, or `ether host` before it")),
            Token::Word(_) => {
                let what = "an address such as 10.0.0.1 (names are not looked up)";
                return Err(self.expected(what));
            }
            _ => return Err(self.expected("an address such as 10.0.0.1")),
        };
        match (over, address.is_ipv4()) {
            (None | Some(Over::Ip | Over::Arp | Over::Rarp), true)
            | (None | Some(Over::Ip6), false) => {}
            (Some(over @ (Over::Ip | Over::Ip6 | Over::Arp | Over::Rarp)), _) => {
                return Err(self.unfit(over, "addresses of this family"));
            }
            (Some(over), _) => return Err(self.unfit(over, "addresses")),
        }
        self.step();
        let mut length = whole;
        if self.sign("/") {
            length = self.number(if address.is_ipv4() { 32 } else { 128 })? as u8;
        } else if kind == Kind::Net && address.is_ipv4() && self.word("mask") {
            let Token::Dotted(mask, 4) = *self.peek() else {
                return Err(self.expected("a mask such as 255.255.0.0"));
            };
            if mask.leading_ones() + mask.trailing_zeros() < 32 {
                return Err(self.fails("a mask has its ones at the front"));
            }
            self.step();
            length = mask.leading_ones() as u8;
        }
        let range = Range { address, length };
        if range.first() != address {
            self.next = start;
            let first = Range { address: range.first(), length };
            return Err(self.fails(format!("{range} has bits behind the prefix; is it {first}?")));
        }
        // An address says its family itself; the word before it is then one of ARP's, or nothing new.
        let over = if address.is_ipv4() { over } else { None };
        Ok(Test::Network(over, end, range))
    }

    fn port(&mut self) -> Parse<u16> {
        if let Token::Word(name) = self.peek() {
            let Some(port) = find(&words::PORTS, name) else {
                return Err(self.expected("a port"));
            };
            self.step();
            return Ok(port);
        }
        self.number(65_535).map(|port| port as u16)
    }

    /// The value of `proto`.
    fn protocol(&mut self, over: Option<Over>) -> Parse<Test> {
        let name = match self.peek() {
            Token::Word(name) => find(&words::PROTOCOLS, name),
            _ => None,
        };
        let family = match over {
            None => None,
            Some(Over::Ip) => Some(Family::V4),
            Some(Over::Ip6) => Some(Family::V6),
            Some(Over::Ether) => {
                if let Some(test @ Test::Ethertype(_)) = name.and_then(named) {
                    self.step();
                    return Ok(test);
                }
                let number = self.number(0xffff)? as u16;
                if number <= 1_500 {
                    return Err(self.fails("up to 1500, the field is a length and no protocol"));
                }
                return Ok(Test::Ethertype(number));
            }
            Some(over) => return Err(self.unfit(over, "protocols in it")),
        };
        if let Some(Over::Transport(number)) = name {
            self.step();
            return Ok(Test::Protocol(family, number));
        }
        Ok(Test::Protocol(family, self.number(255)? as u8))
    }

    fn optional(&mut self, most: u32) -> Parse<Option<u16>> {
        // `vlan 5 = 5` would be a comparison, which nobody writes.
        match self.peek() {
            Token::Number(_) => self.number(most).map(|number| Some(number as u16)),
            _ => Ok(None),
        }
    }

    fn number(&mut self, most: u32) -> Parse<u32> {
        match *self.peek() {
            Token::Number(number) if number <= most => {
                self.step();
                Ok(number)
            }
            Token::Number(number) => Err(self.fails(format!("{number} is over {most}"))),
            _ => Err(self.expected("a number")),
        }
    }
}

/// What a protocol's name alone asks; every frame is one of Ethernet.
fn named(over: Over) -> Option<Test> {
    Some(match over {
        Over::Ether => return None,
        Over::Ip => Test::Ethertype(0x0800),
        Over::Ip6 => Test::Ethertype(0x86dd),
        Over::Arp => Test::Ethertype(0x0806),
        Over::Rarp => Test::Ethertype(0x8035),
        Over::Transport(number @ (1 | 2 | 112)) => Test::Protocol(Some(Family::V4), number),
        Over::Transport(number @ 58) => Test::Protocol(Some(Family::V6), number),
        Over::Transport(number) => Test::Protocol(None, number),
    })
}
