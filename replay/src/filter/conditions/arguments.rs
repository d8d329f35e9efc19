//! The flags. Their order counts, which is why clap is told of them by hand.

use std::net::IpAddr;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use twinpath_control::model::Range;
use twinpath_control::objects::ObjectName;
use twinpath_core::drop_reason::DropReason;

use super::{Condition, Conditions, End};
use crate::replay::outcome::Verdict;

type Parse = fn(&str) -> Result<Condition, String>;

struct Flag {
    name: &'static str,
    value: &'static str,
    help: &'static str,
    parse: Parse,
}

const fn flag(name: &'static str, value: &'static str, help: &'static str, parse: Parse) -> Flag {
    Flag { name, value, help, parse }
}

use End::{Destination, Either, Source};

const FLAGS: [Flag; 17] = [
    flag("ip", "CIDR", "From or to an address, before or after its translation", |text| {
        Ok(Condition::Address(Either, range(text)?))
    }),
    flag("from-ip", "CIDR", "From an address, before or after its translation", |text| {
        Ok(Condition::Address(Source, range(text)?))
    }),
    flag("to-ip", "CIDR", "To an address, before or after its translation", |text| {
        Ok(Condition::Address(Destination, range(text)?))
    }),
    flag("pod", "[NS/]PREFIX", "From or to pods whose names begin so", |text| {
        Ok(Condition::Pod(Either, name(text)?))
    }),
    flag("from-pod", "[NS/]PREFIX", "From pods whose names begin so", |text| {
        Ok(Condition::Pod(Source, name(text)?))
    }),
    flag("to-pod", "[NS/]PREFIX", "To pods whose names begin so", |text| {
        Ok(Condition::Pod(Destination, name(text)?))
    }),
    flag(
        "service",
        "[NS/]NAME",
        "From or to a service; `NS/` is every one of a namespace",
        |text| Ok(Condition::Service(Either, name(text)?)),
    ),
    flag("from-service", "[NS/]NAME", "Replies of a service", |text| {
        Ok(Condition::Service(Source, name(text)?))
    }),
    flag("to-service", "[NS/]NAME", "Requests to a service", |text| {
        Ok(Condition::Service(Destination, name(text)?))
    }),
    flag("port", "PORT", "From or to a port, before or after its translation", |text| {
        Ok(Condition::Port(Either, port(text)?))
    }),
    flag("from-port", "PORT", "From a port, before or after its translation", |text| {
        Ok(Condition::Port(Source, port(text)?))
    }),
    flag("to-port", "PORT", "To a port, before or after its translation", |text| {
        Ok(Condition::Port(Destination, port(text)?))
    }),
    flag("protocol", "NAME", "tcp, udp, sctp, icmp, icmpv4, icmpv6 or a number", protocol),
    flag("verdict", "VERDICT", "TRANSLATED, FORWARDED, DROPPED or UNMATCHED", verdict),
    flag(
        "drop-reason-desc",
        "REASON",
        "Dropped for a reason, such as SERVICE_BACKEND_NOT_FOUND",
        reason,
    ),
    flag("node", "NAME", "Sent from a node, or decided about there", |text| {
        Ok(Condition::Node(text.to_owned()))
    }),
    // Hubble's own name for it.
    flag("node-name", "NAME", "", |text| Ok(Condition::Node(text.to_owned()))),
];

const NOT: &str = "not";
/// What stands above these flags in the help.
pub const HEADING: &str = "Which packets are shown";

impl Args for Conditions {
    fn augment_args(command: Command) -> Command {
        let flags = FLAGS.iter().map(|flag| {
            Arg::new(flag.name)
                .long(flag.name)
                .value_name(flag.value)
                .help(flag.help)
                .help_heading(HEADING)
                .hide(flag.help.is_empty())
                .action(ArgAction::Append)
                .value_parser(flag.parse)
        });
        let not = Arg::new(NOT)
            .long(NOT)
            .help("None of the flag that follows")
            .help_heading(HEADING)
            .num_args(0)
            .action(ArgAction::Append)
            .default_missing_value("");
        command.args(flags).arg(not)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Conditions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given: Vec<(usize, &'static str, &Condition)> = Vec::new();
        for flag in &FLAGS {
            let places = matches.indices_of(flag.name).into_iter().flatten();
            let values = matches.get_many::<Condition>(flag.name).into_iter().flatten();
            given.extend(places.zip(values).map(|(place, value)| (place, flag.name, value)));
        }
        given.sort_by_key(|(place, _, _)| *place);
        let mut negations: Vec<usize> = matches.indices_of(NOT).into_iter().flatten().collect();
        negations.sort_unstable();
        let mut wanted: Vec<(&str, Vec<Condition>)> = Vec::new();
        let mut conditions = Self::default();
        for (place, name, condition) in given {
            if negations.first().is_some_and(|negation| *negation < place) {
                negations.remove(0);
                conditions.unwanted.push(condition.clone());
                continue;
            }
            match wanted.iter_mut().find(|(known, _)| *known == name) {
                Some((_, choices)) => choices.push(condition.clone()),
                None => wanted.push((name, vec![condition.clone()])),
            }
        }
        if !negations.is_empty() {
            let text = "--not stands before the flag that it negates, as in --not --ip 10.0.0.1\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
        }
        conditions.wanted = wanted.into_iter().map(|(_, choices)| choices).collect();
        Ok(conditions)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn range(text: &str) -> Result<Range, String> {
    let bad = || "an address or a range such as 10.0.0.0/8 is expected".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| bad())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let whole = Range::of(address).length;
    let length = length.unwrap_or(whole);
    if length > whole { Err(bad()) } else { Ok(Range { address, length }) }
}

/// `default` where no namespace is said, as hubble has it.
fn name(text: &str) -> Result<ObjectName, String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    if namespace.is_empty() || name.contains('/') || text.is_empty() {
        return Err("namespace/name is expected".into());
    }
    Ok(ObjectName::new(namespace, name))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port from 0 to 65535 is expected".into())
}

fn protocol(text: &str) -> Result<Condition, String> {
    let numbers = match text.to_ascii_lowercase().as_str() {
        "tcp" => vec![6],
        "udp" => vec![17],
        "sctp" => vec![132],
        "icmp" => vec![1, 58],
        "icmpv4" => vec![1],
        "icmpv6" | "icmp6" => vec![58],
        other => match other.parse() {
            Ok(number) => vec![number],
            Err(_) => {
                return Err("tcp, udp, sctp, icmp, icmpv4, icmpv6 or a number is expected".into());
            }
        },
    };
    Ok(Condition::Protocol(numbers))
}

fn verdict(text: &str) -> Result<Condition, String> {
    let found = Verdict::ALL.into_iter().find(|verdict| verdict.name().eq_ignore_ascii_case(text));
    found.map(Condition::Verdict).ok_or_else(|| {
        let names = Verdict::ALL.map(Verdict::name);
        format!("one of {} is expected", names.join(", "))
    })
}

fn reason(text: &str) -> Result<Condition, String> {
    let found = DropReason::ALL.into_iter().find(|reason| reason.name().eq_ignore_ascii_case(text));
    found.map(Condition::Reason).ok_or_else(|| {
        let names = DropReason::ALL.map(DropReason::name);
        format!("one of {} is expected", names.join(", "))
    })
}
