//! Objects by their kind.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Found, Object, Objects, ReadError};
use crate::objects::{
    EndpointSlice, Endpoints, Metadata, Node, ObjectName, Pod, Service, ServiceCidr,
};
use crate::plain::plain;

/// An object whose kind has been looked at.
pub(super) enum Sorted {
    Service(Service),
    EndpointSlice(EndpointSlice),
    Endpoints(Endpoints),
    Node(Node),
    Pod(Pod),
    ServiceCidr(ServiceCidr),
    /// Of a kind that does not matter here.
    Other(String),
    /// Of a list that has its kind: what the API itself answers.
    Kindless(Map<String, Value>),
    /// Not what its kind says.
    Bad {
        kind: String,
        object: ObjectName,
        text: String,
    },
}

/// Looks at the kind of an object.
pub(super) fn sort(mut fields: Map<String, Value>) -> Sorted {
    fields.values_mut().for_each(show);
    match fields.get("kind").and_then(Value::as_str) {
        Some(kind) => {
            let kind = kind.to_owned();
            Sorted::new(&kind, fields)
        }
        None => Sorted::Kindless(fields),
    }
}

/// Lets no string of an object, which may come to be shown anywhere, give orders to a terminal.
fn show(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = plain(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(show),
        Value::Object(fields) => fields.values_mut().for_each(show),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Sorted {
    fn new(kind: &str, fields: Map<String, Value>) -> Self {
        // Other projects have kinds of these names, too: Knative has a Service.
        let group = fields.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = group.rsplit_once('/').map_or("", |(group, _)| group);
        let sorted = match (kind, group) {
            ("Service", "") => parse(fields).map(Self::Service),
            ("EndpointSlice", "" | "discovery.k8s.io") => parse(fields).map(Self::EndpointSlice),
            ("Endpoints", "") => parse(fields).map(Self::Endpoints),
            ("Node", "") => parse(fields).map(Self::Node),
            ("Pod", "") => parse(fields).map(Self::Pod),
            ("ServiceCIDR", "" | "networking.k8s.io") => parse(fields).map(Self::ServiceCidr),
            _ => Ok(Self::Other(kind.to_owned())),
        };
        sorted.unwrap_or_else(|(object, text)| Self::Bad { kind: kind.to_owned(), object, text })
    }

    /// The same object, in a list of objects of this kind; empty where the list does not say.
    pub(super) fn of_kind(self, kind: &str) -> Self {
        match self {
            Self::Kindless(fields) if !kind.is_empty() => Self::new(kind, fields),
            other => other,
        }
    }
}

fn parse<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, (ObjectName, String)> {
    let name = name(&fields);
    serde_json::from_value(Value::Object(fields)).map_err(|error| (name, error.to_string()))
}

fn name(fields: &Map<String, Value>) -> ObjectName {
    let part = |key| fields.get("metadata")?.get(key)?.as_str();
    ObjectName::new(part("namespace").unwrap_or_default(), part("name").unwrap_or_default())
}

/// Adds an object to the others.
pub(super) fn put(objects: &mut Objects, file: &Arc<str>, sorted: Sorted) -> Result<(), ReadError> {
    match sorted {
        Sorted::Service(o) => {
            insert(&mut objects.services, file, "Service", name_of(&o.metadata), o)
        }
        Sorted::EndpointSlice(o) => {
            insert(&mut objects.slices, file, "EndpointSlice", name_of(&o.metadata), o)
        }
        Sorted::Endpoints(o) => {
            insert(&mut objects.endpoints, file, "Endpoints", name_of(&o.metadata), o)
        }
        Sorted::Pod(o) => insert(&mut objects.pods, file, "Pod", name_of(&o.metadata), o),
        Sorted::Node(o) => {
            insert(&mut objects.nodes, file, "Node", ObjectName::new("", &o.metadata.name), o)
        }
        Sorted::ServiceCidr(o) => insert(
            &mut objects.service_cidrs,
            file,
            "ServiceCIDR",
            ObjectName::new("", &o.metadata.name),
            o,
        ),
        Sorted::Other(kind) => {
            *objects.ignored.entry(kind).or_default() += 1;
            Ok(())
        }
        Sorted::Kindless(fields) => {
            let name = name(&fields).to_string();
            let which = if name.is_empty() { "an object".to_owned() } else { format!("{name:?}") };
            let text = format!("{which} has no kind; give objects as `kubectl get` prints them");
            Err(ReadError::Syntax { file: file.clone(), text })
        }
        Sorted::Bad { kind, object, text } => {
            Err(ReadError::Object { file: file.clone(), kind, object, text })
        }
    }
}

fn name_of(metadata: &Metadata) -> ObjectName {
    ObjectName::new(metadata.namespace.as_deref().unwrap_or("default"), &metadata.name)
}

fn insert<T>(
    found: &mut Found<T>,
    file: &Arc<str>,
    kind: &str,
    object: ObjectName,
    value: T,
) -> Result<(), ReadError> {
    if object.name.is_empty() {
        let text = format!("an object of kind {kind} has no metadata.name");
        return Err(ReadError::Syntax { file: file.clone(), text });
    }
    found.insert(object, Object { file: file.clone(), value });
    Ok(())
}
