//! What devices do for stacks and programs: complete checksums, and a program at the other end of a pair,
//! which XDP needs; and packets put together on their way in.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_STXCSUM` of `include/uapi/linux/ethtool.h`.
const SET_TX_CHECKSUM: u32 = 0x17;
/// `ETHTOOL_SGRO`.
const SET_RECEIVE_OFFLOAD: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Setting {
    command: u32,
    value: u32,
}

/// Makes a device of the calling thread's namespace send no frame whose checksum is partial, nor one that is
/// still to be cut into pieces.
pub fn complete_checksums(device: &str) -> io::Result<()> {
    set(device, SET_TX_CHECKSUM, 0)
}

/// Makes a device of the calling thread's namespace put packets of a connection together before its hooks
/// see them (GRO).
pub fn put_together(device: &str) -> io::Result<()> {
    set(device, SET_RECEIVE_OFFLOAD, 1)
}

fn set(device: &str, command: u32, value: u32) -> io::Result<()> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: a plain system call.
    let socket = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut setting = Setting { command, value };
    // SAFETY: zeroes are a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut setting).cast();
    // SAFETY: the request points to a setting, and both outlive the call.
    let result = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, (&raw mut request).cast::<u8>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Commands of `bpf(2)`.
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
/// `BPF_PROG_TYPE_XDP`, `BPF_XDP`, and `XDP_FLAGS_DRV_MODE`.
const TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const IN_DRIVER: u32 = 4;

/// The beginning of `union bpf_attr` for a program.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

/// The same for a link.
#[repr(C)]
struct Link {
    program: u32,
    device: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches an XDP program that lets everything pass to a device of the calling thread's namespace, until
/// what is returned is closed.
pub fn pass_all(device: &str) -> io::Result<OwnedFd> {
    /// `r0 = XDP_PASS; exit`.
    const PASS: [u64; 2] = [2 << 32 | 0xb7, 0x95];
    let load = Load {
        kind: TYPE_XDP,
        count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    let program = bpf(PROG_LOAD, &load)?;
    let name = CString::new(device).map_err(io::Error::other)?;
    let link = Link {
        program: program.as_raw_fd().cast_unsigned(),
        device: crate::veth::watch::device_number(&name)?,
        attach_type: ATTACH_XDP,
        flags: IN_DRIVER,
    };
    bpf(LINK_CREATE, &link)
}

/// A command that makes something.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as said and outlive the call, as does what they point to.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    match libc::c_int::try_from(result) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(file) if file >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(io::Error::last_os_error()),
    }
}
