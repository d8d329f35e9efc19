//! O1, the twin oracle: the simulator and the loaded programs agree on random scenarios.
//!
//! `TWINPATH_PACKETS` (200,000; a twentieth of it on tables that evict) and `TWINPATH_SEED` (1) set how much
//! is run and on what.

use std::env;
use std::path::Path;

use twinpath::command::verify::LIMITS;
use twinpath::verify::{
    Coverage, HookName, PacketSpec, Protocol, Random, Scenario, Sender, Setup, Step, Target, Twin,
    Wrap, policy, small,
};
use twinpath_kernel::eviction::{Pinned, measure};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_kernel::testing::skip;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::node::Limits;

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The programs, or why they cannot run here. With `CI=true` as root that is a failure.
fn programs(limits: &Limits) -> Option<TestRunEngine> {
    match TestRunEngine::new(1, limits, 0) {
        Ok(engine) => Some(engine),
        Err(error) => {
            skip("test-run", &error.to_string());
            None
        }
    }
}

/// What happens at each hook: verdict, reason, status, and whether a service was concerned.
const AT_HOOKS: &[(&str, &[&str])] = &[
    (
        "from-pod",
        &[
            "ANSWER UNTRACKED plain",
            "DELIVER ESTABLISHED plain",
            "DELIVER ESTABLISHED service",
            "DELIVER NEW plain",
            "DELIVER NEW service",
            "DELIVER REOPENED plain",
            "DELIVER REOPENED service",
            "DELIVER REPLY plain",
            "DELIVER REPLY service",
            "DELIVER UNTRACKED plain",
            "DROP CT_CANNOT_CREATE_ENTRY_FROM_PACKET UNTRACKED plain",
            "DROP CT_TRUNCATED_OR_INVALID_HEADER UNTRACKED plain",
            "DROP DENIED_BY_LB_SRC_RANGE_CHECK UNTRACKED plain",
            "DROP ERROR_WHILE_CORRECTING_L4_CHECKSUM UNTRACKED plain",
            "DROP FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND UNTRACKED plain",
            "DROP INVALID_PACKET_DROPPED UNTRACKED plain",
            "DROP NO_HAIRPIN_ADDRESS UNTRACKED plain",
            "DROP NO_MAPPING_FOR_NAT_MASQUERADE UNTRACKED plain",
            "DROP SERVICE_ADDRESS_NOT_FOUND UNTRACKED plain",
            "DROP SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "DROP TTL_EXCEEDED UNTRACKED plain",
            "FORWARD ESTABLISHED plain",
            "FORWARD ESTABLISHED service",
            "FORWARD NEW plain",
            "FORWARD NEW service",
            "FORWARD REOPENED plain",
            "FORWARD REOPENED service",
            "FORWARD REPLY plain",
            "FORWARD REPLY service",
            "PASS ESTABLISHED plain",
            "PASS ESTABLISHED service",
            "PASS NEW plain",
            "PASS NEW service",
            "PASS REOPENED plain",
            "PASS REOPENED service",
            "PASS REPLY plain",
            "PASS REPLY service",
            "PASS UNTRACKED plain",
            "REJECT SERVICE_BACKEND_NOT_FOUND UNTRACKED plain",
            "REJECT SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "REJECT TTL_EXCEEDED UNTRACKED plain",
        ],
    ),
    (
        "to-pod",
        &[
            "ANSWER UNTRACKED plain",
            "DROP CT_TRUNCATED_OR_INVALID_HEADER UNTRACKED plain",
            "DROP FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND UNTRACKED plain",
            "DROP INVALID_PACKET_DROPPED UNTRACKED plain",
            "DROP SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "PASS ESTABLISHED plain",
            "PASS ESTABLISHED service",
            "PASS NEW plain",
            "PASS REOPENED plain",
            "PASS REPLY plain",
            "PASS REPLY service",
            "PASS UNTRACKED plain",
        ],
    ),
    (
        "from-netdev",
        &[
            "ANSWER UNTRACKED plain",
            "DELIVER ESTABLISHED plain",
            "DELIVER ESTABLISHED service",
            "DELIVER NEW plain",
            "DELIVER NEW service",
            "DELIVER REOPENED plain",
            "DELIVER REOPENED service",
            "DELIVER REPLY plain",
            "DELIVER REPLY service",
            "DELIVER UNTRACKED plain",
            "DROP CT_CANNOT_CREATE_ENTRY_FROM_PACKET UNTRACKED plain",
            "DROP CT_TRUNCATED_OR_INVALID_HEADER UNTRACKED plain",
            "DROP DENIED_BY_LB_SRC_RANGE_CHECK UNTRACKED plain",
            "DROP ERROR_WHILE_CORRECTING_L4_CHECKSUM UNTRACKED plain",
            "DROP FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND UNTRACKED plain",
            "DROP INVALID_PACKET_DROPPED UNTRACKED plain",
            "DROP IS_CLUSTER_IP UNTRACKED plain",
            "DROP NO_HAIRPIN_ADDRESS UNTRACKED plain",
            "DROP SERVICE_ADDRESS_NOT_FOUND UNTRACKED plain",
            "DROP SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "DROP TTL_EXCEEDED UNTRACKED plain",
            "FORWARD ESTABLISHED plain",
            "FORWARD ESTABLISHED service",
            "FORWARD NEW service",
            "FORWARD REOPENED service",
            "FORWARD REPLY plain",
            "FORWARD REPLY service",
            "PASS ESTABLISHED plain",
            "PASS ESTABLISHED service",
            "PASS NEW plain",
            "PASS NEW service",
            "PASS REOPENED plain",
            "PASS REOPENED service",
            "PASS REPLY plain",
            "PASS REPLY service",
            "PASS UNTRACKED plain",
            "REJECT FRAGMENTATION_NEEDED UNTRACKED plain",
            "REJECT SERVICE_BACKEND_NOT_FOUND UNTRACKED plain",
            "REJECT SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "REJECT TTL_EXCEEDED UNTRACKED plain",
        ],
    ),
    (
        "to-netdev",
        &[
            "ANSWER UNTRACKED plain",
            "DELIVER ESTABLISHED plain",
            "DELIVER ESTABLISHED service",
            "DELIVER NEW plain",
            "DELIVER NEW service",
            "DELIVER REOPENED plain",
            "DELIVER REOPENED service",
            "DELIVER REPLY plain",
            "DELIVER REPLY service",
            "DELIVER UNTRACKED plain",
            "DROP CT_CANNOT_CREATE_ENTRY_FROM_PACKET UNTRACKED plain",
            "DROP CT_TRUNCATED_OR_INVALID_HEADER UNTRACKED plain",
            "DROP DENIED_BY_LB_SRC_RANGE_CHECK UNTRACKED plain",
            "DROP ERROR_WHILE_CORRECTING_L4_CHECKSUM UNTRACKED plain",
            "DROP FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND UNTRACKED plain",
            "DROP INVALID_PACKET_DROPPED UNTRACKED plain",
            "DROP NO_HAIRPIN_ADDRESS UNTRACKED plain",
            "DROP SERVICE_ADDRESS_NOT_FOUND UNTRACKED plain",
            "DROP SERVICE_PORT_NOT_FOUND UNTRACKED plain",
            "PASS ESTABLISHED plain",
            "PASS ESTABLISHED service",
            "PASS NEW plain",
            "PASS NEW service",
            "PASS REOPENED plain",
            "PASS REOPENED service",
            "PASS REPLY plain",
            "PASS REPLY service",
            "PASS UNTRACKED plain",
            "REJECT SERVICE_BACKEND_NOT_FOUND UNTRACKED plain",
            "REJECT SERVICE_PORT_NOT_FOUND UNTRACKED plain",
        ],
    ),
    (
        "xdp",
        &[
            "FORWARD ESTABLISHED plain",
            "FORWARD ESTABLISHED service",
            "FORWARD REPLY plain",
            "FORWARD REPLY service",
            "PASS UNTRACKED plain",
        ],
    ),
];

/// Counters that move, and what else is compared and was not empty.
///
/// Out of reach here: `MISSED_TAIL_CALL`, since all programs are there.
const COUNTED: &[&str] = &[
    "ANSWERED",
    "ANSWER_LIMITED",
    "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
    "CT_MAP_INSERTION_FAILED",
    "CT_OPENED",
    "CT_REAPED",
    "CT_TUPLE_CONFLICT",
    "CT_RESTORED",
    "CT_RESTORE_FAILED",
    "CT_TRUNCATED_OR_INVALID_HEADER",
    "DENIED_BY_LB_SRC_RANGE_CHECK",
    "ERROR_WHILE_CORRECTING_L4_CHECKSUM",
    "ERROR_WRITING_TO_PACKET",
    "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
    "FRAGMENTATION_NEEDED",
    "INVALID_IPV6_EXTENSION_HEADER",
    "INVALID_PACKET_DROPPED",
    "IS_CLUSTER_IP",
    "NO_HAIRPIN_ADDRESS",
    "NO_MAPPING_FOR_NAT_MASQUERADE",
    "RELATED",
    "SERVICE_ADDRESS_NOT_FOUND",
    "SERVICE_BACKEND_NOT_FOUND",
    "SERVICE_PORT_NOT_FOUND",
    "TTL_EXCEEDED",
    "affinities",
    "dice",
    "fragments",
    "rate limits",
];

/// What chance seldom brings about: more refused packets at once than are answered, what another node
/// wrapped in frames with tags, and a connection from another node whose reply tuple is taken.
fn seldom() -> Scenario {
    let new = |target, protocol| PacketSpec::new(4, target, protocol);
    let refused = new(Target::ServiceAddress(0, 9), Protocol::Udp(true));
    let mut steps = vec![Step::Packet(HookName::FromPod, 10, refused); 1_010];
    steps.extend([Step::Endpoints(5, 1), Step::Policy(5, policy::DSR)]);
    let outside = |spec| {
        let spec = PacketSpec { sender: Sender::Client, ..spec };
        Step::Packet(HookName::FromNetdev, 2, spec)
    };
    steps.push(outside(new(Target::Frontend(5, 1), Protocol::Tcp(2))));
    for tags in [0, 1] {
        for family in [4, 6] {
            steps.push(outside(PacketSpec {
                tags,
                wrap: Some(Wrap::Option(5, 1)),
                ..PacketSpec::new(family, Target::Pod(2, 8080), Protocol::Tcp(2))
            }));
        }
    }
    Scenario::new(1, Setup::default(), steps)
}

/// Random scenarios; what they met.
fn random(twin: &mut Twin<SimEngine, TestRunEngine>, packets: u64) -> Coverage {
    let random = Random { packets, steps: 120, seed: number("TWINPATH_SEED", 1) };
    let outcome = random.run(twin, |_| {}).unwrap();
    if let Some(failure) = outcome.failure {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
        let path = failure.save(&folder).unwrap();
        panic!(
            "after {} packets: {}\nreplay it with: twinpath verify {}",
            outcome.packets,
            failure.difference,
            path.display()
        );
    }
    println!("{} packets, no difference; what they met:\n{}", outcome.packets, outcome.coverage);
    outcome.coverage
}

/// A property that never reached its case holds nothing.
fn assert_reached(coverage: &Coverage, expected: impl Iterator<Item = String>) {
    let missed: Vec<String> = expected.filter(|what| coverage.count(what) == 0).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn the_simulator_and_the_programs_agree() {
    let Some(programs) = programs(&LIMITS) else { return };
    let mut twin = Twin::new(SimEngine::new(1, &LIMITS, 0), programs);
    assert_eq!(twin.run(&seldom()).unwrap(), None);
    let coverage = random(&mut twin, number("TWINPATH_PACKETS", 200_000));
    let at_hooks =
        AT_HOOKS.iter().flat_map(|(hook, all)| all.iter().map(move |w| format!("{hook} {w}")));
    let faults = FAULTS.iter().map(|what| format!("fault: {what}"));
    let counted = COUNTED.iter().map(|what| (*what).to_owned());
    assert_reached(&coverage, at_hooks.chain(counted).chain(faults));
}

/// What goes wrong at each hook, and what becomes of the packet.
const FAULTS: &[&str] = &[
    "affinities evicted: from-pod DELIVER",
    "affinities full: from-netdev DELIVER",
    "affinities full: from-pod DELIVER",
    "conntrack evicted: from-netdev DELIVER",
    "conntrack evicted: from-netdev DROP",
    "conntrack evicted: from-netdev FORWARD",
    "conntrack evicted: from-netdev PASS",
    "conntrack evicted: from-pod DELIVER",
    "conntrack evicted: from-pod DROP",
    "conntrack evicted: from-pod FORWARD",
    "conntrack evicted: from-pod PASS",
    "conntrack evicted: to-netdev DELIVER",
    "conntrack evicted: to-netdev PASS",
    "conntrack evicted: to-pod PASS",
    "conntrack exists: from-netdev DELIVER",
    "conntrack exists: from-netdev PASS",
    "conntrack exists: from-pod DELIVER",
    "conntrack exists: from-pod FORWARD",
    "conntrack exists: from-pod PASS",
    "conntrack exists: to-netdev PASS",
    "conntrack exists: to-pod PASS",
    "conntrack full: from-netdev DROP",
    "conntrack full: from-pod DROP",
    "conntrack full: from-pod FORWARD",
    "conntrack full: to-netdev DROP",
    "conntrack full: to-pod DROP",
    "conntrack stays: from-netdev DELIVER",
    "conntrack stays: from-netdev PASS",
    "conntrack stays: from-pod DELIVER",
    "conntrack stays: from-pod FORWARD",
    "fragments evicted: from-netdev DROP",
    "fragments evicted: from-pod DROP",
];

/// Packets for which tables evict.
const EVICTING: &[&str] = &[
    "from-netdev DELIVER NEW plain",
    "from-netdev DELIVER NEW service",
    "from-netdev DELIVER REOPENED plain",
    "from-netdev FORWARD NEW service",
    "from-netdev PASS NEW plain",
    "from-netdev PASS REOPENED plain",
    "from-pod DELIVER NEW plain",
    "from-pod DELIVER NEW service",
    "from-pod FORWARD NEW plain",
    "from-pod FORWARD NEW service",
    "from-pod PASS NEW plain",
    "from-pod PASS NEW service",
    "to-netdev DELIVER NEW plain",
    "to-netdev DELIVER NEW service",
    "to-netdev FORWARD NEW service",
    "to-netdev PASS NEW plain",
    "to-pod PASS NEW plain",
];

/// Tables that evict all the time, by the kernel's lists and by their model.
#[test]
fn they_agree_on_what_is_evicted() {
    let policy = match measure() {
        Ok(policy) => policy,
        Err(error) => return skip("eviction", &error.to_string()),
    };
    let _pinned = Pinned::here().unwrap();
    let limits = small(policy);
    let Some(programs) = programs(&limits) else { return };
    let mut twin = Twin::new(SimEngine::new(1, &limits, 0), programs);
    twin.small = true;
    let coverage = random(&mut twin, number("TWINPATH_PACKETS", 200_000) / 20);
    assert_reached(&coverage, EVICTING.iter().map(|what| format!("evicts: {what}")));
}
