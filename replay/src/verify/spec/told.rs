//! What another node tells of a packet by an option or a tunnel (DSR).

use std::net::IpAddr;

use super::Model;
use super::expect::quote;
use super::judge::Item;
use super::rules::Way;
use super::wire::{
    Five, Kind, Part, Read, UDP, View, address, header_error, put, read, seal4, word,
};

impl Model {
    /// The packet of a frame as this node is to treat it: what was wrapped is taken out. An error is one
    /// that goes no further.
    pub(super) fn unwrapped(&self, frame: &[u8], view: View) -> Result<Item, &'static str> {
        let plain = Item::new(frame.to_vec(), view);
        if !self.rules.is_here(view.five.destination.0) {
            return Ok(plain);
        }
        let found = if view.has_options() {
            self.option(frame, &view)
        } else if view.part == Part::Whole && view.kind == Kind::Udp {
            self.geneve(frame, &view)
        } else if view.part == Part::Whole && view.kind == Kind::Other {
            return Ok(self.ipip(frame, &view)?.unwrap_or(plain));
        } else {
            None
        };
        let Some((inner, told)) = found else { return Ok(plain) };
        if view.tags > 0 {
            return Err("told in a frame with tags");
        }
        match inner.as_deref().map(read) {
            Some(Read::Ip(found)) if view.has_options() || is_as_told(&found, &view, &told) => {
                let mut item = Item::new(inner.unwrap_or_default(), found);
                item.told = Some(told.destination);
                Ok(item)
            }
            _ => Err("not what the tunnel says"),
        }
    }

    /// Whether a told frontend is one that is reached in this way.
    fn is_told(&self, told: &Five, way: Way) -> bool {
        self.rules.front(told, true, true).is_some_and(|front| self.rules.way(&front) == way)
    }

    fn option(&self, frame: &[u8], view: &View) -> Option<(Option<Vec<u8>>, Five)> {
        let (v4, l3) = (view.five.is_v4(), view.l3);
        let mut inner = frame.to_vec();
        let end = if v4 {
            if frame.get(l3 + 20..l3 + 22)? != [0x9a, 8] {
                return None;
            }
            (address(frame, l3 + 24, true)?, word(frame, l3 + 22)?)
        } else {
            let header = frame.get(l3 + 41..l3 + 44)?;
            if frame.get(l3 + 6) != Some(&60) || header != [2, 0x1b, 20] || view.l4 < l3 + 64 {
                return None;
            }
            (address(frame, l3 + 44, false)?, word(frame, l3 + 60)?)
        };
        let told = Five { destination: end, ..view.five };
        if !self.is_told(&told, Way::Option) {
            return None;
        }
        if v4 {
            let error = header_error(frame, view);
            inner.drain(l3 + 20..l3 + 28);
            put(&mut inner, l3, &[frame.get(l3)? - 2]);
            put(&mut inner, l3 + 2, &(word(frame, l3 + 2)? - 8).to_be_bytes());
            seal4(&mut inner, l3, error);
        } else {
            inner.drain(l3 + 40..l3 + 64);
            put(&mut inner, l3 + 4, &(word(frame, l3 + 4)? - 24).to_be_bytes());
            put(&mut inner, l3 + 6, &[*frame.get(l3 + 40)?]);
        }
        Some((Some(inner), told))
    }

    fn geneve(&self, frame: &[u8], view: &View) -> Option<(Option<Vec<u8>>, Five)> {
        let v4 = view.five.is_v4();
        let (words, bytes) = if v4 { (3, 4) } else { (6, 16) };
        let at = view.l4 + 8;
        let header = [words, 0x40, 0x65, 0x58, 0, 0, 0, 0, 0xff, 0x54, 0x81, words - 1];
        if view.five.destination.1 != 6081 || frame.get(at..at + 12)? != header {
            return None;
        }
        let at = at + 12;
        let end = (address(frame, at, v4)?, word(frame, at + bytes)?);
        let protocol = *frame.get(at + bytes + 2)?;
        frame.get(at + bytes + 3)?;
        let told = Five { protocol, destination: end, ..view.five };
        if !self.is_told(&told, Way::Geneve) {
            return None;
        }
        let at = at + bytes + 4;
        let ethertype = if v4 { 0x0800 } else { 0x86dd };
        let inside = word(frame, at + 12) == Some(ethertype);
        let inner = inside.then(|| frame.get(at + 14..)).flatten();
        let whole = inner.and_then(|inner| Some([frame.get(..view.l3)?, inner].concat()));
        Some((whole, told))
    }

    /// Of a tunnel of IP in IP the frontend says which backend the packet is for.
    fn ipip(&self, frame: &[u8], view: &View) -> Result<Option<Item>, &'static str> {
        let v4 = view.five.is_v4();
        let wanted = if v4 { 4 } else { 41 };
        if view.five.protocol != wanted || view.tags > 0 {
            return Ok(None);
        }
        let inner = [frame.get(..view.l3), frame.get(view.l4..)].map(Option::unwrap_or_default);
        let inner = inner.concat();
        let Read::Ip(found) = read(&inner) else { return Ok(None) };
        let mut sent = found.five;
        if found.kind == Kind::Error && found.part == Part::Whole {
            match quote(&inner, &found) {
                Ok(Some(quote)) => sent = quote.five.reverse(),
                _ => return Ok(None),
            }
        }
        if found.part == Part::Later {
            match self.first_of(&found) {
                Some((first, _)) => sent = first,
                None if self.may_be_front(sent.destination.0) => {
                    return Err("a fragment that nobody can place");
                }
                None => return Ok(None),
            }
        }
        let Some(front) = self.rules.front(&sent, true, true) else { return Ok(None) };
        if self.rules.way(&front) != Way::Ipip {
            return Ok(None);
        }
        let Some(backend) = self.rules.tunnelled(&front, view.five.destination.0) else {
            return Ok(None);
        };
        let mut item = Item::new(inner, found);
        item.chosen = Some(backend);
        Ok(Some(item))
    }

    fn may_be_front(&self, address: IpAddr) -> bool {
        use super::rules::Place;
        self.rules.has_services(address)
            || matches!(self.rules.place(address), Place::Host | Place::Node)
    }
}

/// Whether what is in a tunnel is what the outer headers say.
fn is_as_told(inner: &View, outer: &View, told: &Five) -> bool {
    inner.five.destination.0 == outer.five.destination.0
        && inner.five.protocol == told.protocol
        && outer.five.protocol == UDP
}
