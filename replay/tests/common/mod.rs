//! Runs the built binary, makes small captures, and checks JSON against a schema.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use twinpath::capture::{ClassicWriter, Precision};

/// How a run ended.
pub(crate) struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// Runs `twinpath replay` with these arguments.
pub(crate) fn replay(arguments: &[&str]) -> Ran {
    replay_with(arguments, None)
}

/// The same with bytes on standard input.
pub(crate) fn replay_with(arguments: &[&str], input: Option<&[u8]>) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinpath"));
    command.arg("replay").args(arguments).env_remove("CLICOLOR_FORCE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = input.unwrap_or_default().to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&bytes); // a command that fails early does not read
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path);
    path.to_str().unwrap().to_owned()
}

pub(crate) fn cluster() -> String {
    fixture("clusters/two-nodes.yaml")
}

pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A capture of these frames, a millisecond apart.
pub(crate) fn capture(folder: &Path, name: &str, frames: &[Vec<u8>]) -> String {
    let path = folder.join(name);
    let mut writer = ClassicWriter::new(File::create(&path).unwrap(), Precision::Nano).unwrap();
    for (number, frame) in frames.iter().enumerate() {
        let time = 1_767_225_600_000_000_000 + number as u64 * 1_000_000;
        writer.write(time, frame, frame.len() as u32).unwrap();
    }
    writer.finish().unwrap();
    path.to_str().unwrap().to_owned()
}

fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// An IPv4 packet in Ethernet; `checksum` is the offset of the transport's field, if it has one.
pub(crate) fn ipv4(
    (source, destination): ([u8; 4], [u8; 4]),
    ttl: u8,
    protocol: u8,
    mut payload: Vec<u8>,
    checksum: Option<usize>,
) -> Vec<u8> {
    if let Some(at) = checksum {
        let pseudo = [0, protocol, (payload.len() >> 8) as u8, payload.len() as u8];
        let field = !sum(&[&source, &destination, &pseudo, &payload]);
        payload[at..at + 2].copy_from_slice(&field.to_be_bytes());
    }
    let length = (20 + payload.len()) as u16;
    let mut header = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 1, 0x40, 0, ttl, protocol];
    header.extend([&[0, 0], &source[..], &destination[..]].concat());
    let field = !sum(&[&header]);
    header[10..12].copy_from_slice(&field.to_be_bytes());
    [vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], header, payload].concat()
}

type Socket = ([u8; 4], u16);

pub(crate) fn tcp(from: Socket, to: Socket, ttl: u8, flags: u8) -> Vec<u8> {
    let mut header = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    header.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    ipv4((from.0, to.0), ttl, 6, header, Some(16))
}

pub(crate) fn udp(from: Socket, to: Socket, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut header = [from.1.to_be_bytes(), to.1.to_be_bytes(), length.to_be_bytes()].concat();
    header.extend([0, 0]);
    header.extend(payload);
    ipv4((from.0, to.0), ttl, 17, header, Some(6))
}

/// What breaks the schema, if anything does. Knows the words that the project's schema uses.
pub(crate) fn violation(root: &Value, schema: &Value, value: &Value, path: &str) -> Option<String> {
    for (word, rule) in schema.as_object().unwrap() {
        let found = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                violation(root, &root["$defs"][name], value, path)
            }
            "oneOf" => {
                let found: Vec<String> = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|one| violation(root, one, value, path))
                    .collect();
                (found.len() + 1 != rule.as_array().unwrap().len()).then(|| found.join("; "))
            }
            "const" => (rule != value).then(|| format!("{path}: {value} is not {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value))
                .then(|| format!("{path}: {value} is none of {rule}")),
            "type" => {
                let kinds = match rule {
                    Value::Array(kinds) => kinds.clone(),
                    kind => vec![kind.clone()],
                };
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_u64() => "integer",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                (!kinds.contains(&kind.into())).then(|| format!("{path}: {value} is no {rule}"))
            }
            "items" => value.as_array().and_then(|items| {
                items.iter().find_map(|item| violation(root, rule, item, &format!("{path}[]")))
            }),
            "required" => value.as_object().and_then(|object| {
                let missing = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|name| !object.contains_key(name.as_str().unwrap()));
                missing.map(|name| format!("{path}: {name} is missing"))
            }),
            "properties" => value.as_object().and_then(|object| {
                object.iter().find_map(|(name, value)| {
                    violation(root, rule.get(name)?, value, &format!("{path}.{name}"))
                })
            }),
            "additionalProperties" => value.as_object().and_then(|object| {
                let more = object.iter().filter(|(name, _)| {
                    schema.get("properties").is_none_or(|known| known.get(name).is_none())
                });
                more.into_iter().find_map(|(name, value)| match rule {
                    Value::Bool(false) => Some(format!("{path}.{name} is not in the schema")),
                    rule => violation(root, rule, value, &format!("{path}.{name}")),
                })
            }),
            other => panic!("the checker does not know {other}"),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
