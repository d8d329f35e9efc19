//! Direct server return.

use twinpath_control::tables::{Dispatch, Mode};

use super::cluster::{Service, Setup, balancer, client, node};
use super::lab::Check;
use super::lab::{Got, Lab, Path};
use super::packet::{Complaint, Packet, Proto};
use super::rows::{FAMILIES, PORT, Row, Who, family, path};

const WAYS: [Dispatch; 3] = [Dispatch::Option, Dispatch::Ipip, Dispatch::Geneve];

/// How much longer a packet gets.
const fn overhead(way: Dispatch, v4: bool) -> usize {
    match (way, v4) {
        (Dispatch::Option, true) => 8,
        (Dispatch::Option, false) => 24,
        (Dispatch::Ipip, true) => 20,
        (Dispatch::Ipip, false) => 40,
        (Dispatch::Geneve, true) => 62,
        (Dispatch::Geneve, false) => 94,
    }
}

fn setup(mode: Mode, dispatch: Dispatch, xdp: bool) -> Setup {
    let mut setup = Setup { xdp, ..Setup::default() };
    (setup.options.mode, setup.options.dispatch) = (mode, dispatch);
    setup
}

/// A packet on the link tells of the frontend in this way, byte for byte as documented.
fn tells(got: &Got, way: Dispatch, path: &Path, v4: bool) -> Check {
    let wire = got
        .path
        .iter()
        .find(|(place, _)| matches!(place, twinpath_sim::cluster::Place::Wire(0 | 2)))
        .map(|(_, seen)| seen);
    let Some(wire) = wire else { return got.fail("was not on the link") };
    let mut told = Vec::new();
    let address = |told: &mut Vec<u8>| match path.to.0 {
        std::net::IpAddr::V4(address) => told.extend(address.octets()),
        std::net::IpAddr::V6(address) => told.extend(address.octets()),
    };
    match (way, v4) {
        (Dispatch::Option, true) => {
            told.extend([0x9a, 8]);
            told.extend(path.to.1.to_be_bytes());
            address(&mut told);
            got.check(wire.options == told, "option")?;
        }
        (Dispatch::Option, false) => {
            told.extend([path.proto.number(false), 2, 0x1b, 20]);
            address(&mut told);
            told.extend(path.to.1.to_be_bytes());
            told.extend([0, 0]);
            got.check(wire.options == told, "option")?;
        }
        _ => {
            let Some(inner) = &wire.inner else { return got.fail("not in a tunnel") };
            got.check(wire.to == Some(path.target.0), "the tunnel ends elsewhere")?;
            got.check(wire.ttl == 64, "hops of the tunnel")?;
            let from = got.path.iter().find_map(|(place, _)| match place {
                twinpath_sim::cluster::Place::Wire(node) => Some(*node as u8 + 1),
                _ => None,
            });
            got.check(
                wire.from == from.map(|number| node(number, v4)),
                "the tunnel begins elsewhere",
            )?;
            let to = if way == Dispatch::Ipip { path.to } else { path.target };
            got.check(inner.ends() == Some((path.from, to)), "what is within")?;
        }
    }
    let length = got.sent.packet.len() + overhead(way, v4);
    got.check(wire.packet.len() == length, "overhead")
}

/// The answer does not touch the node that chose.
fn directly(got: &Got) -> Check {
    let wires: Vec<_> = got.path.iter().map(|(place, _)| *place).collect();
    got.check(wires.len() == 3, "the answer takes another way")
}

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            for way in WAYS {
                reach(rows, proto, v4, way);
                changes(rows, proto, v4, way);
                long(rows, proto, v4, way);
            }
            hybrid(rows, proto, v4);
        }
    }
}

fn reach(rows: &mut Vec<Row>, proto: Proto, v4: bool, way: Dispatch) {
    for xdp in [false, true] {
        for server in ["sa", "sb"] {
            for (at, kind) in ["NodePort", "LoadBalancer", "ExternalIP"].into_iter().enumerate() {
                let service = Service::new(proto, &[server]);
                let shared = service.clone();
                let name = format!(
                    "{} {} DSR {way:?} {kind}: to {server}, xdp {xdp}",
                    family(v4),
                    proto.name()
                );
                rows.push(Row::new(name, &setup(Mode::Dsr, way, xdp), &[&service], move |lab| {
                    let to = [shared.at_node(1, v4), shared.balancer(v4), shared.external(v4)][at];
                    let path = path(lab, (proto, v4), Who::Client("x"), &shared, to, server, None);
                    if server == "sa" {
                        lab.talk(&path)?;
                        return lab.halves_are([2, 0, 0]);
                    }
                    talk(lab, &path, way, v4)?;
                    lab.halves_are([2, 2, 0])
                }));
            }
        }
    }
}

/// A connection to another node's pod, told of and answered directly.
fn talk(lab: &mut Lab<'_>, path: &Path, way: Dispatch, v4: bool) -> Check {
    let [open, answer, on] = path.proto.flags();
    let place = lab.pod_in(path.pod);
    let got = lab.packet(path.sender, &Packet::new(path.proto, path.from, path.to, open))?;
    let seen = got.arrives(place, path.sees, path.target)?.clone();
    tells(&got, way, path, v4)?;
    directly(&lab.back(path, &seen, answer)?)?;
    let got = lab.packet(path.sender, &Packet::new(path.proto, path.from, path.to, on))?;
    got.arrives(place, path.sees, path.target)?;
    if path.proto != Proto::Tcp || way == Dispatch::Ipip {
        tells(&got, way, path, v4)?;
    } else {
        // What moves the connection's state on may tell, too; what comes behind it does not.
        let got = lab.packet(path.sender, &Packet::new(path.proto, path.from, path.to, on))?;
        got.arrives(place, path.sees, path.target)?;
        let wire = got.path.iter().rev().nth(1).map(|(_, seen)| seen.packet.len());
        got.check(wire == Some(got.sent.packet.len()), "a packet in the middle is longer")?;
    }
    directly(&lab.back(path, &seen, on)?)
}

/// Another node is sent the packets of a connection from now on.
fn changes(rows: &mut Vec<Row>, proto: Proto, v4: bool, way: Dispatch) {
    let service = Service::new(proto, &["sb"]);
    let shared = service.clone();
    let name =
        format!("{} {} DSR {way:?}: the node that chooses changes", family(v4), proto.name());
    let run = move |lab: &mut Lab<'_>, reroute: &mut dyn FnMut(&mut Lab<'_>)| {
        let path =
            path(lab, (proto, v4), Who::Client("x"), &shared, shared.balancer(v4), "sb", None);
        talk(lab, &path, way, v4)?;
        reroute(lab);
        let on = proto.flags()[2];
        for _ in 0..2 {
            let seen = lab.there(&path, on)?;
            directly(&lab.back(&path, &seen, on)?)?;
        }
        lab.halves_are([2, 2, 2])
    };
    rows.push(Row::new(name, &setup(Mode::Dsr, way, false), &[&service], move |lab| {
        run(lab, &mut |lab| lab.world.reroute(balancer(v4), 2))
    }));
}

/// Packets that are too long once they tell of the frontend.
fn long(rows: &mut Vec<Row>, proto: Proto, v4: bool, way: Dispatch) {
    for may_cut in [false, true] {
        if may_cut && !v4 {
            continue;
        }
        let service = Service::new(proto, &["sb"]);
        let shared = service.clone();
        let name = format!(
            "{} {} DSR {way:?}: as long as the link takes, may be cut {may_cut}",
            family(v4),
            proto.name()
        );
        rows.push(Row::new(name, &setup(Mode::Dsr, way, false), &[&service], move |lab| {
            let path = path(
                lab,
                (proto, v4),
                Who::Client("x"),
                &shared,
                shared.at_node(1, v4),
                "sb",
                None,
            );
            let headers = Packet::new(proto, path.from, path.to, 2).length(0).bytes().len() - 14;
            let most = 1500 - overhead(way, v4);
            let sized = |length: usize| {
                let mut packet = Packet::new(proto, path.from, path.to, proto.flags()[0])
                    .length(length - headers);
                packet.may_cut = may_cut;
                packet
            };
            for length in [most + 1, 1500] {
                let got = lab.packet(path.sender, &sized(length))?;
                let told = Complaint::TooBig(most as u16);
                let error =
                    got.refused("FRAGMENTATION_NEEDED", super::lab::end_of(path.sender), told)?;
                got.check(
                    error.from == Some(path.to.0) && error.to == Some(client("x", v4)),
                    "ends",
                )?;
            }
            let place = lab.pod_in("sb");
            let got = lab.packet(path.sender, &sized(most))?;
            got.arrives(place, path.sees, path.target)?;
            tells(&got, way, &path, v4)
        }));
    }
}

/// TCP directly, all else by the node.
fn hybrid(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for way in WAYS {
        let service = Service::new(proto, &["sb"]);
        let shared = service.clone();
        let name =
            format!("{} {} hybrid {way:?}: NodePort to a remote pod", family(v4), proto.name());
        rows.push(Row::new(name, &setup(Mode::Hybrid, way, false), &[&service], move |lab| {
            let tcp = proto == Proto::Tcp;
            let sees = (!tcp).then(|| (node(1, v4), PORT));
            let path = path(
                lab,
                (proto, v4),
                Who::Client("x"),
                &shared,
                shared.at_node(1, v4),
                "sb",
                sees,
            );
            if tcp { talk(lab, &path, way, v4) } else { lab.talk(&path).map(|_| ()) }
        }));
    }
}
