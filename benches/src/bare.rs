//! Entries of the bare programs, which have no control plane.

use aya::Ebpf;
use aya::maps::HashMap;
use twinpath_core::bytes::{Be16, Pod};
use twinpath_core::checksum::{Delta, Deltas};
use twinpath_core::tuple::Tuple;
use twinpath_core::wire::TCP;

use crate::run::Failure;

/// Has `bare16` and `bare40` translate these packets, to 10.244.1.11:8080 behind device 11.
pub fn fill(bare: &mut Ebpf, packets: &[Vec<u8>]) -> Result<(), Failure> {
    let backend = [10, 244, 1, 11];
    let halves = |address: &[u8]| {
        let half = |at: usize| u16::from_ne_bytes([address[at], address[at + 1]]);
        (half(0), half(2))
    };
    let mapped = |address: &[u8]| [&[0; 10], &[0xff, 0xff][..], address].concat();
    for packet in packets {
        let (source, vip, ports) = (&packet[26..30], &packet[30..34], &packet[34..38]);
        let ((a, b), (c, d)) = (halves(vip), halves(&backend));
        let mut entry = [0_u8; 16];
        entry[..4].copy_from_slice(&backend);
        entry[4..6].copy_from_slice(&8080_u16.to_be_bytes());
        entry[6..8].copy_from_slice(Delta::NONE.of_word(a, c).of_word(b, d).0.as_bytes());
        let ports_delta = Delta::NONE.of_port(Be16::new(80), Be16::new(8080));
        entry[8..10].copy_from_slice(ports_delta.0.as_bytes());
        entry[12..16].copy_from_slice(&11_u32.to_ne_bytes());
        let key16: [u8; 16] =
            [source, vip, ports, &[6, 0, 0, 0]].concat().try_into().map_err(|_| "key")?;
        let key40 = [&mapped(source)[..], &mapped(vip), ports, &[6, 0, 0, 0]].concat();
        let key40: [u8; 40] = key40.try_into().map_err(|_| "key")?;
        let map = bare.map_mut("BARE16").ok_or("no such map")?;
        HashMap::<_, [u8; 16], [u8; 16]>::try_from(map)?.insert(key16, entry, 0)?;
        let map = bare.map_mut("BARE40").ok_or("no such map")?;
        HashMap::<_, [u8; 40], [u8; 16]>::try_from(map)?.insert(key40, entry, 0)?;
    }
    Ok(())
}

/// Has `bare_nat` and `bare_xdp` translate TCP packets with one tuple to another, by this device.
pub fn fill_nat(bare: &mut Ebpf, from: &Tuple, to: &Tuple, device: u32) -> Result<(), Failure> {
    let ports = |tuple: &Tuple| {
        let ([a, b], [c, d]) =
            (tuple.source_port.get().to_be_bytes(), tuple.destination_port.get().to_be_bytes());
        [a, b, c, d]
    };
    let key = [
        &from.source.low().to_ne_bytes()[..],
        &from.destination.low().to_ne_bytes(),
        &ports(from),
        &u32::from(TCP).to_ne_bytes(),
    ]
    .concat();
    let deltas = Deltas::between(from, to);
    let entry = [
        &to.source.low().to_ne_bytes()[..],
        &to.destination.low().to_ne_bytes(),
        &ports(to),
        deltas.addresses.0.as_bytes(),
        deltas.ports.0.as_bytes(),
        &device.to_ne_bytes(),
    ]
    .concat();
    let key: [u8; 16] = key.try_into().map_err(|_| "key")?;
    let entry: [u8; 20] = entry.try_into().map_err(|_| "entry")?;
    let map = bare.map_mut("BARE_NAT").ok_or("no such map")?;
    HashMap::<_, [u8; 16], [u8; 20]>::try_from(map)?.insert(key, entry, 0)?;
    Ok(())
}
