use crate::capture::samples::{End, MICRO, NANO, Packet, classic, packet, read};

const S: u64 = 1_000_000_000;

#[test]
fn orders_and_units() {
    // Name, byte order, magic, snaplen, link type as written, records, expected.
    type Row = (&'static str, End, u32, u32, u32, Vec<(u32, u32, u32, &'static [u8])>, Vec<Packet>);
    let table: Vec<Row> = vec![
        (
            "microseconds, little-endian",
            End::Little,
            MICRO,
            65_535,
            1,
            vec![(1_700_000_000, 999_999, 4, b"abcd"), (1_700_000_001, 0, 3, b"efg")],
            vec![
                packet(1_700_000_000 * S + 999_999_000, 4, b"abcd"),
                packet(1_700_000_001 * S, 3, b"efg"),
            ],
        ),
        (
            "microseconds, big-endian",
            End::Big,
            MICRO,
            65_535,
            1,
            vec![(1_700_000_000, 7, 4, b"abcd")],
            vec![packet(1_700_000_000 * S + 7_000, 4, b"abcd")],
        ),
        (
            "nanoseconds, little-endian",
            End::Little,
            NANO,
            65_535,
            1,
            vec![(5, 123_456_789, 1, b"a")],
            vec![packet(5_123_456_789, 1, b"a")],
        ),
        (
            "nanoseconds, big-endian",
            End::Big,
            NANO,
            65_535,
            1,
            vec![(5, 999_999_999, 1, b"a")],
            vec![packet(5_999_999_999, 1, b"a")],
        ),
        (
            "snap length 0 means no limit",
            End::Little,
            MICRO,
            0,
            1,
            vec![(1, 0, 4, b"abcd")],
            vec![packet(S, 4, b"abcd")],
        ),
        (
            "tcpdump -s 96: longer on the wire than the snap length",
            End::Little,
            MICRO,
            96,
            1,
            vec![(1, 0, 1_514, &[7; 96]), (1, 1, 60, &[8; 60])],
            vec![packet(S, 1_514, &[7; 96]), packet(S + 1_000, 60, &[8; 60])],
        ),
        (
            "captured beyond the snap length",
            End::Little,
            MICRO,
            2,
            1,
            vec![(1, 0, 4, b"abcd")],
            vec![packet(S, 4, b"abcd")],
        ),
        (
            "original length below the captured one",
            End::Big,
            MICRO,
            64,
            1,
            vec![(1, 0, 0, b"abcd")],
            vec![packet(S, 4, b"abcd")],
        ),
        (
            "an empty packet",
            End::Little,
            MICRO,
            64,
            1,
            vec![(1, 0, 60, b"")],
            vec![packet(S, 60, b"")],
        ),
        ("no packets", End::Big, NANO, 64, 1, vec![], vec![]),
        (
            "frame check sequence bits above the link type",
            End::Little,
            MICRO,
            64,
            0x2400_0001,
            vec![(1, 0, 1, b"a")],
            vec![packet(S, 1, b"a")],
        ),
        (
            "the end of 32-bit time, with a fraction out of range",
            End::Little,
            MICRO,
            64,
            113,
            vec![(u32::MAX, u32::MAX, 1, b"a")],
            vec![Packet {
                link: 113,
                ..packet(u64::from(u32::MAX) * S + u64::from(u32::MAX) * 1_000, 1, b"a")
            }],
        ),
    ];
    for (name, end, magic, snaplen, link, records, expected) in table {
        let file = classic(end, magic, snaplen, link, &records);
        let outcome = read(&file);
        assert_eq!(outcome.packets, expected, "{name}");
        assert_eq!((outcome.error, outcome.warnings), (None, vec![]), "{name}");
        assert_eq!(outcome.bytes_read, file.len() as u64, "{name}");
    }
}

/// pcap-file maps numbers to an enum: every number must come back as it was, also where names share one.
#[test]
fn every_link_type_keeps_its_number() {
    for link in 0..=1_000 {
        let outcome = read(&classic(End::Little, MICRO, 64, link, &[(1, 0, 1, b"a")]));
        assert_eq!(outcome.packets[0].link, link);
    }
}

#[test]
fn packets_larger_than_the_window() {
    let large = vec![9; 262_144];
    let records: Vec<(u32, u32, u32, &[u8])> =
        (0..5).map(|n| (n, 0, 262_144, if n % 2 == 0 { &large[..] } else { b"small" })).collect();
    let outcome = read(&classic(End::Little, NANO, 262_144, 1, &records));
    let lengths: Vec<usize> = outcome.packets.iter().map(|packet| packet.data.len()).collect();
    assert_eq!((lengths, outcome.error), (vec![262_144, 5, 262_144, 5, 262_144], None));
}

#[test]
fn cut_at_every_byte() {
    for end in [End::Little, End::Big] {
        let file =
            classic(end, MICRO, 64, 1, &[(1, 0, 5, b"abcde"), (2, 0, 0, b""), (3, 0, 3, b"fgh")]);
        // Ends of the file header and of each record.
        let sound = [24, 45, 61, 80];
        assert_eq!(file.len(), sound[3]);
        for cut in 24..=file.len() {
            let outcome = read(&file[..cut]);
            let whole = sound.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!((outcome.packets.len(), outcome.error), (whole, None), "cut at {cut}");
            let left = cut - sound[whole];
            let warning = format!(
                "t.pcap: cut after packet {whole}: {left} bytes of an incomplete record at byte {} ignored",
                sound[whole]
            );
            let expected = if left == 0 { vec![] } else { vec![warning] };
            assert_eq!(outcome.warnings, expected, "cut at {cut}");
        }
    }
}

#[test]
fn absurd_length() {
    for (end, length) in [(End::Little, 262_145), (End::Big, 262_145), (End::Big, u32::MAX)] {
        let mut file = classic(end, MICRO, 64, 1, &[(1, 0, 3, b"abc"), (1, 0, 3, b"abc")]);
        // The captured length of the second record; then the bytes that it asks for, where that is bearable.
        file[51..55].copy_from_slice(&end.u32(length));
        for extra in [0, 300_000] {
            file.resize(file.len() + extra, 0);
            let outcome = read(&file);
            assert_eq!(outcome.packets, [packet(S, 3, b"abc")]);
            let expected = format!(
                "t.pcap: packet 2 at byte 43: captured length {length} is over the limit of 262144 bytes; \
                 the file is damaged from here on, packet 1 is sound"
            );
            assert_eq!(outcome.error, Some(expected));
        }
    }
}
