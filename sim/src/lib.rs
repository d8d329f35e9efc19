//! Nodes, pods, links, kernel maps, virtual time: the datapath in userspace.
