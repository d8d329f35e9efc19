//! Linux netfilter as an oracle: the same traffic through twinpath and through kube-proxy's rules.
//!
//! | for | see |
//! |---|---|
//! | rules of kube-proxy's two modes | [`twinpath_control::rules`] |
//! | a world of namespaces with these rules | [`world`] |
//! | packets, built | [`craft`] |
//! | packets, taken apart to be compared | [`view`] |
//! | the cluster | [`lab`] |
//! | who opens which connection, and what is sent on it | [`rows`] |
//! | a connection's packets in one world | [`exchange`] |
//! | connections of captures | [`mod@capture`] |
//! | what differs | [`compare`] |
//! | what may differ | [`deviations`] |
//! | the comparison | [`run`] |
//! | the same with twinpath's decisions as rules | [`inject`] |

pub mod capture;
pub mod compare;
pub mod craft;
pub mod deviations;
pub mod exchange;
pub mod inject;
pub mod lab;
pub mod rows;
pub mod run;
pub mod view;
pub mod world;
