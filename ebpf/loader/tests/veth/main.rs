//! thin
use twinpath_control::{model::State, read::read};
use twinpath_kernel::veth::{Options, VethWorld};
use twinpath_sim::engine::SimEngine;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, World};

#[test]
fn thin() {
    let bytes = std::fs::read("../../fixtures/clusters/two-nodes.yaml").unwrap();
    let (state, _) = State::new(&read("x", &bytes).unwrap());
    let topology = Topology::new(&state);
    let limits = Limits { conntrack: 1024, ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let t = std::time::Instant::now();
    let mut veth = VethWorld::new(topology.clone(), &options).unwrap_or_else(|e| panic!("{e}"));
    println!("built in {:?}", t.elapsed());
    let mut sim =
        ModelWorld::new("sim", topology.clone(), SimEngine::new(2, &limits, 0), options.tables);
    sim.apply(&state).unwrap();
    veth.apply(&state).unwrap();
    let client = topology.pods.iter().position(|p| p.name.name == "client").unwrap();
    for partial in [false, true] {
        for port in 40000..40010 {
            let mut bytes = Vec::new();
            etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4([10, 244, 1, 10], [10, 96, 0, 7], 64)
                .udp(port, 7)
                .write(&mut bytes, b"hello")
                .unwrap();
            let frame = Frame { bytes, partial };
            let a = sim.send(client, &frame).unwrap();
            let t = std::time::Instant::now();
            let b = veth.send(client, &frame).unwrap();
            println!("{:?} {:?}", t.elapsed(), b.fate);
            assert_eq!(a.seen, b.seen);
            for node in 0..2 {
                assert_eq!(sim.conntrack(node).unwrap(), veth.conntrack(node).unwrap());
            }
        }
    }
}
