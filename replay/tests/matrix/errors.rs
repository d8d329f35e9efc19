//! ICMP errors about packets of a connection: from either end and from the middle, with all of the packet
//! quoted and with as little as there may be.

use std::net::IpAddr;

use twinpath_sim::world::Sender;

use super::cluster::{node, router};
use super::lab::{Check, Got, Lab, Path, end_of};
use super::packet::{Complaint, End, Packet, Proto, transport_sum};
use super::reader::{Seen, read_quote};
use super::rows::{FAMILIES, Row, Way};

pub(crate) fn rows(rows: &mut Vec<Row>) {
    for v4 in FAMILIES {
        for proto in Proto::SERVED {
            for way in Way::all() {
                for complaint in Complaint::ALL {
                    for least in [false, true] {
                        one(rows, (proto, v4), &way, complaint, least);
                    }
                }
            }
        }
    }
}

/// Whom an error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The client, about what it received.
    Client,
    /// The backend, about what it received.
    Backend,
    /// The router, about what went to the client.
    Router,
    /// The backend's node, about what went to the backend.
    Node,
}

/// The part of a packet that is quoted: all, or its IP header and 8 bytes (RFC 792).
fn quote(seen: &Seen, least: bool) -> Vec<u8> {
    let header = seen.packet.len() - seen.segment.len();
    if least { seen.packet[..header + 8].to_vec() } else { seen.packet.clone() }
}

fn one(
    rows: &mut Vec<Row>,
    (proto, v4): (Proto, bool),
    way: &Way,
    complaint: Complaint,
    least: bool,
) {
    for from in [From::Client, From::Backend, From::Router, From::Node] {
        let outside = matches!(way.who, super::rows::Who::Client(_));
        let fits = match from {
            From::Router => outside,
            // What another node has translated is not translated back for its client here.
            From::Node => way.halves[1] != 0 && !way.is_direct(),
            From::Client | From::Backend => true,
        };
        if !fits {
            continue;
        }
        let quoted = if least { "as little as may be" } else { "all" };
        let name = format!("{complaint:?} from {from:?}, quoting {quoted}");
        let row = way.row((proto, v4), &name, move |lab, path| {
            let seen = lab.talk(path)?;
            // What the client got last.
            let answered = lab.back(path, &seen, proto.flags()[2])?;
            let (got, place, to) = match from {
                From::Client | From::Router => {
                    let (sender, source) = match from {
                        From::Client => (path.sender, path.from.0),
                        _ => (Sender::Client(1), router(v4)),
                    };
                    let bytes = complaint.bytes(source, path.to.0, &quote(answered.last(), least));
                    let got = lab.frame(sender, &bytes)?;
                    (got, lab.pod_in(path.pod), (path.target, (seen.from, seen.ports.0)))
                }
                From::Backend | From::Node => {
                    let (sender, source) = match from {
                        From::Backend => (Sender::Pod(lab.pod(path.pod)), path.target.0),
                        _ => (Sender::Node(1), node(2, v4)),
                    };
                    let to = seen.from.ok_or("no source")?;
                    let got =
                        lab.frame(sender, &complaint.bytes(source, to, &quote(&seen, least)))?;
                    (got, end_of(path.sender), (path.from, (Some(path.to.0), path.to.1)))
                }
            };
            let source = match from {
                From::Client => seen.from.ok_or("no source")?,
                From::Backend => path.to.0,
                From::Router => router(v4),
                From::Node => node(2, v4),
            };
            let (ours, (their, port)) = to;
            let their = (their.ok_or("no source")?, port);
            told(&got, place, source, (ours, their), complaint, least)?;
            // It tells the connection nothing, which goes on.
            got.check(got.unchanged, "an error changed a connection")?;
            goes_on(lab, path, &seen)
        });
        rows.push(row);
    }
}

fn goes_on(lab: &mut Lab<'_>, path: &Path, seen: &Seen) -> Check {
    let on = path.proto.flags()[2];
    lab.there_with(path, &Packet::new(path.proto, path.from, path.to, on))?;
    lab.back(path, seen, on).map(|_| ())
}

/// The error arrived, from this address, about a packet that its receiver sent with these ends.
fn told(
    got: &Got,
    place: twinpath_sim::cluster::Place,
    from: IpAddr,
    (ours, their): (End, End),
    complaint: Complaint,
    least: bool,
) -> Check {
    let seen = got.at(place)?;
    let v4 = from.is_ipv4();
    got.check(seen.from == Some(from), "comes from another")?;
    got.check(seen.to == Some(ours.0), "is for another")?;
    let Some((kind, _, quoted)) = &seen.error else { return got.fail("no error") };
    got.check(*kind == complaint.code(v4), "another error")?;
    let before = got.sent.error.as_ref().map_or(0, |(_, _, quote)| quote.len());
    got.check(quoted.len() == before, "quotes more or less")?;
    let inner = match read_quote(quoted) {
        Ok(inner) => inner,
        Err(why) => return got.fail(format!("what is quoted: {why}")),
    };
    if inner.ends() != Some((ours, their)) {
        return got.fail(format!("quotes {:?} and not {:?}", inner.ends(), (ours, their)));
    }
    // The checksum of the quoted packet is that of what was sent, where all of it is there.
    let summed = matches!(inner.number, 6 | 17) && !least;
    let sum = if summed { transport_sum(inner.number, ours.0, their.0, &inner.segment) } else { 0 };
    got.check(sum == 0, "the quoted packet's checksum")
}
