//! The answer to a packet whose checksum a device was to complete: the kernel keeps the work pending, so
//! the answer has to be right once it is done, and to whoever takes the packet as it is.

use etherparse::PacketBuilder;
use twinpath_core::checksum::sum;
use twinpath_core::hook::Hook;
use twinpath_core::verdict::Verdict;
use twinpath_sim::engine::{Engine, SimEngine};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

/// The sum of a pseudo-header and of what it stands for.
fn pseudo(bytes: &[u8], addresses: std::ops::Range<usize>, l4: usize, protocol: u8) -> u16 {
    let mut all = bytes[addresses].to_vec();
    all.extend(((bytes.len() - l4) as u32).to_be_bytes());
    all.extend([0, 0, 0, protocol]);
    sum(&all)
}

fn add(a: u16, b: u16) -> u16 {
    sum(&[a.to_ne_bytes(), b.to_ne_bytes()].concat())
}

#[test]
fn an_answer_about_an_unfinished_checksum_is_right_when_finished() {
    for v6 in [false, true] {
        for tcp in [false, true] {
            for payload in [0, 1, 7, 400, 1_400] {
                check(v6, tcp, payload);
            }
        }
    }
}

fn check(v6: bool, tcp: bool, payload: usize) {
    let payload: Vec<u8> = (0..payload).map(|i| (i * 7) as u8).collect();
    let builder = PacketBuilder::ethernet2([4; 6], [2; 6]);
    // A hop too few for the way to a pod.
    let builder = if v6 {
        builder.ipv6([0xfd; 16], [0xfc; 16], 1)
    } else {
        builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 1)
    };
    let mut bytes = Vec::new();
    let written = if tcp {
        builder.tcp(1, 2, 3, 4).syn().write(&mut bytes, &payload)
    } else {
        builder.udp(1, 2).write(&mut bytes, &payload)
    };
    written.unwrap();
    let (l4, addresses) = if v6 { (54, 22..54) } else { (34, 26..34) };
    let (protocol, offset) = if tcp { (6, 16) } else { (17, 6) };
    let partial = pseudo(&bytes, addresses.clone(), l4, protocol);
    bytes[l4 + offset..l4 + offset + 2].copy_from_slice(&partial.to_ne_bytes());

    let mut engine = SimEngine::new(1, &Limits::default(), 0);
    let octets: std::net::IpAddr = if v6 { [0xfc_u8; 16].into() } else { [10_u8, 0, 0, 2].into() };
    let pod = twinpath_core::endpoint::Endpoint::pod(11);
    engine.write(0, &twinpath_control::diff::Write::Endpoint(octets.into(), Some(pod))).unwrap();
    let mut frame = Frame { bytes, partial: true };
    let decision = engine.run(0, Hook::FromPod, 10, &mut frame).unwrap();
    assert!(matches!(decision.verdict(), Verdict::Reject(_)), "{decision:?}");
    assert!(frame.partial, "as in the kernel");

    // What a device does: the sum from the quoted transport header to the end, into its field.
    let room = if v6 { 48 } else { 28 };
    let (message, quoted) = (room + 14 - 8, l4 + room);
    let field = quoted + offset;
    let finished = !sum(&frame.bytes[quoted..]);
    frame.bytes[field..field + 2].copy_from_slice(&finished.to_ne_bytes());
    let all = sum(&frame.bytes[message..]);
    let all = if v6 { add(all, pseudo(&frame.bytes, addresses, message, 58)) } else { all };
    assert_eq!(all, 0xffff, "IPv6 {v6}, TCP {tcp}, {} bytes", payload.len());
}
