//! Ports that clients have not used yet.

use std::ops::RangeInclusive;

use twinpath_sim::world::WorldError;

/// The ports of clients, by turns of protocols. Node ports are none of them, since what goes out with the
/// node's address would have to change them.
const PORTS: [RangeInclusive<u16>; 2] = [1_024..=29_999, 32_768..=65_535];

/// The ports of a client that were not used yet.
#[derive(Debug)]
pub(super) struct Ports(Vec<u16>);

impl Ports {
    /// All of them.
    pub(super) fn new() -> Self {
        Self(PORTS.into_iter().flatten().rev().collect())
    }

    /// So many of them, never to be given out again.
    pub(super) fn take(&mut self, count: u16) -> Result<Vec<u16>, WorldError> {
        match self.0.len().checked_sub(count.into()) {
            Some(rest) => Ok(self.0.split_off(rest).into_iter().rev().collect()),
            None => Err(WorldError::Failed("all ports of a client have been used".to_owned())),
        }
    }
}
