//! From a frontend to a backend: service lookup and choice.

use crate::address::Address;
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::hash;
use crate::hook::{Hook, Work};
use crate::parse::{Parsed, Transport};
use crate::seam::{Host, Lookup, Maps, Node};
use crate::service::{Algorithm, Member, Scope, ServiceKey};
use crate::verdict::{Exit, IfIndex};

/// Where a new connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selected {
    /// Where it says: its destination is no frontend.
    Plain,
    /// To a backend of a service.
    Backend,
}

/// Looks a packet's destination up in the service table, chooses a backend, and writes the original
/// half of its connection. `attempt` counts from 0 and gives an independent choice each time.
#[inline(never)]
pub fn select<M: Maps>(
    node: &mut Node<M>,
    work: &mut Work,
    attempt: u32,
) -> Result<Selected, DropReason> {
    let Work { parsed, arrival, half, .. } = work;
    let tuple = &parsed.tuple;
    half.begin(parsed, exit_to(node, &tuple.destination, 0), arrival.now, node.config.epoch);
    // ClusterIP is seen from a pod. What comes from elsewhere was translated where it came from.
    if !matches!(arrival.hook, Hook::FromPod) {
        return Ok(Selected::Plain);
    }
    let mut key = ServiceKey::of(tuple, Scope::Internal);
    let Some(service) = node.services.get(&key) else {
        return if is_frontend_address(node, arrival.hook, &tuple.destination) {
            Err(DropReason::ServicePortNotFound)
        } else {
            Ok(Selected::Plain)
        };
    };
    if service.count == 0 {
        return Err(DropReason::ServiceBackendNotFound);
    }
    let id = if service.algorithm == Algorithm::Maglev as u8 {
        let size = node.config.maglev_size;
        let drawn = hash::scale(hash::tuple(tuple, node.config.hash_seed, attempt), size);
        let index = service.maglev.wrapping_mul(size).wrapping_add(drawn);
        node.maglev.get(&index).copied()
    } else {
        let drawn = hash::scale(node.host.random(), u32::from(service.count));
        key.slot = (drawn & 0xffff) as u16;
        key.slot = key.slot.wrapping_add(1);
        node.services.get(&key).map(|slot| slot.backend)
    };
    let id = id.ok_or(DropReason::ServiceBackendNotFound)?;
    let backend = node.backends.get(&id).ok_or(DropReason::ServiceBackendNotFound)?;
    half.aim(service.id, id, backend);
    half.leave_by(exit_to(node, &backend.address, node.config.uplink));
    Ok(Selected::Backend)
}

/// The way to an address: to the pod if it is here, else by this device, or as the stack knows where
/// there is none.
#[inline(always)]
pub fn exit_to<M: Maps>(node: &Node<M>, address: &Address, uplink: IfIndex) -> Exit {
    match node.endpoints.get(address) {
        Some(endpoint) => endpoint.exit(uplink),
        None if uplink != 0 => Exit::Device(uplink),
        None => Exit::Stack,
    }
}

/// Whether services live on this address, on whatever port: an untranslated packet to it must not
/// leave the node.
#[inline(always)]
pub fn is_frontend_address<M: Maps>(node: &Node<M>, hook: Hook, address: &Address) -> bool {
    matches!(hook, Hook::FromPod) && node.services.get(&ServiceKey::address(*address)).is_some()
}

/// Whether the backend of a connection may keep it, as seen by a packet that could choose again. One
/// without a backend is fit while its destination has not become a frontend.
#[inline(always)]
pub fn is_fit<M: Maps>(node: &Node<M>, hook: Hook, parsed: &Parsed, flow: &Flow) -> bool {
    let tuple = &parsed.tuple;
    if flow.service == 0 {
        return !is_frontend_address(node, hook, &tuple.destination);
    }
    let Some(service) = node.services.get(&ServiceKey::of(tuple, Scope::Internal)) else {
        return false;
    };
    if service.id != flow.service {
        return false;
    }
    let member = Member { service: flow.service, backend: flow.backend };
    if node.members.get(&member).is_some_and(|scopes| scopes & Scope::Internal.bit() != 0) {
        return true;
    }
    // One that is going keeps its datagrams only while there is nobody to take them over.
    matches!(parsed.transport, Transport::Udp)
        && service.count == 0
        && node.backends.get(&flow.backend).is_some()
}

#[cfg(test)]
mod tests;
