//! Packet sockets: frames put on a device and frames seen there, with the state of their checksums.
//!
//! A tag of 802.1Q that the kernel has taken off a frame and keeps beside it (`PACKET_AUXDATA`) is put back
//! where it was on the wire. The state of checksums travels in the header that virtual machines use (`PACKET_VNET_HDR`, `struct
//! virtio_net_hdr`): a frame that still wants its checksum says so on its way out of the kernel, and can
//! be sent that way.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use twinpath_core::parse::{Transport, parse};
use twinpath_core::verdict::IfIndex;
use twinpath_core::wire::{tcp, udp};
use twinpath_sim::frame::Frame;

/// `struct virtio_net_hdr` without what later versions added: flags, kind of segmentation, then 16-bit
/// words in host order: length of the headers, size of a segment, start and offset of the checksum.
const HEADER: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is partial.
const NEEDS_CHECKSUM: u8 = 1;

/// `ETH_P_ALL`: every frame, before the hooks on the way in and after them on the way out.
pub const EVERYTHING: u16 = 0x0003;

/// Room for the largest super-frame that IPv4 can describe, and its link header.
const LARGEST: usize = 0xffff + 64;

/// How much may wait to be read, in bytes of kernel memory.
const BACKLOG: libc::c_int = 64 << 20;

/// A frame that a socket saw.
pub struct Seen<'a> {
    /// When, in nanoseconds of the wall clock.
    pub time: u64,
    /// The device.
    pub device: IfIndex,
    /// Whether the device was sending it.
    pub outgoing: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether its checksum is partial.
    pub partial: bool,
}

/// A packet socket.
#[derive(Debug)]
pub struct PacketSocket {
    file: OwnedFd,
}

impl PacketSocket {
    /// Sees frames of a device, 0 for all, of the calling thread's namespace, with this EtherType or
    /// [`EVERYTHING`]. A socket for one EtherType sees what the hooks have let through to the stack.
    pub fn listen(device: IfIndex, ethertype: u16) -> io::Result<Self> {
        let socket = Self::open()?;
        socket.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BACKLOG)?;
        socket.option(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        socket.option(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        socket.bind(device, ethertype)?;
        Ok(socket)
    }

    /// Sends frames by a device of the calling thread's namespace.
    pub fn sender(device: IfIndex) -> io::Result<Self> {
        let socket = Self::open()?;
        socket.bind(device, 0)?; // no EtherType: it sees nothing
        Ok(socket)
    }

    fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: a plain system call.
        let file = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = Self { file: unsafe { OwnedFd::from_raw_fd(file) } };
        socket.option(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        Ok(socket)
    }

    fn option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the value is an `int` for all options that are set here, and outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.file.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn bind(&self, device: IfIndex, ethertype: u16) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::c_ushort,
            sll_protocol: ethertype.to_be(),
            sll_ifindex: device.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is as long as said, and outlives the call.
        let result = unsafe {
            libc::bind(
                self.file.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        let header = header_of(frame);
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(&frame.bytes)];
        // SAFETY: the parts are valid for reads, and `IoSlice` is an `iovec` to the system.
        let sent = unsafe {
            libc::writev(self.file.as_raw_fd(), parts.as_ptr().cast(), parts.len() as libc::c_int)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that was seen; `None` where there is none yet.
    pub fn receive<'a>(&self, room: &'a mut Room) -> io::Result<Option<Seen<'a>>> {
        let Room { header, bytes, control } = room;
        let mut parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
            libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() },
        ];
        // SAFETY: zeroes are a value of both.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _; // of another type in each libc
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(control) as _;
        // SAFETY: the message points to buffers of the lengths that it says, which outlive the call.
        let length = unsafe { libc::recvmsg(self.file.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(io::Error::other("a frame is larger than any that IPv4 can describe"));
        }
        let (mut time, mut tag) = (0, None);
        each_control(&message, |level, kind, data| match (level, kind) {
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => {
                // SAFETY: this kind carries a `timespec`.
                time = nanoseconds(unsafe { data.cast::<libc::timespec>().read_unaligned() });
            }
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: this kind carries a `tpacket_auxdata`.
                tag = tag_of(unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() });
            }
            _ => {}
        });
        let mut length = length.saturating_sub(HEADER);
        if let Some(tag) = tag
            && let Some(bytes) = bytes.get_mut(TAG_PLACE..length + tag.len())
        {
            bytes.rotate_right(tag.len());
            bytes[..tag.len()].copy_from_slice(&tag);
            length += tag.len();
        }
        Ok(Some(Seen {
            time,
            device: from.sll_ifindex.cast_unsigned(),
            outgoing: from.sll_pkttype == libc::PACKET_OUTGOING,
            bytes: bytes.get(..length).unwrap_or_default(),
            partial: header[0] & NEEDS_CHECKSUM != 0,
        }))
    }

    /// How many frames were lost for want of room since this was asked last.
    pub fn lost(&self) -> io::Result<u32> {
        let mut statistics = [0_u32; 2]; // `struct tpacket_stats`: packets, drops
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the buffer is as long as said, and outlives the call.
        let result = unsafe {
            libc::getsockopt(
                self.file.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(statistics[1]) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Room for one received frame.
pub struct Room {
    header: [u8; HEADER],
    bytes: Vec<u8>,
    control: [u64; 16],
}

impl Default for Room {
    fn default() -> Self {
        Self { header: [0; HEADER], bytes: vec![0; LARGEST], control: [0; 16] }
    }
}

/// The header that tells the kernel where a partial checksum is; zeroes for a complete one.
fn header_of(frame: &Frame) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    if !frame.partial {
        return header;
    }
    if let Ok(Some(parsed)) = parse(frame) {
        let offset = match parsed.transport {
            Transport::Tcp => tcp::CHECKSUM,
            Transport::Udp => udp::CHECKSUM,
            _ => return header,
        };
        let word = |n: usize| u16::try_from(n).unwrap_or(0).to_ne_bytes();
        header[0] = NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&word(parsed.l4.0));
        header[8..10].copy_from_slice(&word(offset));
    }
    header
}

/// Where a tag stands in a frame: behind the link addresses.
const TAG_PLACE: usize = 12;

/// Gives level, kind and data of each part of a message's control data.
fn each_control(message: &libc::msghdr, mut each: impl FnMut(libc::c_int, libc::c_int, *const u8)) {
    // SAFETY: the message was filled in by `recvmsg`, and its control data is 8-byte aligned.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: not null, so it points into the control data.
        let (level, kind, data) = unsafe {
            ((*control).cmsg_level, (*control).cmsg_type, libc::CMSG_DATA(control).cast_const())
        };
        each(level, kind, data);
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
}

fn nanoseconds(time: libc::timespec) -> u64 {
    let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

/// The tag that the kernel keeps beside a frame, as it is on the wire; `None` where there is none.
fn tag_of(beside: libc::tpacket_auxdata) -> Option<[u8; 4]> {
    if beside.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let [[a, b], [c, d]] = [beside.tp_vlan_tpid, beside.tp_vlan_tci].map(u16::to_be_bytes);
    Some([a, b, c, d])
}
