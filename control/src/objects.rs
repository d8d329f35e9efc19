//! The parts of Kubernetes objects that the datapath depends on.
//!
//! Tolerant on purpose: unknown fields are ignored, and a missing or `null` field is its default.
//! Whether the values make sense is for [`crate::model`] to say.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

/// `null` is the default, as a missing field is.
fn nullable<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// The struct of an object, or of a part of one: camel case, all fields optional.
macro_rules! object {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[doc = $doc:literal])+ $(#[serde($($attr:tt)+)])? pub $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[serde(default, deserialize_with = "nullable" $(, $($attr)+)?)]
                pub $field: $type,
            )*
        }
    };
}

/// Namespace and name of an object; of a cluster-wide one, such as a node, the namespace is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectName {
    /// A name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectName {
    /// `namespace/name`, or the name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

object! {
    /// What every object says of itself.
    pub struct Metadata {
        /// Its name.
        pub name: String,
        /// Its namespace; `default` where a dump leaves it out.
        pub namespace: Option<String>,
        /// Its labels.
        pub labels: BTreeMap<String, String>,
        /// Its annotations.
        pub annotations: BTreeMap<String, String>,
    }
}

object! {
    /// A Service (v1).
    pub struct Service {
        /// Name, labels, annotations.
        pub metadata: Metadata,
        /// What is wanted.
        pub spec: ServiceSpec,
        /// What is.
        pub status: ServiceStatus,
    }
}

object! {
    /// The `spec` of a [`Service`].
    pub struct ServiceSpec {
        /// `ClusterIP` (also where it is missing), `NodePort`, `LoadBalancer` or `ExternalName`.
        pub r#type: Option<String>,
        /// The first of the cluster addresses, or `None` for a headless service.
        #[serde(rename = "clusterIP")]
        pub cluster_ip: Option<String>,
        /// One cluster address per family.
        #[serde(rename = "clusterIPs")]
        pub cluster_ips: Vec<String>,
        /// The ports.
        pub ports: Vec<ServicePort>,
        /// `None` or `ClientIP`.
        pub session_affinity: Option<String>,
        /// More about `ClientIP`.
        pub session_affinity_config: AffinityConfig,
        /// `Cluster` or `Local`: for clients in the cluster.
        pub internal_traffic_policy: Option<String>,
        /// `Cluster` or `Local`: for clients outside.
        pub external_traffic_policy: Option<String>,
        /// Addresses on which the nodes serve it, too; they come there by routing.
        #[serde(rename = "externalIPs")]
        pub external_ips: Vec<String>,
        /// What is asked of the load balancer; the answer is in the status.
        #[serde(rename = "loadBalancerIP")]
        pub load_balancer_ip: Option<String>,
        /// From where clients may use the load balancer's addresses; empty for everywhere.
        pub load_balancer_source_ranges: Vec<String>,
        /// Whether a load balancer needs node ports; missing means yes.
        pub allocate_load_balancer_node_ports: Option<bool>,
        /// The port on which nodes tell whether they have endpoints.
        pub health_check_node_port: Option<i64>,
        /// `PreferClose`, `PreferSameZone` or `PreferSameNode`.
        pub traffic_distribution: Option<String>,
        /// Whether endpoints count as ready in any case.
        pub publish_not_ready_addresses: bool,
        /// `IPv4`, `IPv6` or both.
        pub ip_families: Vec<String>,
    }
}

object! {
    /// The `sessionAffinityConfig` of a [`ServiceSpec`].
    pub struct AffinityConfig {
        /// For `ClientIP`.
        #[serde(rename = "clientIP")]
        pub client_ip: ClientIpConfig,
    }
}

object! {
    /// The `clientIP` of an [`AffinityConfig`].
    pub struct ClientIpConfig {
        /// How long a client keeps its backend; missing means three hours.
        pub timeout_seconds: Option<i64>,
    }
}

object! {
    /// The `status` of a [`Service`].
    pub struct ServiceStatus {
        /// What the load balancer has given.
        pub load_balancer: LoadBalancerStatus,
    }
}

object! {
    /// The `loadBalancer` of a [`ServiceStatus`].
    pub struct LoadBalancerStatus {
        /// Where clients reach it.
        pub ingress: Vec<Ingress>,
    }
}

object! {
    /// A way in of a [`LoadBalancerStatus`].
    pub struct Ingress {
        /// Its address, or
        pub ip: Option<String>,
        /// its name.
        pub hostname: Option<String>,
        /// `VIP` (also where it is missing): packets come to the nodes with this destination; or `Proxy`.
        pub ip_mode: Option<String>,
    }
}

object! {
    /// A port of a [`Service`].
    pub struct ServicePort {
        /// Its name; may be left out where a service has one port.
        pub name: Option<String>,
        /// `TCP` (also where it is missing), `UDP` or `SCTP`.
        pub protocol: Option<String>,
        /// The number on which clients reach it.
        pub port: Option<i64>,
        /// Number or name of the port of the pods.
        pub target_port: Option<NumberOrName>,
        /// The number on which it is reached at the nodes' addresses.
        pub node_port: Option<i64>,
    }
}

/// A port, by number or by the name that a container gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum NumberOrName {
    /// Its number.
    Number(i64),
    /// Its name.
    Name(String),
}

object! {
    /// An EndpointSlice (discovery.k8s.io/v1).
    pub struct EndpointSlice {
        /// Name and labels; the label `kubernetes.io/service-name` says whose it is.
        pub metadata: Metadata,
        /// `IPv4`, `IPv6` or `FQDN`.
        pub address_type: Option<String>,
        /// The endpoints.
        pub endpoints: Vec<SliceEndpoint>,
        /// The ports on which each of them listens.
        pub ports: Vec<EndpointPort>,
    }
}

object! {
    /// An endpoint of an [`EndpointSlice`].
    pub struct SliceEndpoint {
        /// Its addresses, of which only the first is used, as in kube-proxy.
        pub addresses: Vec<String>,
        /// Its conditions.
        pub conditions: Conditions,
        /// Where it runs.
        pub node_name: Option<String>,
        /// What it is, usually a pod.
        pub target_ref: Option<Reference>,
        /// The zone in which it runs.
        pub zone: Option<String>,
        /// For whose clients it is meant.
        pub hints: Hints,
    }
}

object! {
    /// The hints of a [`SliceEndpoint`].
    pub struct Hints {
        /// For clients in these zones.
        pub for_zones: Vec<Named>,
        /// For clients on these nodes.
        pub for_nodes: Vec<Named>,
    }
}

object! {
    /// A zone or node of [`Hints`].
    pub struct Named {
        /// Its name.
        pub name: String,
    }
}

object! {
    /// The conditions of a [`SliceEndpoint`].
    pub struct Conditions {
        /// Takes connections; missing means yes.
        pub ready: Option<bool>,
        /// Answers, be it terminating or not; missing means as `ready`.
        pub serving: Option<bool>,
        /// Is being shut down; missing means no.
        pub terminating: Option<bool>,
    }
}

object! {
    /// A port of an [`EndpointSlice`] or of [`Endpoints`].
    pub struct EndpointPort {
        /// The name of the port of the Service that it stands for.
        pub name: Option<String>,
        /// `TCP` (also where it is missing), `UDP` or `SCTP`.
        pub protocol: Option<String>,
        /// The number.
        pub port: Option<i64>,
    }
}

object! {
    /// A reference to an object.
    pub struct Reference {
        /// Its kind.
        pub kind: Option<String>,
        /// Its namespace.
        pub namespace: Option<String>,
        /// Its name.
        pub name: Option<String>,
    }
}

object! {
    /// Endpoints (v1), the form before EndpointSlices. They have the name of their service.
    pub struct Endpoints {
        /// Name.
        pub metadata: Metadata,
        /// Addresses with the ports on which they listen.
        pub subsets: Vec<Subset>,
    }
}

object! {
    /// A part of [`Endpoints`].
    pub struct Subset {
        /// Those that take connections.
        pub addresses: Vec<EndpointAddress>,
        /// Those that do not.
        pub not_ready_addresses: Vec<EndpointAddress>,
        /// On which ports.
        pub ports: Vec<EndpointPort>,
    }
}

object! {
    /// An address of [`Endpoints`].
    pub struct EndpointAddress {
        /// The address.
        pub ip: Option<String>,
        /// Where it runs.
        pub node_name: Option<String>,
        /// What it is, usually a pod.
        pub target_ref: Option<Reference>,
    }
}

object! {
    /// A Node (v1).
    pub struct Node {
        /// Name.
        pub metadata: Metadata,
        /// What is wanted.
        pub spec: NodeSpec,
        /// What is.
        pub status: NodeStatus,
    }
}

object! {
    /// The `spec` of a [`Node`].
    pub struct NodeSpec {
        /// The first of its ranges of pod addresses.
        #[serde(rename = "podCIDR")]
        pub pod_cidr: Option<String>,
        /// One range of pod addresses per family.
        #[serde(rename = "podCIDRs")]
        pub pod_cidrs: Vec<String>,
    }
}

object! {
    /// The `status` of a [`Node`].
    pub struct NodeStatus {
        /// Its addresses.
        pub addresses: Vec<NodeAddress>,
    }
}

object! {
    /// An address of a [`Node`].
    pub struct NodeAddress {
        /// `InternalIP`, `ExternalIP`, `Hostname` and others.
        pub r#type: Option<String>,
        /// The address.
        pub address: Option<String>,
    }
}

object! {
    /// A Pod (v1).
    pub struct Pod {
        /// Name.
        pub metadata: Metadata,
        /// What is wanted.
        pub spec: PodSpec,
        /// What is.
        pub status: PodStatus,
    }
}

object! {
    /// The `spec` of a [`Pod`].
    pub struct PodSpec {
        /// Where it runs; missing while it waits for a node.
        pub node_name: Option<String>,
        /// Whether it has the node's own addresses.
        pub host_network: bool,
        /// Its containers.
        pub containers: Vec<Container>,
        /// Those that run before them, or, with the `restartPolicy` `Always`, beside them.
        pub init_containers: Vec<Container>,
    }
}

object! {
    /// A container of a [`Pod`].
    pub struct Container {
        /// The ports that it names.
        pub ports: Vec<ContainerPort>,
        /// Of one of the `initContainers`: `Always` where it runs beside the others.
        pub restart_policy: Option<String>,
    }
}

object! {
    /// A port of a [`Container`].
    pub struct ContainerPort {
        /// Its number.
        pub container_port: Option<i64>,
        /// The number on which it is reached at the addresses of the node.
        pub host_port: Option<i64>,
        /// At which of the node's addresses; missing, or the unspecified one, for all.
        #[serde(rename = "hostIP")]
        pub host_ip: Option<String>,
        /// `TCP` (also where it is missing), `UDP` or `SCTP`.
        pub protocol: Option<String>,
    }
}

object! {
    /// The `status` of a [`Pod`].
    pub struct PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        pub phase: Option<String>,
        /// The first of its addresses.
        #[serde(rename = "podIP")]
        pub pod_ip: Option<String>,
        /// One address per family.
        #[serde(rename = "podIPs")]
        pub pod_ips: Vec<PodIp>,
    }
}

object! {
    /// An address of a [`Pod`].
    pub struct PodIp {
        /// The address.
        pub ip: Option<String>,
    }
}

object! {
    /// A ServiceCIDR (networking.k8s.io/v1): where cluster addresses come from.
    pub struct ServiceCidr {
        /// Name.
        pub metadata: Metadata,
        /// What is wanted.
        pub spec: ServiceCidrSpec,
    }
}

object! {
    /// The `spec` of a [`ServiceCidr`].
    pub struct ServiceCidrSpec {
        /// A range for one family, or for each of them.
        pub cidrs: Vec<String>,
    }
}
