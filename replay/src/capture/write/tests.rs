use super::*;
use crate::capture::samples::{Packet, packet, read};

#[test]
fn stages_read_back() {
    let mut writer = StageWriter::new(Vec::new(), &["node1/in", "node1/sim"], "seed 1").unwrap();
    let none = PacketOptions::default();
    let full = PacketOptions {
        comment: Some("#1 TRANSLATED"),
        packet_id: Some(0x0102_0304_0506_0708),
        verdict: Some(2),
        direction: Some(Direction::Outbound),
    };
    writer.write(0, 1_700_000_000_123_456_789, b"abcde", 5, &none).unwrap();
    writer.write(1, 1_700_000_000_123_456_789, b"fgh", 1_514, &full).unwrap();
    assert_eq!(writer.stage("node1/sim").unwrap(), 1);
    let late = writer.stage("node1/kernel").unwrap();
    assert_eq!(late, 2);
    writer.write(late, u64::MAX, b"", 0, &full).unwrap();
    let file = writer.finish().unwrap();

    let outcome = read(&file);
    let comment = Some("#1 TRANSLATED".to_owned());
    let expected = [
        packet(1_700_000_000_123_456_789, 5, b"abcde"),
        Packet {
            interface: 1,
            comment: comment.clone(),
            ..packet(1_700_000_000_123_456_789, 1_514, b"fgh")
        },
        Packet { interface: 2, comment, ..packet(u64::MAX, 0, b"") },
    ];
    assert_eq!(outcome.packets, expected);
    assert_eq!(outcome.names, ["node1/in", "node1/sim", "node1/kernel"]);
    assert_eq!((outcome.error, outcome.warnings), (None, vec![]));

    // The options of the second packet, byte by byte: code, length, value, padding.
    let options = [
        &[1, 0, 13, 0][..],
        b"#1 TRANSLATED\0\0\0",
        &[2, 0, 4, 0, 2, 0, 0, 0],
        &[5, 0, 8, 0, 8, 7, 6, 5, 4, 3, 2, 1],
        &[7, 0, 9, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0],
    ]
    .concat();
    assert!(file.windows(options.len()).any(|window| window == options));
    let application = b"\x04\0\x08\0twinpath";
    assert!(file.windows(application.len()).any(|window| window == application));
}

#[test]
fn what_does_not_fit() {
    let comment = "é".repeat(40_000);
    let mut writer = StageWriter::new(Vec::new(), &["in"], &comment).unwrap();
    let options =
        PacketOptions { comment: Some(&comment), packet_id: Some(1), ..Default::default() };
    writer.write(0, 1, &vec![7; 300_000], 300_000, &options).unwrap();
    let error = writer.write(1, 1, b"", 0, &options).unwrap_err();
    assert_eq!(error.to_string(), "stage 1 is not one of the 1 of this file");
    let outcome = read(&writer.finish().unwrap());
    let [read_back] = &outcome.packets[..] else { panic!("{outcome:?}") };
    assert_eq!((read_back.data.len(), read_back.original), (262_144, 300_000));
    assert_eq!(read_back.comment.as_deref(), Some(&comment[..65_532]));
}

#[test]
fn classic_reads_back() {
    let time = 1_700_000_000_123_456_789;
    for (precision, expected) in
        [(Precision::Micro, 1_700_000_000_123_456_000), (Precision::Nano, time)]
    {
        let mut writer = ClassicWriter::new(Vec::new(), precision).unwrap();
        writer.write(time, b"abc", 1_514).unwrap();
        writer.write(0, b"", 0).unwrap();
        let error = writer.write(u64::MAX, b"", 0).unwrap_err().to_string();
        assert!(
            error.ends_with("is beyond the 32-bit seconds of a pcap; write a pcapng"),
            "{error}"
        );
        let outcome = read(&writer.finish().unwrap());
        assert_eq!(outcome.packets, [packet(expected, 1_514, b"abc"), packet(0, 0, b"")]);
        assert_eq!((outcome.error, outcome.warnings), (None, vec![]));
    }
}

/// A full disk is an error of the write, and its kind survives the way through pcap-file.
#[test]
fn errors_of_the_output() {
    let mut room = [0_u8; 90];
    let mut writer = StageWriter::new(&mut room[..], &[], "").unwrap();
    let error = writer.stage(&"n".repeat(200)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}
