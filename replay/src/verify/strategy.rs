//! Random scenarios.
//!
//! Ports and addresses are few, so that packets of one connection meet; odd packets are rare, so that
//! connections get somewhere. The parts are boxed, since a tree of all choices does not fit on a stack.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use twinpath_sim::topology::{FIRST_POD_DEVICE, UPLINK};

use super::services::{self, SERVICE_COUNT};
use super::{
    Damage, FaultName, HookName, POD_COUNT, PacketSpec, Protocol, Quote, Scenario, Sender, Setup,
    Step, TableName, Target, Way, Wrap,
};

/// Scenarios of up to so many steps, or a few more where the last ones belong together.
pub fn scenario(steps: usize) -> impl Strategy<Value = Scenario> {
    (any::<u64>(), setup(), vec(group(), 1..=steps))
        .prop_map(|(seed, setup, groups)| Scenario::new(seed, setup, groups.concat()))
}

fn setup() -> BoxedStrategy<Setup> {
    let ports = prop_oneof![
        3 => Just(None),
        2 => Just(Some((40_000, 40_015))),
        1 => Just(Some((40_000, 40_003))),
        // About the node ports, which are reserved.
        1 => Just(Some((30_050, 30_090))),
    ];
    let reserved = prop_oneof![2 => Just(None), 1 => Just(Some((40_001, 40_010)))];
    let rarely = prop::bool::weighted(0.1);
    let mark = prop_oneof![1 => Just(0_u32), 2 => Just(0x2_0000)];
    let mtu = prop_oneof![3 => Just(0_u32), 1 => Just(1_500), 1 => Just(1_280), 1 => Just(600)];
    let often = prop::bool::weighted(0.7);
    (often, ports, reserved, rarely, rarely, mark, mtu, select(Way::DRAWN))
        .prop_map(|(masquerade, ports, reserved, no_hairpin, no_uplink, mark, mtu, way)| Setup {
            masquerade,
            ports,
            reserved,
            no_hairpin,
            no_uplink,
            mark,
            mtu,
            way,
            small: false,
        })
        .boxed()
}

/// Steps that belong together.
fn group() -> BoxedStrategy<Vec<Step>> {
    let one = prop_oneof![
        4 => wait().prop_map(Step::Wait),
        3 => (service(), endpoints()).prop_map(|(service, bits)| Step::Endpoints(service, bits)),
        2 => (service(), policy()).prop_map(|(service, bits)| Step::Policy(service, bits)),
        3 => any::<u16>().prop_map(Step::Evict),
    ];
    prop_oneof![
        60 => packet().prop_map(|packet| vec![packet]),
        12 => one.prop_map(|step| vec![step]),
        2 => datagram(),
        3 => talk(),
        1 => flood(),
        1 => rivals(),
        3 => told(),
        4 => faulty(),
    ]
    .boxed()
}

/// Milliseconds: within a refresh, around it, around each timeout, beyond all.
fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1..1_000_u64,
        4 => 990..1_010_u64,
        2 => 9_500..10_500_u64,
        1 => 29_500..30_500_u64,
        2 => 119_000..122_000_u64,
        2 => 239_000..242_000_u64,
        1 => 7_439_000..7_442_000_u64,
        1 => Just(100_000_000_u64),
    ]
}

fn service() -> impl Strategy<Value = u8> {
    0..SERVICE_COUNT
}

fn endpoints() -> impl Strategy<Value = u8> {
    prop_oneof![4 => any::<u8>(), 2 => Just(0b0101_0101_u8), 1 => Just(0_u8), 1 => Just(0b1010_1010_u8)]
}

fn policy() -> impl Strategy<Value = u8> {
    prop_oneof![
        1 => Just(0_u8),
        6 => 0..64_u8,
        1 => Just(services::policy::GONE),
    ]
}

/// The fragments of a datagram, in whatever order, and once more perhaps.
fn datagram() -> BoxedStrategy<Vec<Step>> {
    let offsets = vec(prop_oneof![Just((0_u16, true)), Just((3, true)), Just((6, false))], 2..5);
    (place(), spec(true), offsets)
        .prop_map(|((hook, device), mut spec, offsets)| {
            spec.damage.clear();
            spec.wrap = None;
            let fragment = |offset| PacketSpec { fragment: Some(offset), ..spec.clone() };
            offsets.into_iter().map(|offset| sent(hook, device, fragment(offset))).collect()
        })
        .boxed()
}

/// A packet and some more of the same connection.
fn talk() -> BoxedStrategy<Vec<Step>> {
    let more = vec((flags(), any::<bool>(), option::weighted(0.2, wait())), 1..4);
    (place(), spec(false), more)
        .prop_map(|((hook, device), mut spec, more)| {
            if spec.to == Target::Outside && spec.quote.is_some() {
                spec.quote = None;
            }
            let mut steps = vec![sent(hook, device, spec.clone())];
            for (flags, early, wait) in more {
                steps.extend(wait.map(Step::Wait));
                let hook = if hook == HookName::FromNetdev && early { HookName::Xdp } else { hook };
                if matches!(spec.protocol, Protocol::Tcp(_)) {
                    spec.protocol = Protocol::Tcp(flags);
                }
                steps.push(sent(hook, device, spec.clone()));
            }
            steps
        })
        .boxed()
}

/// A fault, and packets that it may meet.
fn faulty() -> BoxedStrategy<Vec<Step>> {
    let conntrack = prop_oneof![
        3 => Just(FaultName::Full),
        2 => Just(FaultName::Exists),
        4 => Just(FaultName::Evicted),
        1 => Just(FaultName::Stays),
    ];
    let other = select(vec![FaultName::Full, FaultName::Evicted]);
    let table = prop_oneof![Just(TableName::Affinities), Just(TableName::Fragments)];
    let fault = prop_oneof![
        5 => (conntrack, 0..7_u8).prop_map(|(kind, n)| (TableName::Conntrack, kind, n)),
        1 => (table, other, 0..2_u8),
    ];
    let steps = prop_oneof![4 => talk(), 2 => rivals(), 2 => told(), 1 => datagram()];
    (vec(fault, 1..3), steps)
        .prop_map(|(faults, steps)| {
            let faults = faults.into_iter().map(|(table, kind, n)| Step::Fault(table, kind, n));
            faults.chain(steps).collect()
        })
        .boxed()
}

/// Two connections that need one reply tuple, the first of which loses its half perhaps.
fn rivals() -> BoxedStrategy<Vec<Step>> {
    let evicted = vec(any::<u16>(), 1..6);
    (spec(false), any::<bool>(), evicted, wait())
        .prop_map(|(mut spec, first, evicted, wait)| {
            spec.protocol = Protocol::Tcp(2);
            (spec.quote, spec.wrap, spec.fragment) = (None, None, None);
            let mut step = |service, flags| {
                spec.to = Target::Frontend(service, 0);
                spec.protocol = Protocol::Tcp(flags);
                sent(HookName::FromPod, FIRST_POD_DEVICE, spec.clone())
            };
            let (one, other) = if first { (0, 4) } else { (4, 0) };
            let mut steps = vec![step(one, 2)];
            steps.extend(evicted.into_iter().map(Step::Evict));
            steps.extend([step(other, 2), Step::Wait(wait), step(one, 0x11)]);
            steps
        })
        .boxed()
}

/// What another node sends on to a pod of this one, telling of the frontend, and then perhaps does not.
fn told() -> BoxedStrategy<Vec<Step>> {
    let what = (service(), any::<u8>(), 2..4_u8, 0..3_u8);
    (spec(false), what, vec((flags(), any::<bool>()), 1..4))
        .prop_map(|(mut spec, (service, n, pod, way), packets)| {
            spec.sender = Sender::Client;
            (spec.quote, spec.fragment, spec.marked) = (None, None, false);
            let (wrap, to) = match way {
                0 => (Wrap::Option(service, n), services::served(service, pod)),
                1 => (Wrap::Geneve(pod, service, n), services::served(service, pod)),
                _ => (Wrap::Ipip(pod), Target::Frontend(service, n)),
            };
            spec.to = to;
            let packets = packets.into_iter().map(|(flags, again)| PacketSpec {
                protocol: services::protocol(service, flags),
                wrap: again.then_some(wrap),
                ..spec.clone()
            });
            packets.map(|spec| sent(HookName::FromNetdev, UPLINK, spec)).collect()
        })
        .boxed()
}

/// Connections from one address to one place, port by port: more than a node may have ports for.
fn flood() -> BoxedStrategy<Vec<Step>> {
    (place(), spec(false), 4..24_u16)
        .prop_map(|((hook, device), mut spec, count)| {
            if matches!(spec.protocol, Protocol::Tcp(_)) {
                spec.protocol = Protocol::Tcp(2);
            }
            (0..count)
                .map(|i| sent(hook, device, PacketSpec { port: 40_000 + i, ..spec.clone() }))
                .collect()
        })
        .boxed()
}

fn packet() -> BoxedStrategy<Step> {
    (place(), spec(false)).prop_map(|((hook, device), spec)| sent(hook, device, spec)).boxed()
}

/// A packet at a hook. What comes from a pod comes from one that is behind the device, and what comes
/// from outside from elsewhere, unless the packet answers another.
fn sent(hook: HookName, device: u32, mut spec: PacketSpec) -> Step {
    match hook {
        HookName::FromPod if spec.from < 4 => {
            spec.sender = Sender::Pod;
            return Step::Packet(hook, FIRST_POD_DEVICE + u32::from(spec.from), spec);
        }
        HookName::FromPod | HookName::ToPod => {}
        HookName::FromNetdev | HookName::Xdp => match spec.sender {
            Sender::Pod => spec.from = 4 + spec.from % 2,
            Sender::Node => spec.from = 2,
            Sender::Client => {}
        },
        HookName::ToNetdev => {
            if spec.sender == Sender::Node {
                spec.from %= 2;
            }
        }
    }
    Step::Packet(hook, device, spec)
}

fn place() -> impl Strategy<Value = (HookName, u32)> {
    let pods = FIRST_POD_DEVICE..FIRST_POD_DEVICE + 4;
    prop_oneof![
        6 => pods.clone().prop_map(|device| (HookName::FromPod, device)),
        6 => Just((HookName::FromNetdev, UPLINK)),
        2 => Just((HookName::Xdp, UPLINK)),
        2 => Just((HookName::ToNetdev, UPLINK)),
        1 => pods.prop_map(|device| (HookName::ToPod, device)),
    ]
}

fn spec(is_datagram: bool) -> BoxedStrategy<PacketSpec> {
    let sender = prop_oneof![
        2 => Just(Sender::Pod),
        3 => Just(Sender::Client),
        1 => Just(Sender::Node),
    ];
    let from = prop_oneof![8 => 0..6_u8, 1 => 6..POD_COUNT];
    let who = (prop_oneof![Just(4_u8), Just(6)], sender, from, what(is_datagram));
    let payload = prop_oneof![6 => 0..40_u16, 1 => 0..1_400_u16, 1 => 1_180..1_480_u16];
    let marked = prop::bool::weighted(0.05);
    (who, (port(), payload, ttl(), marked), oddities())
        .prop_map(
            |(
                (family, sender, from, (to, protocol, quote)),
                (port, payload, ttl, marked),
                (tags, options, fragment, wrap, damage),
            )| PacketSpec {
                family,
                sender,
                from,
                to,
                protocol,
                port,
                payload,
                ttl,
                tags,
                options,
                fragment,
                quote,
                wrap,
                marked,
                damage,
            },
        )
        .boxed()
}

/// Mostly few, so that packets meet; some more, so that a node runs out of ports; and one that a node may
/// not take, one that is reserved.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 40_000..40_004_u16, 2 => 40_000..40_100_u16, 1 => Just(30_080_u16), 1 => Just(68)]
}

type What = (Target, Protocol, Option<Quote>);

/// Where a packet goes and what it carries.
fn what(is_datagram: bool) -> BoxedStrategy<What> {
    let answers = if is_datagram { 0 } else { 14 };
    let plain = |(to, protocol)| (to, protocol, None);
    prop_oneof![
        10 => (target(), protocol()).prop_map(plain),
        // A frontend, with what is served there.
        10 => (service(), any::<u8>(), flags()).prop_map(move |(service, n, flags)| {
            (Target::Frontend(service, n), services::protocol(service, flags), None)
        }),
        answers => (any::<u16>(), protocol()).prop_map(|(n, p)| (Target::Half(n), p, None)),
        2 => (any::<u16>(), protocol()).prop_map(|(n, p)| (Target::Entry(n), p, None)),
        1 => (echoed(), any::<bool>()).prop_map(|(to, asks)| (to, Protocol::Echo(asks), None)),
        answers / 5 => (quote(), 0..4_u8).prop_map(|(quote, kind)| {
            (Target::Outside, Protocol::Error(kind), Some(quote))
        }),
    ]
    .boxed()
}

fn echoed() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => (service(), any::<u8>()).prop_map(|(service, n)| Target::Frontend(service, n)),
        3 => Just(Target::Outside),
        1 => (0..6_u8).prop_map(|pod| Target::Pod(pod, 0)),
        1 => (0..3_u8).prop_map(|node| Target::Node(node, 0)),
    ]
}

fn quote() -> BoxedStrategy<Quote> {
    let keep = prop_oneof![4 => Just(28_u8), 2 => Just(8), 2 => 0..50_u8];
    let options = prop_oneof![4 => Just(0_u8), 1 => 0..11_u8];
    let rarely = prop::bool::weighted(0.2);
    (any::<u16>(), rarely, rarely, keep, options)
        .prop_map(|(entry, untouched, router, keep, options)| Quote {
            entry,
            untouched,
            router,
            keep,
            options,
        })
        .boxed()
}

fn target() -> BoxedStrategy<Target> {
    prop_oneof![
        3 => (0..6_u8, prop_oneof![Just(8080_u16), Just(53), Just(9000), Just(40_000)])
            .prop_map(|(pod, port)| Target::Pod(pod, port)),
        1 => (service(), any::<u16>()).prop_map(|(service, port)| Target::ServiceAddress(service, port)),
        1 => (0..3_u8, prop_oneof![Just(22_u16), Just(30_080), 40_000..40_016_u16])
            .prop_map(|(node, port)| Target::Node(node, port)),
        3 => Just(Target::Outside),
        1 => prop_oneof![Just(Target::Multicast), Just(Target::Unallocated)],
    ]
    .boxed()
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => Just(0x02_u8),
        4 => Just(0x12_u8),
        10 => Just(0x10_u8),
        4 => Just(0x18_u8),
        3 => Just(0x11_u8),
        2 => Just(0x04_u8),
        1 => Just(0x14_u8),
        1 => any::<u8>(),
    ]
}

fn protocol() -> BoxedStrategy<Protocol> {
    prop_oneof![
        12 => flags().prop_map(Protocol::Tcp),
        8 => prop::bool::weighted(0.9).prop_map(Protocol::Udp),
        1 => Just(Protocol::Sctp),
        1 => prop_oneof![Just(8_u8), Just(0), Just(3), Just(128), Just(135)].prop_map(Protocol::Icmp),
        1 => prop_oneof![Just(132_u8), Just(50), Just(253), Just(4), Just(41)].prop_map(Protocol::Other),
    ]
    .boxed()
}

fn ttl() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(64_u8), 1 => 0..3_u8, 1 => Just(255_u8)]
}

type Oddities = (u8, u8, Option<(u16, bool)>, Option<Wrap>, Vec<Damage>);

fn oddities() -> BoxedStrategy<Oddities> {
    let tags = prop_oneof![20 => Just(0_u8), 1 => 1..4_u8];
    let options = prop_oneof![12 => Just(0_u8), 2 => 0..11_u8, 1 => any::<u8>()];
    let fragment = prop_oneof![
        20 => Just(None),
        1 => (prop_oneof![Just(0_u16), 1..200_u16], any::<bool>()).prop_map(Some),
    ];
    let named = || (service(), any::<u8>());
    let wrap = prop_oneof![
        named().prop_map(|(service, n)| Wrap::Option(service, n)),
        (0..6_u8).prop_map(Wrap::Ipip),
        (0..6_u8, named()).prop_map(|(pod, (service, n))| Wrap::Geneve(pod, service, n)),
    ];
    let damage = prop_oneof![
        16 => Just(Vec::new()),
        1 => prop_oneof![0..120_u16, 54..80_u16].prop_map(|n| vec![Damage::Cut(n)]),
        1 => vec((0..90_u16, any::<u8>()).prop_map(|(at, to)| Damage::Byte(at, to)), 1..3),
        1 => (1..40_u8).prop_map(|n| vec![Damage::Padding(n)]),
    ];
    (tags, options, fragment, option::weighted(0.06, wrap), damage).boxed()
}
