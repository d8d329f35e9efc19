//! Why it came so, in a sentence or two, and where to look further.

use twinpath_control::model::{Client, FrontendKind, TrafficPolicy};
use twinpath_core::drop_reason::DropReason;
use twinpath_core::hook::Answer;
use twinpath_core::verdict::{Status, Verdict as Decided};
use twinpath_sim::cluster::{Fate, Place};

use super::endpoints::{self, Standing, judge};
use super::entry;
use super::log::{Entry, Event};
use super::packet;
use super::story::{Story, Used};
use crate::replay::flows::Role;
use crate::replay::outcome::Verdict;

/// Why the packet fared as it did.
pub fn why(story: &Story<'_>) -> String {
    if let Some(broken) = &story.broken {
        return format!(
            "the capture's record is no Ethernet frame ({broken}), so nothing was sent"
        );
    }
    if story.outcome.role == Some(Role::Orphan) {
        return "it comes from a frontend, so it is the answer to a request, and that request is not in \
                the capture before it; nobody knows which backend sent it"
            .into();
    }
    if story.outcome.verdict == Verdict::Unmatched {
        return "it is the answer to a request that reached no backend in this world, so no backend \
                could send it"
            .into();
    }
    match story.outcome.reason {
        Some(reason) => dropped(story, reason),
        None => passed(story),
    }
}

fn dropped(story: &Story<'_>, reason: DropReason) -> String {
    let Some(dropped) = story.dropped() else { return lost(story) };
    let parsed = story.parsed();
    let destination = parsed.map(|parsed| parsed.tuple.destination.to_string()).unwrap_or_default();
    let port = parsed.map_or(0, |parsed| parsed.tuple.destination_port.get());
    let source = parsed.map(|parsed| parsed.tuple.source.to_string()).unwrap_or_default();
    let used = story.used();
    let name = used.map_or_else(|| "the service".into(), |used| used.name.to_string());
    let told = match dropped.answer {
        Answer::None => "dropped without an answer".to_owned(),
        answer => format!("refused: its sender gets {}", super::steps::answer(answer)),
    };
    match reason {
        DropReason::ServiceBackendNotFound => {
            let why = used.map_or_else(|| "no endpoint is eligible".into(), |u| nobody(story, &u));
            format!("{why}; the packet is {told}")
        }
        DropReason::ServicePortNotFound => {
            let others = ports(story);
            format!(
                "services live on {destination}, but none on port {port} with this protocol \
                 ({others}); the packet is {told}"
            )
        }
        DropReason::ServiceAddressNotFound => format!(
            "{destination} is in a range of service addresses, and no service has it: it was \
             deleted, or is not in the dump"
        ),
        DropReason::IsClusterIp => format!(
            "{destination} is a cluster address, and the client {source} is outside the cluster"
        ),
        DropReason::NotInSourceRange => {
            let ranges = used.map(|used| {
                let ranges = used.port.source_ranges.iter();
                ranges.map(ToString::to_string).collect::<Vec<_>>().join(", ")
            });
            format!(
                "{source} is in none of the source ranges of {name} ({})",
                ranges.unwrap_or_default()
            )
        }
        DropReason::NoHairpinAddress => format!(
            "{name} gave the client itself as backend, and there is no address under which it \
             could see itself"
        ),
        DropReason::CannotCreateFromPacket => format!(
            "a TCP reset came to a frontend of {name} without a connection: a backend would have \
             to be guessed, and the guess could reset a stranger"
        ),
        DropReason::NoMappingForNat => "no source port is left under which the packet could leave \
                                        with the node's address, or the node has no such address"
            .into(),
        DropReason::ConntrackTupleConflict => {
            "its reply tuple belongs to another live connection, \
                                               and its port may not change"
                .into()
        }
        DropReason::ConntrackInsertionFailed => "the conntrack table took no more entries".into(),
        DropReason::ChecksumCannotFollow => "a port would have to change, and SCTP's checksum (of \
                                             the whole packet) cannot follow"
            .into(),
        DropReason::FragmentationNeeded => format!(
            "with the header that tells the backend's node of the frontend (DSR) it is longer than \
             the link takes; the packet is {told}"
        ),
        DropReason::FragmentNotFound => {
            "it is a later fragment, and the first one of its datagram, \
                                         which has the ports, has not come before it (or more than \
                                         30 s before)"
                .into()
        }
        DropReason::TtlExceeded => {
            format!(
                "its time to live ran out at {}; the packet is {told}",
                story.node(dropped.node)
            )
        }
        DropReason::InvalidPacket
        | DropReason::InvalidTransportHeader
        | DropReason::InvalidExtensionHeader => {
            if parsed.is_some() && reason == DropReason::InvalidPacket {
                return "it is an ICMP error whose quote cannot be right, or a tunnel's packet that \
                        is cut"
                    .into();
            }
            format!("it cannot be parsed: {}", packet::broken(reason))
        }
        DropReason::MissedTailCall | DropReason::WriteError => {
            "the platform failed; this is a bug".into()
        }
    }
}

/// Why a packet was lost where no hook was.
fn lost(story: &Story<'_>) -> String {
    let at = |place| match place {
        Place::Host(node) | Place::Wire(node) | Place::FromRouter(node) => {
            story.node(node).to_owned()
        }
        Place::Router => "the router".into(),
        other => story.place(other),
    };
    match story.fate() {
        Some(Fate::Expired(place)) => {
            format!("its time to live ran out in the stack of {}, not in a hook", at(place))
        }
        Some(Fate::Refused(place)) => format!(
            "the checksum of its IP header is wrong, and the stack of {} looks at it; hooks leave it \
             as wrong as it came",
            at(place)
        ),
        Some(Fate::TooBig(place)) => format!(
            "it is longer than the link behind {} takes, and nobody tells its sender",
            at(place)
        ),
        Some(Fate::NoRoute(place)) => format!("{} knows no way to its destination", at(place)),
        Some(Fate::Looped(node)) => {
            format!("it goes round in circles, of which {} is part", story.node(node))
        }
        _ => "it did not arrive".into(),
    }
}

/// The ports that services have on the destination.
fn ports(story: &Story<'_>) -> String {
    let Some(parsed) = story.parsed() else { return "none".into() };
    let address: std::net::IpAddr = parsed.tuple.destination.into();
    let mut found: Vec<String> = Vec::new();
    for (name, port) in &story.state.services {
        for frontend in port.frontends.iter().filter(|frontend| frontend.address == address) {
            found.push(format!("{name} has {}", frontend.port));
        }
    }
    let more = found.len().saturating_sub(4);
    found.truncate(4);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    if found.is_empty() { "no port at all".into() } else { found.join(", ") }
}

/// Why no endpoint of a service is eligible.
fn nobody(story: &Story<'_>, used: &Used<'_>) -> String {
    let place = story.state.place(story.node(used.node));
    let Some(policy) = used.policy() else { return format!("{} has no endpoint here", used.name) };
    let all = judge(used.port, policy, used.v4, &place);
    let family = if used.v4 { "IPv4" } else { "IPv6" };
    let count = |standing| all.iter().filter(|(_, found)| *found == standing).count();
    let of_family = all.len().saturating_sub(count(Standing::OtherFamily));
    if all.is_empty() {
        return format!(
            "{} has no endpoint at all: no pod matches its selector, or it has none",
            used.name
        );
    }
    if of_family == 0 {
        return format!("{} has no endpoint of {family}", used.name);
    }
    let away = count(Standing::OtherNode).saturating_add(count(Standing::UnknownNode));
    if policy == TrafficPolicy::Local && away > 0 {
        let which = match used.client {
            Client::Internal => "internalTrafficPolicy",
            Client::External => "externalTrafficPolicy",
        };
        let others = match away {
            1 => "an endpoint is on another node".to_owned(),
            count => format!("{count} endpoints are on other nodes"),
        };
        return format!(
            "{which} of {} is Local, and none on {} is usable; {others}",
            used.name, place.node
        );
    }
    let mut parts = Vec::new();
    for (standing, word) in [
        (Standing::NotReady, "not ready"),
        (Standing::Gone, "terminating and not serving"),
        (Standing::Draining, "terminating"),
    ] {
        match count(standing) {
            0 => {}
            found if found == of_family => parts.push(word.to_owned()),
            found => parts.push(format!("{found} {word}")),
        }
    }
    match (of_family, parts.as_slice()) {
        (1, _) => format!("the only endpoint of {} is {}", used.name, parts.concat()),
        (_, [one]) => format!("all {of_family} endpoints of {} are {one}", used.name),
        _ => {
            let parts = parts.join(", ");
            format!("none of the {of_family} endpoints of {} is eligible: {parts}", used.name)
        }
    }
}

fn passed(story: &Story<'_>) -> String {
    let Some(made) = story.outcome.made else {
        return "no hook met it".into();
    };
    let decision = made.decision;
    if decision.verdict() == Decided::Answer {
        return "it asked a frontend's address for an echo, which the datapath answers itself: no \
                backend is asked"
            .into();
    }
    let mut text = match decision.status() {
        Status::Untracked if decision.service == 0 => {
            return match story.parsed() {
                Some(_) => "it belongs to no connection and to no service: it goes as it is".into(),
                None => "it is no IP packet, so the datapath lets it pass".into(),
            };
        }
        Status::Untracked => {
            "it is about a connection of a service, and is translated with it".into()
        }
        Status::New => "it opened a connection".to_owned(),
        Status::Reopened => {
            "its old connection was over, or lost its backend, so it opened a new one".into()
        }
        Status::Established => "it belongs to a known connection".into(),
        Status::Reply => "it is the answer on a known connection".into(),
    };
    if decision.service == 0 {
        text.push_str(", to no frontend");
        return text;
    }
    text.push_str(&format!(" of {}", entry::service(story.names, decision.service)));
    if decision.backend != 0 {
        let backend = entry::backend(story.names, decision.backend);
        let how = match chosen(story) {
            Some(how) if matches!(decision.status(), Status::New | Status::Reopened) => how,
            _ => "",
        };
        text.push_str(&format!(", backend {backend}{how}"));
    }
    text
}

/// How the backend was chosen.
fn chosen(story: &Story<'_>) -> Option<&'static str> {
    let mut found = None;
    for event in &story.events {
        found = match event {
            Event::Looked(Entry::Maglev(..)) => Some(", by Maglev"),
            Event::Looked(Entry::Service(key, _)) if key.slot > 0 => Some(", by the dice"),
            Event::Looked(Entry::Affinity(_, Some(_))) => Some(", which its client had before"),
            _ => found,
        };
    }
    found
}

/// Commands that look further, on a live cluster: kubectl's, then bpftool's on a node.
pub fn see(story: &Story<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(used) = story.used() {
        service(story, &used, &mut lines);
    } else if let Some(parsed) = story.parsed().filter(|_| story.broken.is_none()) {
        let address = parsed.tuple.destination;
        match story.outcome.reason {
            Some(
                DropReason::ServicePortNotFound
                | DropReason::ServiceAddressNotFound
                | DropReason::IsClusterIp,
            ) => lines.push(format!("kubectl get services -A -o wide | grep -F {address}")),
            _ if story.outcome.role == Some(Role::Orphan) => {
                let source = parsed.tuple.source;
                lines.push(format!("kubectl get services -A -o wide | grep -F {source}"));
            }
            _ if story.outcome.reason.is_some() => {
                lines.push(format!("kubectl get pods,nodes -A -o wide | grep -F {address}"));
            }
            _ => {}
        }
    }
    if let Some((node, entry)) = decisive(story) {
        let bytes: Vec<String> =
            entry.key_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        // An LPM trie's key begins with the length of the prefix, as this one does.
        lines.push(format!(
            "on {}: bpftool map lookup name {} key hex {}",
            story.node(node),
            entry.map(),
            bytes.join(" ")
        ));
    }
    lines
}

fn service(story: &Story<'_>, used: &Used<'_>, lines: &mut Vec<String>) {
    let (namespace, name) = (&used.name.service.namespace, &used.name.service.name);
    if used.kind == Some(FrontendKind::HostPort) {
        lines.push(format!("kubectl -n {namespace} describe pod {name}"));
        return;
    }
    match story.outcome.reason {
        Some(DropReason::NotInSourceRange) => lines.push(format!(
            "kubectl -n {namespace} get service {name} \
             -o jsonpath='{{.spec.loadBalancerSourceRanges}}'"
        )),
        _ => lines.push(format!(
            "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o yaml"
        )),
    }
    if story.outcome.reason != Some(DropReason::ServiceBackendNotFound) {
        return;
    }
    let place = story.state.place(story.node(used.node));
    let Some(policy) = used.policy() else { return };
    let all = judge(used.port, policy, used.v4, &place);
    if all.is_empty() {
        lines.push(format!("kubectl -n {namespace} describe service {name}"));
    }
    let sick = all.iter().find(|(_, standing)| {
        matches!(standing, endpoints::Standing::NotReady | endpoints::Standing::Gone)
    });
    if let Some(pod) = sick.and_then(|(endpoint, _)| endpoint.pod.as_ref()) {
        lines.push(format!("kubectl -n {} describe pod {}", pod.namespace, pod.name));
    } else if policy == TrafficPolicy::Local {
        lines.push(format!(
            "kubectl -n {namespace} get service {name} \
             -o jsonpath='{{.spec.externalTrafficPolicy}} {{.spec.internalTrafficPolicy}}'"
        ));
    }
}

/// The entry that decided: the service's where it was dropped or opened, that of the connection where there
/// was one.
fn decisive<'a>(story: &'a Story<'_>) -> Option<(usize, &'a Entry)> {
    let mut at = 0;
    let (mut service, mut flow, mut last) = (None, None, None);
    for event in &story.events {
        match event {
            Event::Hook(node, ..) => at = *node,
            Event::Looked(entry) => match entry {
                Entry::Service(..) if entry.is_there() && service.is_none() => {
                    service = Some((at, entry));
                }
                Entry::Flow(..) if entry.is_there() && flow.is_none() => {
                    flow = Some((at, entry));
                }
                Entry::Range(..) | Entry::Fragment(..) => last = Some((at, entry)),
                _ => {}
            },
            _ => {}
        }
    }
    match story.outcome.reason {
        Some(DropReason::NotInSourceRange | DropReason::FragmentNotFound) => last.or(service),
        Some(_) => service.or(flow),
        None => flow.or(service),
    }
}
