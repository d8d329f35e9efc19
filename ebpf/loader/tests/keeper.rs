//! Tables in the kernel that are kept object by object, against tables that are loaded as a whole.

use aya::Ebpf;
use twinpath_control::diff::{self, Failed, Target, Write};
use twinpath_control::keeper::{Change, Keeper};
use twinpath_control::model::Pod;
use twinpath_control::read::{Objects, read};
use twinpath_control::tables::{Desired, Devices, Options};
use twinpath_core::address::Address;
use twinpath_core::backend::{Backend, BackendState};
use twinpath_core::bytes::Be16;
use twinpath_core::seam::Config;
use twinpath_kernel::load::{self, LoadError, open};
use twinpath_kernel::tables::KernelTables;
use twinpath_kernel::testing::skip;
use twinpath_sim::node::Limits;

struct OneDevice;

impl Devices for OneDevice {
    fn pod(&self, _node: &str, _pod: &Pod) -> Option<u32> {
        Some(7)
    }

    fn uplink(&self, _node: &str) -> u32 {
        2
    }
}

const LIMITS: fn() -> Limits = || Limits {
    services: 64,
    backends: 64,
    maglev: 4096,
    conntrack: 256,
    affinities: 64,
    fragments: 64,
    ..Limits::default()
};

/// Maps without programs; `None` where this user or this machine may have none.
fn maps(limits: Limits) -> Option<(Ebpf, KernelTables)> {
    match open(&load::Options { limits, ..load::Options::default() }) {
        Ok(mut ebpf) => {
            let tables = KernelTables::new(&mut ebpf, &limits).expect("the maps are there");
            Some((ebpf, tables))
        }
        Err(error @ (LoadError::NoObject | LoadError::NotPermitted | LoadError::Maps(_))) => {
            skip("tables that are kept object by object", &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A Service with so many endpoints in its EndpointSlice.
fn service(number: u8, endpoints: u8, algorithm: &str) -> Objects {
    let listed: Vec<String> = (0..endpoints)
        .map(|which| format!("{{addresses: [10.244.{number}.{which}], nodeName: a, targetRef: {{kind: Pod, name: p{number}-{which}}}}}"))
        .collect();
    let text = format!(
        "kind: Service\nmetadata: {{name: s{number}, annotations: {{twinpath.dev/algorithm: {algorithm}}}}}\n\
         spec: {{type: NodePort, clusterIP: 10.96.0.{number}, ports: [{{port: 80, nodePort: {}}}]}}\n---\n\
         kind: EndpointSlice\nmetadata: {{name: s{number}-1, labels: {{kubernetes.io/service-name: s{number}}}}}\n\
         ports: [{{port: 8080}}]\nendpoints: [{}]\n",
        30_000 + u32::from(number),
        listed.join(", ")
    );
    read("f", text.as_bytes()).expect("objects")
}

/// What the maps hold, but for the epoch.
fn held(tables: &KernelTables) -> Desired {
    let mut held = tables.held().expect("maps can be read");
    held.config.epoch = 0;
    held
}

#[test]
fn maps_kept_by_changes_hold_what_maps_loaded_at_once_do() {
    let Some((_ebpf, mut kept)) = maps(LIMITS()) else { return };
    let nodes = b"kind: Node\nmetadata: {name: a}\nstatus: {addresses: [{type: InternalIP, address: 192.168.0.1}]}";
    let mut objects = read("f", nodes).expect("objects");
    let mut keeper = Keeper::new("a", Options { masquerade: true, ..Options::default() });
    keeper.load(objects.clone(), &OneDevice, &mut kept).expect("the maps have room");
    let steps = [
        (1, 2, "random"),
        (2, 12, "random"),
        (3, 3, "maglev"),
        (1, 1, "random"),
        (3, 0, "maglev"),
        (2, 11, "maglev"),
        (1, 2, "maglev"),
        (2, 1, "random"),
    ];
    let mut writes = 0;
    for (number, endpoints, algorithm) in steps {
        let new = service(number, endpoints, algorithm);
        objects.merge(new.clone());
        let update = keeper.change(Change::all(new), &OneDevice, &mut kept).expect("there is room");
        assert!(!update.whole);
        writes += update.writes.len();
        assert_eq!(&kept.held().expect("maps can be read"), keeper.tables());
    }
    assert!(writes > 100);

    // The same tables at once, in maps of their own.
    let Some((_ebpf, mut fresh)) = maps(LIMITS()) else { return };
    diff::apply(&mut fresh, &diff::diff(&Desired::default(), keeper.tables()))
        .expect("there is room");
    assert_eq!(held(&fresh), held(&kept));

    let gone = Change::none(&objects);
    keeper.change(gone, &OneDevice, &mut kept).expect("removing needs no room");
    let Some((_ebpf, mut empty)) = maps(LIMITS()) else { return };
    let mut other = Keeper::new("a", Options { masquerade: true, ..Options::default() });
    other.load(Objects::default(), &OneDevice, &mut empty).expect("there is room");
    assert_eq!(held(&empty), held(&kept));
}

#[test]
fn the_write_that_failed_is_told() {
    let Some((_ebpf, mut tables)) = maps(Limits { backends: 20, ..LIMITS() }) else { return };
    let backend = |id: u32| {
        let address = Address::v4([10, 0, 0, 1]);
        Write::Backend(id, Some(Backend::new(address, Be16::new(80), 6, BackendState::Active)))
    };
    let config = Write::Config(Config { epoch: 9, ..Config::default() });
    let mut writes = vec![Write::Maglev(3, 1), config];
    writes.extend((1..=30).map(backend));
    writes.push(Write::Config(Config::default()));
    let Failed { done, error } = tables.write_all(&writes).expect_err("there is no room");
    assert_eq!(done, 2 + 20);
    assert!(error.to_string().starts_with("Backend(21, "), "{error}");
    let held = tables.held().expect("maps can be read");
    assert_eq!((held.backends.len(), held.config.epoch, held.maglev.len()), (20, 9, 4));
}
