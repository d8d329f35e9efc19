//! The yardstick of translation at sockets: one lookup and one rewrite of an address, and nothing else.
//!
//! No choice among endpoints, no state, no IPv6: where a socket is asked to go, there is one place to go to.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::macros::{cgroup_sock_addr, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::SockAddrContext;

/// An end: address and port in network order, and a protocol number.
#[repr(C)]
#[derive(Clone, Copy)]
struct End {
    address: u32,
    port: u16,
    protocol: u16,
}

/// Where a socket goes that is to go to the key. Who uses it says how many entries it is to have.
#[map]
static SOCKET_TO: HashMap<End, End> = HashMap::with_max_entries(1, 0);
/// As whose a datagram of the key is read; the same.
#[map]
static SOCKET_FROM: HashMap<End, End> = HashMap::with_max_entries(1, 0);

/// `connect`, of TCP and UDP.
#[cgroup_sock_addr(connect4)]
pub fn bare_connect4(context: SockAddrContext) -> i32 {
    translate(context.sock_addr, &SOCKET_TO)
}

/// `sendto` and `sendmsg` of UDP with an address.
#[cgroup_sock_addr(sendmsg4)]
pub fn bare_sendmsg4(context: SockAddrContext) -> i32 {
    translate(context.sock_addr, &SOCKET_TO)
}

/// `recvfrom` and `recvmsg` of UDP.
#[cgroup_sock_addr(recvmsg4)]
pub fn bare_recvmsg4(context: SockAddrContext) -> i32 {
    translate(context.sock_addr, &SOCKET_FROM)
}

/// The call goes on, as it was or to another place.
const GO_ON: i32 = 1;

#[inline(always)]
fn translate(call: *mut bpf_sock_addr, ends: &HashMap<End, End>) -> i32 {
    // SAFETY: the context is valid for the run of the program. An entry is only written before it is used.
    unsafe {
        let end = End {
            address: (*call).user_ip4,
            port: (*call).user_port as u16,
            protocol: (*call).protocol as u16,
        };
        if let Some(to) = ends.get(&end) {
            (*call).user_ip4 = to.address;
            (*call).user_port = u32::from(to.port);
        }
    }
    GO_ON
}
