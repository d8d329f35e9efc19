//! Captures: reading pcap and pcapng, plain or inside gzip or zstd, and writing what became of the packets.
//!
//! [`Capture`] reads any stream in constant memory and hands out borrowed [`Record`]s; [`to_ethernet`] gives every
//! record the one link type the datapath knows; [`StageWriter`] writes a pcapng with an interface per stage;
//! [`ClassicWriter`] writes a small pcap for a reproduction.
//!
//! ```no_run
//! use twinpath::capture::{Capture, to_ethernet};
//!
//! let mut capture = Capture::open("incident.pcap".as_ref())?;
//! let mut frame = Vec::new();
//! while let Some(record) = capture.next()? {
//!     match to_ethernet(&record, &mut frame) {
//!         Ok(frame) => println!("{} ns: {} bytes", record.timestamp, frame.data.len()),
//!         Err(error) => eprintln!("packet {}: {error}", record.number),
//!     }
//! }
//! for warning in capture.warnings() {
//!     eprintln!("{warning}");
//! }
//! # Ok::<(), twinpath::capture::CaptureError>(())
//! ```

mod aside;
mod blocks;
mod classic;
mod clock;
mod compressed;
mod error;
mod link;
mod reader;
mod record;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use error::CaptureError;
pub use link::{Direction, Frame, LinkError, LinkType, to_ethernet};
pub use reader::{Capture, Interface};
pub use record::Record;
pub use write::{ClassicWriter, PacketOptions, Precision, StageWriter};
