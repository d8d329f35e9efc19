use super::*;
use crate::read::read;

const CLUSTER: &str = "
kind: Node
metadata: {name: a}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.0.1]}, {addresses: [10.244.0.2]}]
---
kind: Service
metadata: {name: other}
spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: other-1, labels: {kubernetes.io/service-name: other}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.0.2]}]
";

fn objects(text: &str) -> Objects {
    read("f", text.as_bytes()).unwrap()
}

fn keeper() -> Keeper {
    let mut keeper = Keeper::new("a", Options::default());
    let Ok(update) = keeper.load(objects(CLUSTER), &ByNumber, &mut Vec::new());
    assert!(update.whole && update.problems.is_empty());
    keeper
}

/// The update of such objects, and the writes in short.
fn change(keeper: &mut Keeper, changes: Vec<Change>) -> (Update, Vec<String>) {
    let Ok(update) = keeper.change(changes, &ByNumber, &mut Vec::new());
    let shown = update.writes.iter().map(|write| {
        let text = format!("{write:?}");
        let end = text.find(['(', ' ']).unwrap_or(text.len());
        text[..end].to_owned()
    });
    let shown = shown.collect();
    (update, shown)
}

#[test]
fn a_service_is_added_and_removed() {
    let mut keeper = keeper();
    let before = keeper.tables().clone();
    let new = objects(
        "
kind: Service
metadata: {name: new}
spec: {clusterIP: 10.96.0.3, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: new-1, labels: {kubernetes.io/service-name: new}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.0.3]}, {addresses: [10.244.0.4]}]
",
    );
    let (update, shown) = change(&mut keeper, Change::all(new.clone()));
    assert!(!update.whole);
    assert_eq!(
        shown,
        [
            "Backend", "Backend", "Member", "Member", "Service", "Service", "Service", "Service",
            "Config"
        ]
    );
    let (update, _) = change(&mut keeper, Change::none(&new));
    assert!(!update.whole);
    let mut after = keeper.tables().clone();
    after.config.epoch = before.config.epoch;
    assert_eq!(after, before);
}

#[test]
fn a_backend_stays_while_another_service_has_it() {
    let mut keeper = keeper();
    let without = objects(
        "
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.0.1]}]
",
    );
    let (update, shown) = change(&mut keeper, Change::all(without));
    assert!(!update.whole);
    assert_eq!(shown, ["Service", "Service", "Member", "Config"]);
    assert_eq!(keeper.tables().backends.len(), 2);
}

#[test]
fn what_two_services_want_is_planned_as_a_whole() {
    let mut keeper = keeper();
    let thief = objects(
        "
kind: Service
metadata: {name: a-thief}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
",
    );
    let (update, _) = change(&mut keeper, Change::all(thief.clone()));
    assert!(update.whole);
    let (update, _) = change(&mut keeper, Change::none(&thief));
    assert!(update.whole);
    // Then nobody fights any more.
    let (update, shown) = change(&mut keeper, Change::none(&objects(CLUSTER).without_nodes()));
    assert!(!update.whole, "{shown:?}");
    assert!(keeper.tables().services.is_empty());
}

impl Objects {
    fn without_nodes(mut self) -> Self {
        self.nodes.clear();
        self
    }
}

#[test]
fn a_node_that_says_the_same_changes_nothing() {
    let mut keeper = keeper();
    let mut node = objects(CLUSTER);
    node.services.clear();
    node.slices.clear();
    let (update, shown) = change(&mut keeper, Change::all(node));
    assert!(!update.whole);
    assert_eq!(shown, [""; 0]);
}

#[test]
fn after_a_write_that_failed_the_next_goes_on_from_there() {
    /// Refuses one write.
    struct Broken(Desired, usize);
    impl Target for Broken {
        type Error = usize;
        fn write(&mut self, write: &Write) -> Result<(), usize> {
            self.1 = self.1.wrapping_sub(1);
            if self.1 == 0 {
                return Err(0);
            }
            let Ok(()) = self.0.write(write);
            Ok(())
        }
    }
    for fails in 1..9 {
        for all in [false, true] {
            let mut target = Broken(Desired::default(), 0);
            let mut keeper = Keeper::new("a", Options::default());
            keeper.load(objects(CLUSTER), &ByNumber, &mut target).unwrap();
            target.1 = fails;
            if all {
                keeper.set_options(Options { masquerade: true, ..Options::default() });
            }
            let gone = objects(CLUSTER).without_nodes();
            let failed = keeper.change(Change::none(&gone), &ByNumber, &mut target);
            assert_eq!(failed, Err(0));
            assert_eq!(keeper.tables(), &target.0);
            let update = keeper.change(Vec::new(), &ByNumber, &mut target).unwrap();
            assert!(update.whole);
            assert!(target.0.services.is_empty() && target.0.backends.is_empty());
            assert_eq!(keeper.tables(), &target.0);
        }
    }
}

#[test]
fn tables_that_were_lost_are_written_again() {
    let mut keeper = keeper();
    let mut empty = Desired::default();
    let Ok(update) = keeper.resync(Desired::default(), &ByNumber, &mut empty);
    assert!(update.whole);
    assert_eq!(&empty, keeper.tables());
}
