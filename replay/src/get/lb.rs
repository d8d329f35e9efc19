//! The entries of the service table, one by one, as `cilium-dbg bpf lb list` prints its own.

use std::net::SocketAddr;

use serde::Serialize;
use twinpath_control::model::FrontendKind;
use twinpath_core::service::{Algorithm, Scope};

use super::print::Row;
use super::services::{flags, kind, kind_name, masters, slots};
use super::{Filter, NodeView, View, protocol, socket};

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LbRow {
    /// Whose table.
    pub node: String,
    /// The frontend.
    pub service: SocketAddr,
    /// Its protocol.
    pub proto: String,
    /// `internal` or `external`.
    pub scope: &'static str,
    /// Whether clients outside have an entry of the same frontend.
    #[serde(skip)]
    pub is_twofold: bool,
    /// 0 in the master entry.
    pub slot: u16,
    /// The service's number.
    pub id: u32,
    /// The slot's backend.
    pub backend: Option<SocketAddr>,
    /// The slot's backend's number.
    pub backend_id: Option<u32>,
    /// How many slots follow a master entry.
    pub count: Option<u16>,
    /// Of the master entry.
    pub flags: Vec<&'static str>,
}

/// All of a node, by frontend, scope and slot.
pub fn rows(view: &View, node: &NodeView, filter: &Filter) -> Vec<LbRow> {
    let mut rows = Vec::new();
    for (key, master) in masters(node) {
        if !filter.takes_id(view, master.id) {
            continue;
        }
        let mut words = Vec::new();
        if let Some((_, port)) = view.port(master.id) {
            let kind = kind(port, key);
            words.push(kind_name(kind));
            if kind == FrontendKind::ClusterIp {
                words.push("non-routable");
            }
        }
        words.extend(flags(master));
        if master.affinity != 0 {
            words.push("sessionAffinity");
        }
        if master.algorithm == Algorithm::Maglev as u8 {
            words.push("maglev");
        }
        let row = LbRow {
            node: node.name.clone(),
            service: socket(key.address, key.port),
            proto: protocol(key.protocol),
            scope: if key.scope() == Scope::Internal { "internal" } else { "external" },
            is_twofold: node.tables.services.contains_key(&key.seen_from(Scope::External)),
            slot: 0,
            id: master.id,
            backend: None,
            backend_id: None,
            count: Some(master.count),
            flags: Vec::new(),
        };
        rows.push(LbRow { flags: words, ..row.clone() });
        for (slot, id) in slots(node, key, master) {
            let backend = node.tables.backends.get(&id).map(|b| socket(b.address, b.port));
            rows.push(LbRow { slot, backend, backend_id: Some(id), count: None, ..row.clone() });
        }
    }
    rows
}

impl Row for LbRow {
    const TYPE: &'static str = "lb";
    const HEAD: &'static [(&'static str, bool)] =
        &[("SERVICE ADDRESS", false), ("BACKEND ADDRESS (REVNAT_ID) (SLOT)", false)];

    fn lines(&self) -> Vec<Vec<String>> {
        let Self { service, proto, slot, id, .. } = self;
        let scope = if self.scope == "internal" && self.is_twofold { "/i" } else { "" };
        let backend = match self.backend {
            Some(backend) => format!("{backend}/{proto}"),
            None if service.is_ipv4() => "0.0.0.0:0".into(),
            None => "[::]:0".into(),
        };
        let flags = if self.flags.is_empty() {
            String::new()
        } else {
            format!(" [{}]", self.flags.join(", "))
        };
        vec![vec![
            format!("{service}/{proto}{scope} ({slot})"),
            format!("{backend} ({id}) ({slot}){flags}"),
        ]]
    }
}
