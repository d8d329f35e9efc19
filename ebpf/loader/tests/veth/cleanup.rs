//! Nothing is left behind, however a run ends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use twinpath_control::model::State;
use twinpath_kernel::attach::Method;
use twinpath_kernel::veth::Options;
use twinpath_sim::topology::Topology;

use crate::support::{cluster, limits, world};

/// Set for the child, which makes a world, says so, and waits for its end.
const CHILD: &str = "TWINPATH_TEST_WORLD";

const READY: &str = "the world is there";

fn options() -> Options {
    Options { limits: limits(), method: Some(Method::Clsact), ..Options::default() }
}

/// One node and its pods: all that these tests need.
fn node() -> (State, Topology) {
    let mut state = cluster();
    state.nodes.retain(|name, _| name == "node-a");
    let topology = Topology::new(&state);
    assert_eq!((topology.nodes.len(), topology.pods.len()), (1, 4));
    (state, topology)
}

/// How many namespaces that takes: one more has the other end of the node's uplink.
const NAMESPACES: usize = 6;

/// The names of what others could see of a run: namespaces, and devices beside it.
fn visible() -> BTreeSet<String> {
    ["/run/netns", "/sys/class/net"]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

/// The network namespaces that processes or open files hold, as the kernel numbers them.
fn held(process: &str) -> BTreeSet<String> {
    let folder = format!("/proc/{process}/fd");
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .filter(|target| target.starts_with("net:["))
        .collect()
}

#[test]
fn a_dropped_world_leaves_nothing() {
    if std::env::var_os(CHILD).is_some() {
        return; // this is the child of the other test
    }
    let before = visible();
    let (state, topology) = node();
    let others = held("self");
    let Some(world) = world(&topology, &state, &options()) else { return };
    let namespaces = held("self");
    assert_eq!(namespaces.len(), others.len() + NAMESPACES);
    for namespace in [world.node(0), world.pod(0), world.pod(3)] {
        let link = std::fs::read_link(namespace.unwrap().path()).unwrap();
        assert!(namespaces.contains(&link.display().to_string()));
    }
    assert_eq!(visible(), before);
    drop(world);
    assert_eq!(visible(), before);
    assert_eq!(held("self"), others);
}

/// Not a test of its own: what the child of the next one runs.
#[test]
fn wait_with_a_world() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (state, topology) = node();
    let Some(_world) = world(&topology, &state, &options()) else { return };
    eprintln!("{READY}");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn an_interrupted_world_leaves_nothing() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let before = visible();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "cleanup::wait_with_a_world", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // What a shell runs in the background ignores interrupts, and so do its children.
        // SAFETY: a plain system call, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            })
        };
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.find_map(|line| {
            let line = line.unwrap();
            (line.contains(READY) || line.starts_with("skipped")).then_some(line)
        });
        if said.as_deref() != Some(READY) {
            // It has said why on its own standard error.
            eprintln!("{}", said.expect("the child says how it goes"));
            child.wait().unwrap();
            return;
        }
        let process = child.id().to_string();
        let namespaces = held(&process);
        assert_eq!(namespaces.len(), NAMESPACES, "{namespaces:?}");
        // SAFETY: a plain system call; the process was started above and not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
        let status = child.wait().unwrap();
        assert!(!status.success());
        assert_eq!(visible(), before);
        // The kernel takes the namespaces down on its own time; nobody can reach them.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !anyone_holds(&namespaces).is_empty() {
            assert!(Instant::now() < deadline, "{:?}", anyone_holds(&namespaces));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Those of the namespaces that some process is in or has open.
fn anyone_holds(namespaces: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_err() {
            continue;
        }
        let own = std::fs::read_link(format!("/proc/{name}/ns/net"));
        let own = own.map(|link| link.display().to_string()).unwrap_or_default();
        if namespaces.contains(&own) || !held(&name).is_disjoint(namespaces) {
            found.push(name);
        }
    }
    found
}
