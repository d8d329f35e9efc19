//! Attaching the programs to devices: at tc, TCX links where the kernel has them and filters otherwise; at
//! XDP, in the driver where it can and in the kernel's generic code otherwise.
//!
//! All of it is about the devices of the calling thread's network namespace.

use std::mem::ManuallyDrop;

use aya::Ebpf;
pub use aya::programs::XdpMode;
use aya::programs::links::Link as _;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, TcAttachType};
use aya::util::KernelVersion;
use twinpath_core::hook::Hook;

use crate::load::{LoadError, program, xdp};

/// How a program is attached at tc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// A TCX link (Linux 6.6): the kernel drops it with its last file descriptor.
    Tcx,
    /// A filter of the device's `clsact` qdisc: stays until it or the device is removed.
    Clsact,
}

impl Method {
    /// The better one of those that this kernel has.
    pub fn of_this_kernel() -> Self {
        match KernelVersion::current() {
            Ok(version) if version >= KernelVersion::new(6, 6, 0) => Self::Tcx,
            _ => Self::Clsact,
        }
    }
}

/// Why a program is not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The program is not there.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device took no `clsact` qdisc.
    #[error("the device {device} takes no clsact qdisc: {error}")]
    Qdisc {
        /// The device.
        device: String,
        /// What the kernel said.
        error: tc::TcError,
    },
    /// The kernel refused.
    #[error("{what} {program} at {device}: {error}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// What the kernel said.
        error: Box<ProgramError>,
    },
}

/// A program at a device.
pub struct Attachment {
    hook: Hook,
    device: String,
    link: AttachedLink,
}

enum AttachedLink {
    /// Closing it detaches.
    Tcx(SchedClassifierLink),
    /// The library's link detaches when it is dropped, in whatever namespace the thread is in by then,
    /// where the device's number may be another device's. So it is never dropped, only detached.
    Clsact(ManuallyDrop<SchedClassifierLink>),
    /// Closing it detaches (Linux 5.9).
    Xdp(XdpLink, XdpMode),
}

impl AttachedLink {
    const fn at_tc(link: SchedClassifierLink, method: Method) -> Self {
        match method {
            Method::Tcx => Self::Tcx(link),
            Method::Clsact => Self::Clsact(ManuallyDrop::new(link)),
        }
    }
}

impl Attachment {
    /// Attaches the program of a hook to a device of this thread's namespace. At tc by this method; at XDP
    /// in the driver, or in the kernel's generic code where the driver refuses.
    pub fn new(
        ebpf: &mut Ebpf,
        hook: Hook,
        device: &str,
        method: Method,
    ) -> Result<Self, AttachError> {
        let failed = failure("attaching", hook, device);
        let link = match hook {
            Hook::Xdp => {
                let program = xdp(ebpf)?;
                let mut mode = XdpMode::Driver;
                let id = program.attach(device, mode).or_else(|_| {
                    mode = XdpMode::Skb;
                    program.attach(device, mode)
                });
                let link = program.take_link(id.map_err(&failed)?).map_err(&failed)?;
                AttachedLink::Xdp(link, mode)
            }
            hook => {
                let options = match method {
                    Method::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
                    Method::Clsact => {
                        add_clsact(device)?;
                        TcAttachOptions::Netlink(NlOptions::default())
                    }
                };
                let program = program(ebpf, hook)?;
                let id =
                    program.attach_with_options(device, side(hook), options).map_err(&failed)?;
                AttachedLink::at_tc(program.take_link(id).map_err(&failed)?, method)
            }
        };
        Ok(Self { hook, device: device.to_owned(), link })
    }

    /// Of an XDP program, where it runs: [`XdpMode::Driver`] or [`XdpMode::Skb`].
    pub const fn xdp_mode(&self) -> Option<XdpMode> {
        match &self.link {
            AttachedLink::Xdp(_, mode) => Some(*mode),
            AttachedLink::Tcx(_) | AttachedLink::Clsact(_) => None,
        }
    }

    /// Puts the hook's program of another loaded set, or one loaded again, in this one's place. There
    /// is no moment without a program. To be called in the device's namespace.
    pub fn replace(self, ebpf: &mut Ebpf) -> Result<Self, AttachError> {
        let Self { hook, device, link } = self;
        let failed = failure("replacing", hook, &device);
        let mut at_tc = |link, method| {
            let program = program(ebpf, hook)?;
            let id = program.attach_to_link(link).map_err(&failed)?;
            Ok(AttachedLink::at_tc(program.take_link(id).map_err(&failed)?, method))
        };
        let link = match link {
            AttachedLink::Tcx(link) => at_tc(link, Method::Tcx),
            AttachedLink::Clsact(link) => at_tc(ManuallyDrop::into_inner(link), Method::Clsact),
            AttachedLink::Xdp(link, mode) => {
                let program = xdp(ebpf)?;
                let id = program.attach_to_link(link).map_err(&failed)?;
                Ok(AttachedLink::Xdp(program.take_link(id).map_err(&failed)?, mode))
            }
        };
        link.map(|link| Self { hook, device, link })
    }

    /// Takes the program off. To be called in the device's namespace.
    pub fn detach(self) -> Result<(), AttachError> {
        let failed = failure("detaching", self.hook, &self.device);
        match self.link {
            AttachedLink::Tcx(link) => link.detach(),
            AttachedLink::Clsact(link) => ManuallyDrop::into_inner(link).detach(),
            AttachedLink::Xdp(link, _) => link.detach(),
        }
        .map_err(failed)
    }
}

/// On which side of a device a hook is.
const fn side(hook: Hook) -> TcAttachType {
    match hook {
        Hook::FromPod | Hook::FromNetdev | Hook::Xdp => TcAttachType::Ingress,
        Hook::ToPod | Hook::ToNetdev => TcAttachType::Egress,
    }
}

/// A device with a pod on it has two hooks and one qdisc.
fn add_clsact(device: &str) -> Result<(), AttachError> {
    match tc::qdisc_add_clsact(device) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => Ok(()),
        // What the kernel says where it is there already.
        Err(tc::TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {
            Ok(())
        }
        Err(error) => Err(AttachError::Qdisc { device: device.to_owned(), error }),
    }
}

fn failure(
    what: &'static str,
    hook: Hook,
    device: &str,
) -> impl Fn(ProgramError) -> AttachError + use<> {
    let device = device.to_owned();
    move |error| AttachError::Kernel {
        what,
        program: hook.program(),
        device: device.clone(),
        error: Box::new(error),
    }
}
