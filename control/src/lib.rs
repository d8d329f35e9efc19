//! Kubernetes objects to datapath tables.
//!
//! What `kubectl get -o json` or `-o yaml` prints goes in; the writes that bring a node's tables from
//! what they are to what they should be come out. Every world, simulated or real, is driven by this
//! same code; it differs only in its [`diff::Target`].
//!
//! | step | see |
//! |---|---|
//! | bytes to objects | [`read`], [`objects`] |
//! | objects to a checked cluster state, and what is wrong with them | [`model`], [`problem`] |
//! | state to one node's tables | [`tables`], [`maglev`] |
//! | tables to writes, in a safe order | [`diff`] |
//! | all of it at once, for one object that has changed | [`keeper`] |
//! | state to the rules that kube-proxy would write instead | [`rules`] |
//! | state to objects again, as YAML or JSON | [`mod@write`] |
//! | the rules of other proxies to objects | [`import`] |
//!
//! ```
//! # use twinpath_control::{diff, model::State, read::read, tables::{Desired, Devices, Options, Planner}};
//! # use twinpath_control::model::Pod;
//! struct OneDevice;
//! impl Devices for OneDevice {
//!     fn pod(&self, _node: &str, _pod: &Pod) -> Option<u32> { Some(7) }
//!     fn uplink(&self, _node: &str) -> u32 { 2 }
//! }
//! let objects = read("state.yaml", b"
//! kind: Service
//! metadata: { name: web }
//! spec: { clusterIP: 10.96.0.10, ports: [{ port: 80 }] }
//! ").unwrap();
//! let (state, problems) = State::new(&objects);
//! assert_eq!(problems.len(), 1); // it has no EndpointSlice
//! let desired = Planner::default().plan(&state, "node-1", &OneDevice, &Options::default());
//! let writes = diff::diff(&Desired::default(), &desired);
//! let mut tables = Desired::default(); // or the kernel's, or the simulator's
//! diff::apply(&mut tables, &writes).unwrap();
//! assert_eq!(tables.services.len(), 2); // the frontend, and the entry of its address
//! ```
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod diff;
pub mod import;
pub mod keeper;
pub mod maglev;
pub mod model;
pub mod objects;
pub mod plain;
pub mod problem;
pub mod read;
pub mod rules;
pub mod tables;
pub mod write;
