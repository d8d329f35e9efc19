//! The hooks as test runs of the loaded programs (`BPF_PROG_TEST_RUN`).
//!
//! The programs are loaded on virtual time and seeded dice, so the same packets give the same
//! decisions as in the simulator. Nothing is attached, no device is made.

use aya::programs::{TestRun, TestRunOptions};
use twinpath_control::diff::{Target, Write};
use twinpath_core::affinity::{Affinity, Client};
use twinpath_core::conntrack::Flow;
use twinpath_core::fault::{Fault, Kind, SLOTS, Which};
use twinpath_core::fragment::{Datagram, Ports};
use twinpath_core::hash;
use twinpath_core::hook::Hook;
use twinpath_core::limit::Bucket;
use twinpath_core::seam::Nanos;
use twinpath_core::tuple::Tuple;
use twinpath_core::verdict::{Decision, IfIndex, Verdict};
use twinpath_sim::engine::{Engine, NodeIndex, node_seed};
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;

use crate::load::{self, LoadError, Options, Programs, load};
use crate::tables::{KernelTables, TableError};

/// Size of `struct __sk_buff`, and where its members are that matter here.
const CONTEXT: usize = 192;
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const SCRATCH: usize = 48;

/// What a program returns.
const TC_ACT_OK: u32 = 0;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// One set of loaded programs and maps per node.
pub struct TestRunEngine {
    nodes: Vec<Loaded>,
    now: Nanos,
    /// The packet whose turn it is, 0 where there are no turns.
    packet: u64,
    out: Vec<u8>,
}

struct Loaded {
    ebpf: Programs,
    tables: KernelTables,
    seed: u64,
    /// The packet whose dice the clock holds.
    packet: u64,
    /// The mark of packets that are done with.
    mark: u32,
    /// Whether there was a fault since the last reset.
    faulty: bool,
}

/// What went wrong with a test run.
#[derive(Debug, thiserror::Error)]
pub enum TestRunError {
    /// There is no such node.
    #[error("node {0} does not exist")]
    NoNode(NodeIndex),
    /// The programs are not there.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The kernel refused to run a program.
    #[error("test run of {program} with {length} bytes: {error}")]
    Run {
        /// The program.
        program: &'static str,
        /// The length of the packet.
        length: usize,
        /// What the kernel said.
        error: aya::programs::ProgramError,
    },
    /// What a program returned is not what it reported.
    #[error("{program} returned {returned} and reported {words:?}")]
    Report {
        /// The program.
        program: &'static str,
        /// What it returned.
        returned: u32,
        /// What it reported.
        words: [u32; 5],
    },
    /// A packet that leaves the hooks has not the mark that it should have.
    #[error("{program} decided {decision:?} and left the mark {mark:#x} on the packet")]
    Mark {
        /// The program.
        program: &'static str,
        /// What it decided.
        decision: Decision,
        /// The mark.
        mark: u32,
    },
}

impl TestRunEngine {
    /// Loads the programs once per node.
    pub fn new(nodes: usize, limits: &Limits, seed: u64) -> Result<Self, LoadError> {
        let options = Options { limits: *limits, verified: true, attached: false };
        let nodes = (0..nodes)
            .map(|i| {
                let mut ebpf = load(&options)?;
                let tables = KernelTables::new(&mut ebpf, limits)?;
                let seed = node_seed(seed, i);
                Ok(Loaded { ebpf, tables, seed, packet: 0, mark: 0, faulty: false })
            })
            .collect::<Result<Vec<_>, LoadError>>()?;
        let mut engine = Self { nodes, now: 0, packet: 0, out: vec![0; 4_096] };
        engine
            .reset(seed)
            .map_err(|error| LoadError::Program { name: "maps", error: error.to_string() })?;
        Ok(engine)
    }

    fn node(&mut self, node: NodeIndex) -> Result<&mut Loaded, TestRunError> {
        self.nodes.get_mut(node).ok_or(TestRunError::NoNode(node))
    }

    /// One test run.
    fn test(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        marked: bool,
        frame: &mut Frame,
    ) -> Result<Decision, TestRunError> {
        let loaded = self.nodes.get_mut(node).ok_or(TestRunError::NoNode(node))?;
        loaded.turn(self.now, self.packet)?;
        let mut context = [0_u8; CONTEXT];
        context[INGRESS_IFINDEX..INGRESS_IFINDEX + 4].copy_from_slice(&device.to_ne_bytes());
        let mark_in = if marked { loaded.mark } else { 0 };
        context[MARK..MARK + 4].copy_from_slice(&mark_in.to_ne_bytes());
        let mut context_out = [0_u8; CONTEXT];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame.bytes);
        options.data_out = Some(&mut self.out);
        options.ctx_in = Some(&context);
        options.ctx_out = Some(&mut context_out);
        let name = hook.program();
        let result = if matches!(hook, Hook::Xdp) {
            // The context of an XDP run is another, and the device that frames come by is its default.
            options.ctx_in = None;
            options.ctx_out = None;
            load::xdp(&mut loaded.ebpf)?.test_run(options)
        } else {
            load::program(&mut loaded.ebpf, hook)?.test_run(options)
        };
        let result = result.map_err(|error| TestRunError::Run {
            program: name,
            length: frame.bytes.len(),
            error,
        })?;
        let length = result.data_size_out as usize;
        frame.bytes.clear();
        frame.bytes.extend_from_slice(self.out.get(..length).unwrap_or_default());

        let mut words = [0; 5];
        for (i, place) in words.iter_mut().enumerate() {
            *place = word(&context_out, SCRATCH + 4 * i);
        }
        if matches!(hook, Hook::Xdp) {
            words = loaded.tables.report()?;
        }
        let returned = result.return_value;
        let decision = Decision::from_words(words);
        let expected = decision.map(|decision| match (hook, decision.verdict()) {
            (Hook::Xdp, Verdict::Pass) => XDP_PASS,
            (Hook::Xdp, Verdict::Drop(_)) => XDP_DROP,
            (Hook::Xdp, _) => XDP_TX,
            (_, Verdict::Pass) => TC_ACT_OK,
            (_, Verdict::Drop(_)) => TC_ACT_SHOT,
            _ => TC_ACT_REDIRECT,
        });
        let Some(decision) = decision.filter(|_| expected == Some(returned)) else {
            return Err(TestRunError::Report { program: name, returned, words });
        };
        let mark = word(&context_out, MARK);
        let wanted = match (hook, decision.verdict()) {
            // Answers to a pod meet no other hook.
            (Hook::FromPod, Verdict::Reject(_) | Verdict::Answer) => mark_in,
            (_, Verdict::Forward(_) | Verdict::Reject(_) | Verdict::Answer)
            // And what goes to a pod on its way out goes by the pod's device here.
            | (Hook::ToPod | Hook::ToNetdev, Verdict::Deliver(_)) => mark_in | loaded.mark,
            _ => mark_in,
        };
        if mark != wanted && !matches!(hook, Hook::Xdp) {
            return Err(TestRunError::Mark { program: name, decision, mark });
        }
        Ok(decision)
    }
}

impl Loaded {
    /// Sets the clock and the dice for a packet, unless they are.
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), TableError> {
        if self.packet != packet {
            self.packet = packet;
            self.tables.set_clock(now, hash::seed_of(self.seed, packet), 0)?;
        }
        Ok(())
    }
}

/// A member of a context.
fn word(context: &[u8; CONTEXT], at: usize) -> u32 {
    context.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b))
}

impl Engine for TestRunEngine {
    type Error = TestRunError;

    fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn set_time(&mut self, now: Nanos) -> Result<(), TestRunError> {
        if now == self.now {
            return Ok(());
        }
        self.now = now;
        for node in &mut self.nodes {
            let drawn = node.tables.drawn()?;
            node.tables.set_clock(now, hash::seed_of(node.seed, node.packet), drawn)?;
        }
        Ok(())
    }

    /// Of nodes that the packet does not meet, nothing is set.
    fn turn(&mut self, now: Nanos, packet: u64) -> Result<(), TestRunError> {
        (self.now, self.packet) = (now, packet);
        Ok(())
    }

    fn write(&mut self, node: NodeIndex, write: &Write) -> Result<(), TestRunError> {
        let node = self.node(node)?;
        if let Write::Config(config) = write {
            node.mark = config.mark;
        }
        Ok(node.tables.write(write)?)
    }

    /// An Ethernet header and more, a whole IP header where the EtherType says IP, at most a page less
    /// head room and the kernel's own trailer (`bpf_prog_test_run_skb` in `net/bpf/test_run.c`), and a
    /// complete checksum: a test run has no device that would complete it.
    fn takes(&self, frame: &Frame) -> bool {
        let least = match frame.bytes.get(12..14) {
            Some([0x08, 0x00]) => 14 + 20,
            Some([0x86, 0xdd]) => 14 + 40,
            _ => 15,
        };
        (least..=3_500).contains(&frame.bytes.len()) && !frame.partial
    }

    fn run(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, TestRunError> {
        self.test(node, hook, device, false, frame)
    }

    fn run_marked(
        &mut self,
        node: NodeIndex,
        hook: Hook,
        device: IfIndex,
        frame: &mut Frame,
    ) -> Result<Decision, TestRunError> {
        self.test(node, hook, device, true, frame)
    }

    fn conntrack(&mut self, node: NodeIndex) -> Result<Vec<(Tuple, Flow)>, TestRunError> {
        Ok(self.node(node)?.tables.conntrack()?)
    }

    fn affinities(&mut self, node: NodeIndex) -> Result<Vec<(Client, Affinity)>, TestRunError> {
        Ok(self.node(node)?.tables.affinities()?)
    }

    fn fragments(&mut self, node: NodeIndex) -> Result<Vec<(Datagram, Ports)>, TestRunError> {
        Ok(self.node(node)?.tables.fragments()?)
    }

    fn limits(&mut self, node: NodeIndex) -> Result<Vec<Bucket>, TestRunError> {
        Ok(self.node(node)?.tables.limits()?)
    }

    fn drawn(&mut self, node: NodeIndex) -> Result<u64, TestRunError> {
        let (now, packet) = (self.now, self.packet);
        let node = self.node(node)?;
        node.turn(now, packet)?;
        Ok(node.tables.drawn()?)
    }

    fn metrics(&mut self, node: NodeIndex) -> Result<Vec<u64>, TestRunError> {
        Ok(self.node(node)?.tables.metrics()?)
    }

    fn evict(&mut self, node: NodeIndex, key: &Tuple) -> Result<bool, TestRunError> {
        Ok(self.node(node)?.tables.remove(key)?)
    }

    fn fault(
        &mut self,
        node: NodeIndex,
        which: Which,
        kind: Kind,
        after: u32,
    ) -> Result<(), TestRunError> {
        let node = self.node(node)?;
        node.faulty = true;
        Ok(node.tables.set_fault(which.slot(kind.operation()), &Fault::new(kind, after))?)
    }

    fn faults(&mut self, node: NodeIndex) -> Result<Vec<Fault>, TestRunError> {
        Ok(self.node(node)?.tables.faults()?)
    }

    fn reset(&mut self, seed: u64) -> Result<(), TestRunError> {
        (self.now, self.packet) = (0, 0);
        for (i, node) in self.nodes.iter_mut().enumerate() {
            node.packet = 0;
            node.seed = node_seed(seed, i);
            if std::mem::take(&mut node.faulty) {
                for slot in 0..SLOTS {
                    node.tables.set_fault(slot, &Fault::NONE)?;
                }
            }
            node.tables.clear()?;
            node.tables.clear_metrics()?;
            node.tables.set_clock(0, node.seed, 0)?;
        }
        Ok(())
    }
}
