//! Why the datapath did what it did with one packet: every step, every table entry met, in order.
//!
//! | for | see |
//! |---|---|
//! | an engine that notes what the core asks of tables | [`engine`], [`spy`] |
//! | what is noted | [`log`] |
//! | the packets that are asked for, and a world that tells of them | [`pick`], [`stage`] |
//! | the notes in words | [`steps`], [`entry`], [`packet`] |
//! | where in the core's sources a packet is dropped | [`sites`] |
//! | why it came so, and which endpoints were not eligible | [`why`], [`endpoints`] |
//! | what kube-proxy would have done | [`kube_proxy`] |
//! | all of it, for people and for programs | [`text`], [`json`] |

pub mod endpoints;
pub mod engine;
pub mod entry;
pub mod json;
pub mod kube_proxy;
pub mod log;
pub mod packet;
pub mod pick;
pub mod sites;
pub mod spy;
pub mod stage;
pub mod steps;
pub mod story;
pub mod text;
pub mod why;
