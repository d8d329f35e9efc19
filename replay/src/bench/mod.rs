//! The comparison: what packets and changes cost with twinpath, and what they cost with kube-proxy's rules.
//!
//! | for | see |
//! |---|---|
//! | what was measured, as data | [`result`] |
//! | who is compared | [`subject`] |
//! | medians, spread, ratios and how sure they are | [`stats`] |
//! | quantities in words, figures in tables | [`quantity`], [`view`] |
//! | the terminal's report | [`text`] |
//! | the cluster of services | [`cluster`] |
//! | the place where a subject is measured | [`lab`] |
//! | what carries its packets there | [`datapath`] |
//! | services that come and go meanwhile | [`churn`] |
//! | packets of connections, established and new | [`live`], [`frame`] |

pub mod churn;
pub mod cluster;
pub mod datapath;
pub mod frame;
pub mod lab;
pub mod live;
pub mod quantity;
pub mod result;
#[cfg(test)]
pub(crate) mod samples;
pub mod stats;
pub mod subject;
pub mod text;
pub mod view;
