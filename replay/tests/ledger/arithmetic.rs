//! Header arithmetic: RFC 768, 1071, 1122, 1624, 3022, 6935, 8200, 9260.

use twinpath_core::checksum::{Delta, fold, fold_long};
use twinpath_sim::frame::Frame;
use twinpath_sim::world::Sender;

use super::cluster::{client, node, pod};
use super::entry::{Differs, Entry, tests};
use super::lab::{Check, FAMILIES, Lab, PORT, Path, WAYS, Who, each, fail, is, path, ports_of};
use super::packet::{Ip, Packet, Proto, Sum, full_sum};
use super::udp::outside;

pub(crate) const ROWS: &[Entry] = &[
    Entry {
        id: "C-1",
        statement: "After every rewrite, the checksum that was changed by differences is the one that a full computation gives: for all 65,536 values of a word, and with random fields on every way.",
        differs: Differs::No,
        tests: tests![every_value_of_a_word, random_fields],
    },
    Entry {
        id: "C-2",
        statement: "Differences are those of RFC 1624, equation 3: right for old words and checksums of 0x0000 and 0xffff and every new word.",
        differs: Differs::No,
        tests: tests![equation_three],
    },
    Entry {
        id: "C-3",
        statement: "A UDP checksum of 0 over IPv4 means that there is none, and stays.",
        differs: Differs::No,
        tests: tests![no_checksum_stays_none],
    },
    Entry {
        id: "C-4",
        statement: "A UDP checksum that comes to 0 is sent as 0xffff; one of TCP or ICMP is sent as 0.",
        differs: Differs::No,
        tests: tests![checksums_that_come_to_zero],
    },
    Entry {
        id: "C-5",
        statement: "A UDP checksum of 0 over IPv6 is never made by nodes, and it is documented what becomes of one that comes.",
        differs: Differs::Beside(
            48,
            "it is translated and stays 0; its receiver drops it (RFC 8200, 8.1), as behind a router",
        ),
        tests: tests![no_checksum_in_ipv6],
    },
    Entry {
        id: "C-6",
        statement: "A packet whose checksum is wrong leaves with one that is just as wrong, never with a right one.",
        differs: Differs::No,
        tests: tests![wrong_stays_wrong],
    },
    Entry {
        id: "C-7",
        statement: "Of a checksum that the device will complete (CHECKSUM_PARTIAL) the pseudo-header's part alone changes, and it comes out right.",
        differs: Differs::No,
        tests: tests![partial_checksums],
    },
    Entry {
        id: "C-8",
        statement: "Addresses enter the checksums of TCP, UDP and ICMPv6 and not that of ICMP; ports enter once.",
        differs: Differs::No,
        tests: tests![what_enters_which_checksum],
    },
    Entry {
        id: "C-9",
        statement: "Sums are folded until nothing is carried, whatever their width.",
        differs: Differs::No,
        tests: tests![folds_to_the_end],
    },
    Entry {
        id: "C-10",
        statement: "Each node and router on the way takes one hop of time to live, a node none of its own packets, and the IPv4 header checksum follows; without a hop left, the packet goes no further.",
        differs: Differs::No,
        tests: tests![hops_of_every_way],
    },
    Entry {
        id: "C-11",
        statement: "A later fragment changes in its IP header alone; a packet or first fragment without a whole transport header is dropped and counted.",
        differs: Differs::No,
        tests: tests![later_fragments, cut_headers],
    },
    Entry {
        id: "C-12",
        statement: "With an IPv6 routing header, the checksum is that of the last destination: one that is there is translated, one on its way is not.",
        differs: Differs::No,
        tests: tests![routing_headers],
    },
    Entry {
        id: "C-13",
        statement: "The CRC32c of SCTP stays when addresses change; where a port would have to change, the packet is dropped and counted.",
        differs: Differs::No,
        tests: tests![sctp_keeps_its_checksum],
    },
    Entry {
        id: "C-14",
        statement: "Translation there and back is the identity on every byte but the time to live and its checksum.",
        differs: Differs::No,
        tests: tests![there_and_back],
    },
];

const PROTOS: &[Proto] = &[Proto::Udp, Proto::Tcp];

/// Numbers that look random (xorshift), from a seed.
struct Dice(u32);

impl Dice {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A packet with random fields.
    fn packet(&mut self, plain: &Packet) -> Packet {
        let length = self.next() as usize % 300;
        let mut packet = plain.clone();
        packet.payload = (0..length).map(|_| self.next() as u8).collect();
        packet.sequence = self.next();
        packet.id = self.next() as u16;
        if packet.v4() {
            packet.may_cut = self.next().is_multiple_of(2);
            packet.options = vec![1; 4 * (self.next() as usize % 11)];
        } else if self.next().is_multiple_of(2) {
            packet.extensions = vec![(60, vec![0, 1, 4, 0, 0, 0, 0])];
        }
        packet
    }
}

fn every_value_of_a_word(lab: &mut Lab<'_>) -> Check<String> {
    lab.begin("ClusterIP local");
    let path = path("ClusterIP local", Proto::Udp, true);
    let packet = path.there(0).with(&[0; 2]);
    lab.there(&path, &packet)?;
    let out = packet.between(path.sees, path.target);
    let (mut sent, mut wanted) = (packet.frame(), out.frame());
    // What the checksums are without the word, computed once by others; adding a word is all that is left.
    let sums = [&packet, &out].map(|packet| {
        let mut segment = packet.segment();
        segment[6..8].fill(0);
        !full_sum(17, packet.from.0, packet.to.0, &segment)
    });
    for word in 0..=0xffff_u16 {
        for (bytes, sum) in [(&mut sent, sums[0]), (&mut wanted, sums[1])] {
            let field = match !super::packet::plus(sum, word) {
                0 => 0xffff,
                field => field,
            };
            bytes[40..42].copy_from_slice(&field.to_be_bytes());
            bytes[42..44].copy_from_slice(&word.to_be_bytes());
        }
        let trace = lab.pass(path.opener, sent.clone());
        let arrived = trace.seen.last().map_or(&[][..], |(_, frame)| &frame.bytes);
        if arrived[34..] != wanted[34..] {
            return fail(format!(
                "{word:04x}: {:02x?} and not {:02x?}",
                &arrived[34..],
                &wanted[34..]
            ));
        }
    }
    Ok(String::new())
}

fn random_fields(lab: &mut Lab<'_>) -> Check<String> {
    let dice = std::cell::RefCell::new(Dice(0x1234_5677));
    let run = |lab: &mut Lab<'_>, path: &Path| {
        let on = path.proto.flags()[2];
        for port in [PORT, 33_001, 7, 65_535] {
            let path = lab.talk(&path.port(port))?;
            for _ in 0..8 {
                let (there, back) = {
                    let mut dice = dice.borrow_mut();
                    (dice.packet(&path.there(on)), dice.packet(&path.back(on)))
                };
                lab.there(&path, &there)?;
                lab.back(&path, &back)?;
            }
        }
        Ok(())
    };
    each(lab, &WAYS[..5], PROTOS, run)?;
    each(lab, &["masquerade"], &[Proto::Echo], run)?;
    Ok(String::new())
}

fn equation_three(_: &mut Lab<'_>) -> Check<String> {
    let none = pod("ca", true);
    for checksum in [0x0000_u16, 0xffff, 0x8001] {
        for old in [0x0000_u16, 0xffff] {
            // A message of two words with this checksum.
            let filler = super::packet::plus(!checksum, !old);
            for new in 0..=0xffff_u16 {
                let message = [new.to_be_bytes(), filler.to_be_bytes()].concat();
                let full = full_sum(1, none, none, &message);
                let ours = Delta::NONE.of_word(old.to_be(), new.to_be()).apply(checksum.to_be());
                let ours = u16::from_be(ours);
                let same = if old == new { checksum } else { ours };
                if same != full && (same, full) != (0xffff, 0) && (same, full) != (0, 0xffff) {
                    return fail(format!(
                        "{checksum:04x}: {old:04x} to {new:04x}: {ours:04x}, not {full:04x}"
                    ));
                }
            }
        }
    }
    Ok(String::new())
}

/// In both directions, twice: the first packet of each and a later one.
fn to_and_fro(lab: &mut Lab<'_>, path: &Path, change: impl Fn(&mut Packet)) -> Check {
    let [open, answer, on] = path.proto.flags();
    for (there, back) in [(open, answer), (on, on)] {
        let mut packet = path.there(there);
        change(&mut packet);
        lab.there(path, &packet)?;
        let mut packet = path.back(back);
        change(&mut packet);
        lab.back(path, &packet)?;
    }
    Ok(())
}

fn no_checksum_stays_none(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, &[Proto::Udp], |lab, path| {
        if path.v4 { to_and_fro(lab, path, |packet| packet.sum = Sum::Zero) } else { Ok(()) }
    })?;
    Ok(String::new())
}

/// A payload with which the checksum comes to zero (one's complement) for these ends.
fn zeroing(packet: &Packet) -> Vec<u8> {
    let mut packet = packet.clone().with(&[0; 4]);
    packet.sum = Sum::Zero;
    let segment = packet.segment();
    let word = full_sum(packet.proto.number(packet.v4()), packet.from.0, packet.to.0, &segment);
    [&word.to_be_bytes()[..], &[0, 0]].concat()
}

fn checksums_that_come_to_zero(lab: &mut Lab<'_>) -> Check<String> {
    let run = |lab: &mut Lab<'_>, path: &Path| {
        let path = &lab.talk(path)?;
        let on = path.proto.flags()[2];
        let at = match path.proto {
            Proto::Tcp => 16,
            Proto::Udp => 6,
            _ => 2,
        };
        let wanted = if path.proto == Proto::Udp { [0xff; 2] } else { [0; 2] };
        for there in [true, false] {
            let (packet, out) = if there {
                let packet = path.there(on);
                let out = packet.between(path.sees, path.target);
                (packet, out)
            } else {
                let packet = path.back(on);
                let out = packet.between(path.to, path.from);
                (packet, out)
            };
            let payload = zeroing(&out);
            let segment = out.with(&payload).segment();
            is(segment[at..at + 2] == wanted, format!("made {:02x?}", &segment[at..at + 2]))?;
            let got = if there {
                lab.there(path, &packet.with(&payload))?
            } else {
                lab.back(path, &packet.with(&payload))?
            };
            // Said again, since it is what this is about.
            let (_, bytes) = got.last();
            let at = at + if path.v4 { 20 } else { 40 };
            got.check(bytes[at..at + 2] == wanted, "the zero that is not this protocol's")?;
        }
        Ok(())
    };
    each(lab, &WAYS[..5], PROTOS, run)?;
    // The identifier has to change, or the checksum of ICMP would not.
    for v4 in FAMILIES {
        lab.begin("masquerade");
        lab.talk(&outside(Proto::Echo, v4, ("ca", PORT), ("x", 0)))?;
        run(lab, &outside(Proto::Echo, v4, ("sa", PORT), ("x", 0)))?;
    }
    Ok(String::new())
}

fn no_checksum_in_ipv6(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, &[Proto::Udp], |lab, path| {
        if path.v4 {
            return Ok(());
        }
        to_and_fro(lab, path, |packet| packet.sum = Sum::Zero)?;
        // None is made of one that comes to zero.
        let packet = path.there(0);
        let payload = zeroing(&packet.between(path.sees, path.target));
        let got = lab.there(path, &packet.with(&payload))?;
        let (_, bytes) = got.last();
        got.check(bytes[46..48] == [0xff; 2], "a checksum of zero was made")
    })?;
    Ok(String::new())
}

fn wrong_stays_wrong(lab: &mut Lab<'_>) -> Check<String> {
    for by in [0x0001, 0x8000, 0x1234, 0xfffe] {
        each(lab, &WAYS[..5], PROTOS, |lab, path| {
            to_and_fro(lab, path, |packet| packet.sum = Sum::Off(by))
        })?;
    }
    each(lab, &WAYS[5..], PROTOS, |lab, path| {
        to_and_fro(lab, path, |packet| packet.sum = Sum::Off(0x1234))
    })?;
    each(lab, &["masquerade"], &[Proto::Echo], |lab, path| {
        to_and_fro(lab, path, |packet| packet.sum = Sum::Off(0x1234))
    })?;
    Ok(String::new())
}

/// The frame with a checksum that is still to be completed: the pseudo-header's sum in its field.
fn partial(packet: &Packet) -> Frame {
    let mut bytes = packet.frame();
    let l4 = if packet.v4() { 34 } else { 54 };
    let at = l4 + if packet.proto == Proto::Tcp { 16 } else { 6 };
    bytes[at..at + 2].fill(0);
    let with = full_sum(packet.proto.number(packet.v4()), packet.from.0, packet.to.0, &bytes[l4..]);
    let without = full_sum(1, packet.from.0, packet.to.0, &bytes[l4..]);
    // What the pseudo-header adds is the difference of the two.
    let pseudo = super::packet::plus(without, !with);
    bytes[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    Frame { bytes, partial: true }
}

/// The bytes from the IP header on, with the checksum completed as a device does it.
fn complete(bytes: &[u8], packet: &Packet) -> Vec<u8> {
    let mut bytes = bytes[14..].to_vec();
    let l4 = if packet.v4() { 20 } else { 40 };
    let at = l4 + if packet.proto == Proto::Tcp { 16 } else { 6 };
    let sum = full_sum(1, packet.from.0, packet.to.0, &bytes[l4..]);
    let sum = if sum == 0 && packet.proto == Proto::Udp { 0xffff } else { sum };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn partial_checksums(lab: &mut Lab<'_>) -> Check<String> {
    let takes = lab.world.takes_partial();
    each(lab, &["ClusterIP local", "ClusterIP remote", "masquerade"], PROTOS, |lab, path| {
        for port in [PORT, 7] {
            let path = lab.talk(&path.port(port))?;
            for length in [0, 1, 24, 1_000] {
                let packet = path.there(path.proto.flags()[2]).length(length);
                let out = packet.between(path.sees, path.target);
                if !takes {
                    continue;
                }
                // Past the digest, since only one of the worlds has such packets.
                let pod = lab.world.topology().pod("ca").ok_or("a pod")?;
                let trace = lab.world.send_from(Sender::Pod(pod), &partial(&packet));
                let trace = trace.map_err(|error| error.to_string())?;
                let (place, frame) = trace.seen.last().ok_or("seen")?;
                is(*place == lab.place(path.server), "did not arrive")?;
                is(frame.partial, "no longer partial")?;
                let bytes = complete(&frame.bytes, &out);
                let wanted = out.ip(super::lab::ttl_of(&bytes));
                is(bytes == wanted, format!("{}: {bytes:02x?} and not {wanted:02x?}", path.way))?;
            }
        }
        Ok(())
    })?;
    Ok("in the simulator, since test runs have no such packets; between real stacks, `ebpf/loader/tests` does it".into())
}

fn what_enters_which_checksum(lab: &mut Lab<'_>) -> Check<String> {
    // Addresses alone change.
    for v4 in FAMILIES {
        for proto in [Proto::Udp, Proto::Tcp, Proto::Echo] {
            lab.begin("masquerade");
            let end = ("x", if proto == Proto::Echo { 0 } else { 53 });
            let path = outside(proto, v4, ("ca", PORT), end);
            let packet = path.there(proto.flags()[0]);
            let got = lab.there(&path, &packet)?;
            let (_, bytes) = got.last();
            let header = if v4 { 20 } else { 40 };
            let same = bytes[header..] == packet.ip(64)[header..];
            got.check(same == (v4 && proto == Proto::Echo), "the checksum, or the lack of one")?;
            // Ports alone change: to the same address by the service and past it.
            if proto == Proto::Echo {
                continue;
            }
            lab.begin("ClusterIP local");
            let served = super::lab::path("ClusterIP local", proto, v4);
            let mut past = served.clone();
            past.to = past.target;
            lab.talk(&served)?;
            let past = lab.talk(&past)?;
            is(past.sees.0 == past.from.0 && past.sees.1 != past.from.1, "not the port alone")?;
        }
    }
    Ok(String::new())
}

fn folds_to_the_end(lab: &mut Lab<'_>) -> Check<String> {
    fn slow(mut sum: u64) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
    for high in 0..=0xffff_u32 {
        for low in [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff, 0xffff - high, (0x1_0000 - high) & 0xffff]
        {
            let sum = high << 16 | low;
            is(fold(sum) == slow(sum.into()), format!("{sum:08x}"))?;
        }
    }
    let edges = [0_u64, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff];
    for a in edges {
        for b in edges {
            for c in edges {
                for d in edges {
                    let sum = a << 48 | b << 32 | c << 16 | d;
                    is(fold_long(sum) == slow(sum), format!("{sum:016x}"))?;
                }
            }
        }
    }
    let mut dice = Dice(77);
    for _ in 0..0x1_0000 {
        let sum = u64::from(dice.next()) << 32 | u64::from(dice.next());
        is(fold_long(sum) == slow(sum), format!("{sum:016x}"))?;
        is(fold(sum as u32) == slow(sum & 0xffff_ffff), format!("{sum:016x}"))?;
    }
    // And packets with as much to carry as there can be.
    each(lab, &["NodePort SNAT"], PROTOS, |lab, path| {
        to_and_fro(lab, path, |packet| packet.payload = vec![0xff; 1_400])
    })?;
    Ok(String::new())
}

fn hops_of_every_way(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, PROTOS, |lab, path| {
        let [open, answer, on] = path.proto.flags();
        let (there, back) = match path.way {
            "ClusterIP local" => (1, 1),
            "ClusterIP remote" | "NodePort local" | "masquerade" => (2, 2),
            "NodePort SNAT" => (3, 3),
            // The answer does not come by the first node.
            _ => (3, 2),
        };
        for (out, reply) in [(open, answer), (on, on)] {
            for ttl in [64, 255, there + 1] {
                let packet = path.there(out);
                let got = lab.send_ttl(path.opener, &packet, ttl);
                let left =
                    got.arrives(lab.place(path.server), &packet.between(path.sees, path.target))?;
                got.check(left == ttl - there, &format!("{left} of {ttl} hops left"))?;
            }
            for ttl in [64, 255, back + 1] {
                let packet = path.back(reply);
                let got = lab.send_ttl(path.server, &packet, ttl);
                let left =
                    got.arrives(lab.place(path.opener), &packet.between(path.to, path.from))?;
                got.check(left == ttl - back, &format!("{left} of {ttl} hops left"))?;
            }
        }
        // One too few.
        for ttl in 1..=there {
            let got = lab.send_ttl(path.opener, &path.there(on), ttl);
            got.check(got.last().0 != lab.place(path.server), &format!("arrived with {ttl} hops"))?;
        }
        Ok(())
    })?;
    // A node's own packets.
    for v4 in FAMILIES {
        lab.begin("ClusterIP remote");
        let mut path = path("ClusterIP remote", Proto::Udp, v4);
        (path.opener, path.from, path.sees) =
            (Who::Node(1), (node(1, v4), PORT), (node(1, v4), PORT));
        let got = lab.send_ttl(path.opener, &path.there(0), 64);
        let left =
            got.arrives(lab.place(path.server), &path.there(0).between(path.sees, path.target))?;
        got.check(left == 63, &format!("{left} hops left"))?;
    }
    Ok(String::new())
}

fn later_fragments(lab: &mut Lab<'_>) -> Check<String> {
    let protos = [Proto::Udp, Proto::Tcp, Proto::Sctp];
    each(lab, &WAYS, &protos, |lab, path| {
        if path.proto == Proto::Sctp && path.way == "masquerade" {
            return Ok(());
        }
        // What looks like ports and checksums in the later one stays.
        let whole = path.there(path.proto.flags()[0]).length(400);
        let [first, later] = whole.fragments(64);
        let out = whole.between(path.sees, path.target).fragments(64);
        lab.send(path.opener, &first).arrives(lab.place(path.server), &out[0])?;
        let got = lab.send(path.opener, &later);
        got.arrives(lab.place(path.server), &out[1])?;
        let header = if path.v4 { 20 } else { 40 };
        got.check(got.last().1[header..] == later[header..], "changed behind its IP header")
    })?;
    Ok(String::new())
}

fn cut_headers(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &["ClusterIP local", "masquerade"], PROTOS, |lab, path| {
        let open = path.proto.flags()[0];
        let packet = path.there(open);
        let segment = packet.segment();
        let header = if path.proto == Proto::Tcp { 20 } else { 8 };
        for length in 0..header {
            let whole = packet.piece(&segment[..length], None, 64);
            lab.watch(path.opener, &whole).dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
            if length % 8 == 0 {
                let first = packet.piece(&segment[..length], Some((0, true)), 64);
                lab.watch(path.opener, &first).dropped("CT_TRUNCATED_OR_INVALID_HEADER")?;
            }
        }
        // As much as there must be.
        let first = packet.piece(&segment[..header.next_multiple_of(8)], Some((0, true)), 64);
        let got = lab.send(path.opener, &first);
        got.check(got.last().0 == lab.place(path.server), "a first fragment with its header")?;
        got.check(ports_of(got.last().1).1 != 0, "ports")
    })?;
    Ok(String::new())
}

fn routing_headers(lab: &mut Lab<'_>) -> Check<String> {
    // Type 4 (RFC 8754) without segments in it, so many of them left.
    let routed = |left: u8| vec![(43, vec![0, 4, left, 0, 0, 0, 0])];
    each(lab, &WAYS[..5], PROTOS, |lab, path| {
        if path.v4 {
            return Ok(());
        }
        to_and_fro(lab, path, |packet| packet.extensions = routed(0))?;
        let mut on = path.there(path.proto.flags()[2]);
        on.extensions = routed(1);
        let got = lab.watch(path.opener, &on);
        got.check(got.unchanged, "changed connections")?;
        match path.way {
            "masquerade" => Ok(()),
            "ClusterIP local" | "ClusterIP remote" => got.dropped("SERVICE_PORT_NOT_FOUND"),
            // For the node itself, which is who is to send it on.
            _ => got.arrives(lab.place(Who::Node(1)), &on).map(|_| ()),
        }
    })?;
    // On its way to a pod, nothing of it changes.
    lab.begin("ClusterIP remote");
    let mut on = Packet::new(Proto::Udp, (pod("ca", false), PORT), (pod("sb", false), 53), 0);
    on.extensions = routed(1);
    lab.send(Who::Pod("ca"), &on).arrives(lab.place(Who::Pod("sb")), &on)?;
    Ok(String::new())
}

fn sctp_keeps_its_checksum(lab: &mut Lab<'_>) -> Check<String> {
    each(lab, &WAYS, &[Proto::Sctp], |lab, path| {
        if path.way == "masquerade" {
            return Ok(());
        }
        // Ports are the same on both sides, so the builder's CRC is, too.
        to_and_fro(lab, path, |_| {})?;
        if path.way == "NodePort SNAT" {
            let mut second = path.there(0);
            second.from.0 = client("y", path.v4);
            return lab
                .watch(Who::Client("y"), &second)
                .dropped("ERROR_WHILE_CORRECTING_L4_CHECKSUM");
        }
        Ok(())
    })?;
    each(lab, &["masquerade"], &[Proto::Sctp], |lab, path| {
        to_and_fro(lab, path, |_| {})?;
        let mut second = path.there(0);
        second.from.0 = pod("sa", path.v4);
        lab.watch(Who::Pod("sa"), &second).dropped("ERROR_WHILE_CORRECTING_L4_CHECKSUM")
    })?;
    Ok(String::new())
}

fn there_and_back(lab: &mut Lab<'_>) -> Check<String> {
    let dice = std::cell::RefCell::new(Dice(0xdead_beef));
    let run = |lab: &mut Lab<'_>, path: &Path| {
        let on = path.proto.flags()[2];
        let path = lab.talk(path)?;
        for _ in 0..6 {
            let mut packet = dice.borrow_mut().packet(&path.there(on));
            if path.way == "DSR option" {
                packet.options.truncate(8);
            }
            let got = lab.there(&path, &packet)?;
            // The server sends what it got back, byte for byte, with its ends turned round.
            let mut mirror = got.last().1.to_vec();
            turn(&mut mirror, &packet);
            let got = lab.send(path.server, &mirror);
            let mut wanted = packet.ip(64);
            turn(&mut wanted, &packet);
            got.arrives(lab.place(path.opener), &wanted)?;
        }
        Ok(())
    };
    each(lab, &WAYS, PROTOS, run)?;
    Ok(String::new())
}

/// Turns addresses and ports round, which no checksum sees.
fn turn(ip: &mut [u8], packet: &Packet) {
    let (at, length, header) = if packet.v4() {
        (12, 4, 20 + packet.options.len())
    } else {
        (8, 16, 40 + packet.extensions.iter().map(|(_, body)| 1 + body.len()).sum::<usize>())
    };
    for (start, length) in [(at, length), (header, 2)] {
        let (front, back) = ip.split_at_mut(start + length);
        front[start..].swap_with_slice(&mut back[..length]);
    }
}
