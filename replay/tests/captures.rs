//! Captures of real traffic, read where they lie: they are not part of the repository.

use std::path::Path;

use twinpath::capture::{Capture, to_ethernet};

/// Reads every capture of the collection's index, whose table rows are
/// `| file | source | path | licence | bytes | packets | link type | exercises |`.
#[test]
fn shared_captures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let Ok(index) = std::fs::read_to_string(folder.join("INDEX.md")) else {
        return twinpath_kernel::testing::skip(
            "public captures, reading",
            "../shared/captures absent",
        );
    };
    let mut files = 0;
    for row in index.lines().filter(|line| line.contains(".pcap") || line.contains(".cap ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (name, bytes, packets) =
            (cells[1], cells[5].parse::<u64>().unwrap(), cells[6].parse::<u64>().unwrap());
        let link = match cells[7] {
            "ether" => 1,
            "linux-sll2" => 276,
            other => panic!("{name}: link type {other} in the index"),
        };
        let mut capture = Capture::open(&folder.join(name)).unwrap();
        assert_eq!(capture.length(), Some(bytes), "{name}");
        let (mut read, mut buffer, mut last) = (0, Vec::new(), 0);
        while let Some(record) = capture.next().unwrap() {
            read += 1;
            assert_eq!((record.number, record.link.0), (read, link), "{name}");
            // 1990 to 2040: a wrong time unit would be far out.
            let seconds = record.timestamp / 1_000_000_000;
            assert!(
                (631_152_000..2_208_988_800).contains(&seconds),
                "{name}: packet {read} at {seconds} s"
            );
            let frame = to_ethernet(&record, &mut buffer).unwrap();
            assert!(
                frame.data.len() >= 14 && frame.original_len as usize >= frame.data.len(),
                "{name}: {read}"
            );
            last = record.timestamp;
        }
        assert_eq!(
            (read, capture.bytes_read()),
            (packets, bytes),
            "{name}, last packet at {last} ns"
        );
        assert_eq!(capture.warnings(), [] as [String; 0], "{name}");
        files += 1;
    }
    assert!(files >= 20, "only {files} files in the index");
}

/// Packets a second from memory. Run it by hand, since only a release build means anything:
/// `cargo test --release -p twinpath --test captures -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement; needs a release build and an idle machine"]
fn reading_speed() {
    use std::hint::black_box;
    use std::io::Cursor;
    use std::time::Instant;

    use twinpath::capture::{ClassicWriter, PacketOptions, Precision, StageWriter};

    let run = |what: &str, file: &[u8], expected: u64| {
        let mut best = f64::MAX;
        for _ in 0..9 {
            let mut capture = Capture::new(what, Box::new(Cursor::new(file.to_vec()))).unwrap();
            let start = Instant::now();
            let mut packets = 0;
            while let Some(record) = capture.next().unwrap() {
                black_box(record);
                packets += 1;
            }
            best = best.min(start.elapsed().as_secs_f64());
            assert_eq!(packets, expected);
        }
        let rate = expected as f64 / best / 1e6;
        println!("{what}: {rate:.1} million packets/s, {:.1} GB/s", file.len() as f64 / best / 1e9);
    };
    for (size, packets) in [(64, 1_000_000), (1500, 50_000)] {
        let data = vec![0x5a; size];
        let mut pcap = ClassicWriter::new(Vec::new(), Precision::Micro).unwrap();
        let mut pcapng = StageWriter::new(Vec::new(), &["in"], "").unwrap();
        for n in 0..packets {
            pcap.write(n * 1_000, &data, size as u32).unwrap();
            pcapng.write(0, n * 1_000, &data, size as u32, &PacketOptions::default()).unwrap();
        }
        run(&format!("pcap, {size} bytes"), &pcap.finish().unwrap(), packets);
        run(&format!("pcapng, {size} bytes"), &pcapng.finish().unwrap(), packets);
    }
}
