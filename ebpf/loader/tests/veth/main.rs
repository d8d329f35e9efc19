//! The programs attached in network namespaces, against the simulator and with real sockets.
//!
//! Needs root and BPF. Elsewhere a test says on standard error that it is skipped, and why; with `CI=true`
//! and root, that is a failure.

mod cleanup;
mod gro;
mod inject;
mod netdev;
mod outside;
mod packets;
mod replace;
mod sockets;
mod support;
mod twins;
mod xdp;
