use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::super::samples::{End, MICRO, classic, read};
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(Cursor::new(bytes), CompressionLevel::Fastest)
}

/// A skippable frame.
fn skippable(bytes: &[u8]) -> Vec<u8> {
    [&[0x5a, 0x2a, 0x4d, 0x18][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// 300 packets of 100 bytes, none like the other.
fn capture() -> Vec<u8> {
    let mut random = 1_u32;
    let data: Vec<[u8; 100]> = (0..300)
        .map(|_| {
            std::array::from_fn(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
        })
        .collect();
    let records: Vec<_> = data.iter().zip(0..).map(|(data, i)| (i, 0, 100, &data[..])).collect();
    classic(End::Little, MICRO, 262_144, 1, &records)
}

#[test]
fn whole_streams() {
    let plain = capture();
    let (first, second) = plain.split_at(plain.len() / 3);
    let expected = read(&plain).packets;
    assert_eq!(expected.len(), 300);
    for (name, file) in [
        ("gzip", gzip(&plain)),
        ("zstd", zstd(&plain)),
        ("two members", [gzip(first), gzip(second)].concat()),
        ("an empty member between", [gzip(first), gzip(b""), gzip(second)].concat()),
        ("two frames", [zstd(first), zstd(second)].concat()),
        (
            "skippable frames",
            [
                skippable(b"index"),
                zstd(first),
                skippable(&[7; 5_000]),
                zstd(second),
                skippable(b""),
            ]
            .concat(),
        ),
    ] {
        let outcome = read(&file);
        assert_eq!((outcome.error, outcome.warnings), (None, vec![]), "{name}");
        assert!(outcome.packets == expected, "{name}");
        assert_eq!(outcome.bytes_read, file.len() as u64, "{name}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let plain = capture();
    let (gz, zst) = (gzip(&plain), zstd(&plain));
    let half = |file: &[u8]| file[..file.len() / 2].to_vec();
    let changed = |file: &[u8], at: usize| {
        let mut file = file.to_vec();
        file[at] ^= 0xff;
        file
    };
    let frames = [zstd(&plain[..20_000]), zstd(&plain[20_000..])].concat();
    let two = [gzip(&plain[..20_000]), half(&gzip(&plain[20_000..]))].concat();
    let behind = |file: &[u8]| [file, b"and more"].concat();
    let huge = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    let empty = gzip(b"");
    // Name, file, packets, beginnings of the error and of the last warning.
    type Row<'a> = (&'a str, &'a [u8], std::ops::RangeInclusive<usize>, &'a str, &'a str);
    let table: &[Row<'_>] = &[
        ("cut gzip", &half(&gz), 100..=160, "", "t.pcap: the gzip stream is cut at byte 1"),
        (
            "cut zstd",
            &frames[..frames.len() - 9],
            172..=172,
            "",
            "t.pcap: the zstd stream is cut at byte 3",
        ),
        (
            "without its checksum",
            &gz[..gz.len() - 3],
            300..=300,
            "",
            "t.pcap: the gzip stream is cut at byte 3",
        ),
        ("a cut second member", &two, 180..=299, "", "t.pcap: the gzip stream is cut at byte 2"),
        (
            "behind gzip",
            &behind(&gz),
            300..=300,
            "",
            "t.pcap: what follows the gzip stream at byte ",
        ),
        (
            "behind zstd",
            &behind(&zst),
            300..=300,
            "",
            "t.pcap: what follows the zstd stream at byte ",
        ),
        (
            "a wrong checksum",
            &changed(&gz, gz.len() - 8),
            300..=300,
            "t.pcap: the gzip stream is broken at byte 3",
            "",
        ),
        (
            "a block of no type",
            &changed(&zst, 9),
            0..=0,
            "t.pcap: the zstd stream is broken at byte ",
            "",
        ),
        (
            "a window too large",
            &huge,
            0..=0,
            "t.pcap: the zstd stream is broken at byte 6: its window of 2048 MiB is over the limit of 128 MiB; decompress first with zstd -dc --long=31",
            "",
        ),
        (
            "nothing",
            &empty,
            0..=0,
            "t.pcap: compressed, and empty inside; make the capture again",
            "",
        ),
        (
            "the head only",
            &gz[..3],
            0..=0,
            "t.pcap: compressed, and cut before its first byte; copy the file again",
            "",
        ),
        (
            "gzip twice",
            &gzip(&gz),
            0..=0,
            "t.pcap: compressed twice; decompress it once: gzip -dc or zstd -dc",
            "",
        ),
        (
            "text",
            &gzip(b"kind: List\n"),
            0..=0,
            "t.pcap (gzip): not a capture: it starts with 6b 69 6e 64",
            "",
        ),
        (
            "snoop",
            &zstd(b"snoop\0\0\0\0\0\0\x02"),
            0..=0,
            "t.pcap (zstd): a snoop capture; decompress both",
            "",
        ),
    ];
    for (name, file, packets, error, warning) in table {
        let outcome = read(file);
        let found = outcome.error.unwrap_or_default();
        assert!(
            found.starts_with(error) && error.is_empty() == found.is_empty(),
            "{name}: {found}"
        );
        assert!(packets.contains(&outcome.packets.len()), "{name}: {}", outcome.packets.len());
        let said = outcome.warnings.last().cloned().unwrap_or_default();
        assert!(
            said.starts_with(warning) && warning.is_empty() == said.is_empty(),
            "{name}: {said}"
        );
    }
}

/// The system's error is no fault of the stream.
#[test]
fn a_failing_disk() {
    struct Failing(Vec<u8>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::from_raw_os_error(22));
            }
            let n = self.0.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.0.drain(..n).collect::<Vec<u8>>());
            Ok(n)
        }
    }
    let gz = gzip(&capture());
    let half = gz[..gz.len() / 2].to_vec();
    let expected = format!("t.pcap: reading failed at byte {}: Invalid argument", half.len());
    let mut capture = super::super::Capture::new("t.pcap", Box::new(Failing(half))).unwrap();
    let error = loop {
        match capture.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.starts_with(&expected), "{error}");
}

/// Reads to the end, which must be within what the bytes can hold.
fn survive(file: &[u8]) {
    use super::super::Capture;

    let line = |error: super::super::CaptureError| {
        assert!(!error.to_string().contains('\n'), "{error}");
    };
    let mut capture = match Capture::new("t.pcap", Box::new(Cursor::new(file.to_vec()))) {
        Ok(capture) => capture,
        Err(error) => return line(error),
    };
    let mut packets = 0;
    loop {
        match capture.next() {
            Ok(Some(_)) => packets += 1,
            Ok(None) => break,
            Err(error) => line(error),
        }
        assert!(packets < 1_000_000);
    }
    assert!(capture.bytes_read() <= file.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Damage ends in packets that were sound, an error or a warning, and never in a panic or without an end.
    #[test]
    fn damaged_streams(
        is_gzip in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let plain = capture();
        let mut file = if is_gzip { gzip(&plain) } else { zstd(&plain) };
        for (at, byte) in edits {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if !whole {
            file.truncate(cut.index(file.len()));
        }
        survive(&file);
    }

    #[test]
    fn garbage(
        is_gzip in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let start: &[u8] = if is_gzip { &[0x1f, 0x8b, 8, 0] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
        survive(&[start, &bytes].concat());
    }
}
