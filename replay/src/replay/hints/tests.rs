use twinpath_control::model::{Endpoint, Frontend, FrontendKind};
use twinpath_core::wire::tcp;

use super::*;
use crate::cluster::load::load;

/// The cluster of the fixtures: 10.96.0.80:80 is default/web, with backends at 10.244.1.11:8080 and on.
fn state() -> State {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/clusters/two-nodes.yaml");
    load(&[path.into()]).unwrap().state
}

fn syn(source: u16, destination: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    frame.extend([10, 244, 1, 10]);
    frame.extend(destination);
    frame.extend([source.to_be_bytes(), port.to_be_bytes()].concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, tcp::SYN, 0xff, 0xff, 0, 1, 0, 0]);
    frame
}

fn flow(hints: &mut Hints, frame: &[u8]) {
    let packet = Captured { data: frame, original_len: frame.len() as u32, ..Captured::default() };
    let flows = hints.flows + 1;
    hints.packet(&packet, flows);
    hints.packet(&packet, flows);
}

fn backend(state: &State) -> ([u8; 4], u16) {
    let web = state.services.iter().find(|(name, _)| name.service.name == "web").unwrap().1;
    let endpoint = web.endpoints.iter().find(|endpoint| endpoint.address.is_ipv4()).unwrap();
    let IpAddr::V4(address) = endpoint.address else { panic!("an IPv4 address") };
    (address.octets(), endpoint.port)
}

#[test]
fn taken_after_translation() {
    let state = state();
    let (address, port) = backend(&state);
    let run = |backends: u16, frontends: u16, others: u16| {
        let mut hints = Hints::new(&state);
        (0..others).for_each(|i| flow(&mut hints, &syn(i, [10, 244, 1, 99], 5000)));
        (0..backends).for_each(|i| flow(&mut hints, &syn(1_000 + i, address, port)));
        (0..frontends).for_each(|i| flow(&mut hints, &syn(2_000 + i, [10, 96, 0, 80], 80)));
        hints.notes()
    };
    let [a, b, c, d] = address;
    assert_eq!(
        run(12, 0, 2),
        [format!(
            "note: the capture looks taken after translation: 12 of 14 flows go straight to backends of default/web, \
             such as packet 5, 10.244.1.10:1000 > {a}.{b}.{c}.{d}:{port}; capture at the client's side to see what the \
             services do"
        )]
    );
    assert_eq!(run(1, 0, 0).len(), 1);
    assert_eq!(run(20, 2, 0).len(), 1);
    for (backends, frontends, others) in [(0, 0, 5), (0, 5, 0), (5, 5, 0), (9, 1, 0)] {
        assert_eq!(run(backends, frontends, others), [""; 0], "{backends} {frontends} {others}");
    }
}

/// What a server answers tells as much, when the capture begins in the middle.
#[test]
fn answers() {
    let state = state();
    let (address, port) = backend(&state);
    let mut hints = Hints::new(&state);
    let mut frame = syn(1_000, address, port);
    let (source, destination) = (frame[26..30].to_vec(), frame[30..34].to_vec());
    frame.splice(26..34, [destination, source].concat());
    let ports = [port.to_be_bytes(), 1_000_u16.to_be_bytes()].concat();
    frame.splice(34..38, ports);
    flow(&mut hints, &frame);
    assert_eq!(hints.notes().len(), 1);
}

/// A service that is also gone to directly does not make a capture one of the other side.
#[test]
fn one_service_among_others() {
    let mut state = state();
    let (name, port) = state.services.iter().next().map(|(n, p)| (n.clone(), p.clone())).unwrap();
    let (mut api_name, mut api) = (name, port);
    api_name.service.name = "kubernetes".into();
    api_name.protocol = twinpath_control::model::Protocol::Tcp;
    api.frontends = vec![Frontend {
        address: "10.96.0.1".parse().unwrap(),
        port: 443,
        kind: FrontendKind::ClusterIp,
    }];
    api.endpoints = vec![Endpoint::new("192.0.2.1".parse().unwrap(), 6443)];
    state.services.insert(api_name, api);
    let mut hints = Hints::new(&state);
    (0..3).for_each(|i| flow(&mut hints, &syn(i, [192, 0, 2, 1], 6443)));
    (0..3).for_each(|i| flow(&mut hints, &syn(i, [10, 96, 0, 80], 80)));
    assert_eq!(hints.notes(), [""; 0]);
    (0..3).for_each(|i| flow(&mut hints, &syn(9 + i, [192, 0, 2, 1], 6443)));
    assert_eq!(hints.notes().len(), 1);
}

#[test]
fn lengths_and_checksums() {
    let mut hints = Hints::new(&State::default());
    let mut frame = syn(1, [10, 96, 0, 80], 80);
    // The sum of the pseudo-header, as the kernel leaves it for the device.
    let words = [0x0af4_u32, 0x010a, 0x0a60, 0x0050, 6, 20];
    let sum: u32 = words.iter().sum();
    let field = ((sum & 0xffff) + (sum >> 16)) as u16;
    frame[50..52].copy_from_slice(&field.to_be_bytes());
    flow(&mut hints, &frame);
    let packet = |data, original_len| Captured { data, original_len, ..Captured::default() };
    for (captured, length) in [(54, 54), (54, 1_518), (40, 54), (54, 1_519), (50, 64_000)] {
        hints.packet(&packet(&frame[..captured], length), 1);
    }
    assert_eq!(
        hints.notes(),
        [
            "note: 1 of 1 flows begin with an unfinished checksum: the capture is from before a device that does this \
             work (checksum offload); such checksums are finished on the way and not taken for errors",
            "note: 2 of 7 packets are longer than 1518 bytes, the longest 64000: segmentation offload (GSO, GRO) or \
             jumbo frames; each is replayed as one packet",
            "note: 4 of 7 packets are cut by the capture to 40 to 54 bytes (`tcpdump -s`): what is missing is replayed \
             as zeroes, and their checksums are not judged",
        ]
    );
}
