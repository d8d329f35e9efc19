use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tempfile::tempdir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// Names with texts, and notes.
type Found = (Vec<(String, String)>, Vec<String>);

/// What there is in a file with these bytes: names (without the folder) and texts; and the notes.
fn read(file: &str, bytes: &[u8]) -> Result<Found, String> {
    let folder = tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, bytes).unwrap();
    read_path(&path, folder.path())
}

fn read_path(path: &Path, base: &Path) -> Result<Found, String> {
    let base = format!("{}/", base.display());
    let (mut texts, mut notes) = (Vec::new(), Vec::new());
    let mut take = |name: &str, bytes: Vec<u8>| {
        texts.push((name.replace(&base, ""), String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    };
    let read = Reader::new(&mut take, &mut notes).path(path);
    read.map_err(|failure| failure.to_string().replace(&base, ""))?;
    Ok((texts, notes.iter().map(|note| note.replace(&base, "")).collect()))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn texts(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
}

#[test]
fn compressed_files_by_what_is_in_them() {
    let zstd = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
    let two = [zstd(b"kind: "), zstd(b"List\n")].concat();
    for bytes in [
        b"kind: List\n".to_vec(),
        gzip(b"kind: List\n"),
        [gzip(b"kind: "), gzip(b"List\n")].concat(),
        two,
    ] {
        assert_eq!(read("x", &bytes).unwrap().0, texts(&[("x", "kind: List\n")]));
    }
    let nested = read("x", &gzip(&gzip(b"a"))).unwrap_err();
    assert!(nested.starts_with("x: an archive within an archive"), "{nested}");
    let mut cut = gzip(&[b'a'; 1000]);
    cut.truncate(20);
    assert!(read("x", &cut).unwrap_err().starts_with("x: "), "cut");
}

#[test]
fn sysdumps() {
    let bytes = zipped(&[
        ("cilium-sysdump-1/k8s-services-20260115-090000.yaml", b"services"),
        ("cilium-sysdump-1/k8s-endpointslices-20260115-090000.yaml", b"slices"),
        ("cilium-sysdump-1/cilium-configmap-20260115-090000.yaml", b"map"),
        ("cilium-sysdump-1/k8s-leases-20260115-090000.yaml", b"leases"),
        ("cilium-sysdump-1/cilium-bugtool-x-20260115-090000.tar.gz", b"\x1f\x8b"),
    ]);
    let (found, notes) = read("d.zip", &bytes).unwrap();
    let name = |part: &str| format!("d.zip: cilium-sysdump-1/{part}-20260115-090000.yaml");
    let expected = [
        ("cilium-configmap", "map"),
        ("k8s-endpointslices", "slices"),
        ("k8s-services", "services"),
    ];
    let expected: Vec<_> =
        expected.iter().map(|(part, text)| (name(part), (*text).into())).collect();
    assert_eq!(found, expected);
    assert_eq!(
        notes,
        ["d.zip: a sysdump of Cilium: 3 of its files are read, 2 have nothing that matters here"]
    );
    assert!(is_configuration(&name("cilium-configmap")));
}

#[test]
fn other_archives_and_folders() {
    let bytes =
        zipped(&[("b.json", b"b"), ("a/a.yaml", b"a"), ("c.yaml.gz", b"c"), ("x.log", b"x")]);
    let (found, notes) = read("d", &bytes).unwrap();
    assert_eq!(found, texts(&[("d: a/a.yaml", "a"), ("d: b.json", "b")]));
    assert_eq!(notes, ["d: 2 files are read; 2 others are no YAML or JSON"]);
    assert!(
        read("d", &zipped(&[("x.log", b"x")])).unwrap().1[0]
            .starts_with("warning: d: none of its 1 files")
    );

    let folder = tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::create_dir(folder.path().join("d/e")).unwrap();
    for (name, bytes) in [
        ("d/e/a.yaml", &b"a"[..]),
        ("d/b.json.gz", &gzip(b"b")),
        ("d/c.txt", b"*nat\n"),
        ("d/x.txt", b"x"),
    ] {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let (found, notes) = read_path(&folder.path().join("d"), folder.path()).unwrap();
    assert_eq!(found, texts(&[("d/b.json.gz", "b"), ("d/c.txt", "*nat\n"), ("d/e/a.yaml", "a")]));
    assert_eq!(notes, ["d: 3 files are read; 1 others are no YAML or JSON"]);
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![b' '; SUSPICIOUS as usize + 1];
    let error = read("d.zip", &zipped(&[("a.yaml", &zeros)])).unwrap_err();
    assert_eq!(
        error,
        "d.zip: a.yaml: more than 500 times as large as its compressed form, which no dump is"
    );
    // What all files have together counts.
    let (mut texts, mut notes) = (0, Vec::new());
    let mut take = |_: &str, _| {
        texts += 1;
        Ok(())
    };
    let mut reader = Reader::new(&mut take, &mut notes);
    reader.left = 10;
    for (bytes, expected) in
        [(gzip(&[b' '; 6]), true), (b"123".to_vec(), true), (b"12".to_vec(), false)]
    {
        let magic = Magic::of(&bytes);
        let read = reader.unpack("x", magic, Cursor::new(bytes));
        assert_eq!(read.is_ok(), expected);
    }
    reader.left = 2;
    let error = reader.unpack("x", Magic::Gzip, Cursor::new(gzip(b"123"))).unwrap_err().to_string();
    assert!(error.starts_with("x: more than 1024 MiB of dumps, unpacked"), "{error}");
    reader.left = 2;
    assert!(reader.zip("x", Cursor::new(zipped(&[("a.yaml", b"123")]))).is_err());
}

proptest! {
    #[test]
    fn cut_and_broken(kind in 0..3_usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let text = b"kind: List\nitems: []\n".repeat(20);
        let mut bytes = match kind {
            0 => gzip(&text),
            1 => compress_to_vec(&text[..], CompressionLevel::Fastest),
            _ => zipped(&[("a.yaml", &text), ("b.yaml", b"x")]),
        };
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Err(error) = read("x", &bytes) {
            prop_assert!(error.starts_with("x: ") && !error.contains('\n'), "{error}");
        }
    }
}
