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
//! One half follows from the other: the key of the twin is `to` reversed, and its `to` is the key
//! reversed. So a packet needs only its own half, a lost half is restored from the one that is left,
//! and every kind of NAT (or none) is the same few lines.
//!
//! A packet that tells nothing new costs one lookup and no write. Once in [`REFRESH`], and when a
//! packet moves the connection's state on or meets a new epoch, both halves are brought up to date.

use crate::backend::BackendId;
use crate::bytes::{Racy, pod};
use crate::checksum::Deltas;
use crate::parse::Parsed;
use crate::seam::{InsertError, Nanos, Put, Table};
use crate::service::ServiceId;
use crate::state::{Direction, Phase, State};
use crate::tuple::Tuple;
use crate::verdict::{Exit, IfIndex};
use crate::wire::tcp;

/// How stale the record of a connection's last packet may be. Idle timeouts count from the record,
/// and this is added to them, so that none is ever shorter than it says.
pub const REFRESH: Nanos = 1_000_000_000;

pod! {
    /// A half of a connection, 72 bytes; the key is the tuple of the packets it is for.
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
        direction: u8,
        state: Racy<u8>,
        translates: u8,
    }
}

/// What opens a connection, beside its first packet.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The tuple that the opener's packets leave with.
    pub to: Tuple,
    /// The service that chose the backend, 0 for none.
    pub service: ServiceId,
    /// The backend, 0 for none.
    pub backend: BackendId,
    /// How the opener's packets leave.
    pub exit: Exit,
    /// How answers leave: by the way the first packet came.
    pub back: Exit,
}

impl Flow {
    /// The original half of a new connection.
    #[inline(always)]
    pub fn original(packet: &Parsed, opening: &Opening, now: Nanos, epoch: u32) -> Self {
        let fix = Deltas::between(&packet.tuple, &opening.to);
        let (exit, device) = pack(opening.exit);
        Self {
            to: opening.to,
            touched: Racy::new(now),
            fix,
            epoch: Racy::new(epoch),
            service: opening.service,
            backend: opening.backend,
            device,
            exit,
            direction: Direction::Original as u8,
            state: Racy::new(State::default().after(packet, Direction::Original).0),
            translates: u8::from(opening.to != packet.tuple),
        }
    }

    /// The other half of the connection whose half under `key` this is; its packets leave by `exit`.
    #[inline(always)]
    pub fn twin(&self, key: &Tuple, exit: Exit) -> Self {
        let (exit, device) = pack(exit);
        Self {
            to: key.reverse(),
            fix: self.fix.inverse(),
            device,
            exit,
            direction: self.direction ^ 1,
            ..self.clone()
        }
    }

    /// The key of the other half.
    #[inline(always)]
    pub const fn twin_key(&self) -> Tuple {
        self.to.reverse()
    }

    /// Whether this is the other half of the one under `key`, itself being under that one's twin key.
    #[inline(always)]
    pub fn is_twin_of(&self, key: &Tuple) -> bool {
        self.to == key.reverse()
    }

    /// Whether packets leave with another tuple than they came with.
    #[inline(always)]
    pub const fn translates(&self) -> bool {
        self.translates != 0
    }

    /// The direction of the packets that this half is for.
    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        if self.direction == 0 { Direction::Original } else { Direction::Reply }
    }

    /// How packets leave.
    #[inline(always)]
    pub const fn exit(&self) -> Exit {
        match self.exit {
            1 => Exit::Pod(self.device),
            2 => Exit::Device(self.device),
            _ => Exit::Stack,
        }
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

    /// The epoch in which the backend was last found fit.
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

    #[inline(always)]
    fn update(&self, state: State, now: Nanos, epoch: u32) {
        self.state.set(state.0);
        self.touched.set(now);
        self.epoch.set(epoch);
    }
}

/// Whether the packet asks for a new TCP connection.
#[inline(always)]
pub const fn is_syn(packet: &Parsed) -> bool {
    packet.flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

const fn pack(exit: Exit) -> (u8, IfIndex) {
    match exit {
        Exit::Stack => (0, 0),
        Exit::Pod(device) => (1, device),
        Exit::Device(device) => (2, device),
    }
}

/// Opens a connection: puts both halves in. The reply half goes first, because its key is what no two
/// connections may share; if the original half then finds no room, the reply half is taken out again.
///
/// Fails with [`InsertError::Exists`] where a live connection owns the reply tuple, and leaves the
/// table as it was.
#[inline(always)]
pub fn open<T: Table<Tuple, Flow>>(
    table: &mut T,
    packet: &Parsed,
    opening: &Opening,
    now: Nanos,
    epoch: u32,
) -> Result<Flow, InsertError> {
    let key = &packet.tuple;
    let flow = Flow::original(packet, opening, now, epoch);
    let twin_key = flow.twin_key();
    let twin = flow.twin(key, opening.back);
    match table.insert(&twin_key, &twin, Put::New) {
        Ok(()) => {}
        Err(InsertError::Full) => return Err(InsertError::Full),
        Err(InsertError::Exists) => {
            let owner = table.get(&twin_key).ok_or(InsertError::Full)?;
            if !owner.is_twin_of(key) {
                if !owner.is_over(packet, now) {
                    return Err(InsertError::Exists);
                }
                let orphan = owner.twin_key();
                remove_half(table, &orphan, &twin_key);
            }
            table.insert(&twin_key, &twin, Put::Any)?;
        }
    }
    if let Err(error) = table.insert(key, &flow, Put::Any) {
        table.remove(&twin_key);
        return Err(error);
    }
    Ok(flow)
}

/// Removes a connection by the half under `key`.
#[inline(always)]
pub fn close<T: Table<Tuple, Flow>>(table: &mut T, key: &Tuple, flow: &Flow) {
    remove_half(table, &flow.twin_key(), key);
    table.remove(key);
}

/// Removes the half under `key` if it is the twin of the one under `twin_key`, and no stranger's.
#[inline(always)]
fn remove_half<T: Table<Tuple, Flow>>(table: &mut T, key: &Tuple, twin_key: &Tuple) {
    let ours = match table.get(key) {
        Some(half) => half.is_twin_of(twin_key),
        None => false,
    };
    if ours {
        table.remove(key);
    }
}

/// What became of the other half when a connection was brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twin {
    /// It was there.
    Found,
    /// It was missing and is there again.
    Restored,
    /// It was missing and there was no room for it. The half that is left goes on alone.
    Missing,
    /// Its key belongs to another live connection: the half that is left must go too.
    Lost,
}

/// Brings both halves of a connection up to date with a packet that came from `back`.
#[inline(always)]
pub fn refresh<T: Table<Tuple, Flow>>(
    table: &mut T,
    packet: &Parsed,
    flow: &Flow,
    back: Exit,
    now: Nanos,
    epoch: u32,
) -> Twin {
    let key = &packet.tuple;
    let state = flow.state().after(packet, flow.direction());
    let twin_key = flow.twin_key();
    let (twin, state) = match table.get(&twin_key) {
        Some(twin) if twin.is_twin_of(key) => {
            let state = State(state.0 | twin.state().0);
            twin.update(state, now, epoch);
            (Twin::Found, state)
        }
        Some(stranger) if !stranger.is_over(packet, now) => return Twin::Lost,
        _ => (Twin::Restored, state),
    };
    if let Some(own) = table.get(key) {
        own.update(state, now, epoch);
    }
    if matches!(twin, Twin::Found) {
        return twin;
    }
    let restored = flow.twin(key, back);
    restored.update(state, now, epoch);
    match table.insert(&twin_key, &restored, Put::Any) {
        Ok(()) => Twin::Restored,
        Err(_) => Twin::Missing,
    }
}

#[cfg(test)]
mod tests;
