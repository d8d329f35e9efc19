//! From a frontend to a backend: service lookup and choice.

use crate::address::Address;
use crate::backend::{Backend, BackendId};
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::hash;
use crate::hook::Hook;
use crate::parse::{Parsed, Transport};
use crate::seam::{Host, Lookup, Maps, Node};
use crate::service::{Algorithm, Service, ServiceId, ServiceKey};
use crate::tuple::Tuple;

/// Where a new connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selected {
    /// Where it says: its destination is no frontend.
    Plain,
    /// To a backend of a service.
    Backend {
        /// The service.
        service: ServiceId,
        /// The backend's number.
        id: BackendId,
        /// The backend.
        backend: Backend,
    },
}

/// Looks the destination up in the service table and chooses a backend. `attempt` counts from 0 and
/// gives an independent choice each time.
#[inline(always)]
pub fn select<M: Maps>(
    node: &mut Node<M>,
    hook: Hook,
    tuple: &Tuple,
    attempt: u32,
) -> Result<Selected, DropReason> {
    // ClusterIP is seen from a pod. What comes from elsewhere was translated where it came from.
    if !matches!(hook, Hook::FromPod) {
        return Ok(Selected::Plain);
    }
    let frontend = ServiceKey::frontend(tuple.destination, tuple.destination_port, tuple.protocol);
    let Some(service) = node.services.get(&frontend).copied() else {
        if is_frontend_address(node, hook, &tuple.destination) {
            return Err(DropReason::ServicePortNotFound);
        }
        return Ok(Selected::Plain);
    };
    if service.count == 0 {
        return Err(DropReason::ServiceBackendNotFound);
    }
    let chosen = choose(node, &frontend, &service, tuple, attempt);
    let (id, backend) = chosen.ok_or(DropReason::ServiceBackendNotFound)?;
    Ok(Selected::Backend { service: service.id, id, backend })
}

/// Whether services live on this address, on whatever port: an untranslated packet to it must not
/// leave the node.
#[inline(always)]
pub fn is_frontend_address<M: Maps>(node: &Node<M>, hook: Hook, address: &Address) -> bool {
    matches!(hook, Hook::FromPod) && node.services.get(&ServiceKey::address(*address)).is_some()
}

/// Whether the backend of a connection may keep it, as seen by a packet that could choose again.
#[inline(always)]
pub fn fitness<M: Maps>(node: &Node<M>, parsed: &Parsed, flow: &Flow) -> bool {
    let tuple = &parsed.tuple;
    let frontend = ServiceKey::frontend(tuple.destination, tuple.destination_port, tuple.protocol);
    let Some(service) = node.services.get(&frontend) else {
        return false;
    };
    let Some(backend) = node.backends.get(&flow.backend) else {
        return false;
    };
    // One that is going keeps its datagrams only while there is nobody to take them over.
    let kept = matches!(parsed.transport, Transport::Udp) && service.count == 0;
    service.id == flow.service && (backend.is_active() || kept)
}

#[inline(always)]
fn choose<M: Maps>(
    node: &mut Node<M>,
    frontend: &ServiceKey,
    service: &Service,
    tuple: &Tuple,
    attempt: u32,
) -> Option<(BackendId, Backend)> {
    let id = if service.algorithm == Algorithm::Maglev as u8 {
        let size = node.config.maglev_size;
        let drawn = hash::scale(hash::tuple(tuple, node.config.hash_seed, attempt), size);
        let index = service.maglev.wrapping_mul(size).wrapping_add(drawn);
        *node.maglev.get(&index)?
    } else {
        let drawn = hash::scale(node.host.random(), u32::from(service.count));
        let slot = (drawn & 0xffff) as u16;
        node.services.get(&frontend.slot(slot.wrapping_add(1)))?.backend
    };
    let backend = node.backends.get(&id)?;
    Some((id, *backend))
}

#[cfg(test)]
mod tests;
