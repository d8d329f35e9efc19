//! Readers of captures on arbitrary files.

use std::io::Cursor;

use twinpath::capture::{
    Capture, CaptureError, ClassicWriter, LinkType, PacketOptions, Precision, StageWriter,
    to_ethernet,
};

use super::heap;

/// What a reader holds however long the file is: its window, and one record.
const MEMORY: usize = 1 << 20;
/// Most that a file makes it keep per byte: interfaces with names, and warnings.
const MEMORY_PER_BYTE: usize = 64;

/// A packet, as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    timestamp: u64,
    original_len: u32,
    data: Vec<u8>,
}

/// A file. No panic, memory in bounds, nothing behind an error; and what was read is read again from
/// what it is written to, in either format.
pub fn run(data: &[u8]) {
    let cap = MEMORY + data.len() * MEMORY_PER_BYTE;
    let kept = heap::capped(cap, || {
        let mut kept = Vec::new();
        read(data.to_vec(), |packet| kept.push(packet));
        kept
    });
    assert!(kept.iter().map(|packet| packet.data.len()).sum::<usize>() <= data.len() * 2);
    blocks_again(&kept);
    classic_again(&kept);
}

/// Reads a file, and hands on its packets as Ethernet frames.
fn read(data: Vec<u8>, mut each: impl FnMut(Kept)) {
    let length = data.len() as u64;
    let mut capture = match Capture::new("fuzz", Box::new(Cursor::new(data))) {
        Ok(capture) => capture,
        Err(error) => return told(&error),
    };
    let (mut buffer, mut number) = (Vec::new(), 0);
    loop {
        match capture.next() {
            Ok(Some(record)) => {
                number += 1;
                assert_eq!(record.number, number);
                assert!(record.original_len as usize >= record.data.len());
                if let Ok(frame) = to_ethernet(&record, &mut buffer) {
                    assert!(frame.original_len as usize >= frame.data.len(), "{record:?}");
                    assert_eq!(record.link == LinkType::ETHERNET, frame.data == record.data);
                    each(Kept {
                        timestamp: record.timestamp,
                        original_len: frame.original_len,
                        data: frame.data.to_vec(),
                    });
                }
            }
            Ok(None) => break,
            Err(error) => {
                told(&error);
                break;
            }
        }
    }
    assert!(matches!(capture.next(), Ok(None)), "a packet behind the end");
    assert!(capture.bytes_read() <= length);
    assert!(capture.warnings().iter().all(|line| !line.contains('\n')));
}

/// An error is one line that says what.
fn told(error: &CaptureError) {
    let text = error.to_string();
    assert!(text.starts_with("fuzz: ") && !text.contains('\n'), "{text:?}");
}

fn blocks_again(kept: &[Kept]) {
    let mut file = StageWriter::new(Vec::new(), &["one", "two"], "a comment").expect("a header");
    for packet in kept {
        let stage = packet.original_len % 2;
        let options = PacketOptions { packet_id: Some(1), ..PacketOptions::default() };
        file.write(stage, packet.timestamp, &packet.data, packet.original_len, &options)
            .expect("a packet");
    }
    let mut again = Vec::new();
    read(file.finish().expect("a file"), |packet| again.push(packet));
    assert_eq!(again, kept, "pcapng");
}

fn classic_again(kept: &[Kept]) {
    let mut file = ClassicWriter::new(Vec::new(), Precision::Nano).expect("a header");
    // A pcap has 32 bits for seconds: it refuses what does not fit, and no other.
    let mut taken = Vec::new();
    for packet in kept {
        let fits = packet.timestamp / 1_000_000_000 <= u64::from(u32::MAX);
        let result = file.write(packet.timestamp, &packet.data, packet.original_len);
        assert_eq!(result.is_ok(), fits);
        taken.extend(fits.then(|| packet.clone()));
    }
    let mut again = Vec::new();
    read(file.finish().expect("a file"), |packet| again.push(packet));
    assert_eq!(again, taken, "pcap");
}

/// A classic pcap, one packet long.
fn classic(magic: u32, link: u32, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let length = data.len() as u32;
    let words = [magic, 0x0004_0002, 0, 0, 262_144, link, 1_700_000_000, 1, length, length + 9];
    let is_big = magic & 0xff == 0x0a;
    for word in words {
        file.extend(if is_big { word.to_be_bytes() } else { word.to_le_bytes() });
    }
    if is_big {
        file[4..8].copy_from_slice(&[0, 2, 0, 4]);
    }
    file.extend(data);
    file
}

/// The beginnings of the captures, and a packet of each link type.
pub fn seeds() -> Vec<Vec<u8>> {
    let captures = super::files("captures", &[".pcap", ".pcapng"]);
    let mut seeds: Vec<_> =
        captures.into_iter().map(|file| file.into_iter().take(4_000).collect()).collect();
    let mut v4 = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    v4.extend([0, 53, 0, 53, 0, 8, 0, 0]);
    let linked = |header: &[u8]| [header, &v4].concat();
    let cooked = linked(&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0]);
    let cooked2 = linked(&[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 2, 2, 2, 2, 2, 0, 0]);
    let ethernet = linked(&[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0]);
    let all = [
        (1, &ethernet),
        (0, &linked(&[2, 0, 0, 0])),
        (108, &linked(&[0, 0, 0, 2])),
        (12, &v4),
        (14, &v4),
        (101, &v4),
        (228, &v4),
        (229, &v4),
        (113, &cooked),
        (276, &cooked2),
        (147, &v4),
    ];
    for (link, data) in all {
        seeds.push(classic(0xa1b2_c3d4, link, data));
        seeds.push(classic(0xa1b2_3c4d, link, data));
    }
    let mut sections = StageWriter::new(Vec::new(), &["a"], "").expect("a header");
    let options = PacketOptions {
        comment: Some("a comment"),
        packet_id: Some(7),
        verdict: Some(2),
        direction: Some(twinpath::capture::Direction::Inbound),
    };
    sections.write(0, 1_700_000_000_000_000_007, &ethernet, 100, &options).expect("a packet");
    seeds.push(sections.finish().expect("a file"));
    seeds
}
