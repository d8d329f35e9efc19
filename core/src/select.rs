//! From a frontend to a backend: service lookup and choice.

use crate::address::Address;
use crate::affinity::{Affinity, Client};
use crate::backend::BackendId;
use crate::conntrack::Flow;
use crate::drop_reason::DropReason;
use crate::endpoint::Kind;
use crate::hash;
use crate::hook::{Answer, Hook, Work};
use crate::parse::Transport;
use crate::range::{NOT_MASQUERADED, RangeKey, SERVICE_RANGE};
use crate::seam::{Host, Lookup, Maps, Node, Put, Table, option};
use crate::service::{Algorithm, Forwarding, Member, Scope, Service, ServiceKey, flag};
use crate::snat;
use crate::tuple::Tuple;
use crate::verdict::{Exit, IfIndex};

/// Where a new connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Selected {
    /// Where it says: its destination is no frontend.
    Plain,
    /// To a backend of a service.
    Backend,
    /// To the backend that every node would choose for this tuple.
    Consistent,
}

/// Looks a packet's destination up in the service table, chooses a backend, and writes the original
/// half of its connection, all but the source port.
#[inline(never)]
pub fn select<M: Maps>(node: &mut Node<M>, work: &mut Work) -> Result<Selected, DropReason> {
    work.sticky = false;
    work.half.begin(&work.parsed, Exit::STACK, work.arrival.now, node.config.epoch);
    if work.frontend != Address::UNSPECIFIED {
        let (frontend, port) = (work.frontend, work.frontend_port);
        work.half.direct(&work.parsed.tuple, work.frontend_service, &frontend, port);
        return Ok(straight(node, work));
    }
    // What the stack sends to a pod was translated where it came from.
    if matches!(work.arrival.hook, Hook::ToPod) {
        return Ok(straight(node, work));
    }
    let found = if work.chosen != 0 {
        frontend_anywhere(node, &work.parsed.tuple)
    } else {
        frontend(node, work.arrival.hook, &work.parsed.tuple)
    };
    match found {
        Some((key, service)) => {
            let service = *service;
            serve(node, work, &key, &service)
        }
        None => plain(node, work),
    }
}

/// Makes packets of the connection leave by the way to where the first one says.
#[inline(always)]
fn straight<M: Maps>(node: &Node<M>, work: &mut Work) -> Selected {
    work.half.leave_by(exit_to(node, &work.parsed.tuple.destination, 0));
    Selected::Plain
}

/// The frontend that a packet with this tuple goes to, and its service: one on the destination itself, or
/// a node port where the destination is a node.
#[inline(never)]
pub fn frontend<'a, M: Maps>(
    node: &'a Node<M>,
    hook: Hook,
    tuple: &Tuple,
) -> Option<(ServiceKey, &'a Service)> {
    // Clients outside come to this node's own ports. What they send to another one only passes by.
    find_frontend(node, hook.scope(), tuple, matches!(hook.scope(), Scope::Internal))
}

/// The frontend that a client outside came to with this tuple, here or at another node. A node port's key
/// has the unspecified address.
#[inline(never)]
pub fn frontend_anywhere<'a, M: Maps>(
    node: &'a Node<M>,
    tuple: &Tuple,
) -> Option<(ServiceKey, &'a Service)> {
    find_frontend(node, Scope::External, tuple, true)
}

#[inline(always)]
fn find_frontend<'a, M: Maps>(
    node: &'a Node<M>,
    scope: Scope,
    tuple: &Tuple,
    any_node: bool,
) -> Option<(ServiceKey, &'a Service)> {
    let mut key = ServiceKey::of(tuple, scope);
    if let Some(service) = node.services.get(&key) {
        return Some((key, service));
    }
    match node.endpoints.get(&tuple.destination)?.kind() {
        Kind::Host => {}
        Kind::Node if any_node => {}
        Kind::Pod | Kind::Node => return None,
    }
    key.address = Address::any(tuple.is_v4());
    node.services.get(&key).map(|service| (key, service))
}

/// Aims a connection at a backend of the service with this frontend.
#[inline(never)]
fn serve<M: Maps>(
    node: &mut Node<M>,
    work: &mut Work,
    key: &ServiceKey,
    service: &Service,
) -> Result<Selected, DropReason> {
    let source = work.parsed.tuple.source;
    if service.has(flag::SOURCE_RANGES)
        && node.ranges.get(&RangeKey::of(service.id, source)).is_none()
    {
        return Err(DropReason::NotInSourceRange);
    }
    if service.count == 0 && work.chosen == 0 {
        let reason = DropReason::ServiceBackendNotFound;
        if service.has(flag::ELSEWHERE) {
            return Err(reason);
        }
        return Err(work.refuse(Answer::PortUnreachable, reason));
    }
    let id = choose(node, work, key, service).ok_or(DropReason::ServiceBackendNotFound)?;
    let backend = node.backends.get(&id).ok_or(DropReason::ServiceBackendNotFound)?;
    work.half.aim(service.id, id, backend);
    let (address, is_v4) = (backend.address, work.parsed.tuple.is_v4());
    leave(node, work, &address);
    if matches!(work.arrival.hook, Hook::ToNetdev) && is_host(node, &address) {
        // It is on its way out, and nothing here could turn it round.
        return Err(DropReason::NoHairpinAddress);
    }
    if address == source {
        // RFC 4787, REQ-9: a pod that is given itself must see another address, or it would answer
        // itself without this node's seeing it.
        let hairpin = if is_v4 { node.config.hairpin4 } else { node.config.hairpin6 };
        if hairpin == Address::UNSPECIFIED {
            return Err(DropReason::NoHairpinAddress);
        }
        work.half.to.source = hairpin;
    } else if matches!(key.scope(), Scope::External) && !is_here(node, &address) {
        match Forwarding::of(service) {
            Forwarding::Snat => work.half.to.source = snat::source(node, is_v4)?,
            wrap if !work.can_tell(wrap) => work.half.to.source = snat::source(node, is_v4)?,
            wrap => work.half.wrap_by(wrap),
        }
    } else if masquerades(node, work.arrival.hook, &address)
        && let Ok(own) = snat::source(node, is_v4)
    {
        work.half.to.source = own;
    }
    let consistent = service.algorithm == Algorithm::Maglev as u8 || work.chosen != 0;
    Ok(if consistent { Selected::Consistent } else { Selected::Backend })
}

/// Makes packets of the connection leave by the way to its backend.
#[inline(always)]
fn leave<M: Maps>(node: &Node<M>, work: &mut Work, backend: &Address) {
    let back = work.arrival.back;
    let uplink = if node.config.uplink == 0 && back.is_device() {
        back.device_number()
    } else {
        node.config.uplink
    };
    work.half.leave_by(exit_to(node, backend, uplink));
}

/// The backend of a new connection.
#[inline(never)]
fn choose<M: Maps>(
    node: &mut Node<M>,
    work: &mut Work,
    key: &ServiceKey,
    service: &Service,
) -> Option<BackendId> {
    if work.chosen != 0 {
        return Some(work.chosen);
    }
    let client = Client::new(work.parsed.tuple.source, service.id);
    let now = work.arrival.now;
    work.sticky = service.affinity != 0;
    if work.sticky
        && let Some(affinity) = node.affinities.get(&client)
        && let Some(backend) = affinity.backend(now, service.affinity)
        && is_member(node, service.id, backend, service.members(key.scope()))
    {
        return Some(backend);
    }
    if service.algorithm == Algorithm::Maglev as u8 {
        node.maglev.get(&maglev_index(node, &work.parsed.tuple, key, service)).copied()
    } else {
        let drawn = hash::scale(node.host.random(), u32::from(service.count));
        let slot = key.slot(((drawn & 0xffff) as u16).wrapping_add(1));
        node.services.get(&slot).map(|slot| slot.backend)
    }
}

/// Notes the backend of a connection that was opened, where its client is to keep it.
#[inline(never)]
pub fn remember<M: Maps>(node: &mut Node<M>, work: &Work) {
    if !work.sticky {
        return;
    }
    let client = Client::new(work.parsed.tuple.source, work.half.service);
    let (now, backend) = (work.arrival.now, work.half.backend);
    match node.affinities.get(&client) {
        Some(affinity) if affinity.is_of(backend) => affinity.touch(now),
        _ => {
            // Without room the client may be given another backend next time, as without affinity.
            let _ = node.affinities.insert(&client, &Affinity::new(backend, now), Put::Any);
        }
    }
}

/// Where in the Maglev table the backend of a connection is. The address of a node port's node is left
/// out, and with affinity the client's port, so that all nodes give a client the same backend.
#[inline(always)]
fn maglev_index<M: Maps>(
    node: &Node<M>,
    tuple: &Tuple,
    key: &ServiceKey,
    service: &Service,
) -> u32 {
    let size = node.config.maglev_size;
    let hash = hash::choice(tuple, &key.address, service.affinity != 0, node.config.hash_seed);
    service.maglev.wrapping_mul(size).wrapping_add(hash::scale(hash, size))
}

/// What to do about a connection to no frontend: it goes where it says, under its own name or the
/// node's.
#[inline(never)]
fn plain<M: Maps>(node: &Node<M>, work: &mut Work) -> Result<Selected, DropReason> {
    let Work { parsed, arrival, half, .. } = work;
    let tuple = &parsed.tuple;
    if node.services.get(&ServiceKey::address(tuple.destination)).is_some() {
        let key = ServiceKey::of(tuple, Scope::Internal);
        if matches!(arrival.hook.scope(), Scope::External) && node.services.get(&key).is_some() {
            return Err(DropReason::IsClusterIp);
        }
        return Err(work.refuse(Answer::PortUnreachable, DropReason::ServicePortNotFound));
    }
    if node.ranges.get(&RangeKey::of(SERVICE_RANGE, tuple.destination)).is_some() {
        return Err(DropReason::ServiceAddressNotFound);
    }
    if masquerades(node, arrival.hook, &tuple.destination)
        && let Ok(source) = snat::source(node, tuple.is_v4())
    {
        half.to.source = source;
        half.leave_by(Exit::device(node.config.uplink));
        return Ok(Selected::Plain);
    }
    Ok(straight(node, work))
}

/// Whether what arrives at this hook leaves for this address with the node's own.
#[inline(always)]
fn masquerades<M: Maps>(node: &Node<M>, hook: Hook, destination: &Address) -> bool {
    node.config.options & option::MASQUERADE != 0
        && matches!(hook, Hook::FromPod)
        && node.config.uplink != 0
        && node.endpoints.get(destination).is_none()
        && node.ranges.get(&RangeKey::of(NOT_MASQUERADED, *destination)).is_none()
}

/// The way to an address: to the pod if it is here, else by this device, or as the stack knows where
/// there is none.
#[inline(always)]
pub fn exit_to<M: Maps>(node: &Node<M>, address: &Address, uplink: IfIndex) -> Exit {
    match node.endpoints.get(address) {
        Some(endpoint) => endpoint.exit(uplink),
        None if uplink != 0 => Exit::device(uplink),
        None => Exit::STACK,
    }
}

/// Whether an address is that of a pod of this node, or of this node.
#[inline(always)]
pub fn is_here<M: Maps>(node: &Node<M>, address: &Address) -> bool {
    node.endpoints.get(address).is_some_and(crate::endpoint::Endpoint::is_here)
}

/// Whether an address is that of this node itself.
#[inline(always)]
fn is_host<M: Maps>(node: &Node<M>, address: &Address) -> bool {
    node.endpoints.get(address).is_some_and(|endpoint| matches!(endpoint.kind(), Kind::Host))
}

/// Whether services live on this address, on whatever port: an untranslated packet to it must not
/// leave the node.
#[inline(always)]
pub fn is_frontend_address<M: Maps>(node: &Node<M>, address: &Address) -> bool {
    node.services.get(&ServiceKey::address(*address)).is_some()
}

#[inline(always)]
fn is_member<M: Maps>(node: &Node<M>, service: u32, backend: BackendId, all: u32) -> bool {
    node.members.get(&Member { service, backend }).is_some_and(|bits| bits & all == all)
}

/// Whether the backend of a connection may keep it, as seen by a packet that could choose again. One
/// without a backend is fit while its destination has not become a frontend.
#[inline(never)]
pub fn is_fit<M: Maps>(node: &Node<M>, work: &Work, flow: &Flow) -> bool {
    if flow.is_direct() || matches!(work.arrival.hook, Hook::ToPod) {
        return true;
    }
    let Some((_, service)) = frontend(node, work.arrival.hook, &work.parsed.tuple) else {
        return flow.service == 0 && !is_frontend_address(node, &work.parsed.tuple.destination);
    };
    if service.id != flow.service {
        return false;
    }
    if is_member(node, flow.service, flow.backend, work.arrival.hook.scope().bit()) {
        return true;
    }
    // One that is going keeps its datagrams only while there is nobody to take them over.
    !matches!(work.parsed.transport, Transport::Tcp)
        && service.count == 0
        && node.backends.get(&flow.backend).is_some()
}

#[cfg(test)]
mod tests;
