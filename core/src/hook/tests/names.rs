//! What tables, JSON, metrics and the loader call things. Once out, names and numbers stay.

use crate::hook::{Hook, Stage};
use crate::seam::Metric;
use crate::state::Phase;
use crate::verdict::Status;

#[test]
fn what_is_counted() {
    let named: Vec<_> =
        (0..Metric::SLOTS).filter_map(|slot| Some((slot, Metric(slot).name()?))).collect();
    let expected = [
        (1, "SERVICE_PORT_NOT_FOUND"),
        (2, "CT_TUPLE_CONFLICT"),
        (3, "IS_CLUSTER_IP"),
        (4, "SERVICE_ADDRESS_NOT_FOUND"),
        (5, "NO_HAIRPIN_ADDRESS"),
        (134, "INVALID_PACKET_DROPPED"),
        (135, "CT_TRUNCATED_OR_INVALID_HEADER"),
        (136, "FRAGMENTATION_NEEDED"),
        (138, "CT_CANNOT_CREATE_ENTRY_FROM_PACKET"),
        (140, "MISSED_TAIL_CALL"),
        (141, "ERROR_WRITING_TO_PACKET"),
        (154, "ERROR_WHILE_CORRECTING_L4_CHECKSUM"),
        (155, "CT_MAP_INSERTION_FAILED"),
        (156, "INVALID_IPV6_EXTENSION_HEADER"),
        (158, "SERVICE_BACKEND_NOT_FOUND"),
        (167, "NO_MAPPING_FOR_NAT_MASQUERADE"),
        (175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND"),
        (177, "DENIED_BY_LB_SRC_RANGE_CHECK"),
        (196, "TTL_EXCEEDED"),
        (256, "CT_OPENED"),
        (257, "CT_RESTORED"),
        (258, "CT_RESTORE_FAILED"),
        (259, "CT_REAPED"),
        (260, "ANSWERED"),
        (261, "ANSWER_LIMITED"),
        (262, "RELATED"),
    ];
    assert_eq!(named, expected);
}

#[test]
fn hooks_and_their_programs() {
    assert_eq!(
        Hook::ALL.map(|hook| (hook.name(), hook.program())),
        [
            ("from-pod", "from_pod"),
            ("to-pod", "to_pod"),
            ("from-netdev", "from_netdev"),
            ("to-netdev", "to_netdev"),
            ("xdp", "xdp_from_netdev"),
        ]
    );
}

#[test]
fn stages() {
    let programs = [
        "classify", "connect", "send", "related", "unwrap", "wrap", "answer", "open", "reserve",
        "commit", "plain",
    ];
    assert_eq!(Stage::ALL.map(Stage::program), programs);
    assert_eq!(Stage::Done.program(), "done");
    for (stage, number) in Stage::ALL.into_iter().zip(0..) {
        assert_eq!((stage as u32, Stage::from_number(number)), (number, stage));
    }
    assert_eq!([11, 12, u32::MAX].map(Stage::from_number), [Stage::Done; 3]);
}

#[test]
fn what_conntrack_says() {
    use Status::{Established, New, Reopened, Reply, Untracked};
    assert_eq!(
        [Untracked, New, Established, Reply, Reopened].map(Status::name),
        ["UNTRACKED", "NEW", "ESTABLISHED", "REPLY", "REOPENED"]
    );
    use Phase::{Closing, Datagrams, Established as Open, Opening};
    assert_eq!(
        [Opening, Open, Closing, Datagrams].map(Phase::name),
        ["OPENING", "ESTABLISHED", "CLOSING", "DATAGRAMS"]
    );
}
