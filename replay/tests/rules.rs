//! Rules of kube-proxy in namespaces: what updates leave is what a full load makes.

use std::collections::BTreeMap;
use std::process::Command;

use twinpath::bench::rival::Rival;
use twinpath::bench::subject::Subject;
use twinpath::netfilter::lab::Lab;
use twinpath_control::model::{State, TrafficPolicy};
use twinpath_control::rules::ipvs;
use twinpath_kernel::testing::skip;
use twinpath_kernel::veth::netns::{Namespace, NamespaceError};

const NODE: &str = "node-a";

/// Services of every kind, of both families; and another such cluster, that differs from it in a service
/// gone, one without endpoints, one whose endpoint moved, one of another policy.
fn states() -> [State; 2] {
    let old = Lab::new().unwrap().state;
    let mut new = old.clone();
    for (number, (name, port)) in old.services.iter().enumerate() {
        let changed = new.services.get_mut(name).unwrap();
        match number % 9 {
            0 => drop(new.services.remove(name)),
            1 => changed.endpoints.clear(),
            2 => changed.endpoints.iter_mut().for_each(|endpoint| endpoint.port += 1),
            3 => changed.endpoints.truncate(1),
            4 => changed.external_policy = TrafficPolicy::Local,
            5 if port.affinity.is_some() => changed.affinity = None,
            _ => {}
        }
    }
    assert_ne!(old, new);
    [old, new]
}

fn output(node: &Namespace, program: &str, arguments: &[&str]) -> String {
    let output = node.run(|| Command::new(program).args(arguments).output()).unwrap().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The rules of each chain in their order, and all else that is there.
fn contents(subject: Subject, node: &Namespace) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<String>>::new();
    if subject == Subject::Nftables {
        let (mut block, mut table) = (String::new(), String::new());
        let text = output(node, "nft", &["list", "ruleset"]);
        let lines = text.lines().map(str::trim).filter(|line| !["", "}"].contains(line));
        for line in lines {
            if line.starts_with("table ") {
                table = line.to_owned();
            } else if line.ends_with('{') && line != "elements = {" {
                block = format!("{table} {line}");
                all.entry(block.clone()).or_default();
            } else if block.contains(" chain ") {
                all.entry(block.clone()).or_default().push(line.to_owned());
            } else {
                // Elements have no order.
                let line = line.trim_start_matches("elements = {").trim_end_matches('}');
                let elements = line.split(',').map(|e| e.trim().to_owned());
                let kept = all.entry(block.clone()).or_default();
                kept.extend(elements.filter(|element| !element.is_empty()));
                kept.sort();
            }
        }
        return all;
    }
    let variant = if subject == Subject::IptablesNft { "nft" } else { "legacy" };
    for family in ["iptables", "ip6tables"] {
        let mut table = String::new();
        for line in output(node, &format!("{family}-{variant}-save"), &[]).lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next()) {
                (Some("-A"), Some(chain)) => {
                    let key = format!("{family} {table} {chain}");
                    all.entry(key).or_default().push(line.to_owned());
                }
                (Some(name), _) if name.starts_with('*') => table = name.to_owned(),
                (Some(chain), _) if chain.starts_with(':') => {
                    all.entry(format!("{family} {table} {}", &chain[1..])).or_default();
                }
                _ => {}
            }
        }
    }
    all
}

#[track_caller]
fn assert_same(
    what: &str,
    is: &BTreeMap<String, Vec<String>>,
    should: &BTreeMap<String, Vec<String>>,
) {
    let keys = is.keys().chain(should.keys());
    let different: Vec<_> = keys.filter(|key| is.get(*key) != should.get(*key)).collect();
    for key in different.iter().take(4) {
        println!("{key}\n  is     {:?}\n  should {:?}", is.get(*key), should.get(*key));
    }
    assert!(different.is_empty(), "{what}: {} chains or sets differ", different.len());
    assert!(is.len() > 100, "{what}: {} chains and sets", is.len());
}

fn check(subject: Subject) {
    let name = format!("rules, {subject}");
    let rival = match Rival::new(subject) {
        Ok(rival) => rival,
        Err(missing) => return skip(&name, &missing.why),
    };
    let [old, new] = states();
    let [full_old, full_new] = [&old, &new].map(|state| {
        let node = Namespace::new().unwrap();
        rival.load(state, NODE).run(&node).unwrap();
        contents(subject, &node)
    });
    let node = Namespace::new().unwrap();
    rival.set_up(&old, NODE).run(&node).unwrap();
    assert_same("set up", &contents(subject, &node), &full_old);
    for (what, old, new, full) in
        [("there", &old, &new, &full_new), ("back", &new, &old, &full_old)]
    {
        rival.update(old, new, NODE).run(&node).unwrap();
        rival.sweep(old, new, NODE).run(&node).unwrap();
        assert_same(what, &contents(subject, &node), full);
    }
    // Whatever else has happened to them.
    rival.update(&old, &new, NODE).run(&node).unwrap();
    rival.update(&new, &old, NODE).run(&node).unwrap();
    rival.sweep(&new, &old, NODE).run(&node).unwrap();
    rival.resync(&old, NODE).run(&node).unwrap();
    assert_same("resync", &contents(subject, &node), &full_old);
    rival.clear().run(&node).unwrap();
    let left = contents(subject, &node);
    assert!(left.keys().all(|key| !key.to_lowercase().contains("kube")), "{left:?}");
}

#[test]
fn iptables_legacy() {
    check(Subject::IptablesLegacy);
}

#[test]
fn iptables_nft() {
    check(Subject::IptablesNft);
}

#[test]
fn nftables() {
    check(Subject::Nftables);
}

/// The part of the IPVS mode that needs no IPVS: sets, and rules that look into them.
#[test]
fn sets_of_ipvs() {
    let name = "rules, sets of ipvs";
    if Command::new("ipset").arg("--version").output().is_err() {
        return skip(name, "`ipset` is absent");
    }
    let [old, new] = states();
    let apply = |node: &Namespace, texts: [ipvs::Texts; 2]| -> Result<(), NamespaceError> {
        for (texts, restore) in texts.iter().zip(["iptables-restore", "ip6tables-restore"]) {
            node.feed("ipset", "ipset", &["-exist", "restore"], &texts.sets)?;
            node.feed(restore, "iptables", &["--noflush"], &texts.rules)?;
        }
        Ok(())
    };
    let sets = |node: &Namespace| {
        let save = output(node, "ipset", &["save"]);
        let mut lines: Vec<_> = save.lines().filter(|line| line.starts_with("add")).collect();
        lines.sort_unstable();
        let rules = output(node, "iptables-save", &[]);
        let rules = rules.lines().filter(|line| line.starts_with("-A"));
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .chain(rules.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let full = Namespace::new().unwrap();
    match apply(&full, [true, false].map(|v4| ipvs::rules(&new, NODE, v4))) {
        Err(NamespaceError::Namespace(error)) => return skip(name, &error.to_string()),
        result => result.unwrap(),
    }
    let node = Namespace::new().unwrap();
    apply(&node, [true, false].map(|v4| ipvs::rules(&old, NODE, v4))).unwrap();
    apply(&node, [true, false].map(|v4| ipvs::update(&old, &new, NODE, v4))).unwrap();
    assert_eq!(sets(&node), sets(&full));
    assert!(sets(&full).len() > 100);
}
