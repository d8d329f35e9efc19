//! What a packet must look like when it leaves.
//!
//! Everything but checksums is written down and compared byte for byte. Checksums are summed up in full,
//! before and after: what was right is right, and what was wrong is equally wrong (C-1 to C-9).

use std::net::IpAddr;

use super::rules::Way;
use super::wire::{
    End, Five, Kind, Part, UDP, View, address, checksum, header_error, octets, put, seal4, sum,
    transport_error, word,
};

/// Compares all but 16-bit fields at these places.
fn same(wanted: &[u8], after: &[u8], checksums: &[usize]) -> Result<(), String> {
    if wanted.len() != after.len() {
        return Err(format!("{} bytes leave instead of {}", after.len(), wanted.len()));
    }
    let is_checksum = |at: usize| checksums.iter().any(|c| at == *c || at == *c + 1);
    let differs = |at: &usize| wanted.get(*at) != after.get(*at) && !is_checksum(*at);
    match (0..wanted.len()).find(differs) {
        Some(at) => {
            let around = |bytes: &[u8]| {
                let bytes = bytes.get(at.saturating_sub(4)..bytes.len().min(at + 8));
                format!("{:02x?}", bytes.unwrap_or_default())
            };
            Err(format!("byte {at}: {} instead of {}", around(after), around(wanted)))
        }
        None => Ok(()),
    }
}

/// Writes a tuple over a packet; checksums stay.
fn rewrite(frame: &mut [u8], view: &View, to: &Five, ttl: u8) {
    let v4 = to.is_v4();
    put(frame, view.l3 + if v4 { 8 } else { 7 }, &[ttl]);
    let (source, destination) = if v4 { (12, 16) } else { (8, 24) };
    put(frame, view.l3 + source, &octets(to.source.0));
    put(frame, view.l3 + destination, &octets(to.destination.0));
    match view.kind {
        Kind::Tcp(_) | Kind::Udp | Kind::Sctp => {
            put(frame, view.l4, &to.source.1.to_be_bytes());
            put(frame, view.l4 + 2, &to.destination.1.to_be_bytes());
        }
        Kind::Echo(true) => put(frame, view.l4 + 4, &to.source.1.to_be_bytes()),
        Kind::Echo(false) => put(frame, view.l4 + 4, &to.destination.1.to_be_bytes()),
        _ => {}
    }
}

/// Whether a packet left with this tuple, one hop older or not, and with nothing else changed.
pub(super) fn translated(
    before: &[u8],
    after: &[u8],
    view: &View,
    to: &Five,
    hop: bool,
) -> Result<(), String> {
    let mut wanted = before.to_vec();
    rewrite(&mut wanted, view, to, view.ttl.saturating_sub(u8::from(hop)));
    let header = view.five.is_v4().then_some(view.l3 + 10);
    let at = view.checksum_at();
    let fields: Vec<usize> = header.into_iter().chain(at).collect();
    same(&wanted, after, &fields)?;
    let new = View { five: *to, ..*view };
    if header_error(before, view) != header_error(after, &new) {
        return Err("the IPv4 header checksum is not as right or wrong as it was".into());
    }
    if let Some(at) = at.filter(|_| view.part != Part::Later) {
        transport_kept(before, after, view, &new, at)?;
    }
    Ok(())
}

/// Whether the transport checksum is as right or wrong as it was.
fn transport_kept(
    before: &[u8],
    after: &[u8],
    old: &View,
    new: &View,
    at: usize,
) -> Result<(), String> {
    let (was, is) = (word(before, at), word(after, at));
    if old.kind == Kind::Udp && (was == Some(0)) != (is == Some(0)) {
        return Err(format!("UDP checksum {was:04x?} became {is:04x?}: zero means none"));
    }
    let none = old.kind == Kind::Udp && was == Some(0);
    if !none && transport_error(before, old) != transport_error(after, new) {
        return Err(format!(
            "the transport checksum is not as right or wrong as it was: {was:04x?} became {is:04x?}"
        ));
    }
    if (none || old.five == new.five) && was != is {
        return Err(format!("transport checksum {was:04x?} became {is:04x?} for no reason"));
    }
    Ok(())
}

/// The packet that an ICMP error is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    pub(super) five: Five,
    l3: usize,
    l4: usize,
    end: usize,
    kind: Kind,
}

/// What an ICMP error quotes: nothing that a connection could have (`Ok(None)`), or what no host would
/// send an error about.
pub(super) fn quote(frame: &[u8], view: &View) -> Result<Option<Quote>, &'static str> {
    let l3 = view.l4 + 8;
    let v4 = view.five.is_v4();
    let message = frame.get(view.l4..view.l4 + 8).ok_or("a cut message")?;
    // RFC 4884: where at least 128 bytes are quoted, their length may be said.
    let said = match (v4, message[0]) {
        (true, _) => usize::from(message[5]) * 4,
        (false, 1 | 3) => usize::from(message[4]) * 8,
        _ => 0,
    };
    let end = if said >= 128 { view.end.min(l3 + said) } else { view.end };
    let fixed = if v4 { 20 } else { 40 };
    let header = frame.get(l3..l3 + fixed).filter(|_| l3 + fixed <= end);
    let header = header.ok_or("a cut quote")?;
    let ends = if v4 { (12, 16) } else { (8, 24) };
    let (source, destination) = (address(header, ends.0, v4), address(header, ends.1, v4));
    let (Some(source), Some(destination)) = (source, destination) else { return Err("cut") };
    let mut protocol = header[if v4 { 9 } else { 6 }];
    let (l4, end) = if v4 {
        let length = usize::from(header[0] & 15) * 4;
        let l4 = l3 + length;
        if header[0] >> 4 != 4 || length < 20 || l4 > end {
            return Err("a quote that is no IPv4");
        }
        if u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0 {
            return Err("a later fragment quoted");
        }
        let all = frame.get(l3..l4).unwrap_or_default();
        if sum(all) != 0 || all.iter().all(|byte| *byte == 0) {
            return Err("a damaged header quoted");
        }
        (l4, end.min(l3 + usize::from(u16::from_be_bytes([header[2], header[3]]))))
    } else {
        let mapped = |a: IpAddr| matches!(a, IpAddr::V6(a) if a.to_ipv4_mapped().is_some());
        if header[0] >> 4 != 6 || mapped(source) || mapped(destination) {
            return Err("a quote that is no IPv6");
        }
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let end = if payload == 0 { end } else { end.min(l3 + 40 + payload) };
        match behind_extensions(frame, l3 + 40, end, protocol)? {
            Some((l4, found)) => {
                protocol = found;
                (l4, end)
            }
            None => return Ok(None),
        }
    };
    let mut five = Five { protocol, source: (source, 0), destination: (destination, 0) };
    let rest = frame.get(l4..end).unwrap_or_default();
    let kind = match protocol {
        6 => Kind::Tcp(0),
        UDP => Kind::Udp,
        132 => Kind::Sctp,
        1 | 58 if v4 == (protocol == 1) => match (rest.get(..8).map(|head| head[0]), v4) {
            (Some(8), true) | (Some(128), false) => Kind::Echo(true),
            (Some(0), true) | (Some(129), false) => Kind::Echo(false),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    match (kind, word(rest, 0), word(rest, 2), word(rest, 4)) {
        (Kind::Echo(true), .., Some(id)) => five.source.1 = id,
        (Kind::Echo(false), .., Some(id)) => five.destination.1 = id,
        (_, Some(source), Some(destination), _) => {
            (five.source.1, five.destination.1) = (source, destination);
        }
        _ => return Ok(None),
    }
    Ok(Some(Quote { five, l3, l4, end, kind }))
}

/// Where the transport header of a quoted IPv6 packet is, and what it is.
fn behind_extensions(
    frame: &[u8],
    mut at: usize,
    end: usize,
    mut number: u8,
) -> Result<Option<(usize, u8)>, &'static str> {
    for _ in 0..8 {
        if !matches!(number, 0 | 43 | 44 | 51 | 60 | 135) {
            return Ok(Some((at, number)));
        }
        let Some(header) = frame.get(at..at + 8).filter(|_| at + 8 <= end) else { return Ok(None) };
        if number == 44 && u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
            return Err("a later fragment quoted");
        }
        if number == 43 && header[3] != 0 {
            return Ok(None);
        }
        let units = usize::from(header[1]);
        at += match number {
            44 => 8,
            51 => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if at > end {
            return Ok(None);
        }
        number = header[0];
    }
    Ok(None)
}

/// Whether an ICMP error left as one about the packet as it was before it was translated: `inner` is what
/// that packet was sent with, `outer` what the error leaves with (I-3c to I-5, I-12, I-13).
pub(super) fn restored(
    before: &[u8],
    after: &[u8],
    view: &View,
    quote: &Quote,
    inner: &Five,
    outer: &Five,
    hop: bool,
) -> Result<(), String> {
    let mut wanted = before.to_vec();
    rewrite(&mut wanted, view, outer, view.ttl.saturating_sub(u8::from(hop)));
    let v4 = view.five.is_v4();
    let quoted = View { l3: quote.l3, l4: quote.l4, kind: quote.kind, five: quote.five, ..*view };
    let ttl = before.get(quote.l3 + if v4 { 8 } else { 7 }).copied().unwrap_or(0);
    rewrite(&mut wanted, &quoted, inner, ttl);
    let mut fields = vec![view.l4 + 2];
    if v4 {
        fields.extend([view.l3 + 10, quote.l3 + 10]);
    }
    let inner_at = quoted.checksum_at().filter(|at| at + 2 <= quote.end);
    fields.extend(inner_at);
    same(&wanted, after, &fields)?;
    if let Some(at) = inner_at {
        let (was, is) = (word(before, at).unwrap_or(0), word(after, at).unwrap_or(0));
        let udp = quote.kind == Kind::Udp;
        let words = |five: &Five| {
            let mut bytes = Vec::new();
            if !(v4 && matches!(quote.kind, Kind::Echo(_))) {
                bytes.extend(octets(five.source.0));
                bytes.extend(octets(five.destination.0));
            }
            bytes.extend(five.source.1.to_be_bytes());
            bytes.extend(five.destination.1.to_be_bytes());
            sum(&bytes)
        };
        // What is not quoted is as it was, so the sum of field and header is what it was.
        let balance = |field: u16, five: &Five| (u64::from(field) + words(five)) % 65_535;
        let wrong = if udp && was == 0 {
            is != 0
        } else {
            balance(was, &quote.five) != balance(is, inner) || (udp && is == 0)
        };
        if wrong {
            return Err(format!("the quoted checksum {was:04x} became {is:04x}"));
        }
    }
    if v4 && header_error(after, &View { five: *inner, ..quoted }) != 0 {
        return Err("the quoted IPv4 header has a wrong checksum".into());
    }
    let new = View { five: *outer, ..*view };
    if header_error(before, view) != header_error(after, &new) {
        return Err("the error's IPv4 header checksum is not as right or wrong as it was".into());
    }
    if transport_error(before, view) != transport_error(after, &new) {
        return Err("the error's ICMP checksum is not as right or wrong as it was".into());
    }
    Ok(())
}

/// What the sender of a packet is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    PortUnreachable,
    TimeExceeded,
    /// The longest packet that would have fitted.
    TooBig(u32),
}

/// The ICMP error about a packet as it came, from this address (M-1 to M-5).
pub(super) fn refusal(packet: &[u8], view: &View, answer: Answer, from: IpAddr) -> Vec<u8> {
    let v4 = view.five.is_v4();
    let (header, most) = if v4 { (20, 576) } else { (40, 1280) };
    let quoted = packet.get(view.l3..view.end.min(view.l3 + most - header - 8));
    let (kind, code, mtu) = match (answer, v4) {
        (Answer::PortUnreachable, true) => (3, 3, 0),
        (Answer::PortUnreachable, false) => (1, 4, 0),
        (Answer::TimeExceeded, true) => (11, 0, 0),
        (Answer::TimeExceeded, false) => (3, 0, 0),
        (Answer::TooBig(mtu), true) => (3, 4, mtu.min(0xffff)),
        (Answer::TooBig(mtu), false) => (2, 0, mtu),
    };
    let mut message = vec![kind, code, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(quoted.unwrap_or_default());
    let to = view.five.source.0;
    let mut pseudo = Vec::new();
    if !v4 {
        pseudo.extend(octets(from));
        pseudo.extend(octets(to));
        pseudo.extend([0, 58]);
        pseudo.extend((message.len() as u16).to_be_bytes());
    }
    let field = checksum(&[message.clone(), vec![0; message.len() % 2], pseudo].concat(), 0);
    put(&mut message, 2, &field.to_be_bytes());
    let mut frame = back(packet);
    let l3 = frame.len();
    if v4 {
        frame.extend([0x45, 0]);
        frame.extend(((message.len() + 20) as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 1, 0, 0]);
    } else {
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((message.len() as u16).to_be_bytes());
        frame.extend([58, 64]);
    }
    frame.extend(octets(from));
    frame.extend(octets(to));
    if v4 {
        seal4(&mut frame, l3, 0);
    }
    frame.extend(message);
    frame
}

/// The link header of what goes back to the sender of a frame.
fn back(packet: &[u8]) -> Vec<u8> {
    let part = |range: std::ops::Range<usize>| packet.get(range).unwrap_or_default();
    [part(6..12), part(0..6), part(12..14)].concat()
}

/// Whether a packet became the answer to its echo request.
pub(super) fn echoed(before: &[u8], after: &[u8], view: &View) -> Result<(), String> {
    let mut wanted = before.to_vec();
    put(&mut wanted, 0, &back(before));
    let to = Five { source: view.five.destination, destination: view.five.source, ..view.five };
    let id = View { kind: Kind::Icmp, ..*view };
    rewrite(&mut wanted, &id, &to, 64);
    put(&mut wanted, view.l4, &[if view.five.is_v4() { 0 } else { 129 }]);
    let mut fields = vec![view.l4 + 2];
    fields.extend(view.five.is_v4().then_some(view.l3 + 10));
    same(&wanted, after, &fields)?;
    let new = View { five: to, ..*view };
    if header_error(before, view) != header_error(after, &new)
        || transport_error(before, view) != transport_error(after, &new)
    {
        return Err("a checksum of the echo is not as right or wrong as it was".into());
    }
    Ok(())
}

/// How many bytes longer a packet gets that tells of its frontend.
pub(super) const fn overhead(way: Way, v4: bool) -> usize {
    match (way, v4) {
        (Way::Snat, _) => 0,
        (Way::Option, true) => 8,
        (Way::Option, false) => 24,
        (Way::Ipip, true) => 20,
        (Way::Ipip, false) => 40,
        // Outer IP header, UDP, Geneve, its option, and a link header.
        (Way::Geneve, true) => 20 + 8 + 8 + 12 + 14,
        (Way::Geneve, false) => 40 + 8 + 8 + 24 + 14,
    }
}

/// A packet that names a frontend in its options, its header checksum as wrong as before.
pub(super) fn with_option(packet: &[u8], view: &View, frontend: End) -> Vec<u8> {
    let mut frame = packet.to_vec();
    let l3 = view.l3;
    let length = |frame: &[u8], at| word(frame, at).unwrap_or(0);
    if view.five.is_v4() {
        let error = header_error(packet, view);
        let mut option = vec![0x9a, 8];
        option.extend(frontend.1.to_be_bytes());
        option.extend(octets(frontend.0));
        frame.splice(l3 + 20..l3 + 20, option);
        let first = frame.get(l3).copied().unwrap_or(0);
        put(&mut frame, l3, &[first + 2]);
        let total = length(&frame, l3 + 2) + 8;
        put(&mut frame, l3 + 2, &total.to_be_bytes());
        seal4(&mut frame, l3, error);
    } else {
        let next = frame.get(l3 + 6).copied().unwrap_or(0);
        let mut header = vec![next, 2, 0x1b, 20];
        header.extend(octets(frontend.0));
        header.extend(frontend.1.to_be_bytes());
        header.extend([0, 0]);
        frame.splice(l3 + 40..l3 + 40, header);
        let payload = length(&frame, l3 + 4) + 24;
        put(&mut frame, l3 + 4, &payload.to_be_bytes());
        put(&mut frame, l3 + 6, &[60]);
    }
    frame
}

/// What a tunnel around a packet must be, but for the source port of one of UDP, which is free: `None`
/// where it is not, and what is within.
pub(super) fn within_tunnel(
    packet: &[u8],
    after: &[u8],
    view: &View,
    way: Way,
    ends: (IpAddr, IpAddr),
    frontend: End,
) -> Option<Vec<u8>> {
    let v4 = view.five.is_v4();
    let (l3, more) = (view.l3, overhead(way, v4));
    let inner = packet.len().checked_sub(l3)?;
    let mut outer = packet.get(..l3)?.to_vec();
    let (geneve, number) = match (way, v4) {
        (Way::Geneve, _) => (true, UDP),
        (_, true) => (false, 4),
        (_, false) => (false, 41),
    };
    // Padding behind the packet is none of it.
    let said = view.end - l3 + more;
    if v4 {
        outer.extend([0x45, *packet.get(l3 + 1)?]);
        outer.extend((said as u16).to_be_bytes());
        outer.extend([0, 0, 0x40, 0, 64, number, 0, 0]);
    } else {
        outer.extend(packet.get(l3..l3 + 4)?);
        outer.extend(((said - 40) as u16).to_be_bytes());
        outer.extend([number, 64]);
    }
    outer.extend(octets(ends.0));
    outer.extend(octets(ends.1));
    if v4 {
        seal4(&mut outer, l3, 0);
    }
    if geneve {
        let at = outer.len();
        let port = word(after, at).filter(|port| *port >= 0xc000)?;
        outer.extend(port.to_be_bytes());
        outer.extend(6081_u16.to_be_bytes());
        outer.extend(((said - (at - l3)) as u16).to_be_bytes());
        let words = if v4 { 3 } else { 6 };
        outer.extend([0, 0, words, 0x40, 0x65, 0x58, 0, 0, 0, 0]);
        outer.extend([0xff, 0x54, 0x81, words - 1]);
        outer.extend(octets(frontend.0));
        outer.extend(frontend.1.to_be_bytes());
        outer.extend([view.five.protocol, 0]);
        outer.extend(packet.get(..14)?);
    }
    let found = after.get(..l3 + more)?;
    if found != outer || after.len() != l3 + more + inner {
        return None;
    }
    Some([packet.get(..l3)?, after.get(l3 + more..)?].concat())
}
