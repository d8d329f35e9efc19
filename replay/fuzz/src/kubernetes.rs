//! Dumps of Kubernetes objects, from bytes to the tables of nodes.

use twinpath_control::diff::{apply, diff};
use twinpath_control::maglev::Size;
use twinpath_control::model::State;
use twinpath_control::read::read;
use twinpath_control::tables::{Desired, Options, Planner};
use twinpath_sim::topology::Topology;

use super::heap;

/// What a dump may take beside what its objects do.
const MEMORY: usize = 8 << 20;
/// Most that an object takes for each byte of its text: a port makes frontends on every address of the
/// node, with slots and a slice each.
const MEMORY_PER_BYTE: usize = 16 << 10;
/// Nodes whose tables are made.
const NODES: usize = 3;

/// A file. No panic, memory in bounds, an error in one line; two plans are the same; the difference of a
/// plan and itself is nothing; and the writes from one plan to another end there, both ways.
pub fn run(data: &[u8]) {
    heap::capped(MEMORY + data.len() * MEMORY_PER_BYTE, || match read("fuzz", data) {
        Ok(objects) => {
            let (state, problems) = State::new(&objects);
            assert_eq!(State::new(&objects), (state.clone(), problems.clone()));
            for problem in problems {
                assert!(!problem.to_string().contains('\n'), "{problem}");
            }
            plans(&state);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("fuzz: ") && !text.contains('\n'), "{text:?}");
        }
    });
}

fn plans(state: &State) {
    let topology = Topology::new(state);
    let size = Size::new(31).expect("a prime");
    let options = Options { maglev_size: size, masquerade: true, ..Options::default() };
    let fewer = State {
        services: state
            .services
            .iter()
            .step_by(2)
            .map(|(name, port)| (name.clone(), port.clone()))
            .collect(),
        ..state.clone()
    };
    for node in state.nodes.keys().take(NODES) {
        let mut planner = Planner::default();
        let full = planner.plan(state, node, &topology, &options);
        assert_eq!(planner.plan(state, node, &topology, &options), full, "planned twice");
        assert_eq!(Planner::default().plan(state, node, &topology, &options), full, "planned anew");
        assert_eq!(diff(&full, &full), [], "nothing to do");
        let half = planner.plan(&fewer, node, &topology, &options);
        let mut tables = Desired::default();
        for goal in [&full, &half, &full, &Desired::default()] {
            let writes = diff(&tables, goal);
            apply(&mut tables, &writes).expect("a write");
            let epoch = tables.config.epoch;
            let mut reached = goal.clone();
            reached.config.epoch = epoch;
            assert_eq!(tables, reached, "written");
            assert_eq!(diff(&tables, goal), [], "nothing left to do");
        }
    }
}

/// The dumps, and objects of the scenarios.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = super::files("clusters", &[".yaml", ".json"]);
    let mut parts = Vec::new();
    for dump in &seeds {
        let text = String::from_utf8_lossy(dump);
        parts.extend(text.split("\n---").map(|part| part.as_bytes().to_vec()));
        parts.extend(text.split("\n- ").skip(1).map(|part| {
            part.lines()
                .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
                .collect::<String>()
                .into_bytes()
        }));
    }
    seeds.extend(parts);
    seeds.retain(|seed| seed.len() <= 8_000);
    seeds.dedup();
    seeds.extend(EXTRAS.iter().map(|text| text.as_bytes().to_vec()));
    seeds
}

/// Fields that the fixtures do not have.
const EXTRAS: [&str; 4] = [
    "kind: Service\nmetadata: {name: a, annotations: {twinpath.dev/algorithm: maglev, \
     twinpath.dev/forwarding-mode: dsr}}\nspec: {type: LoadBalancer, clusterIP: 10.96.0.1, clusterIPs: \
     [10.96.0.1, 'fd00::1'], externalIPs: [203.0.113.7], externalTrafficPolicy: Local, \
     internalTrafficPolicy: Local, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: \
     {timeoutSeconds: 10}}, healthCheckNodePort: 31000, loadBalancerSourceRanges: [10.0.0.0/8], ports: \
     [{name: p, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}, {name: q, port: 81, protocol: \
     SCTP}]}\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.9, ipMode: VIP}]}}\n",
    "kind: EndpointSlice\nmetadata: {name: a-1, labels: {kubernetes.io/service-name: a}}\naddressType: \
     IPv4\nports: [{name: p, port: 8080, protocol: TCP}]\nendpoints: [{addresses: [10.244.1.2], nodeName: n, \
     zone: z, hints: {forZones: [{name: z}]}, conditions: {ready: false, serving: true, terminating: \
     true}, targetRef: {kind: Pod, name: x, namespace: default}}]\n",
    "kind: Pod\nmetadata: {name: x}\nspec: {nodeName: n, hostNetwork: false, containers: [{name: c, ports: \
     [{containerPort: 8080, hostPort: 8080, hostIP: 192.168.0.1, protocol: UDP}]}]}\nstatus: {podIP: \
     10.244.1.2, podIPs: [{ip: 10.244.1.2}], phase: Running}\n",
    "kind: List\nitems:\n- kind: ServiceCIDR\n  metadata: {name: k}\n  spec: {cidrs: [10.96.0.0/12]}\n- \
     kind: Node\n  metadata: {name: n, labels: {topology.kubernetes.io/zone: z}}\n  spec: {podCIDRs: \
     [10.244.1.0/24]}\n  status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}\n",
];
