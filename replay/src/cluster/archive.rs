//! Files as people have them: compressed ones, zip archives, folders. All bounded: what unpacks to more than
//! [`LIMIT`] is refused, and archives in archives are left alone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use twinpath_control::import::Format;
use zip::ZipArchive;

use super::load::{DUMP, Take};
use crate::failure::Failure;

/// How many bytes of dumps are read at most, all together and unpacked.
pub(super) const LIMIT: u64 = 1 << 30;
/// From how many bytes on an entry of a zip archive may not be much larger than its archive says it could.
const SUSPICIOUS: u64 = 64 << 20;
/// How many times as large as its compressed form such an entry may be. Dumps are 10 to 100 times as large.
const RATIO: u64 = 500;
/// How many files of a folder, or entries of an archive, are looked at.
const ENTRIES: usize = 100_000;
/// How deep folders are looked into.
const DEPTH: usize = 8;

const ADVICE: &str = "give a file with the output of `kubectl get ... -o yaml` to -f";

/// Reads files, and gives their texts one by one to whom it may concern.
pub(super) struct Reader<'a> {
    /// How many bytes may still be read.
    left: u64,
    take: &'a mut Take<'a>,
    /// Lines about what was left out.
    notes: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(take: &'a mut Take<'a>, notes: &'a mut Vec<String>) -> Self {
        Self { left: LIMIT, take, notes }
    }

    /// A file, a folder, or `-`.
    pub(super) fn path(&mut self, path: &Path) -> Result<(), Failure> {
        if path == "-" {
            return self.stream("standard input", io::stdin().lock());
        }
        if path.is_dir() {
            return self.folder(path);
        }
        self.file(path)
    }

    /// What can be read once only, and may come in small pieces.
    fn stream(&mut self, name: &str, mut input: impl Read) -> Result<(), Failure> {
        let mut head = Vec::new();
        let first = input.by_ref().take(4).read_to_end(&mut head);
        first.map_err(|cause| failed(name, cause))?;
        let magic = Magic::of(&head);
        let input = BufReader::new(Cursor::new(head).chain(input));
        match magic {
            // Its directory is at its end, and a pipe goes one way.
            Magic::Zip => {
                let bytes = self.read(name, input)?;
                self.left = self.left.saturating_add(bytes.len() as u64);
                self.zip(name, Cursor::new(bytes))
            }
            magic => self.unpack(name, magic, input),
        }
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|cause| failed(&name, cause))?;
        // Such as `<(zcat dump.gz)`.
        if !file.metadata().is_ok_and(|about| about.is_file()) {
            return self.stream(&name, file);
        }
        let mut input = BufReader::new(file);
        match magic(&mut input).map_err(|cause| failed(&name, cause))? {
            Magic::Zip => {
                input.seek(SeekFrom::Start(0)).map_err(|cause| failed(&name, cause))?;
                self.zip(&name, input)
            }
            magic => self.unpack(&name, magic, input),
        }
    }

    /// What is no archive.
    fn unpack(&mut self, name: &str, magic: Magic, input: impl BufRead) -> Result<(), Failure> {
        let bytes = match magic {
            Magic::Gzip => self.read(name, MultiGzDecoder::new(input))?,
            Magic::Zstd => self.read(name, Zstd::Between(input))?,
            _ => self.read(name, input)?,
        };
        if Magic::of(&bytes) != Magic::None {
            return Err(Failure::Usage(format!(
                "{name}: an archive within an archive, which is not opened; unpack it and give what is in it to -f"
            )));
        }
        (self.take)(name, bytes)
    }

    /// All that a reader has, if it is not too much.
    fn read(&mut self, name: &str, input: impl Read) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = input.take(self.left.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|cause| failed(name, cause))?;
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            Failure::Usage(format!(
                "{name}: more than {} MiB of dumps, unpacked; dump fewer kinds or namespaces: {DUMP}",
                LIMIT >> 20
            ))
        })?;
        Ok(bytes)
    }

    fn zip(&mut self, name: &str, input: impl Read + Seek) -> Result<(), Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default();
            Failure::Usage(format!(
                "{name}: not a zip archive that can be read: {text}; unpack it and give the folder to -f"
            ))
        };
        let mut archive = ZipArchive::new(input).map_err(|error| wrong(&error))?;
        if archive.len() > ENTRIES {
            return Err(wrong(&format!("it has more than {ENTRIES} entries")));
        }
        let mut entries = Vec::new();
        for i in 0..archive.len() {
            let Some(Ok(entry)) = archive.name_for_index(i) else { continue };
            if !entry.ends_with('/') {
                entries.push((entry.into_owned(), i));
            }
        }
        entries.sort();
        let total = entries.len();
        let is_sysdump = entries.iter().any(|(entry, _)| is_sysdump(entry));
        entries.retain(|(entry, _)| wanted(entry, is_sysdump) && !is_packed(entry));
        self.chosen(name, is_sysdump, entries.len(), total);
        for (entry, i) in entries {
            let name = format!("{name}: {}", entry.escape_debug());
            let wrong = |text: String| {
                Failure::Usage(format!("{name}: {text}; unpack it and give the folder to -f"))
            };
            let file = archive.by_index(i).map_err(|error| wrong(error.to_string()))?;
            let packed = file.compressed_size();
            let allowed = packed.saturating_mul(RATIO).max(SUSPICIOUS);
            let mut bytes = Vec::new();
            let limit = allowed.min(self.left).saturating_add(1);
            file.take(limit).read_to_end(&mut bytes).map_err(|cause| wrong(cause.to_string()))?;
            let length = bytes.len() as u64;
            if length > allowed {
                return Err(Failure::Usage(format!(
                    "{name}: more than {RATIO} times as large as its compressed form, which no dump is"
                )));
            }
            self.left = self.left.checked_sub(length).ok_or_else(|| {
                wrong(format!("more than {} MiB of dumps, unpacked", LIMIT >> 20))
            })?;
            (self.take)(&name, bytes)?;
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        let mut files = Vec::new();
        list(path, DEPTH, &mut files).map_err(|cause| failed(&name, cause))?;
        if files.len() > ENTRIES {
            return Err(Failure::Usage(format!(
                "{name}: more than {ENTRIES} files; give those with dumps to -f"
            )));
        }
        files.sort();
        let total = files.len();
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let is_sysdump = files.iter().any(|path| is_sysdump(&text(path)));
        files.retain(|path| wanted(&text(path), is_sysdump) || (!is_sysdump && is_rules(path)));
        self.chosen(&name, is_sysdump, files.len(), total);
        files.iter().try_for_each(|path| self.file(path))
    }

    fn chosen(&mut self, name: &str, is_sysdump: bool, chosen: usize, total: usize) {
        let others = total.saturating_sub(chosen);
        if is_sysdump {
            self.notes.push(format!("{name}: a sysdump of Cilium: {chosen} of its files are read, {others} have nothing that matters here"));
        } else if chosen == 0 {
            self.notes.push(format!("warning: {name}: none of its {total} files is YAML, JSON, or output of iptables-save or ipvsadm"));
        } else if others > 0 {
            self.notes.push(format!(
                "{name}: {chosen} files are read; {others} others are no YAML or JSON"
            ));
        }
    }
}

fn failed(name: &str, cause: io::Error) -> Failure {
    Failure::File { name: name.to_owned(), cause, advice: ADVICE }
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magic {
    Zip,
    Gzip,
    Zstd,
    None,
}

impl Magic {
    fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            Self::Zip
        } else if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

fn magic(input: &mut impl BufRead) -> io::Result<Magic> {
    Ok(Magic::of(input.fill_buf()?))
}

/// Frames of Zstandard (RFC 8878), one behind the other.
enum Zstd<R: BufRead> {
    /// Between two frames.
    Between(R),
    /// In a frame.
    Within(Box<StreamingDecoder<R, FrameDecoder>>),
    /// At the end, or behind a mistake.
    Done,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Done) {
                Self::Done => return Ok(0),
                Self::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new(input).map_err(|error| {
                        io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("not valid zstd: {error}"),
                        )
                    })?;
                    *self = Self::Within(Box::new(decoder));
                }
                Self::Within(mut decoder) => {
                    let read = decoder.read(buffer)?;
                    if read > 0 || buffer.is_empty() {
                        *self = Self::Within(decoder);
                        return Ok(read);
                    }
                    *self = Self::Between(decoder.into_inner());
                }
            }
        }
    }
}

/// The files of a folder and of those in it.
fn list(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if files.len() > ENTRIES {
            break;
        }
        // A link to a folder is not followed: it may lead round in circles.
        let is_folder = entry.file_type()?.is_dir();
        if !is_folder && entry.path().is_file() {
            files.push(entry.path());
        } else if let (true, Some(depth)) = (is_folder, depth.checked_sub(1)) {
            list(&entry.path(), depth, files)?;
        }
    }
    Ok(())
}

/// The files of a sysdump that matter, without the time that is in their names.
const SYSDUMP: [&str; 6] = [
    "k8s-services",
    "k8s-endpointslices",
    "k8s-endpoints",
    "k8s-nodes",
    "k8s-pods",
    "cilium-configmap",
];

/// Which of them this is.
fn part(path: &str) -> Option<&'static str> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".json"))?;
    let is_time = |rest: &str| rest.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    SYSDUMP.into_iter().find(|part| stem.strip_prefix(part).is_some_and(is_time))
}

fn is_sysdump(path: &str) -> bool {
    part(path) == Some("k8s-services")
}

/// Whether a text is the configuration of Cilium, by its name.
pub(super) fn is_configuration(name: &str) -> bool {
    part(name) == Some("cilium-configmap")
}

fn is_packed(path: &str) -> bool {
    path.ends_with(".gz") || path.ends_with(".zst")
}

fn wanted(path: &str, is_sysdump: bool) -> bool {
    if is_sysdump {
        return part(path).is_some();
    }
    let path = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst")).unwrap_or(path);
    [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end))
}

/// Whether a file begins as the output of `iptables-save` or `ipvsadm` does.
fn is_rules(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    read.is_ok() && Format::of(&String::from_utf8_lossy(&head)).is_some()
}

#[cfg(test)]
mod tests;
