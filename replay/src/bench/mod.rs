//! The comparison: what packets and changes cost with twinpath, and what they cost with kube-proxy's rules.
//!
//! | for | see |
//! |---|---|
//! | what was measured, as data | [`result`] |
//! | who is compared | [`subject`] |

pub mod result;
pub mod stats;
pub mod subject;
