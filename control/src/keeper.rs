//! One node's tables, kept up to date object by object.
//!
//! [`crate::diff`] compares two whole plans, which takes as long as the cluster is large. A [`Keeper`] remembers
//! what each part of the tables was made from. When an object changes it plans the ports of the services
//! that the object touches, before and after, and takes the difference of those: the same writes in the
//! same order as the difference of the whole plans has, for what did not change adds nothing to it.
//!
//! # What is planned as a whole
//!
//! Services, EndpointSlices, Endpoints and Pods change by parts. All is planned anew, with the same outcome as
//! ever, where a change reaches further than that:
//! - a Node or a ServiceCIDR,
//! - a Pod with host ports,
//! - a Service that fights with another, or with a host port, for a frontend or for the port of its health
//!   checks, or did so since all was planned last, since then a third one may be given what it leaves,
//! - other [options](Keeper::set_options),
//! - all that comes after a write that failed.
//!
//! # Example
//!
//! ```
//! # use twinpath_control::{diff::Write, keeper::{Change, Keeper}, model::Pod, read::read};
//! # use twinpath_control::tables::{Desired, Devices, Options};
//! # struct NoDevices;
//! # impl Devices for NoDevices {
//! #     fn pod(&self, _node: &str, _pod: &Pod) -> Option<u32> { None }
//! #     fn uplink(&self, _node: &str) -> u32 { 2 }
//! # }
//! let objects = |text: &str| read("state.yaml", text.as_bytes()).unwrap();
//! let mut tables = Desired::default(); // or the kernel's, or the simulator's
//! let mut keeper = Keeper::new("node-1", Options::default());
//! keeper.load(objects("kind: Node\nmetadata: { name: node-1 }"), &NoDevices, &mut tables).unwrap();
//! let added = objects("
//! kind: Service
//! metadata: { name: web }
//! spec: { clusterIP: 10.96.0.10, ports: [{ port: 80 }] }
//! ---
//! kind: EndpointSlice
//! metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
//! ports: [{ port: 8080 }]
//! endpoints: [{ addresses: [10.244.1.2] }]
//! ");
//! let update = keeper.change(Change::all(added), &NoDevices, &mut tables).unwrap();
//! assert!(!update.whole);
//! // A backend, a member, a slot, the frontend, the entry of its address, the epoch.
//! assert_eq!(update.writes.len(), 6);
//! assert_eq!(&tables, keeper.tables());
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use self::counts::Counts;
use self::pods::Pods;
use crate::diff::{Failed, Target, Write, diff};
use crate::model::{self, Claim, Claims, PortName, ServiceKind, State, service_of};
use crate::objects::{
    EndpointSlice, Endpoints, Node, ObjectName, Pod, PodSpec, Service, ServiceCidr,
};
use crate::problem::Problem;
use crate::read::{Found, Object, Objects};
use crate::tables::{Desired, Devices, Names, NodeAddresses, Options, Planner};

mod counts;
mod pods;
mod services;

/// An object as it is now; `None` where it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service.
    Service(ObjectName, Option<Object<Service>>),
    /// An EndpointSlice.
    EndpointSlice(ObjectName, Option<Object<EndpointSlice>>),
    /// Endpoints.
    Endpoints(ObjectName, Option<Object<Endpoints>>),
    /// A Node.
    Node(ObjectName, Option<Object<Node>>),
    /// A Pod. Its device is asked for again, be the object the same or not.
    Pod(ObjectName, Option<Object<Pod>>),
    /// A ServiceCIDR.
    ServiceCidr(ObjectName, Option<Object<ServiceCidr>>),
}

impl Change {
    /// All these objects are new or have changed.
    pub fn all(objects: Objects) -> Vec<Self> {
        fn put<T>(
            found: Found<T>,
            kind: fn(ObjectName, Option<Object<T>>) -> Change,
        ) -> Vec<Change> {
            found.into_iter().map(|(name, object)| kind(name, Some(object))).collect()
        }
        let Objects {
            services,
            slices,
            endpoints,
            nodes,
            pods,
            service_cidrs,
            ignored: _,
            unfinished: _,
        } = objects;
        [
            put(nodes, Self::Node),
            put(pods, Self::Pod),
            put(service_cidrs, Self::ServiceCidr),
            put(slices, Self::EndpointSlice),
            put(endpoints, Self::Endpoints),
            put(services, Self::Service),
        ]
        .concat()
    }

    /// All these objects are gone.
    pub fn none(objects: &Objects) -> Vec<Self> {
        fn take<T>(
            found: &Found<T>,
            kind: fn(ObjectName, Option<Object<T>>) -> Change,
        ) -> Vec<Change> {
            found.keys().map(|name| kind(name.clone(), None)).collect()
        }
        [
            take(&objects.nodes, Self::Node),
            take(&objects.pods, Self::Pod),
            take(&objects.service_cidrs, Self::ServiceCidr),
            take(&objects.slices, Self::EndpointSlice),
            take(&objects.endpoints, Self::Endpoints),
            take(&objects.services, Self::Service),
        ]
        .concat()
    }
}

/// What was done about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The writes, all of which are done.
    pub writes: Vec<Write>,
    /// What is wrong with the objects that were looked at.
    pub problems: Vec<Problem>,
    /// Whether all was planned anew.
    pub whole: bool,
}

/// Keeps the tables of one node. See the [module's page](self).
#[derive(Debug)]
pub struct Keeper {
    node: String,
    options: Options,
    planner: Planner,
    objects: Objects,
    /// Made from the objects, but for nodes that others only mention, which add nothing to the tables.
    state: State,
    addresses: NodeAddresses,
    claims: Claims,
    host_ports: HostPorts,
    /// The slices of each service.
    slices: HashMap<ObjectName, BTreeSet<ObjectName>>,
    counts: Counts,
    pods: Pods,
    /// What the target holds.
    tables: Desired,
    /// Whether that is not what the objects say.
    is_stale: bool,
}

impl Keeper {
    /// A keeper of empty tables that knows no objects.
    pub fn new(node: &str, options: Options) -> Self {
        Self {
            node: node.to_owned(),
            options,
            planner: Planner::default(),
            objects: Objects::default(),
            state: State::default(),
            addresses: NodeAddresses::default(),
            claims: Claims::default(),
            host_ports: HostPorts::default(),
            slices: HashMap::new(),
            counts: Counts::default(),
            pods: Pods::default(),
            tables: Desired::default(),
            is_stale: true,
        }
    }

    /// From now on these are all objects there are. Plans everything and writes what differs.
    pub fn load<D: Devices + ?Sized, T: Target + ?Sized>(
        &mut self,
        objects: Objects,
        devices: &D,
        target: &mut T,
    ) -> Result<Update, T::Error> {
        self.objects = objects;
        self.is_stale = true;
        self.change(Vec::new(), devices, target)
    }

    /// The target holds these tables, whatever was known of it. Plans everything and writes what differs.
    pub fn resync<D: Devices + ?Sized, T: Target + ?Sized>(
        &mut self,
        held: Desired,
        devices: &D,
        target: &mut T,
    ) -> Result<Update, T::Error> {
        self.tables = held;
        self.is_stale = true;
        self.change(Vec::new(), devices, target)
    }

    /// Uses other options, from the next [`load`](Self::load), [`resync`](Self::resync) or
    /// [`change`](Self::change) on, which plans everything.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
        self.is_stale = true;
    }

    /// Brings the tables to what the objects say after these changes, in the order that
    /// [`diff`] promises.
    ///
    /// After a write that failed the tables hold what the writes before it made of them. That is known
    /// here, so that the next call, be it without changes, goes on from there.
    pub fn change<D: Devices + ?Sized, T: Target + ?Sized>(
        &mut self,
        changes: Vec<Change>,
        devices: &D,
        target: &mut T,
    ) -> Result<Update, T::Error> {
        let mut touched = Touched::default();
        for change in changes {
            self.note(change, &mut touched);
        }
        let by_parts =
            if self.is_stale || touched.everything { None } else { self.parts(touched, devices) };
        match by_parts {
            Some((writes, problems)) => {
                self.write(&writes, target)?;
                Ok(Update { writes, problems, whole: false })
            }
            None => {
                let (wanted, problems) = self.whole(devices);
                let writes = diff(&self.tables, &wanted);
                self.is_stale = true;
                self.write_whole(wanted, &writes, target)?;
                self.is_stale = false;
                Ok(Update { writes, problems, whole: true })
            }
        }
    }

    /// What the tables hold.
    pub const fn tables(&self) -> &Desired {
        &self.tables
    }

    /// The objects.
    pub const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What the numbers in the tables stand for.
    pub fn names(&mut self) -> Names {
        self.planner.names(&self.state)
    }

    /// Puts one object in its place, and notes what may be another because of it.
    fn note(&mut self, change: Change, touched: &mut Touched) {
        let objects = &mut self.objects;
        match change {
            Change::Service(name, new) => {
                let old = put(&mut objects.services, &name, new);
                touched.services.entry(name).or_insert(None).get_or_insert(old);
            }
            Change::EndpointSlice(name, new) => {
                let service = new.as_ref().and_then(|new| service_of(&name, &new.value));
                let old = put(&mut objects.slices, &name, new);
                let before = old.and_then(|old| service_of(&name, &old.value));
                if let Some(service) = before {
                    if let Some(slices) = self.slices.get_mut(&service) {
                        slices.remove(&name);
                    }
                    touched.services.entry(service).or_default();
                }
                if let Some(service) = service {
                    self.slices.entry(service.clone()).or_default().insert(name);
                    touched.services.entry(service).or_default();
                }
            }
            Change::Endpoints(name, new) => {
                put(&mut objects.endpoints, &name, new);
                touched.services.entry(name).or_default();
            }
            Change::Pod(name, new) => {
                touched.everything |= new.as_ref().is_some_and(has_host_ports);
                let old = put(&mut objects.pods, &name, new);
                touched.everything |= old.as_ref().is_some_and(has_host_ports);
                touched.pods.insert(name);
            }
            Change::Node(name, new) => {
                let old = put(&mut objects.nodes, &name, new);
                touched.everything |= !same(old.as_ref(), objects.nodes.get(&name));
            }
            Change::ServiceCidr(name, new) => {
                let old = put(&mut objects.service_cidrs, &name, new);
                touched.everything |= !same(old.as_ref(), objects.service_cidrs.get(&name));
            }
        }
    }

    /// Plans everything.
    fn whole<D: Devices + ?Sized>(&mut self, devices: &D) -> (Desired, Vec<Problem>) {
        let (state, claims, problems) = State::with_claims(&self.objects);
        let mut counts = Counts::new(&self.options);
        let wanted = self.planner.plan_with(&state, &self.node, devices, &self.options, |part| {
            counts.add(part);
        });
        self.addresses = NodeAddresses::new(&state, &self.node);
        self.host_ports = HostPorts::new(&self.objects, &self.addresses);
        self.pods = Pods::new(&state, &self.node, devices, &self.options);
        self.slices.clear();
        for (name, object) in &self.objects.slices {
            if let Some(service) = service_of(name, &object.value) {
                self.slices.entry(service).or_default().insert(name.clone());
            }
        }
        (self.state, self.claims, self.counts) = (state, claims, counts);
        (wanted, problems)
    }

    /// Does the writes that lead to these tables.
    fn write_whole<T: Target + ?Sized>(
        &mut self,
        mut wanted: Desired,
        writes: &[Write],
        target: &mut T,
    ) -> Result<(), T::Error> {
        if let Err(Failed { done, error }) = target.write_all(writes) {
            self.remember(writes, done);
            return Err(error);
        }
        // The last write sets it.
        let raised = u32::from(!writes.is_empty());
        wanted.config.epoch = self.tables.config.epoch.wrapping_add(raised);
        self.tables = wanted;
        Ok(())
    }

    /// Does the writes, and remembers those that were done.
    fn write<T: Target + ?Sized>(
        &mut self,
        writes: &[Write],
        target: &mut T,
    ) -> Result<(), T::Error> {
        let result = target.write_all(writes);
        let done = result.as_ref().map_or_else(|failed| failed.done, |()| writes.len());
        self.remember(writes, done);
        result.map_err(|failed| {
            self.is_stale = true;
            failed.error
        })
    }

    fn remember(&mut self, writes: &[Write], done: usize) {
        let Ok(()) = crate::diff::apply(&mut self.tables, writes.get(..done).unwrap_or(writes));
    }
}

/// What may be another after a change.
#[derive(Default)]
struct Touched {
    /// The services, with the object before, if there was one, of those whose object changed.
    services: BTreeMap<ObjectName, Option<Option<Object<Service>>>>,
    pods: BTreeSet<ObjectName>,
    everything: bool,
}

/// Puts an object in, or takes it out; the one that was there.
fn put<T>(found: &mut Found<T>, name: &ObjectName, new: Option<Object<T>>) -> Option<Object<T>> {
    match new {
        Some(object) => found.insert(name.clone(), object),
        None => found.remove(name),
    }
}

/// Whether an object says the same.
fn same<T: PartialEq>(old: Option<&Object<T>>, new: Option<&Object<T>>) -> bool {
    old.map(|object| &object.value) == new.map(|object| &object.value)
}

/// The host ports that pods ask for, and where a service could take them away.
#[derive(Debug, Default)]
struct HostPorts {
    ports: HashSet<i64>,
    addresses: HashSet<IpAddr>,
}

impl HostPorts {
    fn new(objects: &Objects, addresses: &NodeAddresses) -> Self {
        let mut host_ports = Self::default();
        for object in objects.pods.values().filter(|object| has_host_ports(object)) {
            for port in container_ports(&object.value.spec) {
                host_ports.ports.extend(port.host_port);
                let host = port.host_ip.as_deref().map(model::address);
                host_ports.addresses.extend(host.and_then(Result::ok));
            }
        }
        if !host_ports.ports.is_empty() {
            host_ports.addresses.extend(&addresses.nodes);
            host_ports.addresses.extend([model::unspecified(true), model::unspecified(false)]);
        }
        host_ports
    }

    fn may_meet(&self, (address, port, _): &Claim) -> bool {
        self.ports.contains(&i64::from(*port)) && self.addresses.contains(address)
    }
}

fn container_ports(spec: &PodSpec) -> impl Iterator<Item = &crate::objects::ContainerPort> {
    spec.containers.iter().chain(&spec.init_containers).flat_map(|container| &container.ports)
}

fn has_host_ports(object: &Object<Pod>) -> bool {
    container_ports(&object.value.spec).any(|port| port.host_port.is_some())
}

/// The ports that a service has; not the host ports of a pod of the same name.
fn ports_of(state: &State, service: &ObjectName) -> Vec<PortName> {
    let first =
        PortName { service: service.clone(), port: String::new(), protocol: model::Protocol::Tcp };
    let own = state.services.range(first..).take_while(|(name, _)| name.service == *service);
    let own = own.filter(|(_, port)| port.kind != ServiceKind::HostPort);
    own.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
