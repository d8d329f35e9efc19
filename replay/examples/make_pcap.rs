//! Writes a large capture for measurements: TCP connections from one client to one service, both
//! directions, 64-byte frames with right checksums, a microsecond apart.
//!
//!     cargo run --release -p twinpath --example make_pcap -- big.pcap 10000000 50
//!     twinpath replay -q big.pcap -f fixtures/clusters/two-nodes.yaml

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use twinpath::capture::{ClassicWriter, Precision};

/// As in `fixtures/clusters/two-nodes.yaml`: the pod `client` and the service `web`.
const CLIENT: [u8; 4] = [10, 244, 1, 10];
const SERVICE: [u8; 4] = [10, 96, 0, 80];
const PORT: u16 = 80;
/// Bytes of a frame.
const LENGTH: usize = 64;
/// 2026-01-01 00:00:00 UTC, in nanoseconds.
const START: u64 = 1_767_225_600_000_000_000;

const SYN: u8 = 2;
const ACK: u8 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: make_pcap OUT [PACKETS [FLOWS]]")?;
    let packets: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let flows: u64 = arguments.next().map_or(Ok(50), |text| text.parse())?;
    let mut writer = ClassicWriter::new(BufWriter::new(File::create(path)?), Precision::Nano)?;
    for number in 0..packets {
        let (flow, round) = (number / 2 % flows, number / (2 * flows));
        let request = number % 2 == 0;
        let flags = match (round, request) {
            (0, true) => SYN,
            (0, false) => SYN | ACK,
            _ => ACK,
        };
        let port = 20_000 + (flow % 40_000) as u16;
        let frame = frame(request, port, flags, number as u32);
        writer.write(START + number * 1_000, &frame, LENGTH as u32)?;
    }
    writer.finish()?;
    Ok(())
}

fn frame(request: bool, port: u16, flags: u8, number: u32) -> [u8; LENGTH] {
    let (source, destination) = if request { (CLIENT, SERVICE) } else { (SERVICE, CLIENT) };
    let (from, to) = if request { (port, PORT) } else { (PORT, port) };
    let mut frame = [0; LENGTH];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((LENGTH - 14) as u16).to_be_bytes());
    frame[18..20].copy_from_slice(&(number as u16).to_be_bytes());
    frame[20] = 0x40; // don't fragment
    frame[22] = if request { 64 } else { 62 };
    frame[23] = 6;
    frame[26..30].copy_from_slice(&source);
    frame[30..34].copy_from_slice(&destination);
    let checksum = checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&checksum);
    frame[34..36].copy_from_slice(&from.to_be_bytes());
    frame[36..38].copy_from_slice(&to.to_be_bytes());
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame[46] = 0x50;
    frame[47] = flags;
    frame[48..50].copy_from_slice(&u16::MAX.to_be_bytes());
    let pseudo = [0, 6, 0, (LENGTH - 34) as u8];
    let checksum = self::checksum(&[&source, &destination, &pseudo, &frame[34..]]);
    frame[50..52].copy_from_slice(&checksum);
    frame
}

/// RFC 1071, of parts of even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}
