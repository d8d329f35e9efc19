//! Looking ahead: with many flows a packet waits for memory most of its time, one place after the other.
//! The places where the next packets will be looked up do not depend on each other, so a processor fetches
//! several of them at once when they are asked for in a row.

use twinpath_core::bytes::Pod;
use twinpath_core::tuple::Tuple4;

use super::Replay;
use super::flows::{Entry, Role};
use crate::worlds::Stage;

/// Packets that are looked up at once.
const AHEAD: usize = 16;

/// Flows that do not fit the nearer caches any more: below that, looking ahead costs more than it gains.
const MANY: usize = 4_096;

/// Foresees packets a batch at a time.
#[derive(Debug, Default)]
pub struct Foresight {
    /// How many of the packets to come were foreseen.
    left: usize,
}

impl Foresight {
    /// Is told before each packet, with those that come next.
    #[inline(always)]
    pub fn step<'a, S: Stage, I>(&mut self, replay: &Replay<S>, next: impl FnOnce() -> I)
    where
        I: Iterator<Item = &'a [u8]>,
    {
        if replay.flows.len() < MANY {
            return;
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => replay.foresee(next()).saturating_sub(1),
        };
    }
}

impl<S: Stage> Replay<S> {
    /// Brings what packets will need into the cache; how many of them.
    #[inline(never)]
    fn foresee<'a>(&self, packets: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut found = [(Tuple4::zeroed(), None::<Entry>); AHEAD];
        let mut count: usize = 0;
        for (place, packet) in found.iter_mut().zip(packets) {
            if let Some(tuple) = tuple(packet) {
                *place = (tuple, self.flows.get4(&tuple));
            }
            count = count.wrapping_add(1);
        }
        for (tuple, entry) in found.iter().take(count) {
            let Some(entry) = entry else { continue };
            match entry.role {
                Role::Request | Role::Plain => self.stage.foresee(entry.sender, tuple),
                Role::Reply => {
                    let flow = self.flows.flow(entry.flow);
                    let Some(given) = flow.and_then(|flow| flow.given.as_ref()) else { continue };
                    self.stage.foresee(given.sender, &Tuple4::from(&given.tuple));
                }
                Role::Orphan => {}
            }
        }
        count
    }
}

/// The tuple of a TCP or UDP packet that is an IPv4 packet of the plainest form. For others nothing is
/// foreseen. Of a fragment it is no tuple, which costs a look in vain.
#[inline(always)]
fn tuple(packet: &[u8]) -> Option<Tuple4> {
    let head: &[u8; 38] = packet.first_chunk()?;
    let ([_, .., 0x08, 0x00, 0x45], Some([protocol, _, _, ends @ ..])) =
        (head.first_chunk::<15>()?, head.last_chunk::<15>())
    else {
        return None;
    };
    let mut bytes = [0; 16];
    let (place, rest) = bytes.split_first_chunk_mut::<12>()?;
    *place = *ends;
    *rest.first_mut()? = *protocol;
    Tuple4::read_from(&bytes)
}

#[cfg(test)]
mod tests {
    use twinpath_core::parse::parse;
    use twinpath_sim::frame::Frame;

    use super::*;
    use crate::capture::Capture;

    #[test]
    fn the_tuple_is_that_of_the_parser() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/captures/clusterip.pcap");
        let mut capture = Capture::open(path.as_ref()).unwrap();
        let (mut plain, mut others) = (0, 0);
        while let Some(record) = capture.next().unwrap() {
            let parsed = parse(&Frame::new(record.data.to_vec())).unwrap().unwrap();
            match tuple(record.data) {
                Some(tuple) => {
                    assert_eq!(tuple, Tuple4::from(&parsed.tuple));
                    plain += 1;
                }
                None => {
                    assert!(!parsed.tuple.is_v4());
                    others += 1;
                }
            }
        }
        assert!(plain > 100 && others > 100, "{plain} and {others}");
        assert_eq!(tuple(&[0; 37]), None);
    }
}
