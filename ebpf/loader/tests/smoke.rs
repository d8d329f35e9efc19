use twinpath_control::{model::State, read::read, tables::Options};
use twinpath_kernel::test_run::TestRunEngine;
use twinpath_sim::engine::SimEngine;
use twinpath_sim::frame::Frame;
use twinpath_sim::node::Limits;
use twinpath_sim::topology::Topology;
use twinpath_sim::world::{ModelWorld, World};

#[test]
fn smoke() {
    let bytes = std::fs::read("../../fixtures/clusters/two-nodes.yaml").unwrap();
    let (state, problems) = State::new(&read("x", &bytes).unwrap());
    println!("{problems:?}");
    let topology = Topology::new(&state);
    let limits = Limits { conntrack: 1024, ..Limits::default() };
    let mut sim =
        ModelWorld::new("sim", topology.clone(), SimEngine::new(2, &limits, 1), Options::default());
    let mut kernel = ModelWorld::new(
        "test-run",
        topology.clone(),
        TestRunEngine::new(2, &limits, 1).unwrap_or_else(|e| panic!("{e}")),
        Options::default(),
    );
    sim.apply(&state).unwrap();
    kernel.apply(&state).unwrap();
    for w in [&mut sim as &mut dyn World, &mut kernel] {
        w.set_time(5_000_000_000).unwrap();
    }
    let client = topology.pods.iter().position(|p| p.name.name == "client").unwrap();
    for sport in 40000..40020 {
        for round in 0..3 {
            let mut bytes = Vec::new();
            let b = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(
                [10, 244, 1, 10],
                [10, 96, 0, 80],
                64,
            );
            let t = b.tcp(sport, 80, 1, 1024);
            let t = if round == 0 { t.syn() } else { t.ack(5) };
            t.write(&mut bytes, b"hello").unwrap();
            let frame = Frame::new(bytes);
            let a = sim.send(client, &frame).unwrap();
            let b = kernel.send(client, &frame).unwrap();
            if round == 0 && sport < 40003 {
                println!("{:?} {:?}", a.fate, a.decisions);
            }
            assert_eq!(a, b);
            assert_eq!(sim.conntrack(0).unwrap(), kernel.conntrack(0).unwrap());
            assert_eq!(sim.conntrack(1).unwrap(), kernel.conntrack(1).unwrap());
        }
    }
}
