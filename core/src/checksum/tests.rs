use super::*;
use proptest::prelude::*;

/// Full recomputation, the independent way: sum big-endian words in 64 bits, reduce modulo 65535.
fn full(words: &[u16]) -> u16 {
    let total: u64 = words.iter().map(|w| u64::from(w.to_be())).sum();
    let folded = if total == 0 { 0 } else { (total - 1) % 65535 + 1 };
    !(folded as u16)
}

/// The two zeros are one number.
fn same(a: u16, b: u16) -> bool {
    a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
}

#[test]
fn every_value_of_one_word() {
    // C-1, C-2, C-9: all 2^16 new values of a word, from the old values where RFC 1141 goes wrong.
    let rest = [0x1234_u16, 0xffff, 0x0001, 0xfedc];
    for from in [0x0000_u16, 0xffff, 0x0001, 0x8000, 0x7fff] {
        let mut words = vec![from];
        words.extend(rest);
        let field = full(&words).to_be();
        for to in 0..=0xffff_u16 {
            words[0] = to;
            let changed = Delta::NONE.of_word(from, to).apply(field);
            assert!(same(changed.to_be(), full(&words)), "{from:04x} -> {to:04x}");
        }
    }
}

#[test]
fn fold_takes_every_carry() {
    // C-9: one fold is not enough for these.
    assert_eq!(fold(0x0001_ffff), 0x0001);
    assert_eq!(fold(0xffff_ffff), 0xffff);
    assert_eq!(fold(0xfffe_0002), 0x0001);
}

#[test]
fn zero_of_udp() {
    // C-3 and C-4: none stays none; what comes to zero is sent as ones; TCP has no such rule.
    let ports = Delta::NONE.of_word(0, 1);
    let udp = Fix { addresses: Delta::NONE, ports, udp: true };
    let tcp = Fix { udp: false, ..udp };
    assert_eq!(udp.apply(0), 0);
    let field = (0..=0xffff).find(|f| tcp.apply(*f) == 0).expect("some field comes to zero");
    assert_eq!(udp.apply(field), 0xffff);
}

#[test]
fn zero_of_a_partial_udp() {
    // C-3, C-4, C-7: the same two meanings where only the pseudo-header's sum stands in the field.
    let addresses = Delta::NONE.of_word(0x0102, 0x0304);
    let ports = Delta::NONE.of_word(0, 1);
    let udp = Fix { addresses, ports, udp: true };
    let tcp = Fix { udp: false, ..udp };
    assert_eq!(udp.apply_partial(0), 0);
    assert_eq!(tcp.apply_partial(0), addresses.0);
    for field in 1..=0xffff {
        let sum = fold(u32::from(field) + u32::from(addresses.0));
        assert_eq!(tcp.apply_partial(field), sum);
        assert_eq!(udp.apply_partial(field), if sum == 0 { 0xffff } else { sum });
    }
    // Ports alone change nothing, of zero neither.
    let ports = Fix { addresses: Delta::NONE, ..tcp };
    assert_eq!([0, 1, 0xffff].map(|field| ports.apply_partial(field)), [0, 1, 0xffff]);
}

proptest! {
    /// C-6: a field that was wrong by some amount is wrong by the same amount afterwards.
    #[test]
    fn errors_are_kept(words in prop::collection::vec(any::<u16>(), 2..40), to: u16, error in 1..0xffff_u16) {
        let right = full(&words).to_be();
        let wrong = !fold(u32::from(!right) + u32::from(error));
        let delta = Delta::NONE.of_word(words[0], to);
        let mut after = words.clone();
        after[0] = to;
        let expected = !fold(u32::from(!full(&after).to_be()) + u32::from(error));
        prop_assert!(same(delta.apply(wrong), expected));
    }

    /// C-14 for checksums: there and back is the identity, but for the two zeros.
    #[test]
    fn there_and_back(field: u16, a: [u8; 16], b: [u8; 16], p: u16, q: u16, udp: bool) {
        let (a, b) = (Address::from_octets(a), Address::from_octets(b));
        let (p, q) = (Be16::new(p), Be16::new(q));
        let there = Fix { addresses: Delta::NONE.of_address(&a, &b), ports: Delta::NONE.of_port(p, q), udp };
        let back = Fix { addresses: Delta::NONE.of_address(&b, &a), ports: Delta::NONE.of_port(q, p), udp };
        prop_assert!(same(back.apply(there.apply(field)), field));
        prop_assert!(same(back.apply_partial(there.apply_partial(field)), field));
    }

    /// The sum of bytes agrees with the full recomputation.
    #[test]
    fn sum_of_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut padded = bytes.clone();
        if padded.len() % 2 == 1 { padded.push(0); }
        let words: Vec<u16> = padded.chunks(2).map(|c| u16::from_ne_bytes([c[0], c[1]])).collect();
        prop_assert_eq!((!sum(&bytes)).to_be(), full(&words));
    }
}
