//! Captures as people have them: compressed, of several nodes and interfaces, cut, behind the translation.

mod common;

use std::io::{Cursor, Write};
use std::path::Path;

use common::{capture, cluster, fixture, replay, replay_with, tcp, udp, violation, write};
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::Value;
use tempfile::tempdir;
use twinpath::capture::Capture;

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const WEB: [u8; 4] = [10, 96, 0, 80];
const BACKEND: [u8; 4] = [10, 244, 1, 11];
/// 2026-01-01 00:00:00 UTC in milliseconds.
const NEW_YEAR: u64 = 1_767_225_600_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(Cursor::new(bytes), CompressionLevel::Fastest)
}

/// A pcap in microseconds; packets with their times after New Year in microseconds.
fn pcap(folder: &Path, name: &str, link: u32, packets: &[(u64, Vec<u8>)]) -> String {
    let mut file = Vec::new();
    [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link]
        .iter()
        .for_each(|word| file.extend(word.to_le_bytes()));
    for (time, data) in packets {
        let time = NEW_YEAR * 1_000 + time;
        let (seconds, micros) = ((time / 1_000_000) as u32, (time % 1_000_000) as u32);
        for word in [seconds, micros, data.len() as u32, data.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(data);
    }
    write(folder, name, &file)
}

/// The frame as `tcpdump -i any` has it, at this interface.
fn cooked(frame: &[u8], ifindex: u8, kind: u8) -> Vec<u8> {
    let head = [8, 0, 0, 0, 0, 0, 0, ifindex, 0, 1, kind, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    [&head[..], &frame[14..]].concat()
}

/// With this IPv4 identification, which only the header's checksum covers.
fn numbered(mut frame: Vec<u8>, id: u16) -> Vec<u8> {
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum: u32 = frame[14..34].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
    let field = !(((sum & 0xffff) + (sum >> 16)) as u16);
    frame[24..26].copy_from_slice(&field.to_be_bytes());
    frame
}

fn request(id: u16) -> Vec<u8> {
    numbered(udp((CLIENT, 40_000), ([10, 96, 0, 7], 7), 64, b"hello"), id)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn compressed_captures_are_read_as_they_are() {
    let folder = tempdir().unwrap();
    let file = fixture("captures/clusterip.pcap");
    let plain = std::fs::read(&file).unwrap();
    let expected = replay(&[&file, "-f", &cluster()]);
    assert_eq!(expected.code, 0, "{}", expected.stderr);
    let (first, second) = plain.split_at(plain.len() / 2);
    for (name, bytes) in [
        ("a.gz", gzip(&plain)),
        ("a.zst", zstd(&plain)),
        ("members.pcap", [gzip(first), gzip(second)].concat()),
        ("frames.pcap", [zstd(first), zstd(second)].concat()),
    ] {
        let packed = write(folder.path(), name, &bytes);
        let ran = replay(&[&packed, "-f", &cluster()]);
        assert_eq!((ran.code, ran.text()), (0, expected.text()), "{name}: {}", ran.stderr);
        let ran = replay_with(&["-", "-f", &cluster()], Some(&bytes));
        assert_eq!((ran.code, ran.text()), (0, expected.text()), "{name}: {}", ran.stderr);
        // Read twice.
        assert_eq!(replay_with(&["-", "-q"], Some(&bytes)).code, 0, "{name}");
    }
}

#[test]
fn damage_to_a_compressed_capture_is_said_in_one_line() {
    let folder = tempdir().unwrap();
    let plain = std::fs::read(fixture("captures/clusterip.pcap")).unwrap();
    let gz = gzip(&plain);
    let cut = write(folder.path(), "cut.gz", &gz[..gz.len() / 2]);
    let ran = replay(&[&cut, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = format!("cut.gz: the gzip stream is cut at byte {}", gz.len() / 2);
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    assert!(!ran.text().starts_with("0 packets"), "{}", ran.text());

    let mut broken = gz.clone();
    let end = broken.len() - 6;
    broken[end] ^= 1;
    let broken = write(folder.path(), "broken.gz", &broken);
    let ran = replay(&[&broken, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let line = ran.stderr.lines().last().unwrap();
    assert!(line.contains("broken.gz: the gzip stream is broken at byte "), "{line}");
    assert!(line.contains("are sound"), "{line}");

    let xz = write(folder.path(), "a.xz", b"\xfd7zXZ\0\0\0");
    let ran = replay(&[&xz, "-f", &cluster()]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("compressed with xz; decompress it first: xz -dc "),
        "{}",
        ran.stderr
    );
}

#[test]
fn nodes_and_their_clocks() {
    let folder = tempdir().unwrap();
    // The same 20 datagrams at two nodes, the second 3.1 ms late, and one of its own in between.
    let first: Vec<_> = (0..20).map(|i| (u64::from(i) * 10_000, request(i))).collect();
    let second: Vec<_> = first.iter().map(|(time, frame)| (time + 3_100, frame.clone())).collect();
    let a = pcap(folder.path(), "a.pcap", 1, &first);
    let b = pcap(folder.path(), "b.pcap", 1, &second);
    let (a, b) = (format!("node1={a}"), format!("node2={b}"));

    let ran = replay(&[&a, &b, "-f", &cluster(), "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let note = "twinpath: note: node2 looks 3.1ms late against node1, by 20 packets that are in two captures; \
                --offset node2=-3.1ms corrects it";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
    assert!(ran.stderr.contains("20 of 40 packets are copies"), "{}", ran.stderr);
    let schema = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/replay.schema.json"));
    let schema: Value = serde_json::from_slice(&schema.unwrap()).unwrap();
    let packets = lines(&ran.text());
    assert_eq!(packets.len(), 41);
    for packet in &packets {
        assert_eq!(violation(&schema, &schema, packet, "$"), None, "{packet}");
    }
    assert_eq!(
        (&packets[0]["in"]["node"], &packets[1]["in"]["node"]),
        (&"node1".into(), &"node2".into())
    );

    let ran =
        replay(&[&a, &b, "-f", &cluster(), "--offset", "node2=-3.1ms", "--dedup", "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains(" looks "), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: 20 copies of packets dropped"), "{}", ran.stderr);
    let packets = lines(&ran.text());
    assert_eq!(packets.len(), 21);
    assert!(packets[..20].iter().all(|packet| packet["in"]["node"] == "node1"));

    // What was given is part of what is said.
    let ran = replay(&[&a, &b, "-f", &cluster(), "--offset", "node2=+2ms", "-q"]);
    assert!(
        ran.stderr.contains("5.1ms late") && ran.stderr.contains("node2=-3.1ms"),
        "{}",
        ran.stderr
    );
    let ran = replay(&[&a, &b, "-f", &cluster(), "--offset", "b.pcap=-1s", "-o", "json"]);
    assert_eq!(lines(&ran.text())[0]["ts"], "2025-12-31T23:59:59.003100000Z");

    for (arguments, expected) in [
        (
            ["--offset", "node3=1ms"],
            "--offset node3=1ms: no capture is called node3; these are: node1, node2",
        ),
        (["--offset", "node2=1"], "--offset node2=1: expected a length of time with its unit"),
        (["--since", "noon"], "invalid value 'noon' for '--since <TIME>'"),
        (["--world", "sim"], "absent.pcap: No such file"),
    ] {
        let absent = "node2=absent.pcap";
        let ran = replay(
            &[&[&*a, if arguments[0] == "--world" { absent } else { &*b }][..], &arguments]
                .concat(),
        );
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.to_lowercase().contains(&expected.to_lowercase()), "{}", ran.stderr);
    }
}

#[test]
fn copies_of_tcpdump_i_any() {
    let folder = tempdir().unwrap();
    let packets: Vec<_> = (0..10_u16)
        .flat_map(|i| {
            let time = u64::from(i) * 20_000;
            let frame = request(i);
            // In at the pod's device, out at the uplink; and sent again by the client, which is no copy.
            [
                (time, cooked(&frame, 7, 0)),
                (time + 40, cooked(&frame, 2, 4)),
                (time + 500, cooked(&frame, 7, 0)),
                (time + 15_000, cooked(&frame, 2, 4)),
            ]
        })
        .collect();
    let file = pcap(folder.path(), "any.pcap", 276, &packets);
    let ran = replay(&[&file, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.text().starts_with("40 packets"), "{}", ran.text());
    assert!(
        ran.stderr.contains(
            "note: 10 of 40 packets are copies of others at another interface or capture"
        ),
        "{}",
        ran.stderr
    );
    let ran = replay(&[&file, "-f", &cluster(), "--dedup", "-o", "json"]);
    let left = lines(&ran.text());
    assert_eq!(left.len(), 31, "{}", ran.stderr);
    assert_eq!((&left[0]["in"]["ifindex"], &left[2]["in"]["ifindex"]), (&7.into(), &2.into()));
    assert!(ran.stderr.contains("note: 10 copies of packets dropped (--dedup)"), "{}", ran.stderr);
}

#[test]
fn a_span_of_time() {
    let folder = tempdir().unwrap();
    let packets: Vec<_> = (0..10_u16).map(|i| (u64::from(i) * 500_000, request(i))).collect();
    let file = pcap(folder.path(), "a.pcap", 1, &packets);
    for (arguments, count) in [
        (&["--since", "+2.5s"][..], 5),
        (&["--until", "2.5"], 5),
        (&["--since", "1", "--until", "+2s"], 2),
        (&["--since", "2026-01-01T00:00:03Z"], 4),
        (&["--until", "2026-01-01T01:00:03+01:00"], 6),
        (&["--since", "1", "-c", "2"], 2),
    ] {
        let ran = replay(&[&[&*file, "-f", &cluster(), "-q"][..], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(
            ran.text().starts_with(&format!("{count} packets")),
            "{arguments:?}: {}",
            ran.text()
        );
    }
    let ran = replay(&[&file, "-f", &cluster(), "-q", "--since", "+1000s"]);
    assert_eq!(ran.code, 4);
    let said = "warning: no packet between --since and --until: those that were read are from \
                2026-01-01T00:00:00.000000000Z to 2026-01-01T00:00:04.500000000Z";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

#[test]
fn taken_after_translation() {
    let folder = tempdir().unwrap();
    let frames: Vec<_> =
        (0..4).map(|i| tcp((CLIENT, 41_000 + i), (BACKEND, 8080), 64, 2)).collect();
    let file = capture(folder.path(), "server.pcap", &frames);
    let ran = replay(&[&file, "-f", &cluster(), "-q"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = "note: the capture looks taken after translation: 4 of 4 flows go straight to backends of default/web, \
                such as packet 1, 10.244.1.10:41000 > 10.244.1.11:8080; capture at the client's side";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let frames = [tcp((CLIENT, 41_000), (WEB, 80), 64, 2)];
    let file = capture(folder.path(), "client.pcap", &frames);
    assert_eq!(replay(&[&file, "-f", &cluster(), "-q"]).stderr, "");
}

/// A pcapng of one interface, `eth0`, whose packets have comments.
fn commented(folder: &Path, frames: &[(Vec<u8>, &str)]) -> String {
    fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = (padded as u32 + 12).to_le_bytes();
        file.extend([&kind.to_le_bytes()[..], &total, body].concat());
        file.resize(file.len() + padded - body.len(), 0);
        file.extend(total);
    }
    let mut file = Vec::new();
    block(
        &mut file,
        0x0a0d_0d0a,
        &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat(),
    );
    block(&mut file, 1, b"\x01\0\0\0\0\0\x04\0\x02\0\x04\0eth0\0\0\0\0");
    for (frame, comment) in frames {
        let words = [0, 0, 1, frame.len() as u32, frame.len() as u32];
        let mut body: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(
            [&[1, 0][..], &(comment.len() as u16).to_le_bytes(), comment.as_bytes()].concat(),
        );
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([0; 4]);
        block(&mut file, 6, &body);
    }
    write(folder, "commented.pcapng", &file)
}

#[test]
fn comments_and_interfaces_are_kept() {
    let folder = tempdir().unwrap();
    let file = commented(
        folder.path(),
        &[(request(1), "look\u{1b}[31m\nhere"), (request(2), "und h\u{f6}r")],
    );
    let out = folder.path().join("out.pcapng").to_str().unwrap().to_owned();
    // Also by the way that merged captures go.
    for more in [&[][..], &["--since", "0"]] {
        let ran =
            replay(&[&[&*file, "-f", &cluster(), "-o", "json", "-w", &out][..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let packets = lines(&ran.text());
        assert_eq!(packets[0]["comment"], "look\u{1b}[31m\nhere");
        assert_eq!(packets[0]["in"]["iface"], "eth0");
        let mut written = Capture::open(Path::new(&out)).unwrap();
        let comment = written.next().unwrap().unwrap().comment.unwrap().to_owned();
        assert!(
            comment.starts_with("#1 ") && comment.ends_with(" | look\u{1b}[31m\nhere"),
            "{comment}"
        );
    }
    let wide = replay(&[&file, "-f", &cluster(), "-o", "wide"]).text();
    assert!(wide.lines().nth(1).unwrap().ends_with("  # look [31m here"), "{wide}");
    assert!(wide.lines().nth(2).unwrap().ends_with("  # und h\u{f6}r"), "{wide}");
}

#[test]
fn tunnels_are_taken_off() {
    let folder = tempdir().unwrap();
    let inner = request(1);
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &inner].concat();
    let outer = udp(([192, 168, 0, 1], 50_000), ([192, 168, 0, 2], 8472), 64, &vxlan);
    let file = capture(folder.path(), "vxlan.pcap", &[outer]);
    let to = |more: &[&str]| {
        let ran = replay(&[&[&*file, "-f", &cluster(), "-o", "json"][..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let said = ran.stderr.contains("note: 1 of 1 flows are tunnels");
        (lines(&ran.text())[0]["in"]["dst"].clone(), said)
    };
    assert_eq!(to(&[]), ("192.168.0.2:8472".into(), true));
    assert_eq!(to(&["--decap", "none"]), ("192.168.0.2:8472".into(), true));
    assert_eq!(to(&["--decap", "auto"]), ("10.96.0.7:7".into(), false));
}
