use proptest::prelude::*;

use super::*;
use crate::address::Address;
use crate::backend::BackendState;
use crate::bytes::{Be16, Pod};
use crate::testing::{Map, map, packet, tuple, work};
use crate::wire;

const NOW: Nanos = 1_000_000_000_000;
const SYN: u8 = tcp::SYN;
const ACK: u8 = tcp::ACK;
const FIN: u8 = tcp::FIN | tcp::ACK;
const RST: u8 = tcp::RST;

/// The original half of `client > vip`, aimed at a backend.
fn aimed(text: &str, backend: &str) -> Flow {
    let mut half = Flow::zeroed();
    half.begin(&packet(text, SYN), Exit::STACK, NOW, 1);
    let to: std::net::SocketAddr = backend.parse().unwrap();
    let (address, port) = (to.ip().into(), Be16::new(to.port()));
    half.aim(7, 3, &Backend::new(address, port, half.to.protocol, BackendState::Active));
    half.settle(&tuple(text));
    half.leave_by(Exit::device(2));
    half
}

const V4: (&str, &str) = ("tcp 10.244.1.10:1 > 10.96.0.80:80", "10.244.2.11:8080");
const V6: (&str, &str) = ("tcp [fd00:1::10]:1 > [fd00:96::80]:80", "[fd00:2::11]:8080");

#[test]
fn the_original_half() {
    for ((text, backend), to) in [
        (V4, "tcp 10.244.1.10:1 > 10.244.2.11:8080"),
        (V6, "tcp [fd00:1::10]:1 > [fd00:2::11]:8080"),
    ] {
        let half = aimed(text, backend);
        assert_eq!(half.to, tuple(to));
        assert_eq!(half.fix, Deltas::between(&tuple(text), &half.to));
        assert_eq!((half.service, half.backend, half.epoch()), (7, 3, 1));
        assert_eq!(half.exit(), Exit::device(2));
        assert_eq!(half.direction(), Direction::Original);
        assert_eq!(half.phase(), Phase::Opening);
        assert_eq!(half.expires(), NOW + Phase::Opening.timeout() + REFRESH);
        assert!(half.translates());
    }
}

#[test]
fn the_twin() {
    for (text, backend) in [V4, V6] {
        let key = tuple(text);
        let original = aimed(text, backend);
        let mut reply = original.clone();
        reply.turn(&key, Exit::pod(10));

        // As the head of this file's module draws it.
        assert_eq!(original.twin_key(&key), original.to.reverse());
        assert_eq!(reply.to, key.reverse());
        let reply_key = original.twin_key(&key);
        assert_eq!(reply.twin_key(&reply_key), key);
        assert_eq!(reply.direction(), Direction::Reply);
        assert_eq!(reply.exit(), Exit::pod(10));
        assert_eq!(reply.fix, original.fix.inverse());
        assert_eq!((reply.service, reply.backend), (original.service, original.backend));

        assert!(reply.is_twin_of(&reply_key, &key));
        assert!(original.is_twin_of(&key, &reply_key));
        assert!(!original.is_twin_of(&key, &key));
        let mut stranger = key;
        stranger.source_port = Be16::new(2);
        assert!(!reply.is_twin_of(&reply_key, &stranger));

        // Turning twice is the identity.
        let mut again = reply;
        again.turn(&reply_key, original.exit());
        assert_eq!(again, original);
    }
}

proptest! {
    /// Turning twice is the identity, whatever the addresses; a difference of minus zero may become
    /// zero, which does the same to a checksum but for the two forms of zero.
    #[test]
    fn turning_twice(client: [u8; 16], vip: [u8; 16], backend: [u8; 16], ports: [u16; 3], exit in 0..3_u32) {
        let address = Address::from_octets;
        let [from, to, target] = ports.map(Be16::new);
        let key = Tuple::new(wire::UDP, address(client), from, address(vip), to);
        let opener = Parsed { tuple: key, ..packet("udp 10.0.0.1:1 > 10.0.0.2:2", 0) };
        let exit = [Exit::STACK, Exit::pod(5), Exit::device(6)][exit as usize];
        let mut half = Flow::zeroed();
        half.begin(&opener, exit, NOW, 1);
        half.aim(7, 3, &Backend::new(address(backend), target, wire::UDP, BackendState::Active));
        half.settle(&key);
        let mut twice = half.clone();
        twice.turn(&key, Exit::pod(9));
        twice.turn(&half.twin_key(&key), exit);
        for delta in [&mut half.fix.addresses, &mut half.fix.ports] {
            delta.0 = if delta.0 == 0xffff { 0 } else { delta.0 };
        }
        prop_assert_eq!(twice, half);
    }
}

#[test]
fn a_half_is_settled_as_often_as_its_port_is_tried() {
    let mut half = aimed(V4.0, V4.1);
    assert!(half.translates());
    half.to = tuple(V4.0);
    half.settle(&tuple(V4.0));
    assert!(!half.translates(), "what it was before does not count");
    assert_eq!(half.fix, Deltas::default());
}

#[test]
fn what_is_answered_elsewhere_stands_as_answered_until_it_is_to_come_back_here() {
    let mut half = aimed(V4.0, V4.1);
    for wrap in [Forwarding::DsrOption, Forwarding::DsrIpip, Forwarding::DsrGeneve] {
        half.wrap_by(wrap);
        assert!(half.state().is_answered(), "{wrap:?}");
        half.wrap_by(Forwarding::Snat);
        assert!(!half.state().is_answered(), "{wrap:?}");
    }
}

#[test]
fn halves_are_compared_with_what_packets_have_changed_in_them() {
    let half = aimed(V4.0, V4.1);
    half.epoch.set(40);
    assert_eq!(half.epoch(), 40);
    let other = half.clone();
    assert_eq!(half, other);
    other.epoch.set(41);
    assert_ne!(half, other);
}

#[test]
fn only_what_nobody_answers_and_nothing_translates_gives_way() {
    let key = tuple(V4.0);
    type Change = fn(&mut Flow, &Tuple);
    let plain = |change: Change| {
        let mut half = Flow::zeroed();
        half.begin(&packet(V4.0, SYN), Exit::STACK, NOW, 1);
        half.settle(&key);
        change(&mut half, &key);
        half
    };
    assert!(plain(|_, _| {}).yields());
    let others: [(&str, Change); 5] = [
        ("a service's", |half, _| half.service = 7),
        ("answered", |half, _| half.update(State::ANSWERED_ELSEWHERE, NOW)),
        ("the answers'", |half, key| half.turn(key, Exit::STACK)),
        ("translated", |half, key| {
            half.to.source_port = Be16::new(2);
            half.settle(key);
        }),
        ("translated elsewhere", |half, key| half.direct(key, 0, &key.source, Be16::new(2))),
    ];
    for (name, change) in others {
        assert!(!plain(change).yields(), "{name}");
    }
}

#[test]
fn what_another_node_told_of_is_adopted_in_the_middle_alone() {
    // The original half is lost. A SYN may be another frontend's, and what is over is over.
    let (text, frontend) = ("tcp 203.0.113.7:1 > 10.244.1.11:8080", tuple(V4.0));
    let key = tuple(text);
    let mut half = Flow::zeroed();
    half.begin(&packet(text, SYN), Exit::STACK, NOW, 1);
    half.direct(&key, 7, &frontend.destination, frontend.destination_port);
    let over = half.expires();
    half.turn(&key, Exit::STACK);
    for (flags, now, expected) in
        [(ACK, NOW, true), (SYN, NOW, false), (ACK, over, false), (SYN, over, false)]
    {
        let mut table = map();
        table.entries.insert(key.reverse(), half.clone());
        let mut work = work(packet(text, flags), now);
        assert_eq!(adopt(&table, &mut work, 2), expected, "{flags} at {now}");
        assert_eq!(work.half.to.destination == frontend.destination, expected);
    }
}

#[test]
fn what_is_current() {
    let states: [&[(u8, Direction)]; 2] =
        [&[], &[(SYN | ACK, Direction::Reply), (ACK, Direction::Original)]];
    for (name, state, flags, later, epoch, expected) in [
        ("data", 1, ACK, 0, 1, true),
        ("data, just in time", 1, ACK, REFRESH - 1, 1, true),
        ("data, too late", 1, ACK, REFRESH, 1, false),
        ("data, much too late", 1, ACK, 1 << 60, 1, false),
        ("data of a new epoch", 1, ACK, 0, 2, false),
        ("data of an old epoch", 1, ACK, 0, 0, false),
        ("a SYN", 1, SYN, 0, 1, false),
        ("a SYN sent again", 0, SYN, 0, 1, false),
        ("the first FIN", 1, FIN, 0, 1, false),
        ("a RST", 1, RST, 0, 1, false),
        ("data before the answer", 0, ACK, 0, 1, true),
    ] {
        let half = aimed(V4.0, V4.1);
        let bits = states[state].iter().fold(half.state(), |bits, (flags, direction)| {
            bits.after(&packet(V4.0, *flags), *direction)
        });
        half.update(bits, NOW);
        assert_eq!(half.is_current(&packet(V4.0, flags), NOW + later, epoch), expected, "{name}");
    }
    // A second FIN or RST of the same side tells nothing new.
    for flags in [FIN, RST] {
        let half = aimed(V4.0, V4.1);
        let again = packet(V4.0, flags);
        half.update(half.state().after(&again, Direction::Original), NOW);
        assert!(half.is_current(&again, NOW, 1));
    }
    // A clock that another CPU has read a little later is no reason to fail: it is looked at again.
    assert!(!aimed(V4.0, V4.1).is_current(&packet(V4.0, ACK), NOW - 1, 1));
}

#[test]
fn what_is_over() {
    use Direction::{Original, Reply};
    let open: &[(u8, Direction)] = &[(SYN | ACK, Reply), (ACK, Original)];
    let closed: &[(u8, Direction)] = &[(FIN, Original), (FIN, Reply)];
    let half_closed: &[(u8, Direction)] = &[(SYN | ACK, Reply), (ACK, Original), (FIN, Reply)];
    let reset: &[(u8, Direction)] = &[(RST, Reply)];
    let minutes = |n: u64| n * 60_000_000_000;
    for (name, state, idle, by_syn, by_ack) in [
        ("opening", &[][..], minutes(4), false, false),
        ("established", open, minutes(124), false, false),
        ("half closed", half_closed, minutes(124), false, false),
        ("closed", closed, minutes(4), true, false),
        ("reset", reset, minutes(4), true, false),
    ] {
        let half = aimed(V4.0, V4.1);
        let bits = state
            .iter()
            .fold(half.state(), |bits, (flags, way)| bits.after(&packet(V4.0, *flags), *way));
        half.update(bits, NOW);
        let over = |flags, later| half.is_over(&packet(V4.0, flags), NOW + later);
        assert_eq!([over(SYN, 0), over(ACK, 0)], [by_syn, by_ack], "{name}");
        assert!(!over(SYN | ACK, 0), "{name}: a SYN with an ACK opens nothing");
        assert!(!over(ACK, idle + REFRESH - 1), "{name}");
        assert!(over(ACK, idle + REFRESH), "{name}");
        assert!(!half.is_over(&packet(V4.0, ACK), NOW - 1), "{name}, by a clock that is behind");
    }
}

/// Opens a connection in a table.
fn opened(table: &mut Map<Tuple, Flow>, text: &str, backend: &str) -> Result<Opened, InsertError> {
    let mut work = work(packet(text, SYN), NOW);
    work.half = aimed(text, backend);
    let half = work.half.clone();
    let result = open(table, &mut work);
    if result != Err(InsertError::Full) {
        assert_eq!(work.half, half, "the original half is what goes on, or is tried again");
    }
    if result == Ok(Opened::Here) {
        assert_eq!(table.entries[&tuple(text)], half);
        let twin_key = half.twin_key(&tuple(text));
        assert!(is_pair(&table.entries[&twin_key], &twin_key, &half, &tuple(text)));
        assert_eq!(table.entries[&twin_key].exit(), Exit::pod(10));
    }
    result
}

#[test]
fn open_and_close() {
    let (first, second) = (V4.0, "tcp 10.244.1.10:1 > 10.96.0.81:80");
    let mut table = map();
    assert_eq!(opened(&mut table, first, V4.1), Ok(Opened::Here));
    let before = table.entries.clone();
    assert_eq!(opened(&mut table, second, V4.1), Err(InsertError::Exists), "U-3");
    assert_eq!(table.entries, before, "the table is as it was");
    assert_eq!(opened(&mut table, second, "10.244.2.12:8080"), Ok(Opened::Here));
    assert_eq!(opened(&mut table, V6.0, V6.1), Ok(Opened::Here));
    assert_eq!(table.entries.len(), 6);
    for key in [second, V6.0, first] {
        close(&mut table, &tuple(key));
    }
    assert_eq!(table.entries.len(), 0);
    close(&mut table, &tuple(first));
}

#[test]
fn close_takes_no_stranger_along() {
    // The reply half's key belongs to another connection: only the half itself goes.
    let mut table = map();
    assert_eq!(opened(&mut table, V4.0, V4.1), Ok(Opened::Here));
    table.remove(&tuple("tcp 10.244.2.11:8080 > 10.244.1.10:1"));
    assert_eq!(opened(&mut table, "tcp 10.244.1.10:1 > 10.96.0.81:80", V4.1), Ok(Opened::Here));
    close(&mut table, &tuple(V4.0));
    assert_eq!(table.entries.len(), 2);
}

#[test]
fn what_another_cpu_has_opened_is_not_opened_again() {
    let mut table = map();
    assert_eq!(opened(&mut table, V4.0, V4.1), Ok(Opened::Here));
    let before = table.entries.clone();
    for backend in [V4.1, "10.244.2.12:8080"] {
        for room in [1000, 2] {
            table.room = room;
            let result = opened(&mut table, V4.0, backend);
            if room == 2 && backend != V4.1 {
                assert_eq!(result, Err(InsertError::Full), "no room for its reply half");
            } else {
                assert_eq!(result, Ok(Opened::Elsewhere), "{backend}");
            }
            assert_eq!(table.entries, before, "{backend}");
        }
    }
}

#[test]
fn open_where_there_is_no_room() {
    // K-8: neither at the first half nor at the second is anything left behind.
    for room in [0, 1] {
        let mut table = map();
        table.room = room;
        assert_eq!(opened(&mut table, V4.0, V4.1), Err(InsertError::Full));
        assert_eq!(table.entries.len(), 0);
    }
}

#[test]
fn a_connection_with_itself_has_one_half() {
    let text = "tcp 10.244.1.10:1 > 10.244.1.10:1";
    let mut table = map();
    for room in [1, 1000] {
        table.room = room;
        let mut work = work(packet(text, SYN), NOW);
        work.half.begin(&packet(text, SYN), Exit::STACK, NOW, 1);
        let half = work.half.clone();
        assert_eq!(open(&mut table, &mut work), Ok(Opened::Here), "{room}");
        assert_eq!((table.entries.len(), &table.entries[&tuple(text)]), (1, &half));
    }
}
