use std::net::IpAddr;

use proptest::prelude::*;
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Pod;
use twinpath_core::conntrack::Flow;
use twinpath_core::parse::parse;
use twinpath_core::translate::translate;
use twinpath_core::verdict::Exit;

use super::*;

/// A TCP or UDP packet in either family with whatever checksums.
fn packet(v6: bool, udp: bool, ttl: u8, noise: &[u8; 48]) -> Vec<u8> {
    let protocol = if udp { 17 } else { 6 };
    let mut l4 = noise[..20].to_vec();
    if udp {
        l4[4..6].copy_from_slice(&20_u16.to_be_bytes());
    } else {
        l4[12] = 0x50;
        l4[13] = 16;
    }
    let mut frame = vec![0; 12];
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, ttl, 0xfd]);
        frame.extend(&noise[21..36]);
        frame.push(0xfd);
        frame.extend(&noise[32..47]);
    } else {
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, ttl, protocol, noise[20], noise[21], 10]);
        frame.extend(&noise[22..25]);
        frame.push(10);
        frame.extend(&noise[25..28]);
    }
    frame.extend(l4);
    frame
}

proptest! {
    /// What the datapath then does to a rebuilt reply is the reply as captured.
    #[test]
    fn translating_a_rebuilt_reply_gives_the_reply(
        v6: bool, udp: bool, partial: bool, ttl in 1_u8..254, port: u16,
        noise in prop::array::uniform32(any::<u8>()), more in prop::array::uniform16(any::<u8>()),
    ) {
        let mut all = [0; 48];
        all[..32].copy_from_slice(&noise);
        all[32..].copy_from_slice(&more);
        let captured = packet(v6, udp, ttl, &all);
        let mut frame = Frame { bytes: captured.clone(), partial };
        let reply = parse(&frame).unwrap().unwrap();
        let at = if udp { udp::CHECKSUM } else { tcp::CHECKSUM };
        // The other zero is not what arithmetic gives: RFC 1624 for all, and a sum of a pseudo-header
        // is never zero.
        let field: u16 = frame.load(reply.l4.plus(at)).unwrap();
        prop_assume!(!(partial && field == 0) && (udp || partial || field != 0xffff));
        prop_assume!(reply.checksum.raw() != 0xffff);

        // The connection that the request opened, as the client's node keeps it.
        let request = reply.tuple.reverse();
        let ip: IpAddr = if v6 { "fd00:10:244::7".parse() } else { "10.244.7.7".parse() }.unwrap();
        let backend =
            Backend::new(Address::from(ip), Be16::new(port), request.protocol, BackendState::Active);
        let mut flow = Flow::zeroed();
        flow.begin(&Parsed { tuple: request, ..reply }, Exit::STACK, 0, 1);
        flow.aim(1, 1, &backend);
        flow.settle(&request);
        let tuple = flow.to.reverse();
        flow.turn(&request, Exit::device(2));

        let fix = Deltas::between(&reply.tuple, &tuple);
        let given = Given { tuple, fix, sender: Sender::Pod(0), hops: Some(1) };
        rebuild(&mut frame, &reply, &given).unwrap();
        let sent = parse(&frame).unwrap().unwrap();
        prop_assert_eq!(sent.tuple, tuple);
        prop_assert_eq!(sent.ttl, ttl + 1);
        translate(&mut frame, &sent, &flow, flow.exit()).unwrap();
        prop_assert_eq!(compare(&captured, &frame, &reply, captured.len()), None);
        prop_assert_eq!(frame.bytes, captured);
    }
}

#[test]
fn the_first_difference_has_a_name() {
    let captured = packet(false, false, 60, &[7; 48]);
    let parsed = parse(&Frame::new(captured.clone())).unwrap().unwrap();
    for (at, expected) in [
        (22, "ip.ttl"),
        (24, "ip.checksum"),
        (29, "ip.src"),
        (33, "ip.dst"),
        (35, "tcp.srcport"),
        (37, "tcp.dstport"),
        (51, "tcp.checksum"),
        (53, "tcp header"),
    ] {
        let mut arrived = Frame::new(captured.clone());
        arrived.bytes[at] ^= 1;
        match compare(&captured, &arrived, &parsed, captured.len()) {
            Some(Difference::Byte { field, offset, captured: a, arrived: b }) => {
                assert_eq!((field, offset, a ^ b), (expected, at - 14, 1));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    // The link header is another link's, and a cut capture ends earlier.
    let mut arrived = Frame::new(captured.clone());
    arrived.bytes[3] ^= 1;
    *arrived.bytes.last_mut().unwrap() ^= 1;
    assert_eq!(compare(&captured[..captured.len() - 1], &arrived, &parsed, captured.len()), None);
    arrived.bytes.pop();
    let lengths = Difference::Length { captured: 40, arrived: 39 };
    assert_eq!(compare(&captured, &arrived, &parsed, captured.len()), Some(lengths));
}
