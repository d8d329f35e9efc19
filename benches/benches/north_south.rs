//! What packets from outside cost in the kernel, at tc and at XDP, beside bare programs that do one
//! lookup and one rewrite of both ends; and what a new connection costs with few services and many.
//!
//! As in `test_run`: a fresh packet each time, the programs in turn. `cargo bench --bench north_south` as
//! root, after `ebpf/build.sh`.

use std::process::ExitCode;

use aya::Ebpf;
use twinpath_benches::bare::fill_nat;
use twinpath_benches::run::{Failure, PASS, REDIRECT, XDP_PASS, XDP_TX, expect, load_bare};
use twinpath_benches::{CLIENT_DEVICE, Ends, Family, packet_between};
use twinpath_control::diff::{Target, Write};
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::endpoint::Endpoint;
use twinpath_core::seam::Config;
use twinpath_core::service::{Algorithm, Forwarding, Member, Scope, Service, ServiceKey};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::{TCP, tcp};
use twinpath_kernel::load::{Options, load};
use twinpath_kernel::tables::KernelTables;
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::node::Limits;

const ROUNDS: usize = 100_000;
/// The device of the namespace that leads to a router; the second one in it.
const UPLINK: u32 = 2;
const CLIENT: [u8; 4] = [10, 9, 0, 9];
const NODE: [u8; 4] = [10, 0, 0, 1];
const VIP: [u8; 4] = [10, 96, 0, 80];
const REMOTE: [u8; 4] = [10, 244, 2, 11];
const LOCAL_CLIENT: [u8; 4] = [10, 244, 1, 10];
const SNAT_PORT: u16 = 80;
const DSR_PORT: u16 = 81;

fn main() -> ExitCode {
    // `cargo test` runs benches, too, to see that they start.
    if std::env::args().any(|arg| arg == "--test") {
        return ExitCode::SUCCESS;
    }
    let namespace = Namespace::new().map_err(Failure::from);
    let done = namespace.and_then(|namespace| {
        namespace.ip("link add up0 index 2 type veth peer name peer0 index 3\n\
             link set up0 up\nlink set peer0 up\n\
             addr add 10.0.0.1/24 dev up0\n\
             addr add fd00:0:0:10::a00:1/64 dev up0 nodad\n\
             neigh add 10.0.0.254 lladdr 02:00:00:00:00:fe dev up0\n\
             route add default via 10.0.0.254\n\
             neigh add fd00:0:0:10::fe lladdr 02:00:00:00:00:fe dev up0\n\
             route add ::/0 via fd00:0:0:10::fe dev up0\n")?;
        namespace.set(&[("ipv4/conf/all/forwarding", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        namespace.run(run)?
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("north_south: {error}");
            ExitCode::from(3)
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut bare = load_bare(&["empty", "bare_nat", "empty_xdp", "bare_xdp"])?;
    let limits = Limits { services: 1_000_000, backends: 200_000, ..Limits::default() };
    let mut real = load(&Options { limits, ..Options::default() })?;
    let mut tables = KernelTables::new(&mut real, &limits)?;
    for write in services(1) {
        tables.write(&write)?;
    }
    for flows in [1, 10_000] {
        established(&mut bare, &mut real, flows)?;
    }
    scale(&mut real, &mut tables)
}

/// Which program, on which packet of a flow.
struct Row {
    name: &'static str,
    bare: bool,
    program: &'static str,
    packets: Vec<Vec<u8>>,
    /// What it must return: a program that does not do its work is soon done.
    returns: u32,
}

fn established(bare: &mut Ebpf, real: &mut Ebpf, flows: u16) -> Result<(), Failure> {
    let port = |flow: u16| 5_000 + flow;
    let packets = |family: Family, ends: &dyn Fn(u16) -> Ends, flags| -> Vec<Vec<u8>> {
        (0..flows).map(|flow| packet_between(family, &ends(flow), flags)).collect()
    };
    let asks = |to: u16| move |flow| Ends::new(CLIENT, port(flow), VIP, to);
    for family in Family::ALL {
        for to in [SNAT_PORT, DSR_PORT] {
            for packet in packets(family, &asks(to), tcp::SYN) {
                once(real, "from_netdev", &packet, REDIRECT)?;
            }
        }
    }
    let v4 = packets(Family::V4, &asks(SNAT_PORT), tcp::ACK);
    for flow in 0..flows {
        let (from, to) =
            (tuple(CLIENT, port(flow), VIP, SNAT_PORT), tuple(NODE, port(flow), REMOTE, 8080));
        fill_nat(bare, &from, &to, UPLINK)?;
    }
    let answers = |flow| Ends::new(REMOTE, 8080, NODE, port(flow));
    let row = |name, bare, program, packets, returns| Row { name, bare, program, packets, returns };
    let mut rows = vec![
        row("tc, empty", true, "empty", v4.clone(), PASS),
        row("tc, bare", true, "bare_nat", v4.clone(), REDIRECT),
        row("xdp, empty", true, "empty_xdp", v4.clone(), XDP_PASS),
        row("xdp, bare", true, "bare_xdp", v4.clone(), XDP_TX),
    ];
    for (family, names) in [
        (
            Family::V4,
            [
                "tc, SNAT, IPv4",
                "tc, SNAT's answer, IPv4",
                "tc, DSR, IPv4",
                "xdp, SNAT, IPv4",
                "xdp, SNAT's answer, IPv4",
                "xdp, DSR, IPv4",
            ],
        ),
        (
            Family::V6,
            [
                "tc, SNAT, IPv6",
                "tc, SNAT's answer, IPv6",
                "tc, DSR, IPv6",
                "xdp, SNAT, IPv6",
                "xdp, SNAT's answer, IPv6",
                "xdp, DSR, IPv6",
            ],
        ),
    ] {
        let kinds = [
            packets(family, &asks(SNAT_PORT), tcp::ACK),
            packets(family, &answers, tcp::ACK),
            packets(family, &asks(DSR_PORT), tcp::ACK),
        ];
        let [a, b, c, d, e, f] = names;
        for (name, packets) in [a, b, c].into_iter().zip(kinds.clone()) {
            rows.push(row(name, false, "from_netdev", packets, REDIRECT));
        }
        for (name, packets) in [d, e, f].into_iter().zip(kinds) {
            rows.push(row(name, false, "xdp_from_netdev", packets, XDP_TX));
        }
    }
    // What answered once is followed by the fast road.
    for row in rows.iter().filter(|row| row.program == "from_netdev") {
        for packet in &row.packets {
            once(real, row.program, packet, row.returns)?;
        }
    }
    let mut samples = vec![Vec::with_capacity(ROUNDS); rows.len()];
    for i in 0..ROUNDS {
        for (row, samples) in rows.iter().zip(&mut samples) {
            let set = if row.bare { &mut *bare } else { &mut *real };
            let packet = &row.packets[i % row.packets.len()];
            samples.push(match once(set, row.program, packet, row.returns) {
                // The entry's second was over just now: the hook behind this one refreshes it.
                Err(_) if row.program == "xdp_from_netdev" => {
                    once(set, "from_netdev", packet, REDIRECT)?;
                    once(set, row.program, packet, row.returns)?
                }
                took => took?,
            });
        }
    }
    println!("established, {flows} flow(s), ns per packet    min   median     mean    /bare");
    for samples in &mut samples {
        samples.sort_unstable();
    }
    for (row, sorted) in rows.iter().zip(&samples) {
        let bare = mean(&samples[if row.program.contains("xdp") { 3 } else { 1 }]);
        let mean = mean(sorted);
        let (min, median) = (sorted[0], sorted[sorted.len() / 2]);
        println!("{:<32} {min:>9} {median:>8} {mean:>8.1} {:>8.2}", row.name, mean / bare);
    }
    Ok(())
}

/// The same connection cost with ever more services beside the one that is asked for.
fn scale(real: &mut Ebpf, tables: &mut KernelTables) -> Result<(), Failure> {
    println!("by number of services, ns per packet   min   median     mean   /1");
    let mut firsts: Vec<f64> = Vec::new();
    let mut installed = 1;
    let mut port = 0_u16;
    // Every new connection puts an old one out, in the first measurement as in the last.
    for port in 0..=u16::MAX {
        let ends = Ends::new([10, 244, 1, 9], port, VIP, SNAT_PORT);
        once(real, "from_pod", &packet_between(Family::V4, &ends, tcp::SYN), REDIRECT)?;
    }
    for number in [1_u32, 1_000, 10_000, 100_000] {
        for write in (installed..number).flat_map(|n| services(n + 1)) {
            tables.write(&write)?;
        }
        installed = number;
        let kinds: [(&str, &str, [u8; 4], u16, u8); 4] = [
            ("from-pod, new", "from_pod", LOCAL_CLIENT, SNAT_PORT, tcp::SYN),
            ("from-netdev, new, SNAT", "from_netdev", CLIENT, SNAT_PORT, tcp::SYN),
            ("from-pod, established", "from_pod", LOCAL_CLIENT, SNAT_PORT, tcp::ACK),
            ("from-netdev, established, SNAT", "from_netdev", CLIENT, SNAT_PORT, tcp::ACK),
        ];
        for (k, (name, program, from, to, flags)) in kinds.into_iter().enumerate() {
            let mut sorted = Vec::new();
            for _ in 0..10_000 {
                if flags == tcp::SYN {
                    port = port.wrapping_add(1);
                }
                let ends = Ends::new(from, if flags == tcp::SYN { port } else { 7 }, VIP, to);
                sorted.push(once(
                    real,
                    program,
                    &packet_between(Family::V4, &ends, flags),
                    REDIRECT,
                )?);
            }
            sorted.sort_unstable();
            let mean = mean(&sorted);
            if firsts.len() <= k {
                firsts.push(mean);
            }
            println!(
                "{:<32} {:>9} {:>8} {mean:>8.1} {:>5.2}",
                format!("{number}: {name}"),
                sorted[0],
                sorted[sorted.len() / 2],
                mean / firsts[k]
            );
        }
    }
    Ok(())
}

/// The writes for service `number`, the first of them the one that is measured: on port 80, and on port
/// 81 with DSR, in both scopes and families, one backend on another node.
fn services(number: u32) -> Vec<Write> {
    let mut writes = Vec::new();
    let [_, a, b, c] = number.to_be_bytes();
    let vip = if number == 1 { VIP } else { [11, a, b, c] };
    for (family, id) in Family::ALL.into_iter().zip([2 * number, 2 * number + 1]) {
        let backend = if number == 1 { REMOTE } else { [12, a, b, c] };
        let backend =
            Backend::new(family.address(backend), Be16::new(8080), TCP, BackendState::Active);
        writes.push(Write::Backend(id, Some(backend)));
        let both = Scope::Internal.bit() | Scope::External.bit();
        writes.push(Write::Member(Member { service: number, backend: id }, Some(both)));
        let ports: &[u16] = if number == 1 { &[SNAT_PORT, DSR_PORT] } else { &[SNAT_PORT] };
        for port in ports {
            for scope in Scope::ALL {
                let key = ServiceKey::frontend(family.address(vip), Be16::new(*port), TCP);
                let key = key.seen_from(scope);
                let mut master = Service::master(number, 1, Algorithm::Random, 0);
                if *port == DSR_PORT {
                    master.forwarding = Forwarding::DsrOption as u8;
                }
                writes.push(Write::Service(key.slot(1), Some(Service::slot(id))));
                writes.push(Write::Service(key, Some(master)));
            }
        }
        if number == 1 {
            writes.push(Write::Endpoint(family.address(NODE), Some(Endpoint::HOST)));
            let pod = Endpoint::pod(CLIENT_DEVICE);
            writes.push(Write::Endpoint(family.address(LOCAL_CLIENT), Some(pod)));
        }
    }
    if number == 1 {
        writes.push(Write::Config(Config {
            epoch: 1,
            maglev_size: 251,
            uplink: UPLINK,
            address4: Family::V4.address(NODE),
            address6: Family::V6.address(NODE),
            ports_first: 5_000,
            ..Config::default()
        }));
    }
    writes
}

fn tuple(from: [u8; 4], from_port: u16, to: [u8; 4], to_port: u16) -> Tuple {
    let address = |bytes| Family::V4.address(bytes);
    Tuple::new(TCP, address(from), Be16::new(from_port), address(to), Be16::new(to_port))
}

/// The mean of sorted samples, without the slowest hundredth, which are interrupts.
fn mean(sorted: &[u64]) -> f64 {
    let kept = &sorted[..sorted.len() - sorted.len() / 100];
    kept.iter().sum::<u64>() as f64 / kept.len() as f64
}

/// Runs a program on a packet; nanoseconds.
fn once(set: &mut Ebpf, name: &str, packet: &[u8], returns: u32) -> Result<u64, Failure> {
    let device = if name == "from_pod" { CLIENT_DEVICE } else { UPLINK };
    expect(set, name, device, packet, returns)
}
