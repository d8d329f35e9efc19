//! A world of real stacks and links: the programs attached in network namespaces.
//!
//! | for | see |
//! |---|---|
//! | namespaces that vanish with the process | [`netns`] |
//! | their devices, addresses, routes and neighbours | [`devices`] |
//! | what devices do for programs and stacks | [`driver`] |
//! | sending and seeing frames | [`tap`] |
//! | everybody who can send | [`send`] |
//! | sending packets as a node's own stack does | [`host`] |
//! | threads on one CPU, for order | [`cpu`] |
//! | the kernel's own connections, forgotten | [`conntrack`] |
//! | the places where frames are seen | [`watch`] |
//! | packets that netfilter rules log | [`log`] |
//! | the world itself | [`world`] |

pub mod conntrack;
pub mod cpu;
pub mod devices;
pub mod driver;
pub mod host;
pub mod log;
pub mod netns;
pub mod send;
pub mod tap;
pub mod watch;
pub mod world;

pub use devices::Stacks;
pub use world::{Options, Time, VethWorld};
