//! The rung of single programs: test runs, a fresh packet each time.
//!
//! A row is the median over many flows: every hundredth packet or so does a piece of work that the
//! kernel has put off (a batch of free map entries, an entry's time of last use), or shares its place in a
//! hash table.

use std::ops::Range;

use aya::Ebpf;
use twinpath_benches::bare;
use twinpath_benches::gauge::Row;
use twinpath_benches::run::{Failure, PASS, REDIRECT, XDP_PASS, XDP_TX, expect, load_bare};
use twinpath_benches::{Ends, Family, packet_between};
use twinpath_core::bytes::Be16;
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::{TCP, tcp};
use twinpath_kernel::load::{Options, load};
use twinpath_kernel::tables::KernelTables;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::node::Limits;

use crate::node::{
    ANSWERING, ASKING, BACKEND, DEVICES, DSR, LOCAL, LOCAL_POD, NODE, OUTSIDE, POD, REMOTE,
    REMOTE_POD, UPLINK, VIP, fill,
};

/// Flows per row.
const FLOWS: u16 = 301;
/// The source port of a row's first flow.
const FIRST: u16 = 5_000;

/// Measures all rows.
pub(crate) fn measure(rows: &mut Vec<Row>) -> Result<(), Failure> {
    let namespace = Namespace::new()?;
    namespace.ip(DEVICES)?;
    namespace.set(&[("ipv4/conf/all/forwarding", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    namespace.run(|| {
        rows.extend(yardsticks()?);
        let limits = Limits::default();
        let mut set = load(&Options { limits, ..Options::default() })?;
        let mut tables = KernelTables::new(&mut set, &limits)?;
        fill(&mut tables)?;
        // No two rows have connections in common: what one leaves behind is another's nothing.
        let mut blocks = (FIRST..).step_by(usize::from(FLOWS)).map(|first| first..first + FLOWS);
        for family in Family::ALL {
            for way in &WAYS {
                way.measure(&mut set, family, &mut blocks, rows)?;
            }
        }
        Ok(())
    })?
}

/// A packet's way through a program.
struct Way {
    hook: &'static str,
    name: &'static str,
    program: &'static str,
    device: u32,
    /// Both ends of the flow with this source port.
    ends: fn(u16) -> Ends,
    /// What the program returns for a connection's first packet and for later ones.
    new: u32,
    established: u32,
    /// For what comes back: the way of the packet that opens the connection.
    after: Option<&'static Self>,
}

const fn way(
    hook: &'static str,
    name: &'static str,
    program: &'static str,
    device: u32,
    ends: fn(u16) -> Ends,
    returns: u32,
) -> Way {
    Way { hook, name, program, device, ends, new: returns, established: returns, after: None }
}

const CLUSTERIP: Way = way(
    "from-pod",
    "clusterip",
    "from_pod",
    ASKING,
    |port| Ends::new(POD, port, VIP, LOCAL),
    REDIRECT,
);
const SNAT: Way = way(
    "from-netdev",
    "snat",
    "from_netdev",
    UPLINK,
    |port| Ends::new(OUTSIDE, port, VIP, REMOTE),
    REDIRECT,
);
const DIRECT: Way = way(
    "from-netdev",
    "dsr",
    "from_netdev",
    UPLINK,
    |port| Ends::new(OUTSIDE, port, VIP, DSR),
    REDIRECT,
);
const ANSWER: Way = Way {
    after: Some(&SNAT),
    ..way(
        "from-netdev",
        "snat-answer",
        "from_netdev",
        UPLINK,
        |port| Ends::new(REMOTE_POD, BACKEND, NODE, port),
        REDIRECT,
    )
};

/// Its rows of established packets are measured on connections that the way itself has opened, or the one
/// named in `after`. What XDP does follows on what the hook behind it did.
const WAYS: [Way; 14] = [
    CLUSTERIP,
    Way {
        after: Some(&CLUSTERIP),
        ..way(
            "from-pod",
            "clusterip-answer",
            "from_pod",
            ANSWERING,
            |port| Ends::new(LOCAL_POD, BACKEND, POD, port),
            REDIRECT,
        )
    },
    way(
        "from-pod",
        "clusterip-remote",
        "from_pod",
        ASKING,
        |port| Ends::new(POD, port, VIP, REMOTE),
        REDIRECT,
    ),
    way(
        "from-pod",
        "pod-to-pod",
        "from_pod",
        ASKING,
        |port| Ends::new(POD, port, LOCAL_POD, BACKEND),
        REDIRECT,
    ),
    way(
        "to-pod",
        "node-to-pod",
        "to_pod",
        ANSWERING,
        |port| Ends::new(NODE, port, LOCAL_POD, BACKEND),
        PASS,
    ),
    way(
        "from-netdev",
        "local",
        "from_netdev",
        UPLINK,
        |port| Ends::new(OUTSIDE, port, VIP, LOCAL),
        REDIRECT,
    ),
    SNAT,
    ANSWER,
    DIRECT,
    way(
        "from-pod",
        "masquerade",
        "from_pod",
        ASKING,
        |port| Ends::new(POD, port, OUTSIDE, LOCAL),
        REDIRECT,
    ),
    way(
        "to-netdev",
        "clusterip",
        "to_netdev",
        UPLINK,
        |port| Ends::new(NODE, port, VIP, LOCAL),
        REDIRECT,
    ),
    Way {
        hook: "xdp",
        program: "xdp_from_netdev",
        new: XDP_PASS,
        established: XDP_TX,
        after: Some(&SNAT),
        ..SNAT
    },
    Way {
        hook: "xdp",
        program: "xdp_from_netdev",
        established: XDP_TX,
        after: Some(&ANSWER),
        ..ANSWER
    },
    Way {
        hook: "xdp",
        program: "xdp_from_netdev",
        established: XDP_TX,
        after: Some(&DIRECT),
        ..DIRECT
    },
];

impl Way {
    fn is_xdp(&self) -> bool {
        self.hook == "xdp"
    }

    fn packet(&self, family: Family, port: u16, flags: u8) -> Vec<u8> {
        packet_between(family, &(self.ends)(port), flags)
    }

    /// Opens a connection, and sends a second packet this way, where what is new is over.
    fn open(&self, set: &mut Ebpf, family: Family, port: u16) -> Result<(), Failure> {
        let flags = match self.after {
            None => tcp::SYN,
            Some(before) => {
                before.open(set, family, port)?;
                tcp::SYN | tcp::ACK
            }
        };
        for flags in [flags, tcp::ACK].into_iter().filter(|_| !self.is_xdp()) {
            expect(set, self.program, self.device, &self.packet(family, port, flags), self.new)?;
        }
        Ok(())
    }

    fn measure(
        &self,
        set: &mut Ebpf,
        family: Family,
        blocks: &mut impl Iterator<Item = Range<u16>>,
        rows: &mut Vec<Row>,
    ) -> Result<(), Failure> {
        let path = format!("run/{}/{}/{}", self.hook, self.name, family.name());
        let mut ports = || blocks.next().ok_or("no ports are left");
        if self.after.is_none() || self.new == XDP_PASS {
            let count = median(ports()?, |port| {
                let packet = self.packet(family, port, tcp::SYN);
                expect(set, self.program, self.device, &packet, self.new)
            })?;
            rows.push(Row::new("twinpath", &path, "new", count));
        }
        let later = |set: &mut Ebpf, port| {
            let packet = self.packet(family, port, tcp::ACK);
            expect(set, self.program, self.device, &packet, self.established)
        };
        let flows = ports()?;
        // At XDP, the first asks the kernel for the neighbour, and later ones know it for a while.
        if self.is_xdp() {
            let count = median(flows.clone(), |port| {
                self.open(set, family, port)?;
                later(set, port)
            })?;
            // Where the kernel keeps neighbours of IPv6 in its table is another place in each boot.
            if family == Family::V4 {
                rows.push(Row::new("twinpath", &path, "asking", count));
            }
        }
        let count = median(flows, |port| {
            if !self.is_xdp() {
                self.open(set, family, port)?;
            }
            later(set, port)
        })?;
        rows.push(Row::new("twinpath", &path, "established", count));
        Ok(())
    }
}

/// Rows of the bare programs, IPv4 alone.
fn yardsticks() -> Result<Vec<Row>, Failure> {
    let names = ["empty", "bare16", "bare40", "bare_nat", "empty_xdp", "bare_xdp"];
    let mut set = load_bare(&names)?;
    let tuple = |ends: [([u8; 4], u16); 2]| {
        let [(from, from_port), (to, to_port)] = ends;
        let address = |bytes| Family::V4.address(bytes);
        Tuple::new(TCP, address(from), Be16::new(from_port), address(to), Be16::new(to_port))
    };
    for port in FIRST..FIRST + FLOWS {
        bare::fill(&mut set, &[CLUSTERIP.packet(Family::V4, port, tcp::ACK)])?;
        let from = tuple([(OUTSIDE, port), (VIP, REMOTE)]);
        let to = tuple([(NODE, port), (REMOTE_POD, BACKEND)]);
        bare::fill_nat(&mut set, &from, &to, UPLINK)?;
    }
    let mut rows = Vec::new();
    for (path, program, way, returns) in [
        ("run/from-pod", "bare16", &CLUSTERIP, REDIRECT),
        ("run/from-pod/wide-key", "bare40", &CLUSTERIP, REDIRECT),
        ("run/from-pod/empty", "empty", &CLUSTERIP, PASS),
        ("run/from-netdev", "bare_nat", &SNAT, REDIRECT),
        ("run/xdp", "bare_xdp", &SNAT, XDP_TX),
        ("run/xdp/empty", "empty_xdp", &SNAT, XDP_PASS),
    ] {
        let count = median(FIRST..FIRST + FLOWS, |port| {
            let packet = way.packet(Family::V4, port, tcp::ACK);
            expect(&mut set, program, way.device, &packet, returns)
        })?;
        rows.push(Row::new("bare", path, "established", count));
    }
    Ok(rows)
}

/// The median of what is measured for each of these flows.
fn median(
    ports: impl Iterator<Item = u16>,
    mut measure: impl FnMut(u16) -> Result<u64, Failure>,
) -> Result<u64, Failure> {
    let mut samples = ports.map(&mut measure).collect::<Result<Vec<_>, _>>()?;
    samples.sort_unstable();
    Ok(samples.get(samples.len() / 2).copied().ok_or("no flows")?)
}
