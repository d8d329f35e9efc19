//! O3, the spec oracle: what the datapath does is what a service load balancer owes.
//!
//! In the simulator, and through the programs where they can be loaded. `TWINPATH_SPEC_PACKETS` (30,000) and
//! `TWINPATH_SEED` (1) set how much is run and on what.

use std::env;
use std::path::Path;

use twinpath::command::verify::LIMITS;
use twinpath::verify::{
    Coverage, HookName, PacketSpec, Protocol, Random, Runner, Scenario, Sender, Setup, SpecRun,
    Step, Target, Wrap, policy,
};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::{Engine, SimEngine};

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// The rules and laws that a run has to reach.
const REACHED: &[&str] = &[
    "C-14 IPv4 SCTP original translated at one end",
    "C-14 IPv4 TCP original not translated",
    "C-14 IPv4 TCP original of a connection that another node told of",
    "C-14 IPv4 TCP original translated at both ends",
    "C-14 IPv4 TCP original translated at one end",
    "C-14 IPv4 TCP reply translated at both ends",
    "C-14 IPv4 TCP reply translated at one end",
    "C-14 IPv4 UDP original translated at both ends",
    "C-14 IPv4 UDP original translated at one end",
    "C-14 IPv4 UDP reply translated at one end",
    "C-14 IPv4 echo original translated at one end",
    "C-14 IPv4 fragment original translated at one end",
    "C-14 IPv6 SCTP original translated at one end",
    "C-14 IPv6 TCP original not translated",
    "C-14 IPv6 TCP original of a connection that another node told of",
    "C-14 IPv6 TCP original translated at both ends",
    "C-14 IPv6 TCP original translated at one end",
    "C-14 IPv6 TCP reply translated at both ends",
    "C-14 IPv6 TCP reply translated at one end",
    "C-14 IPv6 UDP original translated at both ends",
    "C-14 IPv6 UDP original translated at one end",
    "C-14 IPv6 UDP reply translated at one end",
    "C-14 IPv6 echo original translated at one end",
    "C-14 IPv6 fragment original translated at one end",
    "C-14 there and back",
    "I-1 a frontend answers an echo",
    "I-1 an echo that may not be answered is dropped",
    "I-11 a packet without connection passes",
    "I-4 I-12 I-13 an error is restored with what it quotes",
    "I-4 an error about no connection",
    "I-4 an error of an untranslated connection goes on as it is",
    "I-5 a router stays who it is",
    "I-5 an error from an end comes under the name that it is known by",
    "K-1 a connection keeps its backend through a change",
    "K-2 a connection chooses again",
    "K-3 an untranslated packet to a frontend goes no further",
    "K-5 TCP flags that no TCP sends is dropped",
    "K-6 a tunnel says the backend",
    "K-6 another node told of the frontend",
    "K-6 told by Geneve",
    "K-6 told by Ipip",
    "K-6 told by Option",
    "K-7 a half is made from the other one",
    "K-7 a lost half is restored",
    "M-1 a refusal is not told where it may not be",
    "M-1 to M-5 a refusal is told",
    "Maglev: the same choice again",
    "T-2 a tuple that was closed is used again",
    "U-14 a fragment before its first is dropped",
    "U-14 a fragment for the node itself passes",
    "U-14 a later fragment follows its first",
    "U-14 a later fragment has no connection, as its first",
    "U-3 a connection gives way to another",
    "U-3 a port is drawn where two backends' tuples meet",
    "U-3b a port of the node's is drawn",
    "U-5 T-5 a connection outlives a long silence",
    "U-5 T-5 a connection that was over begins anew",
    "U-9 T-8 hairpin",
    "XDP leaves a packet alone",
    "a dropped packet takes with it what was over",
    "a marked packet passes",
    "a packet that came round, or a plain reset, passes",
    "affinity: a client keeps its backend",
    "masquerade",
    "north-south, elsewhere",
    "north-south, here",
    "refused: DENIED_BY_LB_SRC_RANGE_CHECK",
    "refused: ERROR_WHILE_CORRECTING_L4_CHECKSUM",
    "refused: FRAGMENTATION_NEEDED",
    "refused: IS_CLUSTER_IP",
    "refused: NO_HAIRPIN_ADDRESS",
    "refused: NO_MAPPING_FOR_NAT_MASQUERADE",
    "refused: SERVICE_ADDRESS_NOT_FOUND",
    "refused: SERVICE_BACKEND_NOT_FOUND",
    "refused: SERVICE_PORT_NOT_FOUND",
    "refused: TTL_EXCEEDED",
    "what is for a link or a group is the stack's",
];

/// What chance seldom brings about: a connection that another node told of loses a half, either of them,
/// and goes on.
fn seldom(evicted: u16) -> Scenario {
    let told = |wrap, flags| {
        let spec = PacketSpec::new(4, Target::Pod(2, 8080), Protocol::Tcp(flags));
        outside(PacketSpec { wrap, ..spec })
    };
    let steps = vec![
        Step::Policy(5, policy::DSR),
        told(Some(Wrap::Option(5, 1)), 2),
        Step::Evict(evicted),
        told(None, 0x10),
    ];
    Scenario::new(1, Setup::default(), steps)
}

/// Runs random scripts; what they met.
fn judge<E: Engine>(engine: E, packets: u64) -> Coverage {
    let mut spec = SpecRun::new(engine);
    for evicted in 0..2 {
        assert_eq!(spec.run(&seldom(evicted)).unwrap(), None);
    }
    let random = Random { packets, steps: 120, seed: number("TWINPATH_SEED", 1) };
    let outcome = random.run(&mut spec, |_| {}).unwrap();
    if let Some(failure) = outcome.failure {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures");
        let path = failure.save(&folder).unwrap();
        panic!(
            "after {} packets: {}\nsaved in {}",
            outcome.packets,
            failure.difference,
            path.display()
        );
    }
    println!("{} packets are as they ought to be; met:\n{}", outcome.packets, outcome.coverage);
    outcome.coverage
}

#[test]
fn the_simulator_does_what_it_owes() {
    let met = judge(SimEngine::new(1, &LIMITS, 0), number("TWINPATH_SPEC_PACKETS", 30_000));
    // A law that never reached its case holds nothing.
    let missed: Vec<&&str> = REACHED.iter().filter(|what| met.count(what) == 0).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn the_programs_do_what_they_owe() {
    match TestRunEngine::new(1, &LIMITS, 0) {
        Ok(engine) => drop(judge(engine, number("TWINPATH_SPEC_PACKETS", 30_000) / 8)),
        Err(error) => twinpath_kernel::testing::skip("test-run", &error.to_string()),
    }
}

/// Runs a script; what is wrong.
fn wrong(setup: Setup, steps: Vec<Step>) -> Option<String> {
    let mut spec = SpecRun::new(SimEngine::new(1, &LIMITS, 0));
    let found = spec.run(&Scenario::new(1, setup, steps)).unwrap();
    assert!(spec.packets() > 0);
    found.map(|difference| difference.to_string())
}

fn outside(spec: PacketSpec) -> Step {
    Step::Packet(HookName::FromNetdev, 2, PacketSpec { sender: Sender::Client, ..spec })
}

#[test]
fn sctp_that_would_be_answered_from_another_port() {
    // C-13. Service port 12 is SCTP 3868, and 30868 on the nodes.
    let told = PacketSpec {
        wrap: Some(Wrap::Option(12, 2)),
        ..PacketSpec::new(4, Target::Pod(2, 3868), Protocol::Sctp)
    };
    let steps = vec![Step::Policy(12, policy::DSR), outside(told)];
    assert_eq!(wrong(Setup::default(), steps), None);
}

#[test]
fn a_full_header_takes_no_option_wherever_it_is_met() {
    // K-6. The opener's packet comes by the stack, its header full.
    let new = |options| PacketSpec {
        options,
        sender: Sender::Client,
        ..PacketSpec::new(4, Target::Frontend(5, 1), Protocol::Tcp(2))
    };
    for backends in [0b0001_0000, 0b0100_0000] {
        let steps = vec![
            Step::Endpoints(5, backends),
            Step::Policy(5, policy::DSR),
            outside(new(0)),
            Step::Packet(HookName::ToNetdev, 2, new(10)),
        ];
        assert_eq!(wrong(Setup::default(), steps), None);
    }
}
