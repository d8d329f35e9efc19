//! Bytes to objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use crate::objects::{EndpointSlice, Endpoints, Node, ObjectName, Pod, Service, ServiceCidr};

mod document;
mod sort;

/// Objects of the kinds that matter, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Services (v1).
    pub services: Found<Service>,
    /// EndpointSlices (discovery.k8s.io).
    pub slices: Found<EndpointSlice>,
    /// Endpoints (v1).
    pub endpoints: Found<Endpoints>,
    /// Nodes (v1).
    pub nodes: Found<Node>,
    /// Pods (v1).
    pub pods: Found<Pod>,
    /// ServiceCIDRs (networking.k8s.io).
    pub service_cidrs: Found<ServiceCidr>,
    /// How many objects of other kinds were met.
    pub ignored: BTreeMap<String, usize>,
    /// Files with a list that does not end as `kubectl` ends one: YAML that is cut is often YAML still.
    pub unfinished: BTreeSet<Arc<str>>,
}

/// Objects of one kind.
pub type Found<T> = BTreeMap<ObjectName, Object<T>>;

/// An object and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<T> {
    /// The name of the file.
    pub file: Arc<str>,
    /// The object.
    pub value: T,
}

impl Objects {
    /// Adds those of another file. An object that is in both is that of the other file.
    pub fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.slices.extend(other.slices);
        self.endpoints.extend(other.endpoints);
        self.nodes.extend(other.nodes);
        self.pods.extend(other.pods);
        self.service_cidrs.extend(other.service_cidrs);
        self.unfinished.extend(other.unfinished);
        for (kind, count) in other.ignored {
            *self.ignored.entry(kind).or_default() += count;
        }
    }
}

/// The bytes are no Kubernetes objects. One line, which starts with the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// They are not text.
    #[error("{file}: {what}; give the output of `kubectl get ... -o json` or `-o yaml` in UTF-8")]
    NotText {
        /// The name of the file.
        file: Arc<str>,
        /// What they are.
        what: &'static str,
    },
    /// They are neither JSON nor YAML, or not of a form that objects come in.
    #[error("{file}: {text}")]
    Syntax {
        /// The name of the file.
        file: Arc<str>,
        /// What is wrong, and where.
        text: String,
    },
    /// An object is not what its kind says.
    #[error("{file}: {kind} {object}: {text}")]
    Object {
        /// The name of the file.
        file: Arc<str>,
        /// The kind that it says it is.
        kind: String,
        /// Its name.
        object: ObjectName,
        /// What is wrong with it.
        text: String,
    },
}

/// Reads one object, a list of objects, or several documents of either, as JSON or YAML. `name` is that
/// of the file, for messages. Of an object that is there twice, the later one counts.
pub fn read(name: &str, bytes: &[u8]) -> Result<Objects, ReadError> {
    let file: Arc<str> = name.into();
    let text = document::text(&file, bytes)?;
    let documents =
        if document::is_json(text) { document::json(text) } else { document::yaml(text) };
    let documents = documents.map_err(|text| ReadError::Syntax { file: file.clone(), text })?;
    let mut objects = Objects::default();
    for document in documents {
        if document.is_unfinished {
            objects.unfinished.insert(file.clone());
        }
        for raw in document.objects {
            sort::put(&mut objects, &file, raw)?;
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests;
