//! The bare programs at sockets, filled from a cluster's state.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use twinpath_control::model::State;
use twinpath_kernel::cgroup::{BareSockets, CgroupError};
use twinpath_sim::world::WorldError;

use crate::bench::lab::failed;

/// Bare programs for all frontends at cluster addresses, each with its first endpoint behind it.
pub(super) fn translated(state: &State) -> Result<BareSockets, CgroupError> {
    // A backend answers for one service, so the one with the same backends and DSR is left out.
    let plain = state.services.iter().filter(|(_, port)| port.forwarding.is_none());
    let ports = plain.flat_map(|(name, port)| {
        port.frontends.iter().filter_map(move |frontend| {
            let (IpAddr::V4(address), Some(endpoint)) = (frontend.address, port.endpoints.first())
            else {
                return None;
            };
            let SocketAddr::V4(to) = SocketAddr::new(endpoint.address, endpoint.port) else {
                return None;
            };
            let from = SocketAddrV4::new(address, frontend.port);
            (!address.is_unspecified()).then_some((from, name.protocol.number(), to))
        })
    });
    let ports: Vec<_> = ports.collect();
    let mut bare = BareSockets::new(u32::try_from(ports.len()).unwrap_or(u32::MAX))?;
    for (from, protocol, to) in ports {
        bare.serve(from, protocol, to)?;
    }
    Ok(bare)
}

/// What the machine lacks, and what is wrong.
pub(super) fn of_cgroup(error: CgroupError) -> WorldError {
    match error {
        CgroupError::NotMounted | CgroupError::File { .. } | CgroupError::NoObject => {
            WorldError::Environment(error.to_string())
        }
        error => failed(error),
    }
}
