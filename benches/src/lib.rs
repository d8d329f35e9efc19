//! What the benches share: packets, and nodes with a service and connections.

pub mod bare;
pub mod dump;
pub mod gauge;
pub mod run;

use twinpath_control::diff::{Target, Write};
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::checksum;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::seam::Config;
use twinpath_core::service::{Algorithm, Member, Scope, Service, ServiceKey};
use twinpath_core::wire::TCP;

/// Whether benches only run to see that they do: by `cargo test`, or with `--test`.
pub fn is_test() -> bool {
    let given = |name: &str| std::env::args().any(|arg| arg == name);
    given("--test") || !given("--bench")
}

/// The device of the client's pod.
pub const CLIENT_DEVICE: u32 = 10;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `v4` or `v6`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// An address that ends with these four bytes.
    pub fn address(self, low: [u8; 4]) -> Address {
        match self {
            Self::V4 => Address::v4(low),
            Self::V6 => {
                let [a, b, c, d] = low;
                Address::from_octets([0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
            }
        }
    }
}

const CLIENT: [u8; 4] = [10, 244, 1, 10];
const BACKEND: [u8; 4] = [10, 244, 1, 11];
const VIP: [u8; 4] = [10, 96, 0, 80];

/// The writes that give a node, in both families, a service on port 80/TCP with one backend, port 8080,
/// in a pod of the same node.
pub fn tables() -> Vec<Write> {
    let mut writes = Vec::new();
    for (family, id) in Family::ALL.into_iter().zip(1..) {
        let backend =
            Backend::new(family.address(BACKEND), Be16::new(8080), TCP, BackendState::Active);
        let key = ServiceKey::frontend(family.address(VIP), Be16::new(80), TCP);
        writes.push(Write::Backend(id, Some(backend)));
        writes.push(Write::Endpoint(family.address(CLIENT), Some(Endpoint::pod(CLIENT_DEVICE))));
        writes.push(Write::Endpoint(family.address(BACKEND), Some(Endpoint::pod(11))));
        let member = Member { service: 1, backend: id };
        writes.push(Write::Member(member, Some(Scope::Internal.bit())));
        writes.push(Write::Service(key.slot(1), Some(Service::slot(id))));
        writes.push(Write::Service(key, Some(Service::master(1, 1, Algorithm::Random, 0))));
    }
    writes.push(Write::Config(Config {
        epoch: 1,
        maglev_size: 251,
        uplink: 2,
        ..Config::default()
    }));
    writes
}

/// Gives a target those tables.
pub fn fill<T: Target>(target: &mut T) -> Result<(), T::Error> {
    tables().iter().try_for_each(|write| target.write(write))
}

/// Both ends of a packet, in IPv4 form.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    from: [u8; 4],
    from_port: u16,
    to: [u8; 4],
    to_port: u16,
}

impl Ends {
    /// From an address and port to an address and port.
    pub const fn new(from: [u8; 4], from_port: u16, to: [u8; 4], to_port: u16) -> Self {
        Self { from, from_port, to, to_port }
    }
}

/// A TCP packet from the client to the service: flow `flow` of many.
pub fn packet(family: Family, flow: u32, flags: u8) -> Vec<u8> {
    let port = (flow & 0xffff) as u16; // so at most 65,536 flows
    packet_between(family, &Ends::new(CLIENT, port, VIP, 80), flags)
}

/// A TCP packet of 64 bytes on the wire without the frame check sequence, or as near as the family's
/// headers allow.
pub fn packet_between(family: Family, ends: &Ends, flags: u8) -> Vec<u8> {
    let ([high, low], [to_high, to_low]) =
        (ends.from_port.to_be_bytes(), ends.to_port.to_be_bytes());
    let source = family.address(ends.from).octets();
    let destination = family.address(ends.to).octets();
    let mut segment =
        vec![high, low, to_high, to_low, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 4, 0, 0, 0, 0, 0];
    let mut bytes = vec![0x02, 0x74, 2, 0, 0, 1, 0x02, 0x74, 1, 0, 0, 1];
    let addresses = match family {
        Family::V4 => [&source[12..], &destination[12..]].concat(),
        Family::V6 => [source, destination].concat(),
    };
    let pseudo = [&addresses[..], &[0, TCP, 0, 20], &segment].concat();
    segment[16..18].copy_from_slice(&(!checksum::sum(&pseudo)).to_ne_bytes());
    match family {
        Family::V4 => {
            let mut header = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, TCP, 0, 0];
            header.extend(addresses);
            let sum = !checksum::sum(&header);
            header[10..12].copy_from_slice(&sum.to_ne_bytes());
            bytes.extend([0x08, 0x00]);
            bytes.extend(header);
        }
        Family::V6 => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64]);
            bytes.extend(addresses);
        }
    }
    bytes.extend(segment);
    bytes.resize(bytes.len().max(64), 0);
    bytes
}
