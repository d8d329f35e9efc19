//! What is said about files that are no captures, and that no bytes make the reader panic or run for ever.

use proptest::prelude::*;

use super::samples::{End, MICRO, NANO, block, classic, epb, idb, pb, read, shb, spb};
use super::{Capture, to_ethernet};

#[test]
fn not_captures() {
    let short = classic(End::Little, MICRO, 64, 1, &[]);
    let mut version = short.clone();
    version[4] = 3;
    // Name, file, expected error in full.
    let table: &[(&str, &[u8], &str)] = &[
        (
            "nothing",
            b"",
            "t.pcap: empty, so there is no capture in it; if tcpdump is still writing, let it end or give it -U",
        ),
        (
            "text",
            b"{\"a\":1}\n",
            "t.pcap: not a capture: it starts with 7b 22 61 22 3a 31 7d 0a (\"{\\\"a\\\":1}\\n\"); \
             pcap or pcapng is expected, as `tcpdump -w` writes it",
        ),
        (
            "two bytes",
            &[0xd4, 0xc3],
            "t.pcap: not a capture: it starts with d4 c3 (\"\\xd4\\xc3\"); \
             pcap or pcapng is expected, as `tcpdump -w` writes it",
        ),
        (
            "modified, little-endian",
            b"\x34\xcd\xb2\xa1\x02\0\x04\0",
            "t.pcap: a modified pcap (magic a1b2cd34, records with extra fields); \
             convert it first: editcap -F pcapng t.pcap converted.pcapng",
        ),
        (
            "modified, big-endian",
            b"\xa1\xb2\xcd\x34",
            "t.pcap: a modified pcap (magic a1b2cd34, records with extra fields); \
             convert it first: editcap -F pcapng t.pcap converted.pcapng",
        ),
        (
            "xz",
            b"\xfd7zXZ\0\0",
            "t.pcap: compressed with xz; decompress it first: xz -dc t.pcap | twinpath replay -",
        ),
        (
            "a cut file header",
            &short[..23],
            "t.pcap: file header: 23 of its 24 bytes are there; nothing can be read, so make the capture again",
        ),
        (
            "version 3",
            &version,
            "t.pcap: file header: pcap version 3.4, but only 2.x is known; \
             nothing can be read, so make the capture again",
        ),
    ];
    for (name, file, expected) in table {
        assert_eq!(read(file).error.as_deref(), Some(*expected), "{name}");
    }
}

#[test]
fn opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    let said = |path| Capture::open(path).unwrap_err().to_string();
    assert_eq!(said(&path), format!("{}: no such file; check the path", path.display()));
    let shown = folder.path().display();
    assert_eq!(
        said(folder.path()),
        format!("{shown}: is a directory; name the capture files in it")
    );

    let file = classic(End::Big, NANO, 64, 1, &[(1, 0, 3, b"abc")]);
    std::fs::write(&path, &file).unwrap();
    let mut capture = Capture::open(&path).unwrap();
    assert_eq!((capture.length(), capture.bytes_read()), (Some(43), 24));
    assert_eq!(capture.next().unwrap().unwrap().data, b"abc");
    assert_eq!((capture.name(), capture.bytes_read()), (&*path.display().to_string(), 43));
}

/// The system's error says where it happened, and the packets before it count.
#[test]
fn a_failing_disk() {
    struct Failing(Vec<u8>);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let file = std::mem::take(&mut self.0);
            buffer[..file.len()].copy_from_slice(&file);
            if file.is_empty() { Err(std::io::Error::other("bad sector")) } else { Ok(file.len()) }
        }
    }
    let file = classic(End::Little, MICRO, 64, 1, &[(1, 0, 3, b"abc")]);
    let mut capture = Capture::new("t.pcap", Box::new(Failing(file))).unwrap();
    assert_eq!(capture.next().unwrap().unwrap().number, 1);
    assert_eq!(
        capture.next().unwrap_err().to_string(),
        "t.pcap: reading failed at byte 43: bad sector"
    );
    assert!(capture.next().unwrap().is_none());
}

/// A valid file of every kind of record.
fn valid(kind: usize, end: End) -> Vec<u8> {
    let (data, name): (&[u8], &[u8]) = (&[0x45; 40], b"eth0");
    match kind {
        0 => classic(end, MICRO, 64, 1, &[(1, 2, 60, data), (2, 3, 40, data), (3, 4, 0, b"")]),
        1 => classic(end, NANO, 64, 276, &[(1, 2, 60, data), (2, 3, 40, data)]),
        _ => [
            shb(end),
            idb(end, 1, 64, &[(2, name), (9, &[0x8a]), (14, &[0; 8])]),
            epb(end, 0, 1, 60, data, &[(1, b"text"), (5, &[1; 8])]),
            idb(end, 113, 0, &[(9, &[9])]),
            spb(end, 40, data),
            block(end, 0x204, data),
            pb(end, 1, 7, 40, data),
            shb(end),
            idb(end, 0, 64, &[]),
            epb(end, 0, 1, 60, data, &[]),
        ]
        .concat(),
    }
}

/// Reads to the end. A record takes at least 16 bytes, so more packets than that means that it does not end.
fn survive(file: &[u8]) {
    let Ok(mut capture) = Capture::new("t.pcap", Box::new(std::io::Cursor::new(file.to_vec())))
    else {
        return;
    };
    let (mut packets, mut frame) = (0, Vec::new());
    loop {
        match capture.next() {
            Ok(Some(record)) => {
                packets += 1;
                assert!(packets <= file.len() / 16, "{packets} packets in {} bytes", file.len());
                assert!(record.original_len as usize >= record.data.len());
                let _ = to_ethernet(&record, &mut frame);
            }
            Ok(None) => break,
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
    assert!(capture.bytes_read() <= file.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn mutated_files(
        kind in 0..3_usize,
        little in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(0xff), any::<u8>()]), 0..6),
        words in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..2),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut file = valid(kind, if little { End::Little } else { End::Big });
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(file.len() - 4) & !3;
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if !whole {
            file.truncate(cut.index(file.len()));
        }
        survive(&file);
    }

    #[test]
    fn random_bytes(start in 0..4_usize, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let start: &[u8] = match start {
            0 => &[],
            1 => &classic(End::Little, MICRO, 64, 0, &[]),
            2 => &classic(End::Big, NANO, 64, 101, &[]),
            _ => &[shb(End::Little), idb(End::Little, 113, 64, &[])].concat(),
        };
        survive(&[start, &bytes].concat());
    }
}
