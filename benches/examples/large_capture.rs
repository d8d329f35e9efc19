//! Writes a large capture, to measure replays with: connections of a pod to a cluster address in both
//! directions, as they look at the client, one packet of each in turn.
//!
//! `cargo run --release -p twinpath-benches --example large_capture -- FLOWS PACKETS LENGTH > large.pcap`
//!
//! `LENGTH` is that of all frames in bytes, at least 64, or `mixed`: 64 to 1,500. The addresses are those of
//! `fixtures/clusters/two-nodes.yaml`; 40,000 connections come from a client each.

use std::io::{self, BufWriter, Write};

const FRONTEND: [u8; 4] = [10, 96, 0, 80];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Connections of a client.
const PORTS: u32 = 40_000;

/// Lengths of `mixed`, in the shares of usual traffic.
const MIXED: [usize; 8] = [64, 64, 64, 90, 250, 576, 1_500, 1_500];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flows, packets, length] = arguments.as_slice() else {
        eprintln!("usage: large_capture FLOWS PACKETS LENGTH|mixed > large.pcap");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<u32>().map_err(io::Error::other);
    let (flows, packets) = (number(flows)?.max(1), number(packets)?);
    let fixed = if length == "mixed" { None } else { Some(number(length)?.max(64) as usize) };

    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut frame = Vec::new();
    for packet in 0..packets {
        // Round by round: the requests of all connections, then the replies of all.
        let (flow, round) = (packet % flows, packet / flows);
        let mixed = MIXED[(packet.wrapping_mul(0x9e37_79b9) >> 29) as usize];
        build(&mut frame, flow, round, fixed.unwrap_or(mixed));
        let length = frame.len() as u32; // of 1,500 at most, or what an argument says
        for word in [1_700_000_000 + packet / 1_000_000, packet % 1_000_000, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&frame)?;
    }
    out.flush()
}

/// A frame of a connection; even rounds go to the service, the first with SYN.
fn build(frame: &mut Vec<u8>, flow: u32, round: u32, length: usize) {
    let request = round.is_multiple_of(2);
    let flags = if round < 2 { 0x02 } else { 0x10 } | if request { 0 } else { 0x10 };
    let client = [10, 244, 1, 10 + (flow / PORTS) as u8];
    let port = (20_000 + flow % PORTS) as u16;
    let (source, destination) =
        if request { (CLIENT_MAC, GATEWAY_MAC) } else { (GATEWAY_MAC, CLIENT_MAC) };
    let (from, to) = if request { (client, FRONTEND) } else { (FRONTEND, client) };
    let (from_port, to_port) = if request { (port, 80) } else { (80, port) };

    frame.clear();
    frame.extend(destination);
    frame.extend(source);
    frame.extend([0x08, 0x00]);
    frame.extend([0x45, 0]);
    frame.extend(((length - 14) as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, if request { 64 } else { 62 }, 6, 0, 0]);
    frame.extend(from);
    frame.extend(to);
    frame.extend(from_port.to_be_bytes());
    frame.extend(to_port.to_be_bytes());
    frame.extend(round.to_be_bytes());
    frame.extend(round.to_be_bytes());
    frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(length, 0);
    let header = !folded(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let pseudo = sum(&frame[26..34]) + 6 + (length - 34) as u32;
    let checksum = !folded(pseudo + sum(&frame[34..]));
    frame[50..52].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last
}

fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
