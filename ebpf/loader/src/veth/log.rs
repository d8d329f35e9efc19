//! Packets that netfilter rules log (`log group N` in nft): what a stack is given at the end of its input
//! hook, behind all translation, which no packet socket shows.
//!
//! The kernel's side is `nfnetlink_log`: netlink messages (RFC 3549) of the subsystem 4, each with the
//! packet from its IP header on in attribute 9.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `NFNL_SUBSYS_ULOG`, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 4 << 8;
/// `NFULNL_MSG_PACKET` and `NFULNL_MSG_CONFIG`.
const PACKET: u16 = SUBSYSTEM;
const CONFIG: u16 = SUBSYSTEM | 1;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is an acknowledgement where its number is 0.
const ERROR: u16 = 2;
/// `NFULA_PAYLOAD`.
const PAYLOAD: u16 = 9;
/// The headers of a message: `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Room for the largest packet with what goes with it.
const ROOM: usize = 0x1_2000;

/// A socket that gets what is logged to a group.
#[derive(Debug)]
pub struct LogSocket {
    file: File,
    room: Vec<u8>,
}

impl LogSocket {
    /// Listens to a group of the calling thread's namespace.
    pub fn listen(group: u16) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a plain system call.
        let file = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_NETFILTER) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(file) });
        let backlog: libc::c_int = 16 << 20;
        // SAFETY: the value outlives the call and is as long as said.
        let set = unsafe {
            libc::setsockopt(
                file.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const backlog).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut socket = Self { file, room: vec![0; ROOM] };
        // NFULA_CFG_CMD: bind. Then NFULA_CFG_MODE: whole packets; NFULA_CFG_QTHRESH: one by one.
        socket.configure(group, &attribute(1, &[1]))?;
        let mode = attribute(2, &[0, 0, 0xff, 0xff, 2, 0]);
        socket.configure(group, &[mode, attribute(5, &1_u32.to_be_bytes())].concat())?;
        Ok(socket)
    }

    fn configure(&mut self, group: u16, attributes: &[u8]) -> io::Result<()> {
        let length = (HEADER + GENERIC + attributes.len()) as u32;
        let mut message = Vec::new();
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&CONFIG.to_ne_bytes());
        message.extend_from_slice(&REQUEST.to_ne_bytes());
        message.extend_from_slice(&[0; 8]); // sequence number, port
        message.extend_from_slice(&[libc::AF_UNSPEC as u8, 0]);
        message.extend_from_slice(&group.to_be_bytes());
        message.extend_from_slice(attributes);
        self.file.write_all(&message)?;
        // The kernel has answered by the time that the message is sent.
        let length = self.file.read(&mut self.room)?;
        let answer = self.room.get(..length).unwrap_or_default();
        let code = answer.get(HEADER..).and_then(|rest| rest.first_chunk::<4>());
        match (kind_of(answer), code.map(|code| i32::from_ne_bytes(*code))) {
            (Some(ERROR), Some(0)) => Ok(()),
            (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
            _ => Err(io::Error::other("no answer of nfnetlink_log")),
        }
    }

    /// Takes the packets that were logged so far, each from its IP header on.
    pub fn take(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let length = match self.file.read(&mut self.room) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut rest = self.room.get(..length).unwrap_or_default();
            while let Some(size) = rest.first_chunk::<4>() {
                let size = u32::from_ne_bytes(*size) as usize;
                let message = rest.get(..size).unwrap_or_default();
                if kind_of(message) == Some(PACKET)
                    && let Some(packet) = payload(message)
                {
                    each(packet);
                }
                rest = rest.get(size.next_multiple_of(4).max(HEADER)..).unwrap_or_default();
            }
        }
    }
}

impl AsFd for LogSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The type of a message.
fn kind_of(message: &[u8]) -> Option<u16> {
    message.get(4..6)?.first_chunk().map(|kind| u16::from_ne_bytes(*kind))
}

/// An attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The packet in a message.
fn payload(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message.get(HEADER + GENERIC..)?;
    while let Some([a, b, c, d]) = rest.first_chunk() {
        let (size, kind) = (u16::from_ne_bytes([*a, *b]) as usize, u16::from_ne_bytes([*c, *d]));
        if kind == PAYLOAD {
            return rest.get(4..size);
        }
        rest = rest.get(size.next_multiple_of(4).max(4)..)?;
    }
    None
}
