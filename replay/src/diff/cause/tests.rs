use std::net::IpAddr;

use twinpath_core::bytes::Be16;

use super::*;

#[test]
fn names_go_on_behind_z() {
    let names = [(0, "A"), (25, "Z"), (26, "AA"), (27, "AB"), (701, "ZZ"), (702, "AAA")];
    for (index, text) in names {
        assert_eq!(name(index), text);
    }
}

fn tuple(port: u16) -> Tuple {
    let address = |text: &str| text.parse::<IpAddr>().unwrap().into();
    Tuple::new(6, address("10.0.0.1"), Be16::new(port), address("10.96.0.1"), Be16::new(80))
}

/// Puts packets of flows into causes, each with the fields that differ; the cause of each, and the packet
/// from which it follows.
fn causes(packets: &[(Tuple, &[Field])]) -> (Vec<(String, Option<u64>)>, Causes) {
    let mut causes = Causes::default();
    let mut found = Vec::new();
    for (index, (tuple, fields)) in packets.iter().enumerate() {
        let number = index as u64 + 1;
        let differences = fields.iter().map(|field| Difference {
            field,
            left: "1".into(),
            right: "2".into(),
            says: format!("{field} differs"),
        });
        let differences = differences.collect();
        let case = Case { number, tuple: Some(tuple), opens: false, service: None, differences };
        let this = causes.add(case, |differences| Example {
            number,
            words: String::new(),
            differences,
            left: String::new(),
            right: String::new(),
        });
        let this = this.unwrap();
        found.push((causes.all()[this.cause].name.clone(), this.follows));
    }
    (found, causes)
}

fn found(packets: &[(Tuple, &[Field])]) -> Vec<(String, Option<u64>)> {
    causes(packets).0
}

#[test]
fn what_decides_less_follows_and_what_decides_more_does_not() {
    let (a, b) = (tuple(1), tuple(2));
    let packets: [(Tuple, &[Field]); 8] = [
        (a, &["src"]),
        (a.reverse(), &["node"]),
        (a, &["ip.ttl"]),
        (a, &["verdict", "drop_reason"]),
        (a, &["src"]),
        (a.reverse(), &["verdict", "drop_reason"]),
        (b, &["node"]),
        (b, &["backend"]),
    ];
    let name = |name: &str, follows| (name.to_owned(), follows);
    assert_eq!(
        found(&packets),
        [
            name("A", None),
            name("A", Some(1)),
            name("A", Some(1)),
            name("B", None),
            name("A", Some(1)),
            name("B", Some(4)),
            name("C", None),
            name("D", None),
        ]
    );
}

#[test]
fn nothing_follows_from_a_byte_but_the_same() {
    let flow = tuple(1);
    let packets: [(Tuple, &[Field]); 4] =
        [(flow, &["ip.id"]), (flow, &["ip.ttl"]), (flow, &["ip.id"]), (flow, &["ip.id", "ip.ttl"])];
    let names: Vec<_> = found(&packets).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["A", "B", "A", "C"]);
}

#[test]
fn counts_are_of_packets_flows_and_followers() {
    let (a, b) = (tuple(1), tuple(2));
    let packets: [(Tuple, &[Field]); 4] =
        [(a, &["backend"]), (a, &["backend"]), (b, &["backend"]), (b.reverse(), &["place"])];
    let (_, causes) = causes(&packets);
    let [cause] = causes.all() else { panic!("{:?}", causes.all()) };
    assert_eq!((cause.packets, cause.follows, cause.flows), (4, 2, 2));
    assert_eq!((causes.packets, causes.flows()), (4, 2));
    assert_eq!(cause.examples, [1, 3]);
    assert_eq!(cause.pairs.values().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn causes_and_those_of_a_flow_are_bounded() {
    let names: Vec<String> = (0..MAX_CAUSES + 50).map(|number| format!("x.{number}")).collect();
    let names: Vec<Field> = names.into_iter().map(|name| &*name.leak()).collect();
    let fields: Vec<[Field; 1]> = names.iter().map(|name| [*name]).collect();
    let each: Vec<(Tuple, &[Field])> = fields
        .iter()
        .enumerate()
        .map(|(index, fields)| (tuple(index as u16), fields.as_slice()))
        .collect();
    let (_, all) = causes(&each);
    assert_eq!(all.all().len(), MAX_CAUSES + 1);
    let last = all.all().last().unwrap();
    assert_eq!((last.says.as_str(), last.packets), ("all other differences", 50));
    let one: Vec<(Tuple, &[Field])> =
        fields.iter().map(|fields| (tuple(1), fields.as_slice())).collect();
    let (_, all) = causes(&one);
    assert_eq!(all.all().len(), MAX_PER_FLOW);
    assert_eq!(all.packets, fields.len() as u64);
}
