//! The comparison: what packets and changes cost with twinpath, and what they cost with kube-proxy's rules.
//!
//! | for | see |
//! |---|---|
//! | what was measured, as data | [`result`] |
//! | who is compared | [`subject`] |
//! | the order of measuring | [`run`] |
//! | where it was measured | [`machine`] |
//! | the cluster of services | [`cluster`] |
//! | the place where a subject is measured | [`lab`] |
//! | what carries its packets there | [`datapath`] |
//! | services that come and go meanwhile | [`churn`] |
//! | packets of connections, established and new | [`live`], [`frame`] |
//! | kube-proxy's rules in a namespace | [`rival`] |
//! | bringing a node up to date, and memory | [`programming`], [`memory`] |
//! | from a change to the first packet | [`until`] |
//! | instructions from a guest | [`gauge`] |
//! | these as experiments | [`packets`], [`updates`], [`exchange`] |
//! | processes' sockets at both ends | [`sockets`] |
//! | medians, spread, ratios and how sure they are | [`stats`] |
//! | quantities in words, figures in tables | [`quantity`], [`view`] |
//! | a run that later ones are compared with | [`baseline`] |
//! | the reports: for a terminal, for programs, as a page | [`text`], [`json`], [`page`] |

pub mod baseline;
pub mod churn;
pub mod cluster;
pub mod datapath;
pub mod exchange;
pub mod frame;
pub mod gauge;
pub mod json;
pub mod lab;
pub mod live;
pub mod machine;
pub mod memory;
pub mod packets;
pub mod page;
pub mod programming;
pub mod quantity;
pub mod result;
pub mod rival;
pub mod run;
#[cfg(test)]
pub(crate) mod samples;
pub mod sockets;
pub mod stats;
pub mod subject;
pub mod text;
pub mod until;
pub mod updates;
pub mod view;
