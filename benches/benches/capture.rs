//! Reading captures, and parsing the headers of what is in them.
//!
//! `cargo bench --bench capture`: a million packets of 64 bytes, in memory.

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use twinpath::capture::{Capture, to_ethernet};
use twinpath_benches::{Family, packet};
use twinpath_core::parse::parse;
use twinpath_core::wire::tcp;
use twinpath_sim::frame::Frame;

/// How many packets there are; few where it is only seen that the benches run.
fn count() -> u32 {
    let is_test = twinpath_benches::is_test();
    if is_test { 100 } else { 1_000_000 }
}

/// Packets of two thousand flows, in both families.
fn packets() -> Vec<Vec<u8>> {
    let flows = (0..1_000).flat_map(|flow| Family::ALL.map(|family| (family, flow)));
    flows.map(|(family, flow)| packet(family, flow, tcp::ACK)).collect()
}

/// A pcap file, in microseconds.
fn pcap(count: u32) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for (number, packet) in (0..count).zip(packets().iter().cycle()) {
        let length = packet.len() as u32; // of a packet that was made here
        for word in [1_700_000_000 + number / 1_000_000, number % 1_000_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// A pcapng file: a section, an interface, enhanced packets.
fn pcapng(count: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, words: &[u32], data: &[u8]| {
        let padded = data.len().next_multiple_of(4);
        let total = (12 + 4 * words.len() + padded) as u32; // of what was made here
        file.extend(kind.to_le_bytes());
        file.extend(total.to_le_bytes());
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
        file.extend(data);
        file.resize(file.len() + padded - data.len(), 0);
        file.extend(total.to_le_bytes());
    };
    block(0x0a0d_0d0a, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX], &[]);
    block(1, &[1, 262_144], &[]);
    for (number, packet) in (0..count).zip(packets().iter().cycle()) {
        let time = 1_700_000_000_000_000 + u64::from(number);
        let length = packet.len() as u32;
        let (high, low) = ((time >> 32) as u32, time as u32);
        block(6, &[0, high, low, length, length], packet);
    }
    file
}

/// Reads a file to its end; how many packets and bytes.
fn read(file: &Arc<[u8]>, mut each: impl FnMut(&[u8])) -> (u64, u64) {
    let (mut found, mut bytes, mut buffer) = (0, 0, Vec::new());
    let mut capture =
        Capture::new("bench", Box::new(Cursor::new(file.clone()))).expect("a capture");
    while let Some(record) = capture.next().expect("a whole capture") {
        let frame = to_ethernet(&record, &mut buffer).expect("an Ethernet frame");
        found += 1;
        bytes += frame.data.len() as u64;
        each(frame.data);
    }
    (found, bytes)
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("capture");
    let count = count();
    group.throughput(Throughput::Elements(u64::from(count)));
    for (name, make) in [("pcap", pcap as fn(u32) -> Vec<u8>), ("pcapng", pcapng)] {
        let mut file: Arc<[u8]> = Arc::default();
        group.bench_function(format!("read {name}"), |b| {
            if file.is_empty() {
                file = make(count).into();
            }
            b.iter(|| {
                let read = read(black_box(&file), |_| ());
                assert_eq!(read.0, u64::from(count));
                read
            });
        });
        let mut frame = Frame::default();
        group.bench_function(format!("read and parse {name}"), |b| {
            if file.is_empty() {
                file = make(count).into();
            }
            b.iter(|| {
                let mut parsed = 0_u32;
                read(black_box(&file), |data| {
                    frame.set(data);
                    parsed += u32::from(matches!(parse(&frame), Ok(Some(_))));
                });
                assert_eq!(parsed, count);
                parsed
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(3))
        .warm_up_time(std::time::Duration::from_millis(500));
    targets = reading
}
criterion_main!(benches);
