//! The sockets that serve: nobody waits at them. Who measures takes what has come, so that no process has to
//! be woken while the clock runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use twinpath_kernel::veth::netns::Namespace;
use twinpath_sim::world::WorldError;

use crate::bench::lab::failed;

/// Room for datagrams until they are taken, in bytes: those of a round.
const ROOM: usize = 64 << 20;

/// How long what was sent is waited for. It is there at once, unless the kernel has put off its work.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The sockets of a pod, TCP and UDP at one port.
#[derive(Debug)]
pub(super) struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    /// Opens them in a namespace.
    pub(super) fn new(
        namespace: &Namespace,
        address: Ipv4Addr,
        port: u16,
    ) -> Result<Self, WorldError> {
        let open = || -> io::Result<Self> {
            let at = SocketAddrV4::new(address, port);
            let (tcp, udp) = (TcpListener::bind(at)?, UdpSocket::bind(at)?);
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            setsockopt(&udp, sockopt::RcvBufForce, &ROOM)?;
            Ok(Self { tcp, udp })
        };
        namespace.run(open)?.map_err(|error| failed(format!("a server at {address}: {error}")))
    }

    /// Sends a datagram.
    pub(super) fn answer(&self, to: SocketAddr, data: &[u8]) -> io::Result<()> {
        self.udp.send_to(data, to).map(drop)
    }
}

/// Takes a connection from whichever of the servers has one.
pub(super) fn accept(servers: &[Server]) -> io::Result<(usize, TcpStream, SocketAddr)> {
    wait(|| {
        for (place, server) in servers.iter().enumerate() {
            match server.tcp.accept() {
                Ok((stream, from)) => return Ok(Some((place, stream, from))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    })
}

/// Takes a datagram from whichever of the servers has one.
pub(super) fn receive(servers: &[Server]) -> io::Result<(usize, SocketAddr)> {
    wait(|| {
        let mut room = [0; 64];
        for (place, server) in servers.iter().enumerate() {
            match server.udp.recv_from(&mut room) {
                Ok((_, from)) => return Ok(Some((place, from))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    })
}

/// Takes so many datagrams.
pub(super) fn receive_all(servers: &[Server], count: usize) -> io::Result<()> {
    for done in 0..count {
        receive(servers)
            .map_err(|error| io::Error::other(format!("{done} of {count} datagrams: {error}")))?;
    }
    Ok(())
}

/// Tries until there is something.
fn wait<T>(mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let mut begin = None;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if begin.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived"));
        }
        std::thread::yield_now();
    }
}
