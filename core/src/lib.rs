//! The service datapath of twinpath: parsing, conntrack, service lookup and NAT, without std.
