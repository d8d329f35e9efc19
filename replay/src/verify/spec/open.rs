//! Connections: which packets go on with one, which open one, and to where.

use twinpath_control::model::PortName;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::verdict::Status;

use super::Model;
use super::expect::{Answer, overhead, translated, with_option, within_tunnel};
use super::flow::{Exit, Flow, GRACE, Life};
use super::judge::{Item, Refusal, Seen, leaves_by};
use super::rules::{Front, Place, Rules, Way};
use super::wire::{End, Five, Kind, Read, SCTP, TCP, read};

/// A packet opened a connection as it may.
pub(super) enum Opened {
    Done,
}

/// What a packet has to do with the connection under its tuple.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stance {
    /// It goes on with it.
    GoesOn,
    /// Nobody can say, by a second or by what happened to its other half.
    Either,
    /// It opens one, if anything.
    Opens,
}

impl Stance {
    pub(super) fn may_go_on(self) -> bool {
        self != Self::Opens
    }

    pub(super) fn may_open(self) -> bool {
        self != Self::GoesOn
    }
}

/// Whether a reply tuple can be a connection's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Free {
    Sure,
    Perhaps,
    Taken,
}

/// Where a new connection may go.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    /// What its packets leave with, but for the source port.
    to: Five,
    service: Option<PortName>,
    backend: Option<End>,
    way: Way,
    exit: Exit,
    /// Every node would choose the same.
    consistent: bool,
    direct: bool,
}

impl Model {
    pub(super) fn stance(&self, seen: &Seen<'_>, item: &Item) -> Stance {
        let syn = item.view.opens();
        let by_life = |life| match life {
            Life::Sure => Stance::GoesOn,
            Life::Perhaps => Stance::Either,
            Life::Over => Stance::Opens,
        };
        let Some((number, direction, flow)) = self.flows.find(&item.five) else {
            // Of a connection that another node told of, each half says where the other one is.
            return match self.flows.find(&item.five.reverse()) {
                Some((_, other, twin)) if twin.direct && !syn => {
                    by_life(twin.life(other, seen.now))
                }
                _ => Stance::Opens,
            };
        };
        let mut stance = by_life(flow.life(direction, seen.now));
        if syn && flow.is_closing() {
            stance = if flow.uneven { Stance::Either } else { Stance::Opens };
        }
        // The other half's place may be a stranger's, and then this one goes, too.
        let stranger = self.flows.find(&flow.key[1 - direction]);
        if stance == Stance::GoesOn && stranger.is_some_and(|(owner, ..)| owner != number) {
            stance = Stance::Either;
        }
        if stance == Stance::Opens {
            return stance;
        }
        let goes_on = if let Some(backend) = item.chosen {
            flow.backend == Some(backend)
        } else if let Some(told) = item.told {
            flow.direct && (!syn || flow.leaves[0].destination == told)
        } else {
            return self.by_fitness(seen, item, flow, direction, stance);
        };
        if goes_on { stance } else { Stance::Opens }
    }

    /// Whether a connection keeps its backend (K-1, K-2): what its opener sends may choose again where
    /// that can be made sense of, if the backend is none of the service's any more.
    fn by_fitness(
        &self,
        seen: &Seen<'_>,
        item: &Item,
        flow: &Flow,
        direction: usize,
        stance: Stance,
    ) -> Stance {
        let syn = item.view.opens();
        let datagram = matches!(item.view.kind, Kind::Udp | Kind::Echo(_));
        let may_choose = syn || datagram || flow.service.is_none();
        if direction == 1 || !may_choose || self.is_fit(seen, item, flow) {
            return stance;
        }
        // Nothing has changed since it was last asked: it was never fit, as another node chose it.
        if !syn && flow.version == self.rules.version { Stance::Either } else { Stance::Opens }
    }

    fn is_fit(&self, seen: &Seen<'_>, item: &Item, flow: &Flow) -> bool {
        if flow.direct || seen.hook == Hook::ToPod {
            return true;
        }
        let external = seen.is_external();
        let Some(front) = self.rules.front(&item.five, external, !external) else {
            let services = self.rules.has_services(item.five.destination.0);
            return flow.service.is_none() && !services;
        };
        let Some(backend) = flow.backend.filter(|_| flow.service.as_ref() == Some(front.name))
        else {
            return false;
        };
        let eligible = self.rules.eligible(&front, external, item.five.is_v4());
        self.rules.members(&front, external, item.five.is_v4()).contains(&backend)
            || (item.five.protocol != TCP
                && eligible.backends.is_empty()
                && self.rules.answers(item.five.protocol, backend))
    }

    /// Whether and how a packet tells of the frontend; whether it must.
    pub(super) fn telling(
        &self,
        flow_way: Way,
        direction: usize,
        item: &Item,
        opens: bool,
    ) -> (Way, bool) {
        let later = item.view.kind == Kind::Later && flow_way != Way::Ipip;
        if later || direction == 1 || flow_way == Way::Snat {
            return (Way::Snat, false);
        }
        let datagram = !matches!(item.view.kind, Kind::Tcp(_));
        let must = opens || item.view.opens() || flow_way == Way::Ipip || datagram;
        (flow_way, must)
    }

    /// Whether a packet can tell of the frontend in this way.
    fn can_tell(item: &Item, way: Way) -> bool {
        let view = &item.view;
        let place = if view.five.is_v4() {
            view.l4 - view.l3 + 8 <= 60
        } else {
            item.frame.get(view.l3 + 6) != Some(&0)
        };
        view.tags == 0 && (way != Way::Option || place)
    }

    /// What keeps a packet from telling what it must.
    pub(super) fn untold(&self, item: &Item, telling: (Way, bool)) -> Option<Refusal> {
        let (way, must) = telling;
        let v4 = item.view.five.is_v4();
        if way == Way::Snat || !must {
            return None;
        }
        if !Self::can_tell(item, way) {
            return Some(Refusal::silent(DropReason::InvalidPacket));
        }
        if way != Way::Option && self.rules.own(v4).is_none() {
            return Some(Refusal::silent(DropReason::NoMappingForNat));
        }
        let size = item.view.end - item.view.l3;
        let limit = if self.rules.mtu == 0 { 0xffff } else { self.rules.mtu };
        let more = overhead(way, v4);
        if size + more > limit as usize {
            let most = limit.saturating_sub(more as u32);
            return Some(Refusal::told(DropReason::FragmentationNeeded, Answer::TooBig(most)));
        }
        None
    }

    /// What keeps a packet from going on with its connection.
    pub(super) fn obstacles(&mut self, seen: &Seen<'_>, item: &Item) -> Vec<Refusal> {
        let Some((flow, direction)) = self.flow_of(item) else { return Vec::new() };
        let mut ways = Vec::new();
        let exit = flow.exit[direction];
        if item.view.ttl <= 1 && exit.is_none_or(|exit| seen.is_hop(exit)) {
            ways.push(Refusal::told(DropReason::TtlExceeded, Answer::TimeExceeded));
        }
        let telling = self.telling(flow.way, direction, item, false);
        ways.extend(self.untold(item, telling));
        ways
    }

    fn flow_of(&self, item: &Item) -> Option<(Flow, usize)> {
        let found = self.flows.find(&item.five);
        if let Some((_, direction, flow)) = found {
            return Some((flow.clone(), direction));
        }
        let (_, other, flow) = self.flows.find(&item.five.reverse())?;
        Some((flow.clone(), 1 - other))
    }

    /// A packet of a connection that is there.
    pub(super) fn go_on(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        let obstacles = self.obstacles(seen, item);
        let adopted = self.flows.find(&item.five).is_none();
        let (number, direction) = match self.flows.find(&item.five) {
            Some((number, direction, _)) => (number, direction),
            None => match self.flows.find(&item.five.reverse()) {
                Some((number, other, _)) => (number, 1 - other),
                None => return Err("no connection".into()),
            },
        };
        if adopted {
            self.saw("K-7 a half is made from the other one");
            self.flows.restore(number, direction);
        }
        let exit = self.exit_of(seen, number, direction)?;
        if let Some(refusal) = obstacles.first()
            && (refusal.answer != Some(Answer::TimeExceeded) || seen.is_hop(exit))
        {
            return Err(format!("to be refused with {refusal:?}, and left"));
        }
        let Some(flow) = self.flows.get_mut(number).cloned() else { return Ok(()) };
        let wanted = if direction == 0 { Status::Established } else { Status::Reply };
        if seen.decision.status() != wanted {
            return Err(format!("{:?} instead of {wanted:?}", seen.decision.status()));
        }
        let to = if flow.translates(direction) { flow.leaves[direction] } else { item.five };
        self.count_rewrite(&flow, direction, item);
        self.leaves(seen, item, number, direction, &to, exit, false)?;
        let idle = seen.now.saturating_sub(flow.last[direction]);
        let version = self.rules.version;
        let changed = flow.version != version;
        if let Some(flow) = self.flows.get_mut(number) {
            flow.learn(&item.view, direction);
            flow.last[direction] = seen.now;
            if adopted {
                flow.uneven = true;
            } else {
                flow.last[1 - direction] = seen.now;
                flow.uneven &= idle < GRACE || seen.hook == Hook::Xdp;
            }
            if direction == 0 {
                flow.version = version;
            }
        }
        if idle > flow.timeout() {
            self.saw("U-5 T-5 within the second by which it may be late");
        } else if idle > 100_000_000_000 {
            self.saw("U-5 T-5 a connection outlives a long silence");
        }
        if direction == 0 && changed && flow.service.is_some() {
            self.saw("K-1 a connection keeps its backend through a change");
        }
        self.other_half(seen, item, number, direction, idle)?;
        self.agrees(seen)
    }

    fn count_rewrite(&mut self, flow: &Flow, direction: usize, item: &Item) {
        let both = flow.leaves[direction].source != flow.key[direction].source
            && flow.leaves[direction].destination != flow.key[direction].destination;
        let family = if item.five.is_v4() { "IPv4" } else { "IPv6" };
        let what = match (flow.direct, flow.translates(direction), both) {
            (true, ..) => "of a connection that another node told of",
            (_, false, _) => "not translated",
            (_, true, true) => "translated at both ends",
            (_, true, false) => "translated at one end",
        };
        let direction = if direction == 0 { "original" } else { "reply" };
        let kind = match item.view.kind {
            Kind::Tcp(_) => "TCP",
            Kind::Udp => "UDP",
            Kind::Sctp => "SCTP",
            Kind::Echo(_) => "echo",
            _ => "fragment",
        };
        self.saw(&format!("C-14 {family} {kind} {direction} {what}"));
    }

    /// A lost half comes back with a packet of the other one, once in a second at the latest (K-7).
    fn other_half(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        number: u64,
        direction: usize,
        idle: u64,
    ) -> Result<(), String> {
        let other = 1 - direction;
        if self.flows.has(number, other) {
            return Ok(());
        }
        let Some(flow) = self.flows.get_mut(number).cloned() else { return Ok(()) };
        let key = flow.key[other];
        let found = seen.new.iter().find(|(tuple, _)| Five::from(tuple) == key);
        let is_ours = found.is_some_and(|(_, half)| Five::from(&half.to) == flow.leaves[other]);
        let syn = item.view.opens();
        let stranger = self.flows.find(&key).map(|(owner, place, flow)| {
            // T-2: what asks for a connection may have the tuple of one that was closed.
            let gone = flow.yields(place)
                || flow.life(place, seen.now) != Life::Sure
                || (syn && flow.is_closing());
            (owner, gone)
        });
        match (is_ours, stranger) {
            (true, Some((_, false))) => return Err("a half pushed out a live stranger".into()),
            (true, owner) => {
                self.saw("K-7 a lost half is restored");
                if let Some((owner, _)) = owner {
                    self.flows.close(owner);
                }
                self.flows.restore(number, other);
                if let Some(flow) = self.flows.get_mut(number) {
                    flow.exit[other] = Some(seen.back());
                }
            }
            (false, None) if idle >= GRACE && seen.hook != Hook::Xdp => {
                return Err("a lost half was not restored (K-7)".into());
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// Whether a packet of a connection left as it must.
    #[expect(clippy::too_many_arguments, reason = "one packet, said in full")]
    pub(super) fn leaves(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        number: u64,
        direction: usize,
        to: &Five,
        exit: Exit,
        opens: bool,
    ) -> Result<(), String> {
        let Some(flow) = self.flows.get_mut(number).cloned() else { return Ok(()) };
        self.left(seen, item, &flow, direction, to, exit, opens)
    }

    #[expect(clippy::too_many_arguments, reason = "one packet, said in full")]
    fn left(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        flow: &Flow,
        direction: usize,
        to: &Five,
        exit: Exit,
        opens: bool,
    ) -> Result<(), String> {
        leaves_by(seen, exit)?;
        let (view, hop) = (&item.view, seen.is_hop(exit));
        let plain = || translated(&item.frame, seen.after, view, to, hop);
        let (way, must) = self.telling(flow.way, direction, item, opens);
        if way == Way::Snat || !Self::can_tell(item, way) {
            return plain();
        }
        let frontend = item.view.five.destination;
        let told = match (way, self.rules.own(view.five.is_v4())) {
            (Way::Option, _) => {
                let told = with_option(&item.frame, view, frontend);
                match read(&told) {
                    Read::Ip(longer) => translated(&told, seen.after, &longer, to, hop),
                    other => Err(format!("no packet with an option: {other:?}")),
                }
            }
            (_, Some(own)) => {
                let ends = (own, flow.leaves[0].destination.0);
                match within_tunnel(&item.frame, seen.after, view, way, ends, frontend) {
                    Some(inner) => translated(&item.frame, &inner, view, to, hop),
                    None => Err(format!("not in a tunnel of {way:?}")),
                }
            }
            (_, None) => Err("no address to send from".into()),
        };
        match told {
            Ok(()) => {
                self.saw(&format!("K-6 told by {way:?}"));
                Ok(())
            }
            Err(why) if must => Err(format!("{why} (K-6)")),
            Err(_) => plain(),
        }
    }

    /// Where a packet that opens a connection may go, and how it may be refused before that is settled.
    fn aims(&self, seen: &Seen<'_>, item: &Item) -> (Vec<Aim>, Vec<Refusal>) {
        let five = item.five;
        let external = seen.is_external();
        let plain = Aim {
            to: five,
            service: None,
            backend: None,
            way: Way::Snat,
            exit: self.way_to(item),
            consistent: false,
            direct: false,
        };
        let refuse = |way| (Vec::new(), vec![way]);
        let aim = |aim| (vec![aim], Vec::new());
        if let Some(told) = item.told {
            let front = self.rules.front(&Five { destination: told, ..five }, true, true);
            let service = front.map(|front| front.name.clone());
            let to = Five { destination: told, ..five };
            return aim(Aim { to, service, direct: true, ..plain });
        }
        if seen.hook == Hook::ToPod {
            return aim(plain);
        }
        let front = match item.chosen {
            Some(_) => self.rules.front(&five, true, true),
            None => self.rules.front(&five, external, !external),
        };
        let Some(front) = front else {
            let to = five.destination.0;
            if self.rules.has_services(to) {
                if external && self.rules.front(&five, false, false).is_some() {
                    return refuse(Refusal::silent(DropReason::IsClusterIp));
                }
                let reason = DropReason::ServicePortNotFound;
                return refuse(Refusal::told(reason, Answer::PortUnreachable));
            }
            if self.rules.is_of_services(to) {
                return refuse(Refusal::silent(DropReason::ServiceAddressNotFound));
            }
            let hides = self.rules.options.masquerade
                && seen.hook == Hook::FromPod
                && self.rules.uplink != 0
                && !self.rules.is_near(to);
            let mut plain = plain;
            if let Some(own) = self.rules.own(five.is_v4()).filter(|_| hides) {
                plain.to.source.0 = own;
                plain.exit = Exit::Device(self.rules.uplink);
            }
            return aim(plain);
        };
        self.served(seen, item, &front, &plain)
    }

    /// Where a frontend's packet may go.
    fn served(
        &self,
        seen: &Seen<'_>,
        item: &Item,
        front: &Front<'_>,
        plain: &Aim,
    ) -> (Vec<Aim>, Vec<Refusal>) {
        let (five, external) = (item.five, seen.is_external());
        let mut ways = Vec::new();
        if Rules::is_out_of_range(front, five.source.0) {
            ways.push(Refusal::silent(DropReason::NotInSourceRange));
            return (Vec::new(), ways);
        }
        let eligible = self.rules.eligible(front, external, five.is_v4());
        let backends = match (item.chosen, eligible.backends.is_empty()) {
            (Some(chosen), _) => vec![chosen],
            (None, true) => {
                let reason = DropReason::ServiceBackendNotFound;
                ways.push(match eligible.elsewhere {
                    true => Refusal::silent(reason),
                    false => Refusal::told(reason, Answer::PortUnreachable),
                });
                return (Vec::new(), ways);
            }
            (None, false) => self.choices(seen, item, front, &eligible.backends),
        };
        let mut aims = Vec::new();
        for backend in backends {
            match self.towards(seen, item, front, plain, backend) {
                Ok(aim) => aims.push(aim),
                Err(reason) => ways.push(Refusal::silent(reason)),
            }
        }
        (aims, ways)
    }

    /// The backends that a new connection may get: that of its client, where there is affinity; that which
    /// any node would choose; else any.
    fn choices(
        &self,
        seen: &Seen<'_>,
        item: &Item,
        front: &Front<'_>,
        eligible: &[End],
    ) -> Vec<End> {
        let stuck = self.stuck(seen, item, front);
        if let Some(backend) = stuck.filter(|backend| eligible.contains(backend)) {
            return vec![backend];
        }
        match self.choices.get(&Self::choice_key(item, front, eligible)) {
            Some(backend) if Rules::is_consistent(front) => vec![*backend],
            _ => eligible.to_vec(),
        }
    }

    /// The backend that a client was given not long ago.
    fn stuck(&self, seen: &Seen<'_>, item: &Item, front: &Front<'_>) -> Option<End> {
        let seconds = u64::from(front.port.affinity?);
        let key = (front.name.clone(), item.five.source.0);
        let (backend, last) = self.affinities.get(&key)?;
        (seen.now < last + seconds * 1_000_000_000).then_some(*backend)
    }

    /// What a consistent choice may depend on.
    pub(super) fn choice_key(item: &Item, front: &Front<'_>, eligible: &[End]) -> super::ChoiceKey {
        let port = if front.port.affinity.is_some() { 0 } else { item.five.source.1 };
        let client = (item.five.source.0, port);
        (front.name.clone(), client, front.frontend.address, eligible.to_vec())
    }

    fn towards(
        &self,
        seen: &Seen<'_>,
        item: &Item,
        front: &Front<'_>,
        plain: &Aim,
        backend: End,
    ) -> Result<Aim, DropReason> {
        let (five, place) = (item.five, self.rules.place(backend.0));
        let exit = match (place, self.rules.uplink, seen.back()) {
            (Place::Pod(device), ..) => Exit::Pod(device),
            (Place::Host, ..) | (_, 0, Exit::Stack | Exit::Pod(_)) => Exit::Stack,
            (_, 0, back) => back,
            (_, uplink, _) => Exit::Device(uplink),
        };
        let mut aim = Aim {
            to: Five { destination: backend, ..five },
            service: Some(front.name.clone()),
            backend: Some(backend),
            exit,
            consistent: Rules::is_consistent(front) || item.chosen.is_some(),
            ..plain.clone()
        };
        if seen.hook == Hook::ToNetdev && place == Place::Host {
            return Err(DropReason::NoHairpinAddress);
        }
        if backend.0 == five.source.0 {
            let hairpin = self.rules.hairpin(five.is_v4());
            aim.to.source.0 = hairpin.ok_or(DropReason::NoHairpinAddress)?;
        } else if seen.is_external() && !self.rules.is_here(backend.0) {
            match self.rules.way(front) {
                way if way != Way::Snat && Self::can_tell(item, way) => aim.way = way,
                _ => {
                    let own = self.rules.own(five.is_v4());
                    aim.to.source.0 = own.ok_or(DropReason::NoMappingForNat)?;
                }
            }
        }
        Ok(aim)
    }

    /// Whether a new connection can have this reply tuple.
    fn free(&self, seen: &Seen<'_>, item: &Item, aim: &Aim, port: u16) -> Free {
        let mut to = aim.to;
        to.source.1 = port;
        let reply = if aim.direct { item.five.reverse() } else { to.reverse() };
        let Some((number, direction, flow)) = self.flows.find(&reply) else { return Free::Sure };
        let own = self.flows.find(&item.five).is_some_and(|(own, ..)| own == number);
        let pair = match (flow.direct, aim.direct) {
            (true, true) => true,
            (false, false) => flow.leaves[direction] == item.five.reverse(),
            _ => false,
        };
        let closing = item.view.opens() && flow.is_closing();
        match flow.life(direction, seen.now) {
            _ if own || pair || flow.yields(direction) => Free::Sure,
            _ if closing && !flow.uneven => Free::Sure,
            Life::Over => Free::Sure,
            Life::Perhaps => Free::Perhaps,
            Life::Sure if flow.uneven => Free::Perhaps,
            Life::Sure => Free::Taken,
        }
    }

    /// Whether a connection leaves with this node's own address, whose ports are the node's, too.
    fn is_ours(&self, aim: &Aim) -> bool {
        self.rules.own(aim.to.is_v4()) == Some(aim.to.source.0)
    }

    /// Whether the opener's own port may stay.
    fn may_keep(&self, item: &Item, aim: &Aim) -> bool {
        let port = item.five.source.1;
        !self.is_ours(aim)
            || aim.to.source.0 == item.five.source.0
            || matches!(item.view.kind, Kind::Echo(_) | Kind::Sctp)
            || (self.rules.options.snat_ports.contains(&port) && !self.rules.is_reserved(port))
    }

    /// Whether packets came round by the stack, translated already, and need no connection of their own.
    fn came_round(&self, seen: &Seen<'_>, item: &Item) -> bool {
        match seen.hook {
            Hook::ToPod => true,
            Hook::ToNetdev => self.rules.place(item.five.source.0) != Place::Host,
            _ => false,
        }
    }

    /// The same connection through this node after all, as its own tuple is taken at the backend.
    fn shared(&self, aim: &Aim) -> Option<Aim> {
        let mut shared = Aim { way: Way::Snat, ..aim.clone() };
        shared.to.source.0 = self.rules.own(aim.to.is_v4())?;
        (aim.way != Way::Snat).then_some(shared)
    }

    /// Every way in which a packet that opens a connection may be refused.
    pub(super) fn refusals(&self, seen: &Seen<'_>, item: &Item) -> Vec<Refusal> {
        let (aims, mut refusals) = self.aims(seen, item);
        for aim in &aims {
            refusals.extend(self.hindrances(seen, item, aim));
            let keeps = self.may_keep(item, aim)
                && self.free(seen, item, aim, item.five.source.1) == Free::Sure;
            let silent = |reason| Refusal::silent(reason);
            if (aim.direct || is_echo_reply(item)) && !keeps {
                refusals.push(silent(DropReason::ConntrackTupleConflict));
            }
            if item.five.protocol == SCTP && !keeps {
                refusals.push(silent(DropReason::ChecksumCannotFollow));
            }
            if !keeps && self.is_crowded(seen, item, aim) {
                refusals.push(silent(DropReason::NoMappingForNat));
            }
            if (!keeps && self.came_round(seen, item) || item.view.flags() & 4 != 0)
                && self.rules.has_services(item.view.five.destination.0)
            {
                refusals.push(silent(DropReason::ServicePortNotFound));
            }
        }
        refusals
    }

    /// What surely keeps a packet from opening a connection that goes there.
    fn hindrances(&self, seen: &Seen<'_>, item: &Item, aim: &Aim) -> Vec<Refusal> {
        let mut ways = Vec::new();
        let reset = item.view.flags() & 4 != 0;
        if reset && aim.service.is_some() && !aim.consistent && !aim.direct {
            ways.push(Refusal::silent(DropReason::CannotCreateFromPacket));
        }
        if item.view.ttl <= 1 && seen.is_hop(aim.exit) {
            ways.push(Refusal::told(DropReason::TtlExceeded, Answer::TimeExceeded));
        }
        if item.five.protocol == SCTP {
            let same = aim.to.destination.1 == item.five.destination.1;
            ways.extend((!same).then_some(Refusal::silent(DropReason::ChecksumCannotFollow)));
        }
        let telling = self.telling(aim.way, 0, item, true);
        ways.extend(self.untold(item, telling));
        ways
    }

    /// Whether so few ports are left that a search may miss them.
    fn is_crowded(&self, seen: &Seen<'_>, item: &Item, aim: &Aim) -> bool {
        let crowded = |aim: &Aim| {
            let (ours, ports) = (self.is_ours(aim), self.rules.options.snat_ports.clone());
            let count = ports.len();
            // A scenario opens some hundred connections.
            count < 2_000 && {
                let usable = |port: &u16| {
                    !(ours && self.rules.is_reserved(*port))
                        && self.free(seen, item, aim, *port) == Free::Sure
                };
                ports.filter(usable).count() * 4 < count
            }
        };
        crowded(aim) || self.shared(aim).is_some_and(|shared| crowded(&shared))
    }

    /// A packet that opens a connection.
    pub(super) fn open(&mut self, seen: &Seen<'_>, item: &Item) -> Result<Opened, String> {
        let entry = seen.new.iter().find(|(key, _)| Five::from(key) == item.five);
        let Some((_, half)) = entry else {
            return Err("opened, and there is no half of it".into());
        };
        let to = Five::from(&half.to);
        let (aims, refusals) = self.aims(seen, item);
        let mut why = vec![format!("{:?} opened towards {to:?}", item.five)];
        if aims.is_empty() {
            why.push(format!("to be refused as {:?}", refusals));
        }
        for aim in &aims {
            let shared = self
                .shared(aim)
                .filter(|_| self.free(seen, item, aim, item.five.source.1) != Free::Sure);
            for (aim, is_shared) in [(Some(aim.clone()), false), (shared, true)] {
                let Some(aim) = aim else { continue };
                match self.fits(seen, item, &aim, &to, is_shared) {
                    Ok(()) => {
                        self.opened(seen, item, &aim, &to, is_shared)?;
                        return Ok(Opened::Done);
                    }
                    Err(error) => why.push(format!("not {:?}: {error}", aim.to.destination)),
                }
            }
        }
        Err(why.join("\n  "))
    }

    /// Whether a connection that goes to this aim may leave with this tuple.
    fn fits(
        &self,
        seen: &Seen<'_>,
        item: &Item,
        aim: &Aim,
        to: &Five,
        is_shared: bool,
    ) -> Result<(), String> {
        if aim.to.destination != to.destination || aim.to.source.0 != to.source.0 {
            return Err(format!("it leaves with {to:?} and not {:?}", aim.to));
        }
        if let Some(way) = self.hindrances(seen, item, aim).first() {
            return Err(format!("to be refused with {way:?}"));
        }
        if item.view.flags() & 4 != 0 && !aim.consistent {
            return Err("a reset opened a connection".into());
        }
        let (own, port) = (item.five.source.1, to.source.1);
        let keep = self.may_keep(item, aim);
        let free = self.free(seen, item, aim, own);
        if port == own {
            if !keep {
                return Err(format!("port {own} may not stay (U-3b)"));
            }
            if free == Free::Taken {
                return Err(format!("another connection has the reply tuple of port {own} (U-3)"));
            }
            return Ok(());
        }
        if keep && free == Free::Sure {
            return Err(format!("port {own} was changed for no reason (U-1)"));
        }
        if aim.direct || item.five.protocol == SCTP || is_echo_reply(item) {
            return Err("a port changed that cannot".into());
        }
        if aim.way != Way::Snat && !is_shared {
            return Err("a port changed that a backend answers to".into());
        }
        if !self.rules.options.snat_ports.contains(&port) {
            return Err(format!("port {port} is not of the range"));
        }
        if self.is_ours(aim) && self.rules.is_reserved(port) {
            return Err(format!("port {port} is the node's own (U-3b)"));
        }
        if self.free(seen, item, aim, port) == Free::Taken {
            return Err(format!("another connection has the reply tuple of port {port} (U-3)"));
        }
        Ok(())
    }

    /// Writes down a connection that was opened as it may.
    fn opened(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        aim: &Aim,
        to: &Five,
        is_shared: bool,
    ) -> Result<(), String> {
        let five = item.five;
        let (reply, back) = match aim.direct {
            true => (five.reverse(), to.reverse()),
            false => (to.reverse(), five.reverse()),
        };
        let mut flow = Flow::new(&item.view, [five, reply], [*to, back], seen.now);
        flow.direct = aim.direct;
        flow.service.clone_from(&aim.service);
        flow.backend = aim.backend;
        flow.way = aim.way;
        flow.exit = [Some(aim.exit), Some(seen.back())];
        flow.version = self.rules.version;
        if aim.way != Way::Snat || is_shared {
            flow.forget(!is_shared);
        }
        let leaves = if flow.translates(0) { *to } else { five };
        self.count_rewrite(&flow, 0, item);
        self.count_opened(seen, item, aim, to, is_shared);
        self.left(seen, item, &flow, 0, &leaves, aim.exit, true)?;
        if let Some((number, ..)) = self.flows.find(&five) {
            self.flows.close(number);
        }
        if let Some((number, direction, owner)) = self.flows.find(&reply) {
            let pair = if aim.direct { owner.direct } else { owner.leaves[direction] == back };
            if !pair {
                self.saw("U-3 a connection gives way to another");
                self.flows.close(number);
            }
        }
        self.flows.add(flow);
        self.remember(seen, item, aim);
        self.agrees(seen)
    }

    /// What a choice says of later ones.
    fn remember(&mut self, seen: &Seen<'_>, item: &Item, aim: &Aim) {
        let (Some(backend), None) = (aim.backend, item.chosen) else { return };
        let external = seen.is_external();
        let Some(front) = self.rules.front(&item.five, external, !external) else { return };
        let eligible = self.rules.eligible(&front, external, item.five.is_v4()).backends;
        let client = (front.name.clone(), item.five.source.0);
        let key = Self::choice_key(item, &front, &eligible);
        let (consistent, affinity) = (Rules::is_consistent(&front), front.port.affinity);
        let stuck = self.stuck(seen, item, &front) == Some(backend);
        if stuck {
            self.saw("affinity: a client keeps its backend");
        } else if consistent && self.choices.insert(key, backend).is_some() {
            self.saw("Maglev: the same choice again");
        }
        if affinity.is_some() {
            self.affinities.insert(client, (backend, seen.now));
        }
    }

    fn count_opened(&mut self, seen: &Seen<'_>, item: &Item, aim: &Aim, to: &Five, shared: bool) {
        if to.source.1 != item.five.source.1 {
            self.saw(match self.is_ours(aim) {
                true => "U-3b a port of the node's is drawn",
                false => "U-3 a port is drawn where two backends' tuples meet",
            });
        }
        if shared {
            self.saw("K-6 SNAT where a tuple is taken at the backend");
        }
        if self.rules.hairpin(to.is_v4()) == Some(to.source.0) {
            self.saw("U-9 T-8 hairpin");
        }
        if item.chosen.is_some() {
            self.saw("K-6 a tunnel says the backend");
        }
        if aim.direct {
            self.saw("K-6 another node told of the frontend");
        }
        if aim.service.is_some() && seen.is_external() {
            let there = aim.backend.is_some_and(|(address, _)| self.rules.is_here(address));
            self.saw(if there { "north-south, here" } else { "north-south, elsewhere" });
        }
        if let Some((_, direction, flow)) = self.flows.find(&item.five) {
            let why = match flow.life(direction, seen.now) {
                Life::Over | Life::Perhaps => "U-5 T-5 a connection that was over begins anew",
                Life::Sure if flow.is_closing() => "T-2 a tuple that was closed is used again",
                Life::Sure => "K-2 a connection chooses again",
            };
            self.saw(why);
        }
        if aim.service.is_none() && to.source.0 != item.five.source.0 {
            self.saw("masquerade");
        }
    }

    /// A packet that left without a connection where one might have been opened.
    pub(super) fn untracked(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        let (aims, refusals) = self.aims(seen, item);
        let reset = item.view.flags() & 4 != 0;
        let may = |aim: &Aim| {
            let plain = aim.service.is_none() || aim.direct;
            let own = self.free(seen, item, aim, item.five.source.1);
            let round = self.came_round(seen, item) && own != Free::Sure;
            (reset && plain) || round
        };
        if !aims.iter().any(may) {
            return Err(format!("{:?} left without a connection; {:?}", item.five, refusals));
        }
        self.saw("a packet that came round, or a plain reset, passes");
        self.passed(seen, item)
    }
}

/// Whether a packet has no identifier of its own sender's to change, but the asker's.
fn is_echo_reply(item: &Item) -> bool {
    item.view.kind == Kind::Echo(false) && item.five.destination.1 != 0
}
