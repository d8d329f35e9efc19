use crate::capture::samples::{End, Packet, block, epb, idb, packet, pb, read, shb, spb};

const S: u64 = 1_000_000_000;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const OFFSET: u16 = 14;

#[test]
fn block_kinds() {
    // Name, file of the given byte order, expected packets.
    type Row = (&'static str, fn(End) -> Vec<u8>, Vec<Packet>);
    let table: Vec<Row> = vec![
        (
            "microseconds when nothing is said",
            |e| {
                [
                    shb(e),
                    idb(e, 1, 65_535, &[]),
                    epb(e, 0, 1_700_000_000_000_001, 60, b"abcde", &[]),
                ]
                .concat()
            },
            vec![packet(1_700_000_000_000_001_000, 60, b"abcde")],
        ),
        (
            "nanoseconds, with comments behind flags",
            |e| {
                let options: &[(u16, &[u8])] =
                    &[(2, &[1, 0, 0, 0]), (1, "déjà vu".as_bytes()), (1, b"\xff"), (1, b"second")];
                [shb(e), idb(e, 1, 0, &[(RESOLUTION, &[9])]), epb(e, 0, 5, 4, b"abcd", options)]
                    .concat()
            },
            vec![Packet { comment: Some("déjà vu\nsecond".into()), ..packet(5, 4, b"abcd") }],
        ),
        (
            "a comment that is not UTF-8 costs only itself",
            |e| [shb(e), idb(e, 1, 0, &[]), epb(e, 0, 5, 4, b"abcd", &[(1, b"\xff\xfe")])].concat(),
            vec![packet(5_000, 4, b"abcd")],
        ),
        (
            "if_tzone and an unknown option, which pcap-file trips over",
            |e| {
                let options: &[(u16, &[u8])] = &[(10, &[0; 4]), (4_242, b"?"), (RESOLUTION, &[3])];
                [shb(e), idb(e, 1, 0, options), epb(e, 0, 1_500, 1, b"a", &[])].concat()
            },
            vec![packet(1_500_000_000, 1, b"a")],
        ),
        (
            "a power of two, with an offset",
            |e| {
                let offset =
                    if e == End::Little { 100_i64.to_le_bytes() } else { 100_i64.to_be_bytes() };
                let options: &[(u16, &[u8])] = &[(RESOLUTION, &[0x80 | 10]), (OFFSET, &offset)];
                [shb(e), idb(e, 1, 0, options), epb(e, 0, 1_536, 1, b"a", &[])].concat()
            },
            vec![packet(101_500_000_000, 1, b"a")],
        ),
        (
            "simple packets: cut by the snap length, timed like the one before",
            |e| {
                let blocks =
                    [shb(e), idb(e, 1, 6, &[]), spb(e, 3, b"abc"), epb(e, 0, 9, 1, b"x", &[])]
                        .concat();
                [blocks, spb(e, 1_000, b"abcdef")].concat()
            },
            vec![packet(0, 3, b"abc"), packet(9_000, 1, b"x"), packet(9_000, 1_000, b"abcdef")],
        ),
        (
            "simple packets without a snap length",
            |e| [shb(e), idb(e, 1, 0, &[]), spb(e, 5, b"abcde"), spb(e, 1, b"f")].concat(),
            vec![packet(0, 5, b"abcde"), packet(0, 1, b"f")],
        ),
        (
            "the obsolete packet block",
            |e| [shb(e), idb(e, 1, 0, &[]), pb(e, 0, S, 61, b"abc")].concat(),
            vec![packet(S * 1_000, 61, b"abc")],
        ),
        (
            "an interface described after the first packets, of another link type",
            |e| {
                let first = [shb(e), idb(e, 1, 0, &[]), epb(e, 0, 1, 1, b"a", &[])].concat();
                [first, idb(e, 113, 0, &[(RESOLUTION, &[9])]), epb(e, 1, 2, 1, b"b", &[])].concat()
            },
            vec![packet(1_000, 1, b"a"), Packet { interface: 1, link: 113, ..packet(2, 1, b"b") }],
        ),
        (
            "blocks that hold no packet",
            |e| {
                let first =
                    [shb(e), block(e, 4, &[0; 4]), idb(e, 1, 0, &[]), block(e, 5, &[0; 12])]
                        .concat();
                [
                    first,
                    block(e, 0x0bad, b"1234"),
                    epb(e, 0, 1, 1, b"a", &[]),
                    block(e, 10, &[1; 400_000]),
                ]
                .concat()
            },
            vec![packet(1_000, 1, b"a")],
        ),
    ];
    for (name, file, expected) in table {
        for end in [End::Little, End::Big] {
            let file = file(end);
            let outcome = read(&file);
            assert_eq!(outcome.packets, expected, "{name}, {end:?}");
            assert_eq!(
                (outcome.error, outcome.bytes_read),
                (None, file.len() as u64),
                "{name}, {end:?}"
            );
            let simple = if name.starts_with("simple") {
                vec!["t.pcap: 2 packets without a time got the time of the one before".to_owned()]
            } else {
                vec![]
            };
            assert_eq!(outcome.warnings, simple, "{name}, {end:?}");
        }
    }
}

#[test]
fn sections_have_their_own_order_interfaces_and_units() {
    let (l, b) = (End::Little, End::Big);
    let first = [
        shb(l),
        idb(l, 1, 0, &[(NAME, b"eth0")]),
        idb(l, 1, 0, &[(NAME, b"eth1"), (RESOLUTION, &[9])]),
        epb(l, 1, 77, 1, b"a", &[]),
    ];
    let second = [
        shb(b),
        idb(b, 101, 0, &[(NAME, b"tun0"), (RESOLUTION, &[3])]),
        epb(b, 0, 5, 1, b"b", &[]),
    ];
    let outcome = read(&[first.concat(), second.concat()].concat());
    let expected = [
        Packet { interface: 1, ..packet(77, 1, b"a") },
        Packet { interface: 2, link: 101, ..packet(5_000_000, 1, b"b") },
    ];
    assert_eq!(outcome.packets, expected);
    assert_eq!(outcome.names, ["eth0", "eth1", "tun0"]);
    assert_eq!(outcome.error, None);
}

#[test]
fn unknown_blocks_are_counted() {
    let e = End::Little;
    let file = [
        shb(e),
        block(e, 0xabcd, &[0; 300_000]),
        idb(e, 1, 0, &[]),
        block(e, 0x204, b"1234"),
        epb(e, 0, 1, 1, b"a", &[]),
    ];
    let outcome = read(&file.concat());
    assert_eq!(outcome.packets, [packet(1_000, 1, b"a")]);
    assert_eq!(
        outcome.warnings,
        ["t.pcap: 2 blocks of unknown type passed over, the first 0xabcd"]
    );
}

#[test]
fn cut_at_every_byte() {
    for end in [End::Little, End::Big] {
        let blocks = [
            shb(end),
            idb(end, 1, 0, &[(NAME, b"eth0")]),
            epb(end, 0, 1, 5, b"abcde", &[(1, b"first")]),
            block(end, 0x204, b"12345678"),
            spb(end, 3, b"fgh"),
            pb(end, 0, 3, 2, b"ij"),
        ];
        let mut ends = vec![0];
        blocks.iter().for_each(|block| ends.push(ends[ends.len() - 1] + block.len()));
        let file = blocks.concat();
        // From 8 bytes on the format is certain; before it the file is refused.
        for cut in 8..=file.len() {
            let outcome = read(&file[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let packets = [0, 0, 0, 1, 1, 2, 3][whole];
            assert_eq!((outcome.packets.len(), outcome.error), (packets, None), "cut at {cut}");
            let warning = format!(
                "t.pcap: cut after packet {packets}: {} bytes of an incomplete record at byte {} ignored",
                cut - ends[whole],
                ends[whole]
            );
            assert_eq!(
                outcome.warnings.contains(&warning),
                cut != ends[whole],
                "cut at {cut}: {:?}",
                outcome.warnings
            );
        }
    }
}

#[test]
fn damage() {
    let e = End::Little;
    let start = || [shb(e), idb(e, 1, 0, &[])].concat();
    let with = |block: Vec<u8>| [start(), block].concat();
    let edited = |mut block: Vec<u8>, at: usize, value: u32| {
        block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        block
    };
    let sample = || epb(e, 0, 1, 4, b"abcd", &[]);
    // Name, file, what the error says between the offset and the semicolon.
    let table = [
        (
            "a packet before any interface",
            [shb(e), sample()].concat(),
            "it names interface 0, but 0 are described",
        ),
        (
            "an undescribed interface",
            with(edited(sample(), 8, 7)),
            "it names interface 7, but 1 are described",
        ),
        (
            "a simple packet before any interface",
            [shb(e), spb(e, 1, b"a")].concat(),
            "it names interface 0, but 0",
        ),
        (
            "captured beyond the block",
            with(edited(sample(), 20, 5)),
            "captured length 5 exceeds its block of 36",
        ),
        (
            "captured absurdly",
            with(edited(sample(), 20, 262_145)),
            "captured length 262145 is over the limit",
        ),
        ("two lengths", with(edited(sample(), 32, 40)), "the block's two lengths differ"),
        (
            "no room for a header",
            with(edited(sample(), 4, 8)),
            "block length 8 is not a multiple of 4 from 12 on",
        ),
        (
            "an odd length",
            with(edited(sample(), 4, 37)),
            "block length 37 is not a multiple of 4 from 12 on",
        ),
        (
            "a huge length",
            with(edited(sample(), 4, 0xffff_fffc)),
            "block length 4294967292 is over the limit",
        ),
        (
            "a packet block of 12 bytes",
            with(block(e, 6, &[])),
            "packet block too short for its fields",
        ),
        (
            "an empty interface description",
            with(block(e, 1, &[])),
            "interface description block too short",
        ),
        ("version 2", edited(shb(e), 12, 2), "pcapng version 2.0, but only 1.x is known"),
        (
            "no byte order",
            edited(shb(e), 8, 0),
            "section header without the byte order magic 1a2b3c4d",
        ),
    ];
    for (name, file, expected) in table {
        let outcome = read(&file);
        let error = outcome.error.unwrap_or_default();
        assert!(error.contains(&format!(": {expected}")), "{name}: {error}");
        assert!(error.starts_with("t.pcap: packet 1 at byte "), "{name}: {error}");
        assert_eq!(outcome.packets, [], "{name}");
    }
}

#[test]
fn interfaces_are_limited() {
    let e = End::Little;
    let section = [shb(e), idb(e, 1, 0, &[]).repeat(40_000)].concat();
    let outcome = read(&[&section[..], &section].concat());
    assert!(outcome.error.unwrap().contains("more than 65536 interfaces"));
}
