//! What a client does, with the clock beside it. One thread has the sockets of both ends, so that a figure
//! is the work of the calls and of the way between them, and no waiting.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::server::{PATIENCE, Server, accept, receive, receive_all};

/// Where a client is and where it goes.
#[derive(Debug)]
pub(super) struct Road<'a> {
    pub(super) source: Ipv4Addr,
    pub(super) to: SocketAddrV4,
    pub(super) servers: &'a [Server],
}

/// What a round of a measurement has given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Round {
    /// The round's value, in the measure's unit.
    pub(super) value: f64,
    /// Of latencies, each of them, in nanoseconds.
    pub(super) times: Vec<u32>,
}

/// How one client and one server saw each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// With whom the client's system says that it is connected (TCP).
    pub peer: SocketAddr,
    /// From whom the server's system says that the connection came.
    pub client: SocketAddr,
    /// The place of that server among those of the road.
    pub server: usize,
    /// From whom the client reads a datagram that answers its own.
    pub answered: SocketAddr,
    /// From whom the server had the one that it answered.
    pub asked: SocketAddr,
}

/// Connections that are opened before servers take them.
const BATCH: usize = 64;
/// Bytes that are written at once, and of which so many times as much may be read at once.
const CHUNK: usize = 64 << 10;
/// Bytes that are timed together, and those of a stream before the clock is started.
const BLOCK: u64 = 1 << 20;
const WARM: u64 = 4 << 20;

/// What did not arrive.
fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the stream stands still")
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

/// The round whose value is the median of these.
fn latencies(times: Vec<u32>) -> Round {
    let mut sorted = times.clone();
    sorted.sort_unstable();
    let value = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
    Round { value: f64::from(value), times }
}

/// The round whose value is how much is done in a second, where so much is done in the median of these.
fn rate(times: Vec<u32>, each: f64) -> Round {
    let Round { value, .. } = latencies(times);
    Round { value: each * 1e9 / value.max(1.0), times: Vec::new() }
}

impl Road<'_> {
    /// Opens a connection and asks for an answer to a datagram, from two ports.
    pub(super) fn look(&self, tcp: u16, udp: u16) -> io::Result<Seen> {
        let (stream, at, (server, client)) = self.connected(tcp)?;
        drop(at);
        let socket = UdpSocket::bind((self.source, udp))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(b"?", self.to)?;
        let (place, asked) = receive(self.servers)?;
        if let Some(server) = self.servers.get(place) {
            server.answer(asked, b"!")?;
        }
        let (_, answered) = socket.recv_from(&mut [0; 8])?;
        Ok(Seen { peer: stream.peer_addr()?, client, server, answered, asked })
    }

    /// Datagrams, each the first from its port.
    pub(super) fn first_packets(&self, ports: &[u16]) -> io::Result<Round> {
        let mut times = Vec::with_capacity(ports.len());
        for port in ports {
            let socket = UdpSocket::bind((self.source, *port))?;
            let begin = Instant::now();
            socket.send_to(b"?", self.to)?;
            times.push(nanoseconds(begin.elapsed()));
        }
        receive_all(self.servers, ports.len())?;
        Ok(latencies(times))
    }

    /// TCP connections, opened.
    pub(super) fn connects(&self, ports: &[u16]) -> io::Result<Round> {
        let mut times = Vec::with_capacity(ports.len());
        for ports in ports.chunks(BATCH) {
            for port in ports {
                let socket = self.socket(*port)?;
                let begin = Instant::now();
                self.connect(&socket)?;
                times.push(nanoseconds(begin.elapsed()));
            }
            for _ in ports {
                accept(self.servers)?;
            }
        }
        Ok(latencies(times))
    }

    /// TCP connections, each opened and closed at both ends before the next one: how many of the middling
    /// one fit in a second.
    pub(super) fn connect_rate(&self, ports: &[u16]) -> io::Result<Round> {
        let mut times = Vec::with_capacity(ports.len());
        for port in ports {
            let begin = Instant::now();
            let socket = self.socket(*port)?;
            self.connect(&socket)?;
            let (_, stream, _) = accept(self.servers)?;
            drop(socket);
            drop(stream);
            times.push(nanoseconds(begin.elapsed()));
        }
        Ok(rate(times, 1.0))
    }

    /// A byte there and a byte back, over and over for so long.
    pub(super) fn round_trips(&self, port: u16, time: Duration) -> io::Result<Round> {
        let (mut here, mut there, _) = self.connected(port)?;
        for stream in [&here, &there] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let mut times = Vec::new();
        let begin = Instant::now();
        let mut last = begin;
        while last.duration_since(begin) < time {
            let mut byte = [0];
            here.write_all(b"?")?;
            there.read_exact(&mut byte)?;
            there.write_all(b"!")?;
            here.read_exact(&mut byte)?;
            let now = Instant::now();
            times.push(nanoseconds(now.duration_since(last)));
            last = now;
        }
        Ok(latencies(times))
    }

    /// Bits a second through one connection, for so long: by the time of the middling block.
    pub(super) fn throughput(&self, port: u16, time: Duration) -> io::Result<Round> {
        let (mut here, mut there, _) = self.connected(port)?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let (data, mut room) = (vec![b'?'; CHUNK], vec![0; 4 * CHUNK]);
        let mut step = || -> io::Result<u64> {
            let written = at_once(here.write(&data))?;
            let read = at_once(there.read(&mut room))?;
            if written == 0 && read == 0 {
                std::thread::yield_now();
            }
            Ok(read as u64)
        };
        let mut block = |size: u64| -> io::Result<u64> {
            let (limit, mut bytes) = (Instant::now() + PATIENCE, 0);
            while bytes < size {
                bytes += step()?;
                if Instant::now() > limit {
                    return Err(silent());
                }
            }
            Ok(bytes)
        };
        block(WARM)?;
        let (mut times, begin) = (Vec::new(), Instant::now());
        while begin.elapsed() < time {
            let begin = Instant::now();
            let bytes = block(BLOCK)?;
            times.push(nanoseconds(begin.elapsed().mul_f64(BLOCK as f64 / bytes as f64)));
        }
        Ok(rate(times, 8.0 * BLOCK as f64))
    }

    /// Both ends of a connection: the client's, the server's, and how that saw the client.
    fn connected(&self, port: u16) -> io::Result<(TcpStream, TcpStream, (usize, SocketAddr))> {
        let socket = self.socket(port)?;
        self.connect(&socket)?;
        let (server, stream, client) = accept(self.servers)?;
        Ok((TcpStream::from(socket), stream, (server, client)))
    }

    /// A TCP socket at a port. It does not wait for ever.
    fn socket(&self, port: u16) -> io::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        let patience = TimeVal::milliseconds(i64::try_from(PATIENCE.as_millis()).unwrap_or(2_000));
        setsockopt(&socket, sockopt::SendTimeout, &patience)?;
        let at = SocketAddrV4::new(self.source, port);
        bind(socket.as_raw_fd(), &SockaddrIn::from(at))?;
        Ok(socket)
    }

    fn connect(&self, socket: &OwnedFd) -> io::Result<()> {
        match connect(socket.as_raw_fd(), &SockaddrIn::from(self.to)) {
            // What the kernel says when the time to wait is over.
            Err(Errno::EINPROGRESS) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answers"))
            }
            done => Ok(done?),
        }
    }
}

/// How many bytes a call moved, which are none where it would have had to wait.
fn at_once(moved: io::Result<usize>) -> io::Result<usize> {
    match moved {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        moved => moved,
    }
}
