//! Random scenarios.
//!
//! Ports and addresses are few, so that packets of one connection meet; odd packets are rare, so that
//! connections get somewhere.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Damage, HookName, PacketSpec, Protocol, SERVICE_COUNT, Scenario, Step, Target};

/// Scenarios of up to so many steps.
pub fn scenario(steps: usize) -> impl Strategy<Value = Scenario> {
    (any::<u64>(), vec(step(), 1..=steps)).prop_map(|(seed, steps)| Scenario::new(seed, steps))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => packet(),
        4 => wait().prop_map(Step::Wait),
        3 => (0..SERVICE_COUNT, endpoints()).prop_map(|(service, bits)| Step::Endpoints(service, bits)),
        3 => any::<u16>().prop_map(Step::Evict),
    ]
}

/// Milliseconds: within a refresh, around it, around each idle timeout, beyond all.
fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1..1_000_u64,
        4 => 990..1_010_u64,
        2 => 119_000..122_000_u64,
        2 => 239_000..242_000_u64,
        1 => 7_439_000..7_442_000_u64,
        1 => Just(100_000_000_u64),
    ]
}

fn endpoints() -> impl Strategy<Value = u8> {
    prop_oneof![4 => any::<u8>(), 2 => Just(0b0101_0101_u8), 1 => Just(0_u8), 1 => Just(0b1010_1010_u8)]
}

fn packet() -> impl Strategy<Value = Step> {
    (place(), spec()).prop_map(|((hook, device), mut spec)| {
        // What comes from a pod comes from that pod, unless it answers or the scenario says otherwise.
        if hook == HookName::FromPod && spec.from < 4 {
            let device = 10 + u32::from(spec.from);
            return Step::Packet(hook, device, spec);
        }
        if hook == HookName::FromNetdev {
            spec.from = 4 + spec.from % 2;
        }
        Step::Packet(hook, device, spec)
    })
}

fn place() -> impl Strategy<Value = (HookName, u32)> {
    prop_oneof![
        6 => (10..14_u32).prop_map(|device| (HookName::FromPod, device)),
        3 => Just((HookName::FromNetdev, 2)),
        1 => (10..14_u32).prop_map(|device| (HookName::ToPod, device)),
    ]
}

fn spec() -> impl Strategy<Value = PacketSpec> {
    let who = (prop_oneof![Just(4_u8), Just(6)], 0..6_u8, target(), protocol());
    let size = (40_000..40_004_u16, prop_oneof![6 => 0..40_u16, 1 => 0..1_400_u16], ttl());
    (who, size, oddities()).prop_map(
        |(
            (family, from, to, protocol),
            (port, payload, ttl),
            (tags, options, fragment, damage),
        )| PacketSpec {
            family,
            from,
            to,
            protocol,
            port,
            payload,
            ttl,
            tags,
            options,
            fragment,
            damage,
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        8 => (0..SERVICE_COUNT).prop_map(Target::Service),
        12 => any::<u16>().prop_map(Target::Entry),
        3 => (0..6_u8, prop_oneof![Just(8080_u16), Just(53), Just(9000), Just(40_000)])
            .prop_map(|(pod, port)| Target::Pod(pod, port)),
        1 => (0..SERVICE_COUNT, any::<u16>()).prop_map(|(service, port)| Target::ServiceAddress(service, port)),
        1 => prop_oneof![Just(Target::Outside), Just(Target::Multicast)],
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    let flags = prop_oneof![
        6 => Just(0x02_u8),
        4 => Just(0x12_u8),
        10 => Just(0x10_u8),
        4 => Just(0x18_u8),
        3 => Just(0x11_u8),
        2 => Just(0x04_u8),
        1 => Just(0x14_u8),
        1 => any::<u8>(),
    ];
    prop_oneof![
        12 => flags.prop_map(Protocol::Tcp),
        8 => prop::bool::weighted(0.9).prop_map(Protocol::Udp),
        1 => prop_oneof![Just(8_u8), Just(0), Just(3), Just(128), Just(135)].prop_map(Protocol::Icmp),
        1 => prop_oneof![Just(132_u8), Just(50), Just(253)].prop_map(Protocol::Other),
    ]
}

fn ttl() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(64_u8), 1 => 0..3_u8, 1 => Just(255_u8)]
}

type Oddities = (u8, u8, Option<(u16, bool)>, Vec<Damage>);

fn oddities() -> impl Strategy<Value = Oddities> {
    let tags = prop_oneof![20 => Just(0_u8), 1 => 1..4_u8];
    let options = prop_oneof![12 => Just(0_u8), 2 => 0..11_u8, 1 => any::<u8>()];
    let fragment = prop_oneof![
        20 => Just(None),
        1 => (prop_oneof![Just(0_u16), 1..200_u16], any::<bool>()).prop_map(Some),
    ];
    let damage = prop_oneof![
        16 => Just(Vec::new()),
        1 => (0..120_u16).prop_map(|n| vec![Damage::Cut(n)]),
        1 => vec((0..90_u16, any::<u8>()).prop_map(|(at, to)| Damage::Byte(at, to)), 1..3),
        1 => (1..40_u8).prop_map(|n| vec![Damage::Padding(n)]),
    ];
    (tags, options, fragment, damage)
}
