//! The sockets by which pods, clients outside and nodes send.

use std::io;

use twinpath_sim::frame::Frame;
use twinpath_sim::topology::{Mac, PodIndex, Topology};
use twinpath_sim::world::{Sender, WorldError};

use crate::veth::devices::Namespaces;
use crate::veth::host::HostSocket;
use crate::veth::netns::Namespace;
use crate::veth::tap::PacketSocket;
use crate::veth::watch::device_number;

/// A socket for everybody who can send.
pub struct Senders {
    pods: Vec<PacketSocket>,
    clients: Vec<PacketSocket>,
    hosts: Vec<HostSocket>,
}

impl Senders {
    /// Opens them.
    pub fn new(namespaces: &Namespaces) -> Result<Self, WorldError> {
        let failed = |error: io::Error| WorldError::Failed(error.to_string());
        let device = |namespace: &Namespace| {
            let socket = namespace.run(|| PacketSocket::sender(device_number(c"eth0")?))?;
            socket.map_err(failed)
        };
        let host = |namespace: &Namespace| namespace.run(HostSocket::new)?.map_err(failed);
        Ok(Self {
            pods: namespaces.pods.iter().map(device).collect::<Result<_, WorldError>>()?,
            clients: namespaces.clients.iter().map(device).collect::<Result<_, WorldError>>()?,
            hosts: namespaces.nodes.iter().map(host).collect::<Result<_, WorldError>>()?,
        })
    }

    /// A pod's socket.
    pub fn pod(&self, pod: PodIndex) -> Option<&PacketSocket> {
        self.pods.get(pod)
    }

    /// Sends a frame, by a device with the link addresses for its gateway; `None` where the sender is not
    /// there.
    pub fn send(
        &self,
        topology: &Topology,
        sender: Sender,
        frame: &Frame,
    ) -> Option<io::Result<()>> {
        let (socket, gateway, mac) = match sender {
            Sender::Pod(pod) => {
                let info = topology.pods.get(pod)?;
                (self.pods.get(pod)?, info.gateway, info.mac)
            }
            Sender::Client(client) => {
                let info = topology.clients.get(client)?;
                (self.clients.get(client)?, info.gateway, info.mac)
            }
            Sender::Node(node) => return Some(self.hosts.get(node)?.send(frame)),
        };
        let mut frame = frame.clone();
        set_macs(&mut frame, gateway, mac);
        Some(socket.send(&frame))
    }
}

fn set_macs(frame: &mut Frame, destination: Mac, source: Mac) {
    if let Some(macs) = frame.bytes.get_mut(..12) {
        macs[..6].copy_from_slice(&destination);
        macs[6..].copy_from_slice(&source);
    }
}

/// Whether a device does not take a frame for what it is.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE))
}
