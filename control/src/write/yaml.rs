//! Objects as YAML, in the shape that kubectl gives them. Strings are quoted wherever a reader of YAML 1.1 or
//! 1.2 might take them for something else.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Map, Value};

/// Adds an item of the list at the top.
pub(super) fn item(text: &mut String, value: &Value) {
    text.push_str("- ");
    entry(text, value, 2);
}

/// A value behind `- `, which is as wide as `indent` says.
fn entry(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => map(text, fields, indent, true),
        _ => {
            scalar(text, value);
            text.push('\n');
        }
    }
}

/// The fields of an object; the first one goes on where the line is if it `continues`.
fn map(text: &mut String, fields: &Map<String, Value>, indent: usize, continues: bool) {
    let mut fresh = !continues;
    for (key, value) in fields {
        if fresh {
            let _ = write!(text, "{:indent$}", "");
        }
        fresh = true;
        string(text, key);
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                map(text, fields, indent.saturating_add(2), false);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                for value in items {
                    let _ = write!(text, "{:indent$}- ", "");
                    entry(text, value, indent.saturating_add(2));
                }
            }
            _ => {
                text.push(' ');
                scalar(text, value);
                text.push('\n');
            }
        }
    }
}

fn scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => string(text, value),
        // No list is in a list here, and what is empty is written as in JSON.
        other => {
            let _ = write!(text, "{other}");
        }
    }
}

fn string(text: &mut String, value: &str) {
    if is_plain(value) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for c in value.chars() {
        let number = u32::from(c);
        let _ = match c {
            '"' | '\\' => write!(text, "\\{c}"),
            ' '..='~' => write!(text, "{c}"),
            _ if number <= 0xff => write!(text, "\\x{number:02x}"),
            _ if number <= 0xffff => write!(text, "\\u{number:04x}"),
            _ => write!(text, "\\U{number:08x}"),
        };
    }
    text.push('"');
}

/// Whether a text without quotes is read as itself.
fn is_plain(value: &str) -> bool {
    // What words and numbers other than these mean depends on the version of YAML.
    const WORDS: [&str; 12] =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "none"];
    let body = value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c));
    let word = value.starts_with(|c: char| c.is_ascii_alphabetic());
    let (address, length) = value.split_once('/').unwrap_or((value, "0"));
    let address = address.parse::<Ipv4Addr>().is_ok() && length.bytes().all(|c| c.is_ascii_digit());
    address || (word && body && !WORDS.iter().any(|other| value.eq_ignore_ascii_case(other)))
}
