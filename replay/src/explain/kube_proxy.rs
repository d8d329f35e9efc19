//! What kube-proxy would have done with a packet, by the rules that it writes for the node from the same
//! state of the cluster (`twinpath_control::rules`), and the rows of docs/deviations.md where that is
//! something else.

use std::net::{IpAddr, SocketAddr};

use twinpath_control::model::{
    Endpoint, FrontendKind, PortName, ServiceKind, ServicePort, TrafficPolicy,
};
use twinpath_control::rules::endpoints::{Served, contains, pod_range};
use twinpath_core::conntrack::is_syn;
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Hook;
use twinpath_core::parse::{Parsed, Transport};
use twinpath_core::verdict::Status;
use twinpath_core::wire::tcp;
use twinpath_sim::topology::Owner;

use super::log::Event;
use super::story::Story;
use crate::replay::flows::Role;

/// What kube-proxy would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxy {
    /// In a word, for programs.
    pub verdict: &'static str,
    /// In a sentence.
    pub text: String,
    /// Rows of docs/deviations.md in which twinpath differs here.
    pub deviations: Vec<u8>,
}

fn said(verdict: &'static str, text: impl Into<String>, deviations: &[u8]) -> Option<KubeProxy> {
    Some(KubeProxy { verdict, text: text.into(), deviations: deviations.to_vec() })
}

/// What it would have done; `None` where nobody could say, since nothing was sent.
pub fn kube_proxy(story: &Story<'_>) -> Option<KubeProxy> {
    if story.broken.is_some() || story.outcome.role == Some(Role::Orphan) {
        return None;
    }
    if let Some(said) = before_services(story) {
        return Some(said);
    }
    let parsed = story.parsed()?;
    if matches!(parsed.transport, Transport::IcmpError) {
        return icmp_error(story, &parsed);
    }
    match story.status() {
        Status::Established | Status::Reply => {
            let text = "netfilter's conntrack has the connection, and translates in the same way; \
                        no rule is asked";
            return said("conntrack", text, &[]);
        }
        _ => {}
    }
    let node = balancing(story)?;
    let (address, port) = (parsed.tuple.destination.into(), parsed.tuple.destination_port.get());
    match find(story, &parsed, address, port) {
        Some(found) => serve(story, &parsed, node, &found),
        None => no_frontend(story, &parsed, address),
    }
}

/// What is dropped before any service is asked for.
fn before_services(story: &Story<'_>) -> Option<KubeProxy> {
    match story.outcome.reason? {
        // An ICMP error: see below.
        DropReason::InvalidPacket if story.parsed().is_some() => None,
        DropReason::InvalidPacket => {
            let v6 = story.sent().bytes.get(12..14) == Some(&[0x86, 0xdd]);
            let rows: &[u8] = if v6 { &[9] } else { &[] };
            said("drop", "the stack drops headers that make no sense", rows)
        }
        DropReason::InvalidTransportHeader => {
            said("drop", "netfilter calls it invalid, and kube-proxy's KUBE-FORWARD drops it", &[])
        }
        DropReason::InvalidExtensionHeader => {
            said("forward", "Linux takes any number of extension headers", &[7])
        }
        DropReason::FragmentNotFound => {
            said("dnat", "netfilter waits for the first fragment, and translates the whole", &[22])
        }
        DropReason::TtlExceeded if story.dropped().is_none() => {
            said("drop", "the same: a router between drops it", &[])
        }
        DropReason::TtlExceeded => said(
            "reject",
            "the same: the node's stack drops it and answers ICMP time exceeded",
            &[],
        ),
        // Without a DSR header: the link alone is too short.
        DropReason::FragmentationNeeded if story.dropped().is_none() => said(
            "reject",
            "the node's stack finds it too long for the link, too, and answers ICMP fragmentation needed \
             (packet too big); IPv4 without DF is cut into fragments",
            &[],
        ),
        DropReason::FragmentationNeeded => said(
            "dnat",
            "it has no DSR, so the packet gets no longer; without DF the stack would cut it",
            &[15],
        ),
        _ => None,
    }
}

fn icmp_error(story: &Story<'_>, parsed: &Parsed) -> Option<KubeProxy> {
    let text = "netfilter finds the connection that the error is about, and translates it with what \
                it quotes";
    let rows: &[u8] = match story.outcome.reason {
        Some(_) => &[20],
        None if is_from_router(story, parsed) => &[40],
        None => &[],
    };
    said("conntrack", text, rows)
}

/// Whether it is not the receiver of the packet that an ICMP error quotes which reports it.
fn is_from_router(story: &Story<'_>, parsed: &Parsed) -> bool {
    let at = parsed.l4.0.saturating_add(if parsed.tuple.is_v4() { 8 + 16 } else { 8 + 24 });
    let length = if parsed.tuple.is_v4() { 4 } else { 16 };
    let octets = parsed.tuple.source.octets();
    let source = octets.get(16_usize.saturating_sub(length)..).unwrap_or_default();
    story.sent().bytes.get(at..at.saturating_add(length)) != Some(source)
}

/// The node whose rules the packet meets: that of the first hook.
fn balancing<'a>(story: &'a Story<'_>) -> Option<(&'a str, Hook)> {
    story.events.iter().find_map(|event| match event {
        Event::Hook(node, hook, ..) => Some((story.node(*node), *hook)),
        _ => None,
    })
}

/// The frontend that rules have for a destination.
struct Found<'a> {
    name: &'a PortName,
    port: &'a ServicePort,
    kind: FrontendKind,
}

fn find<'a>(story: &Story<'a>, parsed: &Parsed, address: IpAddr, number: u16) -> Option<Found<'a>> {
    let is_node = matches!(story.topology.owner(&address.into()), Some(Owner::Node(_)));
    let ours = |kind: FrontendKind, at: IpAddr| match kind {
        FrontendKind::NodePort | FrontendKind::HostPort => {
            at == address || (at.is_unspecified() && at.is_ipv4() == address.is_ipv4() && is_node)
        }
        _ => at == address,
    };
    let ports = story.state.services.iter();
    let mut of = ports.filter(|(name, _)| name.protocol.number() == parsed.tuple.protocol);
    of.find_map(|(name, port)| {
        let frontend =
            port.frontends.iter().find(|f| f.port == number && ours(f.kind, f.address))?;
        Some(Found { name, port, kind: frontend.kind })
    })
}

fn no_frontend(story: &Story<'_>, parsed: &Parsed, address: IpAddr) -> Option<KubeProxy> {
    let cluster_ips = story.state.services.values().flat_map(|port| &port.frontends);
    if cluster_ips.into_iter().any(|frontend| frontend.address == address) {
        if matches!(parsed.transport, Transport::Echo) {
            let text = "nobody answers the echo; iptables mode: no rule, it leaves the node; nftables mode: \
                        REJECT for a cluster address (cluster-ips); IPVS mode: REJECT (KUBE-IPVS-FILTER)";
            return said("pass-or-reject", text, &[19]);
        }
        let text = "iptables mode: no rule, it leaves the node; nftables mode: REJECT for a cluster \
                    address (cluster-ips); IPVS mode: REJECT (KUBE-IPVS-FILTER)";
        return said("pass-or-reject", text, &[3]);
    }
    if story.state.service_ranges.iter().any(|range| contains(range, address)) {
        let text = "iptables and IPVS mode: no rule, it leaves the node; nftables mode: DROP, since \
                    no service has the address";
        return said("pass-or-drop", text, &[]);
    }
    said("pass", "no rule is for it: it is routed as it is", &[])
}

/// The rules of a frontend.
fn serve(
    story: &Story<'_>,
    parsed: &Parsed,
    (node, hook): (&str, Hook),
    found: &Found<'_>,
) -> Option<KubeProxy> {
    let Found { name, port, kind } = found;
    let v4 = parsed.tuple.is_v4();
    let source: IpAddr = parsed.tuple.source.into();
    if port.kind == ServiceKind::HostPort {
        return said(
            "none",
            "host ports are not kube-proxy's: the portmap plugin translates them",
            &[],
        );
    }
    let served = Served::all(story.state, node, v4).into_iter().find(|s| s.key == *name)?;
    let internal = !matches!(
        story.topology.owner(&parsed.tuple.source),
        Some(Owner::Client(_) | Owner::Router) | None
    ) || hook == Hook::FromPod;
    let mut rows = Vec::new();
    if let Some(said) = invalid(parsed) {
        return Some(said);
    }
    if served.is_dead() {
        return said(
            "reject",
            "REJECT with ICMP port unreachable: the service has no endpoint anywhere",
            &[35],
        );
    }
    if *kind == FrontendKind::LoadBalancer && !port.source_ranges.is_empty() {
        let ranges = served.ranges(v4);
        if ranges.is_empty() {
            rows.push(10);
        } else if !ranges.iter().any(|range| contains(range, source)) {
            return said(
                "drop",
                "DROP: the source is in none of loadBalancerSourceRanges (KUBE-FW, \
                 KUBE-PROXY-FIREWALL)",
                &[],
            );
        }
    }
    let pods = pod_range(story.state, v4);
    let is_pod = pods.map_or(internal, |range| contains(&range, source));
    // Pods are spared the external policy, and so are the node's own connections.
    let (policy, masquerade) = match kind {
        FrontendKind::ClusterIp => {
            if !internal {
                rows.push(29);
            }
            (port.internal_policy, pods.is_some_and(|range| !contains(&range, source)))
        }
        _ if served.is_local() && internal => (TrafficPolicy::Cluster, !is_pod),
        _ if served.is_local() => (TrafficPolicy::Local, false),
        _ => (TrafficPolicy::Cluster, true),
    };
    let endpoints = port.eligible(policy, v4, &story.state.place(node)).endpoints;
    if endpoints.is_empty() {
        let text = "DROP: the traffic policy is Local, and all endpoints are on other nodes";
        return said("drop", text, &rows);
    }
    if name.protocol == twinpath_control::model::Protocol::Sctp
        && story.outcome.reason == Some(DropReason::ChecksumCannotFollow)
    {
        rows.push(37);
    }
    if masquerade && is_pod {
        rows.push(31);
    } else if masquerade && !internal && endpoints.iter().any(|e| e.node.as_deref() == Some(node)) {
        rows.push(25);
    }
    let address = parsed.tuple.destination;
    let other = match story.topology.owner(&address) {
        Some(Owner::Node(owner)) => story.node(owner) != node,
        _ => false,
    };
    if *kind == FrontendKind::NodePort && other {
        rows.push(26);
        let text = "no rule of this node: the packet goes to the node that has the address, which \
                    chooses and masquerades";
        return said("pass", text, &rows);
    }
    let hairpin = endpoints.iter().any(|endpoint| endpoint.address == source);
    let alone = hairpin && endpoints.len() == 1;
    let mut text = translated(&endpoints, masquerade || alone, port.affinity);
    if hairpin {
        text.push_str("; a pod that is given itself is masqueraded as its node");
        rows.push(32);
    }
    if story.outcome.reason == Some(DropReason::NoHairpinAddress) && !is_pod {
        rows.push(30);
    }
    said("dnat", text, &rows)
}

/// TCP that is none that could open a connection.
fn invalid(parsed: &Parsed) -> Option<KubeProxy> {
    if !matches!(parsed.transport, Transport::Tcp) || is_syn(parsed) {
        return None;
    }
    if parsed.flags & tcp::RST != 0 {
        return said("dnat", "DNAT to an endpoint at random, which has no such connection", &[5]);
    }
    if parsed.flags & (tcp::SYN | tcp::FIN) != 0 {
        let text = "DROP: netfilter calls it invalid, since it opens no connection (KUBE-FORWARD)";
        return said("drop", text, &[39]);
    }
    None
}

/// Most endpoints that are named.
const NAMED: usize = 4;

fn translated(endpoints: &[&Endpoint], masquerade: bool, affinity: Option<u32>) -> String {
    let ends: Vec<String> = endpoints
        .iter()
        .take(NAMED)
        .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port).to_string())
        .collect();
    let mut text = match endpoints.len() {
        1 => format!("DNAT to {}", ends.concat()),
        count => {
            format!("DNAT to one of {count}, each with probability 1/{count}: {}", ends.join(", "))
        }
    };
    if endpoints.len() > NAMED {
        text.push_str(", ...");
    }
    if let Some(seconds) = affinity {
        text.push_str(&format!(", the one of its last {seconds} s where it had one"));
    }
    if masquerade {
        text.push_str("; MASQUERADE: the endpoint sees the node's address");
    } else {
        text.push_str("; no masquerade");
    }
    text
}
