//! The kernel's own connection tracking.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE` of `include/uapi/linux/netfilter/`.
const DELETE: u16 = 1 << 8 | 2;

/// A request of netlink (`struct nlmsghdr`) to netfilter (`struct nfgenmsg`).
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    version: u8,
    resource: u16,
}

/// Forgets all connections of the calling thread's network namespace.
pub fn flush() -> io::Result<()> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: a plain system call.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let request = Request {
        length: size_of::<Request>() as u32,
        kind: DELETE,
        flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16,
        sequence: 1,
        port: 0,
        family: libc::AF_INET as u8,
        version: 0,
        resource: 0,
    };
    let file = socket.as_raw_fd();
    // SAFETY: the request is as long as said and outlives the call.
    let sent = unsafe { libc::send(file, (&raw const request).cast(), size_of::<Request>(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0_u8; 512];
    // SAFETY: the buffer is as long as said and outlives the call.
    let length = unsafe { libc::recv(file, answer.as_mut_ptr().cast(), answer.len(), 0) };
    if length < 20 {
        return Err(io::Error::last_os_error());
    }
    // After the header, the negative number of an error, or 0.
    match answer.get(16..20).and_then(|bytes| bytes.first_chunk()).map(|b| i32::from_ne_bytes(*b)) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
