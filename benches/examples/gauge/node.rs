//! The node whose programs are run: two pods, and a service for each way that packets take.

use twinpath_benches::Family;
use twinpath_control::diff::{Target, Write};
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::seam::{Config, option};
use twinpath_core::service::{Algorithm, Forwarding, Member, Scope, Service, ServiceKey};
use twinpath_core::wire::TCP;

/// The device that faces the router; the second one of the namespace.
pub(crate) const UPLINK: u32 = 2;
/// The device of the pod that asks.
pub(crate) const ASKING: u32 = 10;
/// The device of the pod that answers.
pub(crate) const ANSWERING: u32 = 11;

/// A client outside of the cluster.
pub(crate) const OUTSIDE: [u8; 4] = [10, 9, 0, 9];
/// The node.
pub(crate) const NODE: [u8; 4] = [10, 0, 0, 1];
/// The frontend of all services.
pub(crate) const VIP: [u8; 4] = [10, 96, 0, 80];
/// The pod that asks.
pub(crate) const POD: [u8; 4] = [10, 244, 1, 10];
/// The pod that answers: the backend of the service on port [`LOCAL`].
pub(crate) const LOCAL_POD: [u8; 4] = [10, 244, 1, 11];
/// A pod of another node: the backend of the services on ports [`REMOTE`] and [`DSR`].
pub(crate) const REMOTE_POD: [u8; 4] = [10, 244, 2, 11];
/// On which port backends listen.
pub(crate) const BACKEND: u16 = 8080;

/// The port of a service whose backend is on this node.
pub(crate) const LOCAL: u16 = 80;
/// The port of one whose backend is on another, where clients outside are translated.
pub(crate) const REMOTE: u16 = 81;
/// The port of one whose backend answers such clients directly.
pub(crate) const DSR: u16 = 82;

/// The commands of `ip` that make the node's namespace.
pub(crate) const DEVICES: &str = "link add up0 index 2 type veth peer name peer0 index 3\n\
    link set up0 up\nlink set peer0 up\n\
    addr add 10.0.0.1/24 dev up0\n\
    addr add fd00:0:0:10::a00:1/64 dev up0 nodad\n\
    neigh add 10.0.0.254 lladdr 02:00:00:00:00:fe dev up0\n\
    route add default via 10.0.0.254\n\
    neigh add fd00:0:0:10::fe lladdr 02:00:00:00:00:fe dev up0\n\
    route add ::/0 via fd00:0:0:10::fe dev up0\n";

/// Fills the node's tables.
pub(crate) fn fill<T: Target>(target: &mut T) -> Result<(), T::Error> {
    writes().iter().try_for_each(|write| target.write(write))
}

fn writes() -> Vec<Write> {
    let mut writes = Vec::new();
    for (i, family) in Family::ALL.into_iter().zip([0, 2]).map(|(family, i)| (i, family)) {
        let (local, remote) = (i + 1, i + 2);
        for (id, pod) in [(local, LOCAL_POD), (remote, REMOTE_POD)] {
            let address = family.address(pod);
            let backend = Backend::new(address, Be16::new(BACKEND), TCP, BackendState::Active);
            writes.push(Write::Backend(id, Some(backend)));
        }
        for (number, port, backend, forwarding) in [
            (1, LOCAL, local, Forwarding::Snat),
            (2, REMOTE, remote, Forwarding::Snat),
            (3, DSR, remote, Forwarding::DsrOption),
        ] {
            let both = Scope::Internal.bit() | Scope::External.bit();
            writes.push(Write::Member(Member { service: number, backend }, Some(both)));
            for scope in Scope::ALL {
                let key = ServiceKey::frontend(family.address(VIP), Be16::new(port), TCP);
                let key = key.seen_from(scope);
                let mut master = Service::master(number, 1, Algorithm::Random, 0);
                master.forwarding = forwarding as u8;
                writes.push(Write::Service(key.slot(1), Some(Service::slot(backend))));
                writes.push(Write::Service(key, Some(master)));
            }
        }
        for (address, endpoint) in [
            (NODE, Endpoint::HOST),
            (POD, Endpoint::pod(ASKING)),
            (LOCAL_POD, Endpoint::pod(ANSWERING)),
        ] {
            writes.push(Write::Endpoint(family.address(address), Some(endpoint)));
        }
    }
    writes.push(Write::Config(Config {
        epoch: 1,
        maglev_size: 251,
        uplink: UPLINK,
        address4: Family::V4.address(NODE),
        address6: Family::V6.address(NODE),
        ports_first: 1_024,
        options: option::MASQUERADE,
        ..Config::default()
    }));
    writes
}
