//! Connections: two tuples, two entries, one lookup.
//!
//! A connection has an original tuple, that of its first packet as it arrived, and a reply tuple,
//! that of the answer as it will arrive here. Each is the key of an entry, its *half*, which holds the
//! tuple that packets of that direction leave with:
//!
//! ```text
//!                    key                           to
//!   original half    client:p   > vip:80           client:p > backend:8080
//!   reply half       backend:8080 > client:p       vip:80   > client:p
//! ```
//!
//! At the node of a backend that another node has chosen and told of (DSR), see [`Flow::is_direct`]:
//!
//! ```text
//!                    key                           to
//!   original half    client:p   > backend:8080    client:p > vip:80      (not applied)
//!   reply half       backend:8080 > client:p       vip:80   > client:p
//! ```
//!
//! One half follows from the other: the key of the twin is `to` reversed, and its `to` is the key
//! reversed. So a packet needs only its own half, a lost half is restored from the one that is left,
//! and every kind of NAT (or none) is the same few lines.
//!
//! A packet that tells nothing new costs one lookup and no write. Once in [`REFRESH`], and when a
//! packet moves the connection's state on or meets a new epoch, both halves are brought up to date.
//! Each half notes the epoch for itself, because only the opener's packets ask whether the backend is
//! still fit: an answer that noted it for both would hide the change from them.

use crate::address::Address;
use crate::backend::{Backend, BackendId};
use crate::bytes::{Be16, Racy, pod};
use crate::checksum::Deltas;
use crate::hook::Work;
use crate::parse::Parsed;
use crate::seam::{InsertError, Nanos, Put, Table};
use crate::service::{Forwarding, ServiceId};
use crate::state::{Direction, Phase, State};
use crate::tuple::Tuple;
use crate::verdict::{Exit, IfIndex};
use crate::wire::tcp;

/// How stale the record of a connection's last packet may be. Idle timeouts count from the record,
/// and this is added to them, so that none is ever shorter than it says.
pub const REFRESH: Nanos = 1_000_000_000;

pod! {
    /// A half of a connection, 80 bytes; the key is the tuple of the packets it is for.
    ///
    /// The racy fields are written by several CPUs: `state` only gains bits, `touched` and `epoch` are
    /// set to what any of the writers would set them to within a moment, so a lost update costs one
    /// more refresh and nothing else.
    #[derive(Clone, PartialEq, Debug)]
    pub struct Flow {
        /// The tuple that packets leave with.
        pub to: Tuple,
        touched: Racy<u64>,
        /// What leaving with `to` does to the checksums.
        pub fix: Deltas,
        epoch: Racy<u32>,
        /// The service that chose the backend, 0 for none.
        pub service: ServiceId,
        /// The backend, 0 for none.
        pub backend: BackendId,
        device: IfIndex,
        exit: u8,
        /// [`REPLY`], [`TRANSLATES`], [`DIRECT`].
        flags: u8,
        state: Racy<u8>,
        /// A [`Forwarding`]; not SNAT where packets tell the backend's node of the frontend.
        wrap: u8,
        link: LinkCache,
    }
}

/// This half is for the packets against the opener's.
const REPLY: u8 = 1;
/// Packets leave with another tuple than they came with.
const TRANSLATES: u8 = 2;
/// Another node translated the original direction and told this one of the frontend (DSR). Then the
/// original half has the tuple that the opener sent, which its packets do not leave with, and the reply
/// half has the tuple that the opener expects.
const DIRECT: u8 = 4;

impl Flow {
    /// Makes this the original half of a connection that the packet opens, going where it says, by
    /// `exit`. In place, because the kernel's stack has no room for copies.
    #[inline(always)]
    pub fn begin(&mut self, packet: &Parsed, exit: Exit, now: Nanos, epoch: u32) {
        (self.exit, self.device) = exit.pack();
        self.to = packet.tuple;
        self.touched.set(now);
        self.fix = Deltas::default();
        self.epoch.set(epoch);
        self.service = 0;
        self.backend = 0;
        self.flags = 0;
        self.state.set(State::default().after(packet, Direction::Original).0);
        self.wrap = Forwarding::Snat as u8;
        self.link = LinkCache::new(0);
    }

    /// The link address that packets leave for, where a platform has noted it.
    #[inline(always)]
    pub const fn link(&self) -> &LinkCache {
        &self.link
    }

    /// Aims the original half at a backend of a service. [`Self::settle`] must follow.
    #[inline(always)]
    pub const fn aim(&mut self, service: ServiceId, id: BackendId, backend: &Backend) {
        self.service = service;
        self.backend = id;
        self.to.destination = backend.address;
        self.to.destination_port = backend.port;
    }

    /// Notes what the original half's translation does to packets that come with `key`.
    #[inline(always)]
    pub fn settle(&mut self, key: &Tuple) {
        self.fix = Deltas::between(key, &self.to);
        self.flags &= !TRANSLATES;
        let same = self.to.source == key.source
            && self.to.source_port == key.source_port
            && self.to.destination == key.destination
            && self.to.destination_port == key.destination_port;
        // In a tunnel of IP in IP the packet goes as it came.
        if !same && !matches!(self.wrap(), Forwarding::DsrIpip) {
            self.flags |= TRANSLATES;
        }
    }

    /// Makes this the original half of a connection that another node translated, of a service's
    /// frontend at this address and port; the head of this file draws it.
    #[inline(always)]
    pub fn direct(&mut self, key: &Tuple, service: ServiceId, frontend: &Address, port: Be16) {
        self.service = service;
        self.to.destination = *frontend;
        self.to.destination_port = port;
        self.fix = Deltas::between(key, &self.to);
        self.flags |= DIRECT;
    }

    /// Whether another node translated the original direction.
    #[inline(always)]
    pub const fn is_direct(&self) -> bool {
        self.flags & DIRECT != 0
    }

    /// How packets tell the backend's node of the frontend.
    #[inline(always)]
    pub const fn wrap(&self) -> Forwarding {
        Forwarding::from_byte(self.wrap)
    }

    /// Makes packets tell the backend's node of the frontend in this way. A new connection is answered
    /// past this node then, or with [`Forwarding::Snat`] through it.
    #[inline(always)]
    pub fn wrap_by(&mut self, wrap: Forwarding) {
        self.wrap = wrap as u8;
        self.state.set(match wrap {
            Forwarding::Snat => State::default().0,
            _ => State::ANSWERED_ELSEWHERE.0,
        });
    }

    /// Makes packets leave by `exit`.
    #[inline(always)]
    pub const fn leave_by(&mut self, exit: Exit) {
        (self.exit, self.device) = exit.pack();
    }

    /// Turns the half under `key` into its twin, whose packets leave by `exit`.
    #[inline(always)]
    pub const fn turn(&mut self, key: &Tuple, exit: Exit) {
        (self.exit, self.device) = exit.pack();
        if self.is_direct() {
            self.to = self.to.reverse();
            self.flags ^= TRANSLATES;
        } else {
            self.to = key.reverse();
            self.fix = self.fix.inverse();
        }
        self.flags ^= REPLY;
    }

    /// The key of the other half, this one being under `key`.
    #[inline(always)]
    pub const fn twin_key(&self, key: &Tuple) -> Tuple {
        if self.is_direct() { key.reverse() } else { self.to.reverse() }
    }

    /// Whether this half, itself under `own`, is the other half of one under `key`, of which it is known
    /// that `own` is its twin's key.
    #[inline(always)]
    pub fn is_twin_of(&self, own: &Tuple, key: &Tuple) -> bool {
        if self.is_direct() { own.is_reverse_of(key) } else { self.to.is_reverse_of(key) }
    }

    /// Whether packets leave with another tuple than they came with.
    #[inline(always)]
    pub const fn translates(&self) -> bool {
        self.flags & TRANSLATES != 0
    }

    /// The direction of the packets that this half is for.
    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        if self.flags & REPLY == 0 { Direction::Original } else { Direction::Reply }
    }

    /// How packets leave.
    #[inline(always)]
    pub const fn exit(&self) -> Exit {
        Exit::unpack(self.exit, self.device)
    }

    /// How far the connection has come.
    #[inline(always)]
    pub fn state(&self) -> State {
        State(self.state.get())
    }

    /// What the state amounts to.
    #[inline(always)]
    pub fn phase(&self) -> Phase {
        self.state().phase(self.to.protocol)
    }

    /// The epoch that the last packet of this direction to change the entry met.
    #[inline(always)]
    pub fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// When the entry stops to count, unless refreshed.
    #[inline(always)]
    pub fn expires(&self) -> Nanos {
        self.touched.get().wrapping_add(self.phase().timeout()).wrapping_add(REFRESH)
    }

    /// Whether the packet tells nothing new, so that translating it is all there is to do.
    #[inline(always)]
    pub fn is_current(&self, packet: &Parsed, now: Nanos, epoch: u32) -> bool {
        let state = self.state();
        now.wrapping_sub(self.touched.get()) < REFRESH
            && self.epoch.get() == epoch
            && packet.flags & tcp::SYN == 0
            && state.after(packet, self.direction()).0 == state.0
    }

    /// Whether the entry no longer counts against this packet: idle for too long, or closed and the
    /// packet opens a connection anew (RFC 9293, 3.6.1: a tuple in TIME-WAIT may be used again).
    #[inline(always)]
    pub fn is_over(&self, packet: &Parsed, now: Nanos) -> bool {
        now >= self.expires() || (is_syn(packet) && matches!(self.phase(), Phase::Closing))
    }

    /// Whether the entry gives way to a connection that needs its key: nobody has answered it, and it
    /// has no service. Such is what a backend's packet leaves that comes when its own half is lost.
    #[inline(always)]
    pub fn yields(&self) -> bool {
        self.service == 0
            && self.flags & (REPLY | TRANSLATES | DIRECT) == 0
            && !self.state().is_answered()
    }

    #[inline(always)]
    pub(crate) fn update(&self, state: State, now: Nanos) {
        self.state.set(state.0);
        self.touched.set(now);
        self.link.set(0);
    }
}

/// A link address that a connection's packets leave for, as a platform notes it; 0 where it is not
/// known. Forgotten with every refresh, so that a neighbour that moves is found after a second. In one
/// word, so that CPUs never see half of it.
pub type LinkCache = Racy<u64>;

/// Whether the packet asks for a new TCP connection.
#[inline(always)]
pub const fn is_syn(packet: &Parsed) -> bool {
    packet.flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// What became of a connection that was to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// It is.
    Here,
    /// Another CPU has opened it a moment before, perhaps to another backend: that one's halves count.
    Elsewhere,
}

/// Opens a connection: puts both halves in, `work.half` being the original one. The reply half goes
/// first, because its key is what no two connections may share; if the original half then finds no
/// room, or another one in its place, the reply half is taken out again, unless another CPU's needs it.
///
/// Fails with [`InsertError::Exists`] where a live connection owns the reply tuple, and leaves the
/// table and the half as they were, for another try.
#[inline(never)]
pub fn open<T: Table<Tuple, Flow>>(table: &mut T, work: &mut Work) -> Result<Opened, InsertError> {
    let Work { parsed, arrival, half, twin_key, .. } = work;
    let key = &parsed.tuple;
    let exit = half.exit();
    *twin_key = half.twin_key(key);
    if twin_key == key {
        // From an address and port to the same: one half is both.
        return table.insert(key, half, Put::Any).map(|()| Opened::Here);
    }
    half.turn(key, arrival.back);
    let claimed = claim(table, twin_key, half, parsed, arrival.now);
    half.turn(twin_key, exit);
    let claimed = claimed?;
    let Err(error) = table.insert(key, half, Put::New) else {
        if !claimed {
            half.turn(key, arrival.back);
            // Without room it is put back when it is missed.
            let _ = table.insert(twin_key, half, Put::Any);
            half.turn(twin_key, exit);
        }
        return Ok(Opened::Here);
    };
    let winner = find(table, key).map(|winner| winner.twin_key(key) == *twin_key);
    if claimed && winner != Some(true) {
        table.remove(twin_key);
    }
    match (winner, error) {
        (None, InsertError::Full) => Err(error),
        _ => Ok(Opened::Elsewhere), // perhaps gone again, which is a race, too
    }
}

/// Makes the key of the half under `own` its own and puts the half in, being that of the packet's connection;
/// whether it has. Where the key is the connection's already, by a half of before or by another CPU,
/// nothing is written yet.
#[inline(always)]
fn claim<T: Table<Tuple, Flow>>(
    table: &mut T,
    own: &Tuple,
    half: &Flow,
    packet: &Parsed,
    now: Nanos,
) -> Result<bool, InsertError> {
    match table.insert(own, half, Put::New) {
        Ok(()) => Ok(true),
        Err(InsertError::Full) => Err(InsertError::Full),
        Err(InsertError::Exists) => match find(table, own) {
            Some(owner) if is_pair(owner, own, half, &packet.tuple) => Ok(false),
            Some(owner) if gives_way(owner, packet, now) => {
                close(table, own);
                table.insert(own, half, Put::New).map(|()| true)
            }
            _ => Err(InsertError::Exists),
        },
    }
}

/// Whether the half under `own` and the other one, under `key`, are of one connection; `own` is the twin
/// key of the other.
#[inline(always)]
pub fn is_pair(half: &Flow, own: &Tuple, other: &Flow, key: &Tuple) -> bool {
    half.is_direct() == other.is_direct() && half.is_twin_of(own, key)
}

/// Whether the entry need not stay where another connection needs its key.
#[inline(always)]
pub fn gives_way(owner: &Flow, packet: &Parsed, now: Nanos) -> bool {
    owner.is_over(packet, now) || owner.yields()
}

/// The half under `key`. Out of line, for the slow road: the kernel's stack has room for one key.
#[inline(never)]
pub fn find<'a, T: Table<Tuple, Flow>>(table: &'a T, key: &Tuple) -> Option<&'a Flow> {
    table.get(key)
}

/// Removes a connection by the half under `key`.
#[inline(never)]
pub fn close<T: Table<Tuple, Flow>>(table: &mut T, key: &Tuple) {
    if let Some(flow) = find(table, key) {
        let twin_key = flow.twin_key(key);
        if find(table, &twin_key).is_some_and(|twin| is_pair(twin, &twin_key, flow, key)) {
            table.remove(&twin_key);
        }
        table.remove(key);
    }
}

/// Makes `work.half` the half under the packet's tuple from the twin of a [direct](Flow::is_direct)
/// connection, whose key follows from the tuple alone; whether there was one. How packets leave, and to
/// put it in, are left to do.
#[inline(never)]
pub fn adopt<T: Table<Tuple, Flow>>(table: &T, work: &mut Work, epoch: u32) -> bool {
    let Work { parsed, arrival, half, twin_key, .. } = work;
    if is_syn(parsed) {
        return false; // nothing to go on with
    }
    *twin_key = parsed.tuple.reverse();
    let Some(twin) = find(table, twin_key) else { return false };
    if !twin.is_direct() || twin.is_over(parsed, arrival.now) {
        return false;
    }
    *half = twin.clone();
    half.turn(twin_key, Exit::STACK);
    half.epoch.set(epoch);
    half.update(half.state().after(parsed, half.direction()), arrival.now);
    true
}

/// What became of the other half when a connection was brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twin {
    /// It is there.
    Found,
    /// It is missing, to be restored. Until then the half that is left goes on alone.
    Missing,
    /// Its key belongs to another live connection: the half that is left must go too.
    Lost,
}

/// Brings both halves of a packet's connection up to date, and leaves its own in `work.half`, where
/// [`restore`] finds it.
#[inline(always)]
pub fn refresh<T: Table<Tuple, Flow>>(table: &mut T, work: &mut Work, epoch: u32) -> Twin {
    let Work { parsed, arrival, half, twin_key, .. } = work;
    let key = &parsed.tuple;
    let Some(own) = find(table, key) else { return Twin::Lost };
    let state = own.state().after(parsed, own.direction());
    *twin_key = own.twin_key(key);
    let twin = match find(table, twin_key) {
        Some(twin) if is_pair(twin, twin_key, own, key) => Some(twin),
        Some(stranger) if !gives_way(stranger, parsed, arrival.now) => return Twin::Lost,
        _ => None,
    };
    let state = State(state.0 | twin.map_or(0, |twin| twin.state().0));
    own.update(state, arrival.now);
    own.epoch.set(epoch);
    *half = own.clone();
    match twin {
        Some(twin) => {
            twin.update(state, arrival.now);
            Twin::Found
        }
        None => Twin::Missing,
    }
}

/// Puts the twin of `work.half` back, if there is room. A connection that is over may hold its key, and
/// goes as a pair.
#[inline(never)]
pub fn restore<T: Table<Tuple, Flow>>(table: &mut T, work: &mut Work) -> Result<(), InsertError> {
    let Work { parsed, arrival, half, twin_key, .. } = work;
    let (exit, epoch) = (half.exit(), half.epoch.get());
    half.epoch.set(epoch.wrapping_sub(1)); // the twin finds out for itself
    half.turn(&parsed.tuple, arrival.back);
    let claimed = claim(table, twin_key, half, parsed, arrival.now);
    half.turn(twin_key, exit);
    half.epoch.set(epoch);
    claimed.map(|_| ())
}

#[cfg(test)]
mod tests;
