//! Scripts as bytes that can be changed anywhere and still mean something.
//!
//! One function for each part goes both ways: with a [`Reader`] it gives what the bytes say, with a
//! [`Writer`] it leaves bytes that say what it is given.

use twinpath::verify::{
    Damage, FaultName, HookName, POD_COUNT, PacketSpec, Protocol, Quote, SERVICE_COUNT, Scenario,
    Sender, Setup, Step, TableName, Target, Way, Wrap,
};

/// Reads or writes.
pub trait Code {
    /// A byte: the next one when reading, 0 behind the end; `value` when writing.
    fn byte(&mut self, value: u8) -> u8;

    /// Two bytes.
    fn word(&mut self, value: u16) -> u16 {
        let [a, b] = value.to_le_bytes();
        u16::from_le_bytes([self.byte(a), self.byte(b)])
    }

    /// Four bytes.
    fn double(&mut self, value: u32) -> u32 {
        u32::from(self.word(value as u16)) | u32::from(self.word((value >> 16) as u16)) << 16
    }

    /// A bit.
    fn flag(&mut self, value: bool) -> bool {
        self.byte(u8::from(value)) & 1 != 0
    }

    /// One of these.
    fn one<T: Copy + PartialEq>(&mut self, value: T, all: &[T]) -> T {
        let place = all.iter().position(|one| *one == value).unwrap_or(0);
        let place = usize::from(self.byte(place as u8)) % all.len();
        all.get(place).copied().unwrap_or(value)
    }
}

/// From bytes.
pub struct Reader<'a>(pub &'a [u8]);

impl Code for Reader<'_> {
    fn byte(&mut self, _: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// To bytes.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Code for Writer {
    fn byte(&mut self, value: u8) -> u8 {
        self.0.push(value);
        value
    }
}

/// Most steps of a script.
const MOST_STEPS: usize = 96;

/// The script that bytes say.
pub fn read(reader: &mut Reader<'_>) -> Scenario {
    let seed = u64::from(reader.word(0));
    let setup = setup(reader, &Setup::default());
    let mut steps = Vec::new();
    while !reader.0.is_empty() && steps.len() < MOST_STEPS {
        steps.push(step(reader, &Step::Evict(0)));
    }
    Scenario::new(seed, setup, steps)
}

/// The bytes of a script; of its seed, the low bits.
pub fn write(writer: &mut Writer, scenario: &Scenario) {
    writer.word(scenario.seed as u16);
    setup(writer, &scenario.setup);
    for one in scenario.steps.iter().take(MOST_STEPS) {
        step(writer, one);
    }
}

fn setup(c: &mut impl Code, setup: &Setup) -> Setup {
    let flags = [setup.masquerade, setup.no_hairpin, setup.no_uplink];
    let [masquerade, no_hairpin, no_uplink] = flags.map(|flag| c.flag(flag));
    Setup {
        masquerade,
        no_hairpin,
        no_uplink,
        ports: ports(c, setup.ports),
        reserved: ports(c, setup.reserved),
        mark: c.one(setup.mark, &[0, 0x2_0000]),
        mtu: c.word(setup.mtu as u16).into(),
        way: c.byte(setup.way) % Way::ALL.len() as u8,
        small: false,
    }
}

fn ports(c: &mut impl Code, ports: Option<(u16, u16)>) -> Option<(u16, u16)> {
    let some = c.flag(ports.is_some());
    let (first, last) = ports.unwrap_or_default();
    some.then(|| (c.word(first), c.word(last)))
}

/// A step: most are packets.
fn step(c: &mut impl Code, step: &Step) -> Step {
    let kind = match step {
        Step::Packet(..) => 0,
        Step::Wait(_) => 10,
        Step::Endpoints(..) => 12,
        Step::Policy(..) => 13,
        Step::Evict(_) => 14,
        Step::Fault(..) => 15,
    };
    let kind = c.byte(kind) % 16;
    match (kind, step) {
        (0..=9, Step::Packet(hook, device, spec)) => place(c, *hook, *device, spec),
        (0..=9, _) => {
            let spec = PacketSpec::new(4, Target::Outside, Protocol::Sctp);
            place(c, HookName::FromPod, 0, &spec)
        }
        (10 | 11, Step::Wait(time)) => Step::Wait(c.double(*time as u32).into()),
        (10 | 11, _) => Step::Wait(c.double(0).into()),
        (12, Step::Endpoints(service, bits)) => {
            Step::Endpoints(numbered(c, *service), c.byte(*bits))
        }
        (12, _) => Step::Endpoints(numbered(c, 0), c.byte(0)),
        (13, Step::Policy(service, bits)) => Step::Policy(numbered(c, *service), c.byte(*bits)),
        (13, _) => Step::Policy(numbered(c, 0), c.byte(0)),
        (15, Step::Fault(table, kind, after)) => fault(c, *table, *kind, *after),
        (15, _) => fault(c, TABLES[0], KINDS[0], 0),
        (_, Step::Evict(n)) => Step::Evict(c.word(*n)),
        _ => Step::Evict(c.word(0)),
    }
}

const TABLES: [TableName; 3] = [TableName::Conntrack, TableName::Affinities, TableName::Fragments];
const KINDS: [FaultName; 4] =
    [FaultName::Full, FaultName::Exists, FaultName::Evicted, FaultName::Stays];

fn fault(c: &mut impl Code, table: TableName, kind: FaultName, after: u8) -> Step {
    Step::Fault(c.one(table, &TABLES), c.one(kind, &KINDS), c.byte(after))
}

/// The number of a service port.
fn numbered(c: &mut impl Code, service: u8) -> u8 {
    c.byte(service) % SERVICE_COUNT
}

const HOOKS: [HookName; 5] =
    [HookName::FromPod, HookName::FromNetdev, HookName::ToNetdev, HookName::ToPod, HookName::Xdp];

fn place(c: &mut impl Code, hook: HookName, device: u32, spec: &PacketSpec) -> Step {
    Step::Packet(c.one(hook, &HOOKS), c.byte(device as u8).into(), packet(c, spec))
}

fn packet(c: &mut impl Code, spec: &PacketSpec) -> PacketSpec {
    PacketSpec {
        family: c.one(spec.family, &[4, 6]),
        sender: c.one(spec.sender, &[Sender::Pod, Sender::Client, Sender::Node]),
        from: c.byte(spec.from) % POD_COUNT,
        to: target(c, spec.to),
        protocol: protocol(c, spec.protocol),
        port: c.word(spec.port),
        payload: c.word(spec.payload) % 1536,
        ttl: c.byte(spec.ttl),
        tags: c.byte(spec.tags) % 4,
        options: c.byte(spec.options),
        fragment: c.flag(spec.fragment.is_some()).then(|| {
            let (offset, more) = spec.fragment.unwrap_or_default();
            (c.word(offset), c.flag(more))
        }),
        quote: c.flag(spec.quote.is_some()).then(|| quote(c, spec.quote)),
        wrap: wrap(c, spec.wrap),
        marked: c.flag(spec.marked),
        damage: (0..c.byte(spec.damage.len() as u8) % 4)
            .map(|n| damage(c, spec.damage.get(usize::from(n))))
            .collect(),
    }
}

fn target(c: &mut impl Code, target: Target) -> Target {
    let (kind, a, b) = match target {
        Target::Service(service) => (0, service, 0),
        Target::ServiceAddress(service, port) => (1, service, port),
        Target::Frontend(service, n) => (2, service, n.into()),
        Target::Pod(pod, port) => (3, pod, port),
        Target::Node(node, port) => (4, node, port),
        Target::Entry(n) => (5, 0, n),
        Target::Half(n) => (6, 0, n),
        Target::Unallocated => (7, 0, 0),
        Target::Outside => (8, 0, 0),
        Target::Multicast => (9, 0, 0),
    };
    let (kind, a, b) = (c.byte(kind) % 10, c.byte(a), c.word(b));
    match kind {
        0 => Target::Service(a % SERVICE_COUNT),
        1 => Target::ServiceAddress(a % SERVICE_COUNT, b),
        2 => Target::Frontend(a % SERVICE_COUNT, b as u8),
        3 => Target::Pod(a % POD_COUNT, b),
        4 => Target::Node(a % 3, b),
        5 => Target::Entry(b),
        6 => Target::Half(b),
        7 => Target::Unallocated,
        8 => Target::Outside,
        _ => Target::Multicast,
    }
}

fn protocol(c: &mut impl Code, protocol: Protocol) -> Protocol {
    let (kind, a) = match protocol {
        Protocol::Tcp(flags) => (0, flags),
        Protocol::Udp(sum) => (1, sum.into()),
        Protocol::Sctp => (2, 0),
        Protocol::Echo(asks) => (3, asks.into()),
        Protocol::Error(kind) => (4, kind),
        Protocol::Icmp(kind) => (5, kind),
        Protocol::Other(number) => (6, number),
    };
    let (kind, a) = (c.byte(kind) % 7, c.byte(a));
    match kind {
        0 => Protocol::Tcp(a),
        1 => Protocol::Udp(a & 1 != 0),
        2 => Protocol::Sctp,
        3 => Protocol::Echo(a & 1 != 0),
        4 => Protocol::Error(a),
        5 => Protocol::Icmp(a),
        _ => Protocol::Other(a),
    }
}

fn quote(c: &mut impl Code, quote: Option<Quote>) -> Quote {
    let blank = Quote { entry: 0, untouched: false, router: false, keep: 28, options: 0 };
    let quote = quote.unwrap_or(blank);
    Quote {
        entry: c.word(quote.entry),
        untouched: c.flag(quote.untouched),
        router: c.flag(quote.router),
        keep: c.byte(quote.keep),
        options: c.byte(quote.options),
    }
}

fn wrap(c: &mut impl Code, wrap: Option<Wrap>) -> Option<Wrap> {
    let (kind, pod, service, n) = match wrap {
        None => (0, 0, 0, 0),
        Some(Wrap::Option(service, n)) => (1, 0, service, n),
        Some(Wrap::Ipip(pod)) => (2, pod, 0, 0),
        Some(Wrap::Geneve(pod, service, n)) => (3, pod, service, n),
    };
    let kind = c.byte(kind) % 4;
    if kind == 0 {
        return None;
    }
    let (pod, service, n) = (c.byte(pod) % POD_COUNT, numbered(c, service), c.byte(n));
    Some(match kind {
        1 => Wrap::Option(service, n),
        2 => Wrap::Ipip(pod),
        _ => Wrap::Geneve(pod, service, n),
    })
}

fn damage(c: &mut impl Code, damage: Option<&Damage>) -> Damage {
    let (kind, a, b) = match damage {
        Some(Damage::Byte(at, to)) => (0, *at, *to),
        Some(Damage::Padding(count)) => (2, 0, *count),
        Some(Damage::Cut(length)) => (1, *length, 0),
        None => (0, 0, 0),
    };
    match (c.byte(kind) % 3, c.word(a), c.byte(b)) {
        (0, at, to) => Damage::Byte(at, to),
        (1, length, _) => Damage::Cut(length),
        (_, _, count) => Damage::Padding(count),
    }
}
