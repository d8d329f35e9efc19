//! Replay captures through a Kubernetes service datapath, in a simulator or in the kernel.

pub mod capture;
pub mod verify;
