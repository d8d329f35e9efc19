use twinpath_core::parse::parse;
use twinpath_sim::frame::Frame;

use super::*;

/// UDP from 10.0.0.1:1 to 10.0.0.2:2 with this checksum and a payload of four bytes.
fn udp(field: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 1, 0, 2, 0, 12]);
    frame.extend(field.to_be_bytes());
    frame.extend([1, 2, 3, 4]);
    frame
}

fn judge(frame: &[u8], captured: usize) -> bool {
    let parsed = parse(&Frame::new(frame.to_vec())).unwrap().unwrap();
    is_partial(frame, captured, &parsed, pseudo(&parsed))
}

/// 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 17 + 12: addresses, protocol, length.
const PSEUDO: u16 = 0x1420;
/// The complement of that and 1 + 2 + 12 + 0x0102 + 0x0304.
const COMPLETE: u16 = !(PSEUDO + 15 + 0x0406);

#[test]
fn the_sum_of_the_pseudo_header_is_partial_and_others_are_not() {
    let length = udp(0).len();
    assert!(judge(&udp(PSEUDO), length));
    for field in [COMPLETE, 0, 1, !PSEUDO, 0xffff] {
        assert!(!judge(&udp(field), length), "{field:#06x}");
    }
    // Bytes behind the IP packet are padding of the link.
    assert!(judge(&[udp(PSEUDO), vec![9; 10]].concat(), length + 10));
}

#[test]
fn a_complete_checksum_that_equals_the_pseudo_header_is_complete() {
    // A payload that makes the whole sum come to minus zero with that field.
    let mut frame = udp(PSEUDO);
    let length = frame.len();
    let rest = !(PSEUDO + PSEUDO + 15 + 0x0102);
    frame[length - 2..].copy_from_slice(&rest.to_be_bytes());
    assert!(!judge(&frame, length));
    // Of a cut packet nobody can tell.
    assert!(judge(&frame, length - 1));
}
