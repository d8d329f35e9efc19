//! The relation: whether what a hook did with a packet is among what it may do.

use std::collections::BTreeMap;

use twinpath_core::conntrack::Flow as Half;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex, Status, Verdict};

use super::Model;
use super::expect::{self, Answer, Quote};
use super::flow::Exit;
use super::open::Opened;
use super::rules::{Place, is_of_link};
use super::wire::{End, Five, Kind, Part, Read, View, read};

/// A packet that met a hook, and what came of it.
pub(super) struct Seen<'a> {
    pub(super) hook: Hook,
    pub(super) device: IfIndex,
    pub(super) marked: bool,
    pub(super) now: Nanos,
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    pub(super) decision: Decision,
    /// The conntrack table before and after.
    pub(super) old: &'a [(Tuple, Half)],
    pub(super) new: &'a [(Tuple, Half)],
}

impl Seen<'_> {
    /// Whether the packet comes from outside the cluster, as far as the hook knows.
    pub(super) const fn is_external(&self) -> bool {
        matches!(self.hook, Hook::FromNetdev | Hook::Xdp)
    }

    /// The way that this packet came.
    pub(super) const fn back(&self) -> Exit {
        match self.hook {
            Hook::FromPod => Exit::Pod(self.device),
            Hook::FromNetdev | Hook::Xdp => Exit::Device(self.device),
            Hook::ToPod | Hook::ToNetdev => Exit::Stack,
        }
    }

    /// How a packet of which this is the way leaves from here: to a pod's device, it is on its way.
    pub(super) fn settled(&self, exit: Exit) -> Exit {
        if self.hook == Hook::ToPod { Exit::Stack } else { exit }
    }

    /// Whether it takes a hop of the time to live: not where the stack does, nor for the node's own.
    pub(super) fn is_hop(&self, exit: Exit) -> bool {
        self.settled(exit) != Exit::Stack && self.hook != Hook::ToNetdev
    }

    fn is_unmoved(&self) -> bool {
        self.old == self.new
    }
}

/// A packet as it is to be treated.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) frame: Vec<u8>,
    pub(super) view: View,
    /// With the ports of its datagram, if it is a later fragment.
    pub(super) five: Five,
    /// The frontend that another node has told of.
    pub(super) told: Option<End>,
    /// The backend that another node has chosen.
    pub(super) chosen: Option<End>,
}

impl Item {
    pub(super) const fn new(frame: Vec<u8>, view: View) -> Self {
        Self { frame, view, five: view.five, told: None, chosen: None }
    }
}

/// A way in which a packet goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) reason: DropReason,
    /// What its sender is told.
    pub(super) answer: Option<Answer>,
}

impl Refusal {
    pub(super) const fn silent(reason: DropReason) -> Self {
        Self { reason, answer: None }
    }

    pub(super) const fn told(reason: DropReason, answer: Answer) -> Self {
        Self { reason, answer: Some(answer) }
    }
}

/// For how long later fragments follow their first (U-14).
const REASSEMBLY: Nanos = 30_000_000_000;
/// How many answers of a kind there may be at once (M-4).
const BURST: u64 = 1_000;

impl Model {
    /// Judges a packet, and learns from it.
    pub(super) fn judge(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let stack = matches!(seen.hook, Hook::ToPod | Hook::ToNetdev);
        if seen.marked && self.rules.options.mark != 0 && stack {
            self.saw("a marked packet passes");
            return untouched(seen);
        }
        if seen.hook == Hook::Xdp && seen.decision.verdict() == Verdict::Pass {
            self.saw("XDP leaves a packet alone");
            return untouched(seen);
        }
        let view = match read(seen.before) {
            Read::Foreign => {
                self.saw("no IP");
                return untouched(seen);
            }
            Read::Bad(why) => {
                self.saw(&format!("K-5 {why} is dropped"));
                return dropped(seen, why);
            }
            Read::Ip(view) => view,
        };
        if is_of_link(view.five.destination.0) {
            self.saw("what is for a link or a group is the stack's");
            return untouched(seen);
        }
        let item = match seen.hook {
            Hook::FromNetdev => match self.unwrapped(seen.before, view) {
                Ok(item) => item,
                Err(why) => {
                    self.saw("K-6 what is told wrongly is dropped");
                    return dropped(seen, why);
                }
            },
            _ => Item::new(seen.before.to_vec(), view),
        };
        self.sort(seen, item)
    }

    /// The tuple of the datagram that a later fragment is of, as its first one had it, and what that was.
    pub(super) fn first_of(&self, view: &View) -> Option<(Five, Kind)> {
        let (first, kind, at) = self.fragments.get(&datagram(view))?;
        (self.now.saturating_sub(*at) < REASSEMBLY).then_some((*first, *kind))
    }

    fn sort(&mut self, seen: &Seen<'_>, mut item: Item) -> Result<(), String> {
        let view = item.view;
        if view.part == Part::First {
            self.fragments.insert(datagram(&view), (view.five, view.kind, seen.now));
        }
        if view.part == Part::Later {
            match self.first_of(&view) {
                Some((_, Kind::Error | Kind::Icmp | Kind::Other)) => {
                    self.saw("U-14 a later fragment has no connection, as its first");
                    return self.passed(seen, &item);
                }
                Some((first, _)) => {
                    self.saw("U-14 a later fragment follows its first");
                    item.five = first;
                }
                None if self.rules.place(view.five.destination.0) == Place::Host => {
                    self.saw("U-14 a fragment for the node itself passes");
                    return self.passed(seen, &item);
                }
                None => {
                    self.saw("U-14 a fragment before its first is dropped");
                    return dropped(seen, "a fragment that nobody can place");
                }
            }
        }
        let services = self.rules.has_services(view.five.destination.0);
        match view.kind {
            Kind::Echo(true) if view.part == Part::Whole && services => self.echo(seen, &item),
            Kind::Tcp(_) | Kind::Udp | Kind::Sctp | Kind::Echo(_) | Kind::Later => {
                self.tracked(seen, &item)
            }
            Kind::Error => self.error(seen, &item),
            Kind::Icmp | Kind::Other => self.passed(seen, &item),
        }
    }

    /// The way to an address that no connection says more about.
    pub(super) fn way_to(&self, item: &Item) -> Exit {
        match self.rules.place(item.view.five.destination.0) {
            Place::Pod(device) => Exit::Pod(device),
            _ => Exit::Stack,
        }
    }

    /// A packet without connection.
    pub(super) fn passed(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        if self.rules.has_services(item.view.five.destination.0) {
            self.saw("K-3 an untranslated packet to a frontend goes no further");
            return self.refused(seen, item, &[Refusal::silent(DropReason::ServicePortNotFound)]);
        }
        let exit = self.way_to(item);
        if seen.is_hop(exit) && item.view.ttl <= 1 {
            let refusal = Refusal::told(DropReason::TtlExceeded, Answer::TimeExceeded);
            return self.refused(seen, item, &[refusal]);
        }
        self.saw("I-11 a packet without connection passes");
        if seen.decision.status() != Status::Untracked {
            return Err("a packet without connection has one".into());
        }
        let tracked = !matches!(item.view.kind, Kind::Error | Kind::Icmp | Kind::Other);
        self.left_nothing(seen, item, tracked)?;
        leaves_by(seen, exit)?;
        let hop = seen.is_hop(exit);
        expect::translated(&item.frame, seen.after, &item.view, &item.view.five, hop)
    }

    fn echo(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        if !seen.is_unmoved() {
            return Err("an echo request to a frontend left a trace in conntrack".into());
        }
        let answers = self.answered.get(&3).copied().unwrap_or(0);
        match seen.decision.verdict() {
            Verdict::Answer if self.may_answer(item) && !item.view.has_options() => {
                self.saw("I-1 a frontend answers an echo");
                *self.answered.entry(3).or_default() += 1;
                expect::echoed(&item.frame, seen.after, &item.view)
            }
            Verdict::Drop(DropReason::ServicePortNotFound)
                if !self.may_answer(item) || item.view.has_options() || answers >= BURST =>
            {
                self.saw("I-1 an echo that may not be answered is dropped");
                Ok(())
            }
            other => Err(format!("an echo request to a frontend: {other:?}")),
        }
    }

    /// Whether the sender of a packet may be told anything (M-1).
    pub(super) fn may_answer(&self, item: &Item) -> bool {
        let source = item.view.five.source.0;
        let many = item.frame.first().is_none_or(|byte| byte & 1 != 0);
        item.view.tags == 0
            && item.told.is_none()
            && !matches!(item.view.kind, Kind::Error | Kind::Icmp)
            && item.view.part != Part::Later
            && !many
            && !source.is_loopback()
            && !is_of_link(source)
    }

    /// Whether a packet was refused in one of these ways.
    pub(super) fn refused(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        ways: &[Refusal],
    ) -> Result<(), String> {
        let decision = seen.decision;
        let wrong = || {
            let view = &item.view;
            Err(format!(
                "{:?} {:?} -> {:?} was to be refused as one of {ways:?} and got {decision:?}",
                view.kind, item.five.source, item.five.destination
            ))
        };
        if decision.status() != Status::Untracked {
            return wrong();
        }
        let (reason, answered) = match decision.verdict() {
            Verdict::Drop(reason) => (reason, false),
            Verdict::Reject(reason) => (reason, true),
            _ => return wrong(),
        };
        let Some(way) = ways.iter().find(|way| way.reason == reason) else { return wrong() };
        self.saw(&format!("refused: {}", reason.name()));
        let limited = |slot| self.answered.get(&slot).copied().unwrap_or(0) >= BURST;
        match (way.answer, answered) {
            (None, false) => Ok(()),
            (None, true) => wrong(),
            (Some(answer), true) if self.may_answer(item) => {
                *self.answered.entry(slot(answer)).or_default() += 1;
                self.saw("M-1 to M-5 a refusal is told");
                let v4 = item.view.five.is_v4();
                let sent_to = item.view.five.destination.0;
                let from = match answer {
                    Answer::TimeExceeded => self.rules.own(v4).unwrap_or(sent_to),
                    _ => sent_to,
                };
                let wanted = expect::refusal(&item.frame, &item.view, answer, from);
                if wanted == seen.after {
                    return Ok(());
                }
                Err(format!("the answer is {:02x?} instead of {wanted:02x?}", seen.after))
            }
            (Some(_), true) => Err("a packet was answered that may not be (M-1)".into()),
            (Some(answer), false) if !self.may_answer(item) || limited(slot(answer)) => {
                self.saw("M-1 a refusal is not told where it may not be");
                Ok(())
            }
            (Some(_), false) => wrong(),
        }
    }

    /// An ICMP error. It tells a connection nothing (I-6, U-12, T-10).
    fn error(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        if !seen.is_unmoved() {
            return Err("an ICMP error changed conntrack (I-6, U-12)".into());
        }
        if item.view.part != Part::Whole {
            return self.passed(seen, item);
        }
        let quote = match expect::quote(&item.frame, &item.view) {
            Ok(Some(quote)) => quote,
            Ok(None) => return self.passed(seen, item),
            Err(why) => {
                self.saw(&format!("I-3a {why} is dropped"));
                return dropped(seen, why);
            }
        };
        let key = quote.five.reverse();
        use super::flow::Life;
        let Some((number, direction, flow)) = self.flows.find(&key) else {
            self.saw("I-4 an error about no connection");
            return self.passed(seen, item);
        };
        let flow = flow.clone();
        match flow.life(direction, seen.now) {
            Life::Over => self.passed(seen, item),
            Life::Sure => self.related(seen, item, &quote, number, direction),
            Life::Perhaps => self
                .related(seen, item, &quote, number, direction)
                .or_else(|_| self.passed(seen, item)),
        }
    }

    /// An ICMP error about a packet of a connection whose answers go in this direction.
    fn related(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        quote: &Quote,
        number: u64,
        direction: usize,
    ) -> Result<(), String> {
        if item.view.five.destination.0 != quote.five.source.0 {
            self.saw("I-4 an error for another than the sender is dropped");
            return dropped(seen, "an error for another than the quoted sender");
        }
        let Some(flow) = self.flows.get_mut(number).map(|flow| flow.clone()) else {
            return Ok(());
        };
        let exit = self.exit_of(seen, number, direction)?;
        let hop = seen.is_hop(exit);
        if hop && item.view.ttl <= 1 {
            let ways = [
                Refusal::silent(DropReason::TtlExceeded),
                Refusal::told(DropReason::TtlExceeded, Answer::TimeExceeded),
            ];
            return self.refused(seen, item, &ways);
        }
        if !flow.translates(direction) {
            let telling = self.telling(flow.way, direction, item, false);
            if let Some(refusal) = self.untold(item, telling) {
                self.saw("I-4 K-3 an error that cannot go through the tunnel is dropped");
                return self.refused(seen, item, &[refusal]);
            }
            self.saw("I-4 an error of an untranslated connection goes on as it is");
            let five = item.view.five;
            return self.leaves(seen, item, number, direction, &five, exit, false);
        }
        leaves_by(seen, exit)?;
        let to = flow.leaves[direction];
        let source = item.view.five.source.0;
        let hidden =
            source == quote.five.destination.0 || matches!(self.rules.place(source), Place::Pod(_));
        let mut outer = item.view.five;
        outer.destination.0 = to.destination.0;
        if hidden {
            outer.source.0 = to.source.0;
            self.saw("I-5 an error from an end comes under the name that it is known by");
        } else {
            self.saw("I-5 a router stays who it is");
        }
        self.saw("I-4 I-12 I-13 an error is restored with what it quotes");
        let inner = to.reverse();
        expect::restored(&item.frame, seen.after, &item.view, quote, &inner, &outer, hop)
    }

    /// The way that packets of a half leave; learnt from this one where nobody knows.
    pub(super) fn exit_of(
        &mut self,
        seen: &Seen<'_>,
        number: u64,
        direction: usize,
    ) -> Result<Exit, String> {
        let Some(flow) = self.flows.get_mut(number) else { return Err("no such flow".into()) };
        if let Some(exit) = flow.exit[direction] {
            return Ok(exit);
        }
        let exit = match seen.decision.verdict() {
            Verdict::Pass => Exit::Stack,
            Verdict::Deliver(device) => Exit::Pod(device),
            Verdict::Forward(device) => Exit::Device(device),
            // Nobody knows whether there was a hop to take.
            _ => return Ok(Exit::Device(0)),
        };
        if seen.hook != Hook::ToPod && seen.hook != Hook::ToNetdev {
            flow.exit[direction] = Some(exit);
        }
        Ok(exit)
    }

    /// A packet that belongs to a connection, or opens one.
    fn tracked(&mut self, seen: &Seen<'_>, item: &Item) -> Result<(), String> {
        let stance = self.stance(seen, item);
        let about = || {
            format!(
                "{:?} {:?} -> {:?}: {:?}",
                item.view.kind, item.five.source, item.five.destination, seen.decision
            )
        };
        match (seen.decision.verdict(), seen.decision.status()) {
            (Verdict::Drop(_) | Verdict::Reject(_) | Verdict::Answer, _) => {
                let mut ways = Vec::new();
                if stance.may_go_on() {
                    ways.extend(self.obstacles(seen, item));
                }
                if stance.may_open() {
                    ways.extend(self.refusals(seen, item));
                }
                self.refused(seen, item, &ways)?;
                self.left_nothing(seen, item, stance.may_open())
            }
            (_, Status::Established | Status::Reply) => {
                if !stance.may_go_on() {
                    return Err(format!("no connection is there to go on with: {}", about()));
                }
                self.go_on(seen, item)
            }
            (_, Status::New | Status::Reopened) => {
                if !stance.may_open() {
                    return Err(format!("the connection lives and goes on (K-1): {}", about()));
                }
                match self.open(seen, item)? {
                    Opened::Done => Ok(()),
                }
            }
            (_, Status::Untracked) => {
                if !stance.may_open() {
                    return Err(format!("the connection lives and goes on (K-1): {}", about()));
                }
                self.untracked(seen, item)
            }
        }
    }

    /// Whether a packet that went no further left nothing in conntrack: at most, what was over of its own
    /// connection is gone.
    pub(super) fn left_nothing(
        &mut self,
        seen: &Seen<'_>,
        item: &Item,
        may_end: bool,
    ) -> Result<(), String> {
        if seen.is_unmoved() {
            return Ok(());
        }
        let kept = |halves: &[(Tuple, Half)]| -> BTreeMap<Five, (Five, Half)> {
            halves
                .iter()
                .map(|(key, half)| (Five::from(key), (Five::from(&half.to), half.clone())))
                .collect()
        };
        let (mut old, new) = (kept(seen.old), kept(seen.new));
        let own = self.flows.find(&item.five).map(|(number, _, flow)| (number, flow.key));
        if let Some((number, keys)) = own.filter(|_| may_end) {
            for (direction, key) in keys.iter().enumerate() {
                if self.flows.has(number, direction) && !new.contains_key(key) {
                    old.remove(key);
                    self.flows.evict(key);
                }
            }
            if old == new {
                self.saw("a dropped packet takes with it what was over");
                return Ok(());
            }
        }
        Err("a packet that went no further changed conntrack".into())
    }

    /// Whether the table has what the model has, and nothing else (K-7, U-3).
    pub(super) fn agrees(&self, seen: &Seen<'_>) -> Result<(), String> {
        let found: BTreeMap<Five, Five> =
            seen.new.iter().map(|(key, half)| (key.into(), (&half.to).into())).collect();
        let wanted = self.flows.halves();
        if found == wanted {
            return Ok(());
        }
        let only = |a: &BTreeMap<Five, Five>, b: &BTreeMap<Five, Five>| -> String {
            let entries = a.iter().filter(|(key, to)| b.get(*key) != Some(*to));
            entries.map(|(key, to)| format!("\n    {key:?} leaves with {to:?}")).collect()
        };
        Err(format!(
            "conntrack has{}\n  and ought to have{}",
            only(&found, &wanted),
            only(&wanted, &found)
        ))
    }
}

const fn slot(answer: Answer) -> u32 {
    match answer {
        Answer::PortUnreachable => 0,
        Answer::TimeExceeded => 1,
        Answer::TooBig(_) => 2,
    }
}

/// What the fragments of a datagram have in common.
const fn datagram(view: &View) -> super::Datagram {
    ((view.five.source.0, 0), (view.five.destination.0, 0), view.id, view.five.protocol)
}

/// Whether a packet was left to the stack as it was.
fn untouched(seen: &Seen<'_>) -> Result<(), String> {
    if seen.decision != Decision::untracked(Verdict::Pass) {
        return Err(format!("to be left alone, and got {:?}", seen.decision));
    }
    if seen.before != seen.after {
        return Err("to be left alone, and was changed".into());
    }
    if !seen.is_unmoved() {
        return Err("to be left alone, and left a trace in conntrack".into());
    }
    Ok(())
}

/// Whether a packet was dropped without an answer, and left nothing.
fn dropped(seen: &Seen<'_>, why: &str) -> Result<(), String> {
    if !matches!(seen.decision.verdict(), Verdict::Drop(_)) {
        return Err(format!("{why}: to be dropped, and got {:?}", seen.decision));
    }
    if !seen.is_unmoved() {
        return Err(format!("{why}: dropped, and left a trace in conntrack"));
    }
    Ok(())
}

/// Whether a packet left by this way.
pub(super) fn leaves_by(seen: &Seen<'_>, exit: Exit) -> Result<(), String> {
    let wanted = match seen.settled(exit) {
        Exit::Stack => Verdict::Pass,
        Exit::Pod(device) => Verdict::Deliver(device),
        Exit::Device(device) => Verdict::Forward(device),
    };
    if seen.decision.verdict() == wanted {
        return Ok(());
    }
    Err(format!("{:?} instead of {wanted:?}", seen.decision.verdict()))
}
