//! The node that packets meet, its services and who is around it.
//!
//! | name | is |
//! |---|---|
//! | `client`, `client2` | pods of this node, behind devices 10 and 13 |
//! | `local`, `local2` | the same, behind 11 and 12: backends on port 8080 |
//! | `remote`, `remote2` | backends on another node |
//! | `outside`, `outside2` | clients outside the cluster |
//! | `vip:80` | service 7 for clients inside: `local`, `local2`, by chance |
//! | `vip:81` | service 11: the same, by Maglev |
//! | `vip:82` | service 12: the same, with affinity |
//! | `vip2:80` | service 8: `local` |
//! | `lb:80` | service 9 for clients outside: `remote`, from the node's address |
//! | `lb2:80` | service 10: the same backend |
//! | `lb:81` | service 13 for clients outside: `local` |

use std::net::SocketAddr;
use std::sync::OnceLock;

use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendId, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::hook::Hook;
use twinpath_core::seam::{Config, option};
use twinpath_core::service::{Algorithm, Member, Scope, Service, ServiceId, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::IfIndex;
use twinpath_core::wire::{TCP, UDP};

use crate::node::Tables;

/// The device that faces the other nodes.
pub(crate) const UPLINK: IfIndex = 2;
/// Ports that source ports are changed to: few, so that draws meet.
pub(crate) const PORTS: (u16, u16) = (40_000, 40_003);

/// A family's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

const NAMES: [(&str, &str, &str); 13] = [
    ("client", "10.244.1.10", "fd00:244:1::10"),
    ("client2", "10.244.1.13", "fd00:244:1::13"),
    ("local", "10.244.1.11", "fd00:244:1::11"),
    ("local2", "10.244.1.12", "fd00:244:1::12"),
    ("remote", "10.244.2.11", "fd00:244:2::11"),
    ("remote2", "10.244.2.12", "fd00:244:2::12"),
    ("node", "192.168.0.11", "fd00:192:168::11"),
    ("vip", "10.96.0.80", "fd00:96::80"),
    ("vip2", "10.96.0.81", "fd00:96::81"),
    ("lb", "203.0.113.80", "2001:db8:80::80"),
    ("lb2", "203.0.113.81", "2001:db8:80::81"),
    ("outside", "203.0.113.7", "2001:db8:7::7"),
    ("outside2", "203.0.113.8", "2001:db8:7::8"),
];

const PODS: [(&str, IfIndex); 4] = [("client", 10), ("local", 11), ("local2", 12), ("client2", 13)];

/// The numbers of the backends.
const BACKENDS: [(&str, BackendId); 4] =
    [("local", 1), ("local2", 2), ("remote", 3), ("remote2", 4)];

impl Family {
    /// The address with this name.
    pub(crate) fn address(self, name: &str) -> Address {
        let found = self.known().iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("who is {name}?")).1
    }

    fn known(self) -> &'static [(&'static str, Address)] {
        static V4: OnceLock<Vec<(&str, Address)>> = OnceLock::new();
        static V6: OnceLock<Vec<(&str, Address)>> = OnceLock::new();
        let parse = |text: &str| text.parse::<std::net::IpAddr>().unwrap().into();
        match self {
            Self::V4 => {
                V4.get_or_init(|| NAMES.iter().map(|(name, v4, _)| (*name, parse(v4))).collect())
            }
            Self::V6 => {
                V6.get_or_init(|| NAMES.iter().map(|(name, _, v6)| (*name, parse(v6))).collect())
            }
        }
    }

    /// `tcp client:1 > vip:80` as a tuple.
    pub(crate) fn tuple(self, text: &str) -> Tuple {
        let mut words = text.split(' ');
        let protocol = match words.next() {
            Some("tcp") => TCP,
            Some("udp") => UDP,
            other => panic!("protocol {other:?} in {text:?}"),
        };
        let end = |word: &str| {
            let (name, port) = word.split_once(':').unwrap();
            (self.address(name), Be16::new(port.parse().unwrap()))
        };
        let (source, source_port) = end(words.next().unwrap());
        assert_eq!(words.next(), Some(">"), "{text:?}");
        let (destination, port) = end(words.next().unwrap());
        Tuple::new(protocol, source, source_port, destination, port)
    }

    /// The name of an address, or the address.
    fn name(self, end: SocketAddr) -> String {
        let address = Address::from(end.ip());
        match self.known().iter().find(|(_, known)| *known == address) {
            Some((name, _)) => format!("{name}:{}", end.port()),
            None => end.to_string(),
        }
    }

    /// A tuple as text.
    pub(crate) fn spell(self, tuple: &Tuple) -> String {
        let end =
            |address: Address, port: Be16| self.name(SocketAddr::new(address.into(), port.get()));
        let source = end(tuple.source, tuple.source_port);
        let destination = end(tuple.destination, tuple.destination_port);
        let protocol = if tuple.protocol == TCP { "tcp" } else { "udp" };
        format!("{protocol} {source} > {destination}")
    }

    /// Whether services live on the address.
    pub(crate) fn is_frontend(self, address: &Address) -> bool {
        ["vip", "vip2", "lb", "lb2"].iter().any(|name| self.address(name) == *address)
    }

    /// Whether it is a pod's, of this node or another.
    pub(crate) fn is_pod(self, address: &Address) -> bool {
        PODS.iter().any(|(name, _)| self.address(name) == *address)
            || ["remote", "remote2"].iter().any(|name| self.address(name) == *address)
    }

    /// Whether it is a client's outside.
    pub(crate) fn is_outside(self, address: &Address) -> bool {
        ["outside", "outside2"].iter().any(|name| self.address(name) == *address)
    }

    /// The hook and the device where packets of this sender are met.
    pub(crate) fn sender(self, address: &Address) -> (Hook, IfIndex) {
        match PODS.iter().find(|(name, _)| self.address(name) == *address) {
            Some((_, device)) => (Hook::FromPod, *device),
            None => (Hook::FromNetdev, UPLINK),
        }
    }

    /// The device that packets to this address have to leave by.
    pub(crate) fn device_to(self, address: &Address) -> IfIndex {
        self.sender(address).1
    }
}

/// Writes services, backends and endpoints.
pub(crate) fn fill(tables: &Tables, family: Family) {
    for (name, device) in PODS {
        tables.endpoints.put(family.address(name), Endpoint::pod(device));
    }
    tables.endpoints.put(family.address("node"), Endpoint::HOST);
    for (name, id) in BACKENDS {
        let address = family.address(name);
        let backend = Backend::new(address, Be16::new(8080), TCP, BackendState::Active);
        tables.backends.put(id, backend);
    }
    let both = ["local", "local2"];
    serve(tables, family, ("vip", 80), 7, Scope::Internal, &both, |_| {});
    serve(tables, family, ("vip", 81), 11, Scope::Internal, &both, |service| {
        service.algorithm = Algorithm::Maglev as u8;
    });
    serve(tables, family, ("vip", 82), 12, Scope::Internal, &both, |service| {
        service.affinity = 600;
    });
    serve(tables, family, ("vip2", 80), 8, Scope::Internal, &["local"], |_| {});
    serve(tables, family, ("lb", 80), 9, Scope::External, &["remote"], |_| {});
    serve(tables, family, ("lb2", 80), 10, Scope::External, &["remote"], |_| {});
    serve(tables, family, ("lb", 81), 13, Scope::External, &["local"], |_| {});
    for index in 0..7 {
        tables.maglev.put(index, 1 + index % 2);
    }
    tables.config.0.put(0, config(family, 1));
}

fn config(family: Family, epoch: u32) -> Config {
    let (ports_first, ports_last) = PORTS;
    let node = family.address("node");
    Config {
        epoch,
        maglev_size: 7,
        uplink: UPLINK,
        address4: node,
        address6: node,
        ports_first,
        ports_last,
        options: option::MASQUERADE,
        ..Config::default()
    }
}

/// The control plane's next epoch.
pub(crate) fn next_epoch(tables: &Tables, family: Family) {
    let epoch = tables.config.epoch;
    tables.config.0.put(0, config(family, epoch.wrapping_add(1)));
}

/// Gives a frontend these backends, in the order in which the control plane writes: new ones first,
/// then the count, then what is no longer there.
pub(crate) fn serve(
    tables: &Tables,
    family: Family,
    (name, port): (&str, u16),
    id: ServiceId,
    scope: Scope,
    backends: &[&str],
    options: impl Fn(&mut Service),
) {
    let number = |name: &str| BACKENDS.iter().find(|(known, _)| *known == name).unwrap().1;
    for protocol in [TCP, UDP] {
        let key = ServiceKey::frontend(family.address(name), Be16::new(port), protocol);
        let key = key.seen_from(scope);
        let mut master = Service::master(id, backends.len() as u16, Algorithm::Random, 0);
        options(&mut master);
        for (slot, backend) in (1..).zip(backends) {
            let member = Member { service: id, backend: number(backend) };
            tables.members.put(member, master.members(scope));
            tables.points.switch();
            tables.services.put(key.slot(slot), Service::slot(number(backend)));
            tables.points.switch();
        }
        tables.services.put(key, master);
        tables.points.switch();
    }
    let address = ServiceKey::address(family.address(name));
    tables.services.put(address, Service::master(0, 0, Algorithm::Random, 0));
    for (gone, number) in BACKENDS {
        if !backends.contains(&gone) {
            tables.members.take(&Member { service: id, backend: number });
        }
    }
    tables.points.switch();
}
