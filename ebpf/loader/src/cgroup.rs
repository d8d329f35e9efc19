//! A control group of one's own, and the bare programs that translate at its sockets.
//!
//! Programs at sockets belong to the control group (cgroup v2) that a socket was opened in. The group made
//! here is a threaded one below the process's own: a thread that enters it opens its sockets there, and all
//! other threads stay where they are.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{HashMap, MapData, MapError};
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError};
use aya::{Ebpf, EbpfLoader};

use crate::object;

/// What went wrong about a control group or its programs.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no second version of control groups.
    #[error("no cgroup2 file system is mounted: `mount -t cgroup2 none /sys/fs/cgroup`")]
    NotMounted,
    /// A file of a group cannot be read or written.
    #[error(
        "the control group {path}: {error}; translation at sockets needs a cgroup2 mount that can be written, and a kernel with threaded groups (4.14)"
    )]
    File {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The bare programs were not built.
    #[error("{}", object::MISSING)]
    NoObject,
    /// The object has no such program or map.
    #[error("the object has no {0}, or another kind of it: build it again with ebpf/build.sh")]
    Unexpected(&'static str),
    /// The kernel refused the maps.
    #[error("the kernel did not take the maps: {0}")]
    Maps(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("the kernel did not take the program {0}: {1}")]
    Program(&'static str, Box<ProgramError>),
    /// An entry could not be written.
    #[error("the kernel did not take an entry: {0}")]
    Entry(#[from] MapError),
}

/// A control group that is removed when this is dropped, which is to be after the last thread in it ended.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// How names of groups begin, before the number of the process that made them.
const PREFIX: &str = "twinpath-";

/// How often, and after what pause, the removal of a group is tried: a thread leaves its group some time
/// after it is known to have ended.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(5);

impl Cgroup {
    /// Makes a group with a random name below the calling process's own.
    pub fn new() -> Result<Self, CgroupError> {
        let mounts = read("/proc/self/mounts".as_ref())?;
        let mount = mount(&mounts).ok_or(CgroupError::NotMounted)?;
        let groups = read("/proc/self/cgroup".as_ref())?;
        let own = own(&groups).ok_or(CgroupError::NotMounted)?;
        let random = read("/proc/sys/kernel/random/uuid".as_ref())?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), random.trim());
        let parent = Path::new(&mount).join(own.trim_start_matches('/'));
        remove_orphans(&parent);
        let path = parent.join(name);
        fs::create_dir(&path).map_err(|error| failed(&path, error))?;
        let group = Self { path };
        group.write("cgroup.type", "threaded")?;
        Ok(group)
    }

    /// Moves the calling thread into the group, for good. The sockets that it opens from now on are the
    /// group's.
    pub fn enter(&self) -> Result<(), CgroupError> {
        self.write("cgroup.threads", "0")
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, file: &str, text: &str) -> Result<(), CgroupError> {
        let path = self.path.join(file);
        fs::write(&path, text).map_err(|error| failed(&path, error))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(PAUSE);
                }
                _ => return,
            }
        }
    }
}

/// Removes what processes have left behind that were killed: groups whose makers are no more. The kernel keeps
/// those that somebody is in.
fn remove_orphans(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let maker = maker.and_then(|number| number.parse::<u32>().ok());
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn failed(path: &Path, error: io::Error) -> CgroupError {
    CgroupError::File { path: path.to_owned(), error }
}

fn read(path: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(path).map_err(|error| failed(path, error))
}

/// Where `/proc/self/mounts` says that the file system is. It writes what would end a word as `\040`, in
/// octal.
fn mount(mounts: &str) -> Option<String> {
    let mut words = mounts.lines().map(|line| line.split(' '));
    let point = words.find_map(|mut words| {
        let point = words.nth(1)?;
        (words.next()? == "cgroup2").then_some(point)
    })?;
    Some(point.replace("\\040", " ").replace("\\134", "\\"))
}

/// The process's own group, from the root of the mount on, as `/proc/self/cgroup` says.
fn own(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// An end in a map: address and port in network order, protocol.
type End = [u8; 8];

/// The bare programs at the sockets of a group, as long as this lives.
pub struct BareSockets {
    // Before the group: what holds the programs there goes first.
    _programs: Ebpf,
    to: HashMap<MapData, End, End>,
    from: HashMap<MapData, End, End>,
    group: Cgroup,
}

/// The programs.
const PROGRAMS: [&str; 3] = ["bare_connect4", "bare_sendmsg4", "bare_recvmsg4"];
/// Their maps, and large ones of the object that none of them uses.
const USED: [&str; 2] = ["SOCKET_TO", "SOCKET_FROM"];
const UNUSED: [&str; 3] = ["BARE16", "BARE40", "BARE_NAT"];

impl BareSockets {
    /// Makes a group and attaches the programs to it, with room for so many frontends.
    pub fn new(frontends: u32) -> Result<Self, CgroupError> {
        let group = Cgroup::new()?;
        let mut loader = EbpfLoader::new();
        for map in USED {
            loader.map_max_entries(map, frontends.max(1));
        }
        for map in UNUSED {
            loader.map_max_entries(map, 1);
        }
        let mut ebpf = loader.load(object::bare().ok_or(CgroupError::NoObject)?)?;
        let folder = File::open(&group.path).map_err(|error| failed(&group.path, error))?;
        for name in PROGRAMS {
            let program = ebpf.program_mut(name).ok_or(CgroupError::Unexpected(name))?;
            let program: &mut CgroupSockAddr =
                program.try_into().map_err(|_| CgroupError::Unexpected(name))?;
            let refused = |error| CgroupError::Program(name, Box::new(error));
            program.load().map_err(refused)?;
            program.attach(&folder, CgroupAttachMode::Single).map_err(refused)?;
        }
        let to = ends(&mut ebpf, "SOCKET_TO")?;
        let from = ends(&mut ebpf, "SOCKET_FROM")?;
        Ok(Self { _programs: ebpf, to, from, group })
    }

    /// Sends sockets of this protocol that are to go to a frontend to a backend instead, and has what comes
    /// from the backend read as the frontend's.
    pub fn serve(
        &mut self,
        frontend: SocketAddrV4,
        protocol: u8,
        backend: SocketAddrV4,
    ) -> Result<(), CgroupError> {
        let [frontend, backend] = [frontend, backend].map(|end| bytes(end, protocol));
        self.to.insert(frontend, backend, 0)?;
        Ok(self.from.insert(backend, frontend, 0)?)
    }

    /// The group whose sockets are translated.
    pub const fn group(&self) -> &Cgroup {
        &self.group
    }
}

fn ends(ebpf: &mut Ebpf, name: &'static str) -> Result<HashMap<MapData, End, End>, CgroupError> {
    let map = ebpf.take_map(name).ok_or(CgroupError::Unexpected(name))?;
    HashMap::try_from(map).map_err(|_| CgroupError::Unexpected(name))
}

fn bytes(end: SocketAddrV4, protocol: u8) -> End {
    let [a, b, c, d] = end.ip().octets();
    let [high, low] = end.port().to_be_bytes();
    let [first, second] = u16::from(protocol).to_ne_bytes();
    [a, b, c, d, high, low, first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_groups_are_read_as_the_kernel_writes_them() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /mnt/a\\040b cgroup2 rw 0 0\n";
        assert_eq!(mount(mounts).as_deref(), Some("/mnt/a b"));
        assert_eq!(mount("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), None);
        assert_eq!(own("8:pids:/a\n0::/user.slice\n"), Some("/user.slice"));
        assert_eq!(own("8:pids:/a\n"), None);
    }

    #[test]
    fn a_group_is_gone_with_its_owner() {
        let group = match Cgroup::new() {
            Ok(group) => group,
            Err(error) => return crate::testing::skip("a_group_is_gone", &error.to_string()),
        };
        let path = group.path().to_owned();
        let inside = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                group.enter().unwrap();
                fs::read_to_string("/proc/thread-self/cgroup").unwrap()
            });
            thread.join().unwrap()
        });
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(own(&inside).unwrap().ends_with(name), "{inside}");
        // What a process left that was killed: no process has so large a number.
        let [left, living] = [u32::MAX, std::process::id()]
            .map(|maker| path.with_file_name(format!("{PREFIX}{maker}-left")));
        fs::create_dir(&left).unwrap();
        fs::create_dir(&living).unwrap();
        drop(Cgroup::new().unwrap());
        let stays = living.exists();
        fs::remove_dir(&living).unwrap();
        assert!(stays && !left.exists());
        drop(group);
        assert!(!path.exists());
    }
}
