//! Bytes to documents: the forms in which objects come.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ReadError;
use super::sort::{Sorted, sort};

/// One document: an object, or a list of objects in any of its forms.
pub(super) struct Document {
    pub(super) objects: Vec<Sorted>,
    /// Whether it is a list that does not say so, which `kubectl` does behind the items.
    pub(super) is_unfinished: bool,
}

/// The text, without a byte order mark.
pub(super) fn text<'a>(file: &Arc<str>, bytes: &'a [u8]) -> Result<&'a str, ReadError> {
    let not_text = |what| Err(ReadError::NotText { file: file.clone(), what });
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return not_text("this is UTF-16 (as PowerShell redirects output)");
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => not_text("this is not text"),
    }
}

/// Whether this is JSON. YAML may begin with a brace too, but then no quote follows.
pub(super) fn is_json(text: &str) -> bool {
    let text = text.trim_start();
    match text.strip_prefix('{').or_else(|| text.strip_prefix('[')) {
        Some(rest) => rest.trim_start().starts_with(['"', '}', '{', ']']),
        None => false,
    }
}

/// JSON documents, one behind the other, with or without YAML's separator between them.
pub(super) fn json(text: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    let mut rest = skip_separators(text);
    while !rest.is_empty() {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Document>();
        match stream.next() {
            Some(Ok(document)) => documents.push(document),
            Some(Err(error)) => {
                // Lines are counted from the start of this document.
                let before = text.len() - rest.len();
                let lines = text.get(..before).map_or(0, |before| before.matches('\n').count());
                let after = if lines == 0 { String::new() } else { format!(" after line {lines}") };
                return Err(format!("not valid JSON{after}: {error}"));
            }
            None => break,
        }
        rest = skip_separators(rest.get(stream.byte_offset()..).unwrap_or_default());
    }
    Ok(documents)
}

fn skip_separators(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some(rest) = text.strip_prefix("---") {
        text = rest.trim_start();
    }
    text
}

/// YAML documents.
pub(super) fn yaml(text: &str) -> Result<Vec<Document>, String> {
    // The defaults stop at 250,000 nodes, which is some 8,000 services.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(1 << 30),
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
            max_documents: 1_000_000,
        },
        // As in YAML 1.2: kubectl quotes what YAML 1.1 would take for a boolean.
        strict_booleans: true,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        format!("not valid YAML: {}", error.lines().next().unwrap_or_default())
    })
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or a list of them")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document { objects: Vec::new(), is_unfinished: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Document, A::Error> {
        Ok(Document { objects: ItemsVisitor.visit_seq(seq)?.0, is_unfinished: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut fields = Map::new();
        let mut items = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                items = Some(map.next_value::<Items>()?.0);
            } else {
                fields.insert(key, map.next_value()?);
            }
        }
        let kind = fields.get("kind").and_then(Value::as_str);
        let listed = kind.and_then(|kind| kind.strip_suffix("List")).unwrap_or_default();
        // An empty list of the API has null for its items.
        let is_list = kind.is_some_and(|kind| kind.ends_with("List"));
        let is_unfinished = items.is_some() && kind.is_none();
        let objects = match items {
            Some(items) => items.into_iter().map(|item| item.of_kind(listed)).collect(),
            None if is_list => Vec::new(),
            None => vec![sort(fields)],
        };
        Ok(Document { objects, is_unfinished })
    }
}

/// The items of a list, sorted one by one, so that a large dump is never in memory as a whole.
struct Items(Vec<Sorted>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_unit<E>(self) -> Result<Items, E> {
        Ok(Items(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let mut items = Vec::new();
        while let Some(fields) = seq.next_element::<Option<Map<String, Value>>>()? {
            items.extend(fields.map(sort));
        }
        Ok(Items(items))
    }

    /// No list: a field of that name in an object of some other kind.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Items, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Items(Vec::new()))
    }
}
