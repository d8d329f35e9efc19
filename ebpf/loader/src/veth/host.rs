//! Sending IP packets as a node's own processes do: by its stack, which routes them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use twinpath_core::parse::parse;
use twinpath_sim::frame::Frame;

/// Raw sockets of both families, to which packets are given with their headers.
#[derive(Debug)]
pub struct HostSocket {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl HostSocket {
    /// Sockets of the calling thread's namespace.
    pub fn new() -> io::Result<Self> {
        // For both families, this protocol says that the header comes with the packet.
        let open = |family| {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: a plain system call.
            let file = unsafe { libc::socket(family, kind, libc::IPPROTO_RAW) };
            if file < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor is new and nobody else's.
            Ok(unsafe { OwnedFd::from_raw_fd(file) })
        };
        Ok(Self { v4: open(libc::AF_INET)?, v6: open(libc::AF_INET6)? })
    }

    /// Sends the IP packet of a frame. The stack writes the checksum of an IPv4 header.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        let Ok(Some(parsed)) = parse(frame) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let bytes = frame.bytes.get(parsed.l3.0..).unwrap_or_default();
        let to = SocketAddr::new(parsed.tuple.destination.into(), 0);
        let (file, address) = match to {
            SocketAddr::V4(to) => (&self.v4, Name::V4(name4(*to.ip()))),
            SocketAddr::V6(to) => (&self.v6, Name::V6(name6(*to.ip()))),
        };
        let (start, length) = match &address {
            Name::V4(name) => ((&raw const *name).cast(), size_of_val(name)),
            Name::V6(name) => ((&raw const *name).cast(), size_of_val(name)),
        };
        // SAFETY: the buffers are as long as said, and outlive the call.
        let sent = unsafe {
            libc::sendto(
                file.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                start,
                length as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// An address as the system has it.
enum Name {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

fn name4(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    }
}

fn name6(address: Ipv6Addr) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.octets() },
        sin6_scope_id: 0,
    }
}
