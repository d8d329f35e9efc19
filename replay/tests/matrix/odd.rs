//! Packets that are not plain: fragments, options, tags, no checksum, no hop left.

use twinpath_sim::cluster::Place;
use twinpath_sim::world::Sender;

use super::cluster::{Service, Setup, cluster_ip, node, pod};
use super::lab::{Check, Got, Path, end_of};
use super::packet::{Complaint, Packet, Proto, transport_sum};
use super::reader::Seen;
use super::rows::{FAMILIES, PORT, Row, Way, Who, family};

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            for way in Way::all() {
                fragments(rows, (proto, v4), &way);
                plain_but(rows, (proto, v4), &way);
            }
            tags(rows, proto, v4);
        }
    }
}

/// A fragment arrived with the right addresses.
fn piece(got: &Got, path: &Path, place: Place) -> Check<Seen> {
    let seen = got.at(place)?;
    got.check(seen.fragment == got.sent.fragment, "which fragment")?;
    got.check((seen.from, seen.to) == (Some(path.sees.0), Some(path.target.0)), "addresses")?;
    got.check(seen.options.is_empty(), "options are left")?;
    Ok(seen.clone())
}

fn fragments(rows: &mut Vec<Row>, (proto, v4): (Proto, bool), way: &Way) {
    let whole = move |path: &Path| {
        let mut packet = Packet::new(proto, path.from, path.to, proto.flags()[0]).length(700);
        packet.id = 0x5151;
        packet.fragments(400)
    };
    // The pieces together are what was sent, with a checksum that is right for where it went.
    let complete = move |got: &Got, first: &Seen, later: &Seen, path: &Path| -> Check {
        let segment = [first.segment.clone(), later.segment.clone()].concat();
        got.check(segment.len() > 700, "length")?;
        got.check((first.ports.0, first.ports.1) == (path.sees.1, path.target.1), "ports")?;
        if proto != Proto::Sctp {
            let number = proto.number(v4);
            let sum = transport_sum(number, path.sees.0, path.target.0, &segment);
            got.check(sum == 0, "checksum of the whole")?;
        }
        Ok(())
    };
    rows.push(way.row((proto, v4), "fragments in order", move |lab, path| {
        let place = lab.pod_in(path.pod);
        let [a, b] = whole(path);
        for _ in 0..2 {
            let first = piece(&lab.frame(path.sender, &a)?, path, place)?;
            let got = lab.frame(path.sender, &b)?;
            let later = piece(&got, path, place)?;
            complete(&got, &first, &later, path)?;
        }
        Ok(())
    }));
    let at_node = matches!(way.who, Who::Client(_));
    rows.push(way.row((proto, v4), "fragments out of order", move |lab, path| {
        let place = lab.pod_in(path.pod);
        let [a, b] = whole(path);
        // What is for an address of the node may be for the node itself, which will not complete it.
        let early = lab.frame(path.sender, &b)?;
        if at_node {
            early.at(Place::Host(0))?;
            early.check(early.unchanged, "a fragment that nobody knows changed connections")?;
        } else {
            early.dropped("FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND")?;
        }
        let first = piece(&lab.frame(path.sender, &a)?, path, place)?;
        let got = lab.frame(path.sender, &b)?;
        let later = piece(&got, path, place)?;
        complete(&got, &first, &later, path)
    }));
}

fn plain_but(rows: &mut Vec<Row>, (proto, v4): (Proto, bool), way: &Way) {
    let [open, answer, on] = proto.flags();
    rows.push(way.row((proto, v4), "with options", move |lab, path| {
        let mut packet = Packet::new(proto, path.from, path.to, open);
        packet.options = true;
        let seen = lab.there_with(path, &packet)?;
        let (from, to) = seen.ends().ok_or("no ends")?;
        let mut back = Packet::new(proto, to, from, answer);
        back.options = true;
        lab.back_with(path, &back)?;
        packet.flags = on;
        lab.there_with(path, &packet).map(|_| ())
    }));
    if proto == Proto::Udp && v4 {
        rows.push(way.row((proto, v4), "without a checksum", move |lab, path| {
            let mut packet = Packet::new(proto, path.from, path.to, 0);
            packet.unsummed = true;
            for _ in 0..2 {
                let seen = lab.there_with(path, &packet)?;
                let (from, to) = seen.ends().ok_or("no ends")?;
                let mut back = Packet::new(proto, to, from, 0);
                back.unsummed = true;
                lab.back_with(path, &back)?;
            }
            Ok(())
        }));
    }
    // The last hop is the node's: the sender is told, and no connection is opened or changed.
    let ttl = if matches!(way.who, Who::Client(_)) { 2 } else { 1 };
    rows.push(way.row((proto, v4), "no hop left", move |lab, path| {
        let mut packet = Packet::new(proto, path.from, path.to, open);
        packet.ttl = ttl;
        for _ in 0..2 {
            let got = lab.packet(path.sender, &packet)?;
            let error =
                got.refused("TTL_EXCEEDED", end_of(path.sender), Complaint::TimeExceeded)?;
            got.check(error.from == Some(node(1, v4)), "not from the node")?;
            lab.talk(path)?;
        }
        Ok(())
    }));
    if way.halves[1] != 0 && !way.is_direct() {
        rows.push(way.row((proto, v4), "no hop left at the backend's node", move |lab, path| {
            lab.talk(path)?;
            let mut packet = Packet::new(proto, path.from, path.to, on);
            packet.ttl = ttl + 1;
            let got = lab.packet(path.sender, &packet)?;
            let error =
                got.refused("TTL_EXCEEDED", end_of(path.sender), Complaint::TimeExceeded)?;
            got.check(error.from == Some(node(2, v4)), "not from the node")
        }));
    }
}

/// Frames with an 802.1Q tag.
fn tags(rows: &mut Vec<Row>, proto: Proto, v4: bool) {
    for server in ["sa", "sb"] {
        let service = Service::new(proto, &[server]);
        let name =
            format!("{} {} ClusterIP: in a tagged frame, to {server}", family(v4), proto.name());
        rows.push(Row::new(name, &Setup::default(), &[&service.clone()], move |lab| {
            let path = super::rows::path(
                lab,
                (proto, v4),
                Who::Pod("ca"),
                &service,
                service.cluster(v4),
                server,
                None,
            );
            let [open, answer, on] = proto.flags();
            for flags in [open, on] {
                let mut packet = Packet::new(proto, path.from, path.to, flags);
                packet.vlan = Some(5);
                let seen = lab.there_with(&path, &packet)?;
                if seen.vlan != Some(5) {
                    return Err("the tag is lost".into());
                }
                let mut back = Packet::new(proto, path.target, path.from, answer);
                back.vlan = Some(5);
                lab.back_with(&path, &back)?;
            }
            Ok(())
        }));
    }
    let service = Service::new(proto, &["sa"]);
    let name =
        format!("{} {} ClusterIP: unknown port, in a tagged frame", family(v4), proto.name());
    rows.push(Row::new(name, &Setup::default(), &[&service], move |lab| {
        let mut packet =
            Packet::new(proto, (pod("ca", v4), PORT), (cluster_ip(1, v4), 4321), proto.flags()[0]);
        packet.vlan = Some(5);
        let got = lab.packet(Sender::Pod(lab.pod("ca")), &packet)?;
        got.dropped("SERVICE_PORT_NOT_FOUND")
    }));
}
