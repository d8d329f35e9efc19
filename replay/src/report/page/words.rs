//! What happened, in words.

use twinpath_core::drop_reason::DropReason;
use twinpath_core::service::ServiceId;

use super::gather::Gather;
use crate::bench::quantity;
use crate::replay::outcome::{Totals, Verdict};

/// `3,812`.
pub(super) fn grouped(number: u64) -> String {
    quantity::grouped(number as f64)
}

/// `1 packet`, `3,812 packets`.
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// What happened, in one sentence, or two where replies differ or connections moved.
pub(super) fn verdict(totals: &Totals, gather: &Gather<'_>) -> String {
    if totals.packets == 0 {
        return "No packet was replayed.".into();
    }
    let dropped = totals.with(Verdict::Dropped);
    let mut text = format!("{}: ", count(totals.packets, "packet"));
    text += &match dropped {
        0 => none_dropped(totals),
        _ => format!("{} dropped{}.", grouped(dropped), causes(dropped, gather)),
    };
    if totals.different > 0 {
        let verb = if totals.different == 1 { "reply" } else { "replies" };
        text += &format!(" {} {verb} did not arrive as captured.", grouped(totals.different));
    }
    if totals.moved > 0 {
        let (those, verb) = if totals.moved == 1 { ("it", "was") } else { ("they", "were") };
        text += &format!(
            " {} {verb} given another backend while {those} lasted.",
            count(totals.moved, "connection")
        );
    }
    text
}

fn none_dropped(totals: &Totals) -> String {
    let others = [Verdict::Translated, Verdict::Forwarded, Verdict::Unmatched];
    let counts: Vec<String> = others
        .into_iter()
        .filter(|verdict| totals.with(*verdict) > 0)
        .map(|verdict| {
            let words = match verdict {
                Verdict::Translated => "translated",
                Verdict::Unmatched => "replies without a known request",
                _ => "forwarded as they were",
            };
            format!("{} {words}", grouped(totals.with(verdict)))
        })
        .collect();
    format!("none was dropped; {}.", counts.join(", "))
}

/// `; all because default/api has no ready endpoint`.
fn causes(dropped: u64, gather: &Gather<'_>) -> String {
    let Some(((reason, service), most)) =
        gather.drops.iter().max_by_key(|(cell, kind)| (kind.count, std::cmp::Reverse(*cell)))
    else {
        return "; why is not known".into();
    };
    let because = because_of(gather, *reason, *service);
    let others = gather.drops.len().saturating_sub(1);
    match (dropped, most.count) {
        (1, _) => format!(" because {because}"),
        (all, these) if all == these => format!("; all because {because}"),
        (all, these) => {
            let rest = all.saturating_sub(these);
            let most = if these > rest { "; most of them, " } else { "; the largest part, " };
            let causes = count(others as u64, "other cause");
            format!("{most}{}, because {because}, the rest for {causes}", grouped(these))
        }
    }
}

/// The same of a service by its number.
pub(super) fn because_of(
    gather: &Gather<'_>,
    reason: DropReason,
    service: Option<ServiceId>,
) -> String {
    let name = service.and_then(|id| gather.names.services.get(&id));
    let mut ports = (0..=gather.epoch).filter_map(|n| gather.state(n)?.services.get(name?));
    let shown = name.map(|name| name.service.to_string());
    if let (DropReason::ServiceBackendNotFound, Some(shown)) = (reason, &shown)
        && ports.all(|port| !port.endpoints.iter().any(|endpoint| endpoint.ready))
    {
        return format!("{shown} has no ready endpoint");
    }
    because(reason, shown.as_deref())
}

/// Why a packet was dropped, as the end of a sentence that begins with "because".
fn because(reason: DropReason, service: Option<&str>) -> String {
    let service = service.unwrap_or("the service");
    match reason {
        DropReason::ServiceBackendNotFound => {
            return format!("{service} has no endpoint that may take them");
        }
        DropReason::ServicePortNotFound => "no service is on that port of its address",
        DropReason::ConntrackTupleConflict => {
            "every backend tried would have given the connection a tuple that another one owns"
        }
        DropReason::IsClusterIp => {
            return format!("a client outside came to the cluster address of {service}");
        }
        DropReason::ServiceAddressNotFound => "no service has that address of the service range",
        DropReason::NoHairpinAddress => {
            "the client was given itself as backend, and has no address to see itself under"
        }
        DropReason::InvalidPacket => "a header is malformed or cut",
        DropReason::InvalidTransportHeader => "the transport header is cut or contradicts itself",
        DropReason::FragmentationNeeded => "they were too long for a link on their way",
        DropReason::CannotCreateFromPacket => {
            return format!("a TCP reset came to {service} without a connection");
        }
        DropReason::MissedTailCall => "a program of the datapath is missing",
        DropReason::WriteError => "the packet could not be written to",
        DropReason::ChecksumCannotFollow => {
            "a port would have had to change in a packet whose checksum cannot follow (SCTP)"
        }
        DropReason::ConntrackInsertionFailed => "the conntrack table did not take the connection",
        DropReason::InvalidExtensionHeader => {
            "an IPv6 extension header is cut, too deep, or asks for a route"
        }
        DropReason::NoMappingForNat => "no source port was left to send them on with",
        DropReason::FragmentNotFound => "the first fragment of their datagram had not been seen",
        DropReason::NotInSourceRange => {
            return format!("the client is in none of the source ranges of {service}");
        }
        DropReason::TtlExceeded => "their time to live ran out",
    }
    .to_owned()
}
